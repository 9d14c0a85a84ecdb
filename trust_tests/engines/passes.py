"""Passes on a CPU: reading packed prompts, and writing one token for each of many answers.

In bfloat16 torch's CPU products give a row the same bits whatever rows stand beside it (oneDNN, AVX-512). Everything
here keeps to that: columns are filled up to whole multiples of `GRAIN` and masked, chunks begin at multiples of
`CHUNK`. So an answer does not depend on the batch, nor on whether its prompt's beginning was shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trust_tests.engines.prefixes import GRAIN

if TYPE_CHECKING:
    import torch

    # Runs a model: pass, token ids, positions -> logits (tokens, vocabulary).
    Forward = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]

# Rows of a prompt whose scores are held at a time; they see the columns up to their own end only.
CHUNK = 128
# Answers on a shelf.
SHELF = 16
# Columns of a product over columns: in a longer one torch adds up in an order that depends on their number.
BLOCK = 1024


@dataclass(slots=True)
class Kept:
    """Keys and values of a pass, by layer, each (groups, tokens, width)."""

    keys: dict[int, torch.Tensor] = field(default_factory=dict)
    values: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens `start` to `stop` of a pass that was kept."""

    kept: Kept
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Its tokens."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Span:
    """A run of tokens in a pass, and what was read before it, in order."""

    start: int
    stop: int
    before: tuple[Piece, ...] = ()

    @property
    def offset(self) -> int:
        """The position of its first token."""
        return sum(piece.length for piece in self.before)


class Read:
    """A pass that reads spans: each token sees what was read before its span, and its span up to itself."""

    def __init__(self, spans: Sequence[Span], *, keep: bool) -> None:
        self.spans = spans
        self.kept = Kept() if keep else None

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Pass.attend`."""
        if self.kept is not None:
            self.kept.keys[layer], self.kept.values[layer] = key, value
        output = query.new_empty(query.shape[1], query.shape[0], value.shape[-1])
        for span in self.spans:
            here = slice(span.start, span.stop)
            keys = _filled([p.kept.keys[layer][:, p.start : p.stop] for p in span.before], key[:, here])
            values = _filled([p.kept.values[layer][:, p.start : p.stop] for p in span.before], value[:, here])
            _causal(output[here], query[:, here], keys, values, span.offset, scale)
        return output


def _filled(before: Sequence[torch.Tensor], own: torch.Tensor) -> torch.Tensor:
    """Pieces and the span's own part, (groups, columns, width), with zeros up to a multiple of the grain."""
    import torch

    length = own.shape[1] + sum(piece.shape[1] for piece in before)
    missing = -length % GRAIN
    zeros = [own.new_zeros(own.shape[0], missing, own.shape[2])] if missing else []
    parts = [*before, own, *zeros]
    return torch.cat(parts, dim=1) if len(parts) > 1 else own


def _causal(
    output: torch.Tensor, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, offset: int, scale: float
) -> None:
    """Causal attention of a span's rows, written to output (rows, heads, width).

    query: (heads, rows, width), its first row at position `offset`; keys, values: (groups, columns, width). Scores and
    softmax are float32.
    """
    import torch

    heads, rows, width = query.shape
    groups = keys.shape[0]
    queries = (query.float() * scale).reshape(groups, heads // groups, rows, width)
    columns = keys.float().transpose(1, 2)  # (groups, width, columns)
    first = 0
    while first < rows:
        last = min(rows, (offset + first) // CHUNK * CHUNK + CHUNK - offset)
        end = -(-(offset + last) // GRAIN) * GRAIN
        part = queries[:, :, first:last].reshape(groups, -1, width)
        scores = torch.bmm(part, columns[:, :, :end]).view(groups, -1, last - first, end)
        # Only the columns from the first row's own position on hide anything.
        seen = offset + first + 1
        hidden = torch.ones(last - first, end - seen, dtype=torch.bool).triu()
        scores[..., seen:].masked_fill_(hidden, float("-inf"))
        weights = scores.softmax(dim=-1).to(values.dtype).view(groups, -1, end)
        seen_values = torch.bmm(weights, values[:, :end]).view(heads, last - first, -1)
        output[first:last] = seen_values.transpose(0, 1)
        first = last


class Write:
    """Passes that write: each adds one token to every answer that is still under way.

    Answers of like length stand together in a `_Shelf`, so that little is read beyond an answer's own columns.
    """

    def __init__(self, lengths: Sequence[int], new_tokens: int) -> None:
        """lengths: tokens of each answer's prompt; new_tokens: the most that an answer adds."""
        longest_first = sorted(range(len(lengths)), key=lambda answer: (-lengths[answer], answer))
        self._shelves = [
            _Shelf(longest_first[first : first + SHELF], lengths, new_tokens)
            for first in range(0, len(longest_first), SHELF)
        ]
        self._answers = len(lengths)

    def load(self, answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[Piece]]) -> None:
        """Copy prompts, given as pieces, into the rows of their answers."""
        home = {answer: (shelf, row) for shelf in self._shelves for row, answer in enumerate(shelf.answers)}
        for own, pieces in zip(answers, prompts, strict=True):
            for answer in own:
                shelf, row = home[answer]
                shelf.load(row, pieces)

    def keep(self, places: torch.Tensor) -> None:
        """Go on with the answers at these places only."""
        new = {place: number for number, place in enumerate(places.tolist())}
        self._shelves = [kept for shelf in self._shelves if (kept := shelf.keeping(new)) is not None]
        self._answers = len(new)

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, forward: Forward) -> torch.Tensor:
        """Add these tokens, (answers,); logits (answers, vocabulary) of the next ones."""
        for shelf in self._shelves:
            shelf.grow()
        return forward(self, tokens, positions)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Pass.attend`; one token for each answer."""
        query = (query * scale).transpose(0, 1)
        key, value = key.transpose(0, 1), value.transpose(0, 1)
        output = query.new_empty(query.shape)
        for shelf in self._shelves:
            output[shelf.places] = shelf.attend(layer, query[shelf.places], key[shelf.places], value[shelf.places])
        return output


class _Shelf:
    """Keys and values of a few answers, a row each: its prompt, then what it wrote, then zeros.

    Keys stand transposed, and rows are few: both spare torch a copy of all of them for every token.
    """

    def __init__(self, answers: Sequence[int], lengths: Sequence[int], new_tokens: int) -> None:
        import torch

        self.answers = list(answers)
        self.places = torch.tensor(self.answers)
        self._rows = torch.arange(len(self.answers))
        self._lengths = torch.tensor([lengths[answer] for answer in answers])  # with what was written
        self._columns = -(-(int(self._lengths.max()) + new_tokens) // GRAIN) * GRAIN
        self._end = 0  # columns that any row has filled, in whole grains
        self._hidden = torch.arange(self._columns) >= self._lengths[:, None]  # (rows, columns)
        self._keys: dict[int, torch.Tensor] = {}  # (rows, groups, width, columns)
        self._values: dict[int, torch.Tensor] = {}  # (rows, groups, columns, width)

    def load(self, row: int, pieces: Sequence[Piece]) -> None:
        """Copy a prompt into a row."""
        place = 0
        for piece in pieces:
            here, there = slice(place, place + piece.length), slice(piece.start, piece.stop)
            for layer, key in piece.kept.keys.items():
                value = piece.kept.values[layer]
                if layer not in self._keys:
                    rows, (groups, _, width) = len(self.answers), key.shape
                    self._keys[layer] = key.new_zeros(rows, groups, width, self._columns)
                    self._values[layer] = value.new_zeros(rows, groups, self._columns, value.shape[2])
                self._keys[layer][row, :, :, here] = key[:, there].transpose(1, 2)
                self._values[layer][row, :, here] = value[:, there]
            place += piece.length

    def keeping(self, new: Mapping[int, int]) -> _Shelf | None:
        """The shelf with the answers that go on, at their new places; None where none does."""
        import torch

        rows = [row for row, answer in enumerate(self.answers) if answer in new]
        if not rows:
            return None
        if len(rows) < len(self.answers):
            self._lengths, self._hidden = self._lengths[rows], self._hidden[rows]
            self._rows = self._rows[: len(rows)]
            for kept in (self._keys, self._values):
                for layer in kept:
                    kept[layer] = kept[layer][rows]
        self.answers = [new[self.answers[row]] for row in rows]
        self.places = torch.tensor(self.answers)
        return self

    def grow(self) -> None:
        """Every row gets one more column."""
        self._hidden[self._rows, self._lengths] = False
        self._lengths += 1
        self._end = -(-int(self._lengths.max()) // GRAIN) * GRAIN

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query (scaled), what is seen: (rows, heads, width); key, value: (rows, groups, width)."""
        import torch

        rows, heads, width = query.shape
        groups = key.shape[1]
        keys, values = self._keys[layer], self._values[layer]
        keys[self._rows, :, :, self._lengths - 1] = key
        values[self._rows, :, self._lengths - 1] = value
        keys, values, end = keys.flatten(0, 1), values.flatten(0, 1), self._end
        scores = torch.bmm(query.reshape(rows * groups, -1, width), keys[..., :end]).float()
        scores.view(rows, heads, end).masked_fill_(self._hidden[:, None, :end], float("-inf"))
        weights = scores.softmax(dim=-1).to(values.dtype)
        seen = torch.bmm(weights[..., :BLOCK], values[:, : min(end, BLOCK)])
        if end > BLOCK:
            whole = seen.float()
            for first in range(BLOCK, end, BLOCK):
                last = min(end, first + BLOCK)
                whole += torch.bmm(weights[..., first:last], values[:, first:last])
            seen = whole.to(values.dtype)
        return seen.view(rows, heads, -1)

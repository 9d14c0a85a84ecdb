"""Passes on a CPU: reading packed prompts, and writing one token for each of many answers.

In bfloat16 torch's CPU products give a row the same bits whatever rows stand beside it (oneDNN, AVX-512). Everything
here keeps to that: columns are filled up to whole multiples of `GRAIN` and masked, chunks begin at multiples of
`CHUNK`. So an answer does not depend on the batch, nor on whether its prompt's beginning was shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trust_tests.engines.prefixes import GRAIN

if TYPE_CHECKING:
    import torch

    # Runs a model: pass, token ids, positions -> logits (tokens, vocabulary).
    Forward = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]

# Rows of a prompt whose scores are held at a time; they see the columns up to their own end only.
CHUNK = 128


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

    An answer's keys and values stand in one row: its prompt, zeros up to the columns of the longest prompt, then what
    it wrote, in the same columns for all.
    """

    def __init__(self, lengths: Sequence[int], new_tokens: int) -> None:
        """lengths: tokens of each answer's prompt; new_tokens: the most that an answer adds."""
        import torch

        self._begin = -(-max(lengths) // GRAIN) * GRAIN
        self._columns = -(-(self._begin + new_tokens) // GRAIN) * GRAIN
        self._written = 0
        self._hidden = torch.arange(self._columns) >= torch.tensor(lengths)[:, None]  # (answers, columns)
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}

    def load(self, answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[Piece]]) -> None:
        """Copy prompts, given as pieces, into the rows of their answers."""
        for name, rows in (("keys", self._keys), ("values", self._values)):
            for own, pieces in zip(answers, prompts, strict=True):
                place = 0
                for piece in pieces:
                    until = place + piece.length
                    for layer, kept in getattr(piece.kept, name).items():
                        if layer not in rows:
                            groups, _, width = kept.shape
                            rows[layer] = kept.new_zeros(len(self._hidden), groups, self._columns, width)
                        for answer in own:
                            rows[layer][answer, :, place:until] = kept[:, piece.start : piece.stop]
                    place = until

    def keep(self, places: torch.Tensor) -> None:
        """Go on with the answers at these places only."""
        self._hidden = self._hidden[places]
        for rows in (self._keys, self._values):
            for layer in rows:
                rows[layer] = rows[layer][places]

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, forward: Forward) -> torch.Tensor:
        """Add these tokens, (answers,); logits (answers, vocabulary) of the next ones."""
        self._hidden[:, self._begin + self._written] = False
        self._written += 1
        return forward(self, tokens, positions)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Pass.attend`; one token for each answer."""
        heads, answers, width = query.shape
        groups = key.shape[0]
        place = self._begin + self._written - 1
        keys, values = self._keys[layer], self._values[layer]
        keys[:, :, place] = key.transpose(0, 1)
        values[:, :, place] = value.transpose(0, 1)
        end = -(-(place + 1) // GRAIN) * GRAIN
        queries = (query * scale).transpose(0, 1).reshape(answers, groups, heads // groups, width)
        scores = (queries @ keys[:, :, :end].transpose(-1, -2)).float()
        scores.masked_fill_(self._hidden[:, None, None, :end], float("-inf"))
        weights = scores.softmax(dim=-1).to(values.dtype)
        seen: torch.Tensor = weights @ values[:, :, :end]
        return seen.reshape(answers, heads, -1)

"""Passes on a CUDA GPU: reading and writing through torch's flash attention for packed rows.

Reading looks at shared beginnings and at the own part in two calls, whose results are joined by their log-sum-exps.
Writing keeps every answer's keys and values in one stretch of a pool and replays a CUDA graph for each token, so that
a step costs what the GPU needs for it and not what Python does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from trust_tests.engines.passes import Kept, Piece, Span

if TYPE_CHECKING:
    import torch

    from trust_tests.engines.passes import Forward

# Rows that a graph is captured for; fewer answers are filled up with rows that nobody reads.
ROWS = (8, 16, 32, 64, 96, 128, 160, 192, 224, 256)
COLUMN_GRAIN = 512


class GpuRead:
    """A pass that reads spans; see `passes.Read`."""

    def __init__(self, spans: Sequence[Span], *, keep: bool, device: torch.device) -> None:
        self.spans = spans
        self.kept = Kept() if keep else None
        lengths = [span.stop - span.start for span in spans]
        self._ends = _cumulative(lengths, device)
        self._longest = max(lengths)
        depth = max((len(span.before) for span in spans), default=0)
        self._levels = [_Level(spans, level, device) for level in range(depth)]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Pass.attend`."""
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        if self.kept is not None:
            self.kept.keys[layer], self.kept.values[layer] = key, value
        ends, longest = self._ends, self._longest
        if not self._levels:
            return _attention(query, key, value, ends, ends, longest, longest, scale, causal=True)[0]
        output, mass = _attention(query, key, value, ends, ends, longest, longest, scale, causal=True)
        for level in self._levels:
            output, mass = level.join(layer, query, output, mass, scale)
        return output


class _Level:
    """What spans see before themselves, one piece each; spans with the same piece, neighbours, look at it together."""

    def __init__(self, spans: Sequence[Span], level: int, device: torch.device) -> None:
        import torch

        asking = [span for span in spans if len(span.before) > level]
        # By pass, then by piece.
        groups: dict[int, dict[tuple[int, int], list[Span]]] = {}
        kept: dict[int, Kept] = {}
        for span in asking:
            piece = span.before[level]
            kept[id(piece.kept)] = piece.kept
            groups.setdefault(id(piece.kept), {}).setdefault((piece.start, piece.stop), []).append(span)
        self._calls = []
        for name, pieces in groups.items():
            rows = torch.cat([torch.arange(s.start, s.stop) for members in pieces.values() for s in members])
            columns = torch.cat([torch.arange(start, stop) for start, stop in pieces])
            asked = [sum(span.stop - span.start for span in members) for members in pieces.values()]
            seen = [stop - start for start, stop in pieces]
            self._calls.append(
                (
                    kept[name],
                    put(rows, device),
                    put(columns, device),
                    _cumulative(asked, device),
                    _cumulative(seen, device),
                    max(asked),
                    max(seen),
                )
            )

    def join(
        self, layer: int, query: torch.Tensor, output: torch.Tensor, mass: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The attention over what was seen so far and over this level. mass: log-sum-exps, (tokens, heads)."""
        for kept, rows, columns, asked, seen, most_asked, most_seen in self._calls:
            keys, values = kept.keys[layer][columns], kept.values[layer][columns]
            whole = len(rows) == len(query)
            asking = query if whole else query[rows]
            found, extra = _attention(asking, keys, values, asked, seen, most_asked, most_seen, scale, causal=False)
            if whole:
                output, mass = _join()(output, mass, found, extra)
            else:
                output[rows], mass[rows] = _join()(output[rows], mass[rows], found, extra)
        return output, mass


def _joined(
    first: torch.Tensor, first_mass: torch.Tensor, second: torch.Tensor, second_mass: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over two sets of columns, from the attention over each. masses: log-sum-exps, (tokens, heads)."""
    import torch

    mass = torch.logaddexp(first_mass, second_mass)
    share = (second_mass - mass).exp()[..., None]
    return torch.lerp(first.float(), second.float(), share).to(first.dtype), mass


@cache
def _join() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """`_joined` in one kernel: written out it would pass over the outputs in float32 several times."""
    import torch

    return torch.compile(_joined, dynamic=True) if find_spec("triton") else _joined


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    most_queries: int,
    most_keys: int,
    scale: float,
    *,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of packed rows, (tokens, heads, width), and its log-sum-exps, (tokens, heads)."""
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    output, mass = varlen_attn(
        query,
        key,
        value,
        query_ends,
        key_ends,
        most_queries,
        most_keys,
        return_aux=AuxRequest(lse=True),
        scale=scale,
        window_size=(-1, 0) if causal else (-1, -1),
        **_grouped(query, key),
    )
    return output, mass if mass.shape[0] == len(query) else mass.transpose(0, 1)


def _grouped(query: torch.Tensor, key: torch.Tensor) -> dict[str, Any]:
    """What torch has to be told where several heads share a group's keys; torch 2.11 takes that unasked."""
    asks = "enable_gqa" in _varlen_parameters()
    return {"enable_gqa": True} if asks and query.shape[1] != key.shape[1] else {}


@cache
def _varlen_parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(signature(varlen_attn).parameters)


def _cumulative(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    import torch

    ends = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    ends[1:] = torch.tensor(lengths).cumsum(0)
    return put(ends, device)


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device, without waiting for what the device still has to do."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Pool:
    """Keys and values of all answers under way, by layer (tokens, groups, width); made once for a model.

    graphs: captured steps by rows and columns. The pool keeps its address, so they stay good.
    """

    def __init__(self, tokens: int) -> None:
        # One more: where the rows that nobody reads write.
        self.tokens = tokens
        self.keys: dict[int, torch.Tensor] = {}
        self.values: dict[int, torch.Tensor] = {}
        self.graphs: dict[tuple[int, int], _Step] = {}

    def take(self, layer: int, like: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values; made with the first use."""
        if layer not in self.keys:
            # Both or none: memory may run out between them.
            key, value = (part.new_zeros(self.tokens + 1, *part.shape[1:]) for part in like)
            self.keys[layer], self.values[layer] = key, value
        return self.keys[layer], self.values[layer]


class _Step:
    """One captured step: its inputs at fixed addresses, and its logits."""

    def __init__(self, pool: Pool, rows: int, columns: int, device: torch.device) -> None:
        import torch

        self._pool = pool
        self._columns = columns
        self.ids = torch.zeros(rows, dtype=torch.long, device=device)
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        self.slots = torch.full((rows,), pool.tokens, dtype=torch.long, device=device)
        self.used = torch.ones(rows, dtype=torch.int32, device=device)
        self.starts = torch.full((rows + 1,), pool.tokens, dtype=torch.int32, device=device)
        self.grows = torch.zeros(rows, dtype=torch.long, device=device)
        self._ends = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self._graph: Any = None
        self.logits: torch.Tensor | None = None

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Pass.attend`; one token for each row."""
        import torch

        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        keys, values = self._pool.take(layer, (key, value))
        keys.index_copy_(0, self.slots, key)
        values.index_copy_(0, self.slots, value)
        # The operator below torch's varlen_attn, which has had `seqused_k` for longer: keys begin at `starts`, and only
        # the first `used` of each are there yet.
        output: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query,
            keys,
            values,
            self._ends,
            self.starts,
            1,
            self._columns,
            0.0,
            False,
            False,
            scale=scale,
            seqused_k=self.used,
        )[0]
        return output

    def run(self, forward: Forward) -> torch.Tensor:
        """Logits (rows, vocabulary) of one step; the first time captured."""
        import torch

        if self._graph is None:
            # Twice outside: libraries make their workspaces then. It writes the same values to the same slots.
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    forward(self, self.ids, self.positions)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.logits = forward(self, self.ids, self.positions)
            self._graph = graph
        self._graph.replay()
        assert self.logits is not None
        return self.logits


class GpuWrite:
    """Passes that write; see `passes.Write`. The answers' stretches of the pool do not move."""

    def __init__(self, pool: Pool, lengths: Sequence[int], new_tokens: int, device: torch.device) -> None:
        import torch

        self._pool = pool
        self._device = device
        self._lengths = torch.tensor(lengths)
        room = self._lengths + new_tokens
        self._starts = room.cumsum(0) - room
        if int(room.sum()) > pool.tokens:
            raise torch.OutOfMemoryError(f"{int(room.sum())} tokens of keys and values, room for {pool.tokens}")
        self._columns = -(-int(room.max()) // COLUMN_GRAIN) * COLUMN_GRAIN
        self._written = 0
        self._step: _Step | None = None

    def load(self, answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[Piece]]) -> None:
        """Copy prompts into the stretches of their answers."""
        import torch

        sources: dict[int, tuple[Kept, list[torch.Tensor], list[torch.Tensor]]] = {}
        for own, pieces in zip(answers, prompts, strict=True):
            for answer in own:
                place = int(self._starts[answer])
                for piece in pieces:
                    _, taken, places = sources.setdefault(id(piece.kept), (piece.kept, [], []))
                    taken.append(torch.arange(piece.start, piece.stop))
                    places.append(torch.arange(place, place + piece.length))
                    place += piece.length
        for kept, taken, places in sources.values():
            source, target = put(torch.cat(taken), self._device), put(torch.cat(places), self._device)
            for layer in kept.keys:
                keys, values = self._pool.take(layer, (kept.keys[layer], kept.values[layer]))
                keys.index_copy_(0, target, kept.keys[layer].index_select(0, source))
                values.index_copy_(0, target, kept.values[layer].index_select(0, source))

    def keep(self, places: torch.Tensor) -> None:
        """Go on with the answers at these places only."""
        self._lengths, self._starts = self._lengths[places.cpu()], self._starts[places.cpu()]
        self._step = None

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, forward: Forward) -> torch.Tensor:
        """Add these tokens, (answers,); logits (answers, vocabulary) of the next ones. Counts positions itself."""
        step = self._step or self._prepared()
        self._step = step
        count = len(self._lengths)
        step.ids[:count] = tokens
        logits = step.run(forward)[:count]
        for moving in (step.positions, step.slots, step.used):
            moving += step.grows
        self._written += 1
        return logits

    def _prepared(self) -> _Step:
        count = len(self._lengths)
        rows = next((rows for rows in ROWS if rows >= count), -(-count // 64) * 64)
        key = (rows, self._columns)
        if key not in self._pool.graphs:
            self._pool.graphs[key] = _Step(self._pool, rows, self._columns, self._device)
        step = self._pool.graphs[key]
        at = self._lengths + self._written
        step.grows.zero_()
        step.grows[:count] = 1
        step.ids.zero_()
        step.positions.zero_()
        step.positions[:count] = at.to(self._device)
        step.slots.fill_(self._pool.tokens)
        step.slots[:count] = (self._starts + at).to(self._device)
        step.used.fill_(1)
        step.used[:count] = (at + 1).to(self._device).int()
        step.starts.fill_(self._pool.tokens)
        step.starts[:count] = self._starts.to(self._device).int()
        return step

"""The GPU's passes without a GPU: what they plan, keep and join, with torch's kernels replaced by plain arithmetic.

Not shown here, for want of a GPU: the kernels themselves, capturing and replaying a graph, and what is compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from trust_tests.engines import gpu_passes, packed
from trust_tests.engines.gpu_passes import COLUMN_GRAIN, ROWS, GpuRead, GpuWrite, Pool
from trust_tests.engines.packed import PackedModel, packed_or_none
from trust_tests.engines.passes import Kept, Piece, Span
from trust_tests.records import Generation

from .architectures import logprobs, prompts, tiny

if TYPE_CHECKING:
    import torch

HEADS, GROUPS, WIDTH, SCALE = 6, 2, 16, 0.3


def cpu() -> torch.device:
    import torch

    return torch.device("cpu")


def drawn(tokens: int, groups: int, seed: int) -> torch.Tensor:
    """(tokens, groups, WIDTH)."""
    import torch

    return torch.randn(tokens, groups, WIDTH, generator=torch.Generator().manual_seed(seed))


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, hidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one prompt's rows, (rows, heads, width), and its log-sum-exps, (rows, heads).

    hidden: (rows, columns), what each row may not see.
    """
    copies = query.shape[1] // key.shape[1]
    keys, values = (part.repeat_interleave(copies, dim=1).transpose(0, 1) for part in (key, value))
    scores = query.transpose(0, 1) @ keys.transpose(1, 2) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return (scores.softmax(-1) @ values).transpose(0, 1), scores.logsumexp(-1).transpose(0, 1)


def causal(rows: int, columns: int) -> torch.Tensor:
    import torch

    return torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)


def packed_attention(
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
    """What `gpu_passes._attention` asks of torch's kernel."""
    import torch

    outputs, masses = [], []
    assert len(query_ends) == len(key_ends)
    for (first, last), (start, stop) in zip(pairwise(query_ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        assert 0 < last - first <= most_queries
        assert 0 < stop - start <= most_keys
        hidden = torch.ones(last - first, stop - start, dtype=torch.bool).triu(1) if causal else None
        output, mass = plain(query[first:last], key[start:stop], value[start:stop], scale, hidden)
        outputs.append(output)
        masses.append(mass)
    assert query_ends[-1] == len(query)
    assert key_ends[-1] == len(key)
    return torch.cat(outputs), torch.cat(masses)


def step_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    ends: torch.Tensor,
    starts: torch.Tensor,
    longest_query: int,
    columns: int,
    *_: Any,
    scale: float,
    seqused_k: torch.Tensor,
) -> tuple[torch.Tensor]:
    """What a step asks of the operator below torch's kernel: a row each, keys from its start on."""
    import torch

    assert ends.tolist() == list(range(len(query) + 1))
    assert longest_query == 1
    assert int(seqused_k.max()) <= columns
    found = []
    for row, (start, used) in enumerate(zip(starts.tolist(), seqused_k.tolist(), strict=False)):
        here = slice(start, start + used)
        found.append(plain(query[row : row + 1], keys[here], values[here], scale)[0])
    return (torch.cat(found),)


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    monkeypatch.setattr(gpu_passes, "_attention", packed_attention)
    monkeypatch.setattr(gpu_passes, "_join", lambda: gpu_passes._joined)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", step_attention)
    # A graph is a step that is run again as it is.
    monkeypatch.setattr(gpu_passes._Step, "run", lambda self, forward: forward(self, self.ids, self.positions))
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("cut", [1, 7, 39])
def test_attention_over_two_sets_of_columns_is_that_over_their_union(cut: int) -> None:
    import torch

    query, key, value = drawn(20, HEADS, 0), drawn(40, GROUPS, 1), drawn(40, GROUPS, 2)
    whole, mass = plain(query, key, value, SCALE)
    joined, joined_mass = gpu_passes._joined(
        *plain(query, key[:cut], value[:cut], SCALE), *plain(query, key[cut:], value[cut:], SCALE)
    )
    torch.testing.assert_close(joined, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joined_mass, mass, atol=1e-5, rtol=1e-5)


def test_columns_without_weight_change_nothing() -> None:
    import torch

    query, key, value = drawn(3, HEADS, 0), drawn(9, GROUPS, 1), drawn(9, GROUPS, 2)
    output, mass = plain(query, key, value, SCALE)
    far = torch.full_like(mass, -1e4)
    joined, joined_mass = gpu_passes._joined(output, mass, torch.full_like(output, 1e3), far)
    assert torch.equal(joined, output)
    assert torch.equal(joined_mass, mass)


def text(length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values of a prompt."""
    return drawn(length, HEADS, seed), drawn(length, GROUPS, seed + 1), drawn(length, GROUPS, seed + 2)


def kept(*parts: tuple[torch.Tensor, torch.Tensor]) -> tuple[Kept, list[Piece]]:
    """One pass that read these keys and values behind each other, and the piece of each."""
    import torch

    ends = [0]
    for key, _ in parts:
        ends.append(ends[-1] + len(key))
    own = Kept({0: torch.cat([key for key, _ in parts])}, {0: torch.cat([value for _, value in parts])})
    return own, [Piece(own, start, stop) for start, stop in pairwise(ends)]


def test_each_span_sees_what_was_read_before_it_and_itself() -> None:
    """Two beginnings from one pass and a third from another; two of them go on in a second piece; one span has none."""
    import torch

    begun = {name: text(length, 10 * n) for n, (name, length) in enumerate([("a", 32), ("b", 40), ("c", 64)])}
    more = {name: text(length, 100 + 10 * n) for n, (name, length) in enumerate([("a", 8), ("c", 5)])}
    _, [a, b] = kept(*(begun[name][1:] for name in "ab"))
    _, [c] = kept(begun["c"][1:])
    _, [more_c, more_a] = kept(more["c"][1:], more["a"][1:])
    # Spans that share a piece are neighbours, as in a pass over families.
    before = [(a,), (a, more_a), (), (b,), (b,), (c, more_c)]
    heads = [["a"], ["a", "more a"], [], ["b"], ["b"], ["c", "more c"]]
    known = begun | {f"more {name}": part for name, part in more.items()}
    own = [text(length, 200 + 10 * n) for n, length in enumerate([3, 9, 20, 1, 4, 6])]
    spans, start = [], 0
    for (query, _, _), pieces in zip(own, before, strict=True):
        spans.append(Span(start, start + len(query), pieces))
        start += len(query)
    step = GpuRead(spans, keep=True, device=cpu())
    query, key, value = (torch.cat(parts).transpose(0, 1) for parts in zip(*own, strict=True))
    found = step.attend(0, query, key, value, SCALE)
    assert step.kept is not None
    assert torch.equal(step.kept.keys[0], key.transpose(0, 1))
    for span, names, (own_query, own_key, own_value) in zip(spans, heads, own, strict=True):
        keys = torch.cat([*(known[name][1] for name in names), own_key])
        values = torch.cat([*(known[name][2] for name in names), own_value])
        expected, _ = plain(own_query, keys, values, SCALE, causal(len(own_query), len(keys)))
        torch.testing.assert_close(found[span.start : span.stop], expected, atol=1e-5, rtol=1e-5)


def test_a_shared_beginning_is_looked_at_by_all_its_spans_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for each pass that was kept, whatever the number of spans: each costs time on a GPU."""
    calls: list[tuple[list[int], list[int]]] = []

    def counted(*arguments: Any, causal: bool) -> Any:
        calls.append((arguments[3].tolist(), arguments[4].tolist()))
        return packed_attention(*arguments, causal=causal)

    monkeypatch.setattr(gpu_passes, "_attention", counted)
    query, key, value = text(72, 0)
    _, pieces = kept((key[:32], value[:32]), (key[32:72], value[32:72]))
    spans = [Span(4 * n, 4 * n + 4, (pieces[n // 3],)) for n in range(6)]
    step = GpuRead(spans, keep=False, device=cpu())
    step.attend(0, *(part[:24].transpose(0, 1) for part in (query, key, value)), SCALE)
    assert calls == [([0, 4, 8, 12, 16, 20, 24],) * 2, ([0, 12, 24], [0, 32, 72])]
    assert step.kept is None


def test_written_tokens_see_their_own_prompt_and_answer_only() -> None:
    """Three answers, the last two to one prompt; the second leaves half-way."""
    import torch

    lengths, new = [40, 7, 7], 30
    texts = [text(length + new, 10 * n) for n, length in enumerate([40, 7])]
    keys, values = ([texts[n][part].clone() for n in (0, 1, 1)] for part in (1, 2))
    keys[2][7:], values[2][7:] = drawn(new, GROUPS, 90), drawn(new, GROUPS, 91)
    pool = Pool(200)
    writing = GpuWrite(pool, lengths, new, cpu())
    _, [first, second] = kept((keys[0][:25], values[0][:25]), (keys[1][:7], values[1][:7]))
    _, [rest] = kept((keys[0][25:40], values[0][25:40]))
    writing.load([range(1), range(1, 3)], [(first, rest), (second,)])
    alive = [0, 1, 2]
    for step in range(new):
        if step == new // 2:
            writing.keep(torch.tensor([0, 2]))
            alive = [0, 2]
        places = [lengths[n] + step for n in alive]
        query = drawn(len(alive), HEADS, 100 + step)

        def forward(running: Any, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            assert positions[: len(alive)].tolist() == places  # noqa: B023  # called at once
            assert tokens[: len(alive)].tolist() == [50 + n for n in alive]  # noqa: B023
            rows = [torch.zeros(len(tokens), count, WIDTH) for count in (HEADS, GROUPS, GROUPS)]
            for row, (n, place) in enumerate(zip(alive, places, strict=True)):  # noqa: B023
                for whole, own in zip(rows, (query[row], keys[n][place], values[n][place]), strict=True):  # noqa: B023
                    whole[row] = own
            return running.attend(0, *(part.transpose(0, 1) for part in rows), SCALE)  # type: ignore[no-any-return]

        found = writing.step(torch.tensor([50 + n for n in alive]), torch.tensor(places), forward)
        assert len(found) == len(alive)
        for row, (n, place) in enumerate(zip(alive, places, strict=True)):
            alone, _ = plain(query[row : row + 1], keys[n][: place + 1], values[n][: place + 1], SCALE)
            torch.testing.assert_close(found[row], alone[0], atol=1e-5, rtol=1e-5)


def test_a_pool_keeps_its_address_and_its_graphs() -> None:
    pool = Pool(4000)
    like = (drawn(1, GROUPS, 0), drawn(1, GROUPS, 1))
    keys, values = pool.take(3, like)
    assert keys.shape == values.shape == (4001, GROUPS, WIDTH)
    assert not keys.any()
    again = pool.take(3, like)
    assert (again[0] is keys, again[1] is values, pool.take(4, like)[0] is keys) == (True, True, False)

    def prepared(lengths: Sequence[int], new: int) -> Any:
        return GpuWrite(pool, lengths, new, cpu())._prepared()

    few = prepared([5, 6, 7], 10)
    assert prepared([100] * ROWS[0], 20) is few
    assert prepared([5] * (ROWS[0] + 1), 10) is not few
    assert prepared([5, COLUMN_GRAIN], 10) is not few
    assert sorted(pool.graphs) == [(ROWS[0], COLUMN_GRAIN), (ROWS[0], 2 * COLUMN_GRAIN), (ROWS[1], COLUMN_GRAIN)]
    assert len(prepared([1] * 300, 1).ids) == 320  # beyond the list in steps of 64


def test_rows_that_nobody_reads_write_where_nobody_looks() -> None:
    pool = Pool(50)
    step = GpuWrite(pool, [5, 9], 10, cpu())._prepared()
    assert len(step.ids) == ROWS[0]
    assert step.slots.tolist() == [5, 15 + 9, *[50] * (ROWS[0] - 2)]
    assert step.starts.tolist() == [0, 15, *[50] * (ROWS[0] - 1)]
    assert step.used.tolist() == [6, 10, *[1] * (ROWS[0] - 2)]
    assert step.grows.tolist() == [1, 1, *[0] * (ROWS[0] - 2)]


def test_answers_that_do_not_fit_are_out_of_memory_and_those_that_do_fit_to_the_last_token() -> None:
    import torch

    GpuWrite(Pool(60), [10, 20], 15, cpu())
    with pytest.raises(torch.OutOfMemoryError, match="60 tokens of keys and values, room for 59"):
        GpuWrite(Pool(59), [10, 20], 15, cpu())


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> PackedModel:
    """A Llama whose prompts are read and answers written by the GPU's passes."""
    found = packed_or_none(tiny("Llama"), share=True)
    assert found is not None
    pool = Pool(20_000)
    monkeypatch.setattr(packed, "Read", lambda spans, keep: GpuRead(spans, keep=keep, device=cpu()))
    monkeypatch.setattr(found, "_writing", lambda lengths, new: GpuWrite(pool, lengths, new, cpu()))
    return found


def test_a_model_answers_with_these_passes_as_with_those_of_a_cpu(
    reader: PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Families and single prompts, greedy and drawn, some answers ending early; then other prompts in the same pool."""
    import torch

    apart = prompts(1, 5, 37, 100, 300)
    listed = [*apart, *([*apart[3][:70], token] for token in range(5, 11))]
    listed += [[*apart[4][:130], *[7] * n] for n in range(1, 4)]
    logits = reader._read(listed).log_softmax(-1)
    for row, prompt in zip(logits, listed, strict=True):
        torch.testing.assert_close(row, logprobs(tiny("Llama"), prompt)[-1], atol=1e-4, rtol=1e-4)
    choices = [[[3], [4, 5, 6], [7, 8]]] * len(listed)
    scored = reader.score(listed, choices)
    generations = ((listed, Generation(40)), (listed[::-1], Generation(12, 2, 1.0)))
    written = []
    for asked, generation in generations:
        draws = [(n, sample) for n in range(len(asked)) for sample in range(generation.samples)]
        whole = reader.write(asked, generation, draws, [])
        ends = [answer[5] for answer in whole if answer][::3]
        written.append((ends, reader.write(asked, generation, draws, ends)))
        assert len({len(answer) for answer in written[-1][1] if answer}) > 1
    monkeypatch.undo()
    own = packed_or_none(tiny("Llama"), share=True)
    assert own is not None
    with torch.inference_mode():
        for one, other in zip(scored, own.score(listed, choices), strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        for (asked, generation), (ends, found) in zip(generations, written, strict=True):
            draws = [(n, sample) for n in range(len(asked)) for sample in range(generation.samples)]
            assert found == own.write(asked, generation, draws, ends)

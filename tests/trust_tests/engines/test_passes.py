"""Passes on a CPU against torch's own attention, prompt by prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trust_tests.engines import passes
from trust_tests.engines.passes import BLOCK, CHUNK, Kept, Piece, Read, Span, Write
from trust_tests.engines.prefixes import GRAIN

if TYPE_CHECKING:
    import torch

WIDTH, SCALE = 16, 0.3


def drawn(heads: int, tokens: int, seed: int, kind: str = "float32") -> torch.Tensor:
    """(heads, tokens, WIDTH)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(heads, tokens, WIDTH, generator=generator).to(getattr(torch, kind))


def expected(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """torch's attention of the last rows of one prompt, (rows, heads, width)."""
    import torch

    rows, columns = query.shape[1], key.shape[1]
    visible = torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)
    found = torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None], attn_mask=visible, scale=SCALE, enable_gqa=True
    )
    return found[0].transpose(0, 1)


@pytest.mark.parametrize("heads", [(6, 2), (4, 4), (3, 1)])
def test_each_run_of_tokens_sees_itself_alone(heads: tuple[int, int]) -> None:
    import torch

    # Around the edges of grains and chunks.
    lengths = [1, GRAIN - 1, GRAIN, GRAIN + 1, CHUNK, CHUNK + 1, 2 * CHUNK + 45]
    total = sum(lengths)
    query, key, value = drawn(heads[0], total, 0), drawn(heads[1], total, 1), drawn(heads[1], total, 2)
    spans, start = [], 0
    for length in lengths:
        spans.append(Span(start, start + length))
        start += length
    found = Read(spans, keep=False).attend(0, query, key, value, SCALE)
    assert found.shape == (total, heads[0], WIDTH)
    for span in spans:
        here = slice(span.start, span.stop)
        torch.testing.assert_close(
            found[here], expected(query[:, here], key[:, here], value[:, here]), atol=1e-5, rtol=1e-5
        )


def pieces_of(key: torch.Tensor, value: torch.Tensor, cuts: list[int]) -> tuple[Piece, ...]:
    """The first tokens as kept passes of their own, with tokens of others around them."""
    import torch

    found, start = [], 0
    for stop in cuts:
        strange = drawn(key.shape[0], 3, 99).to(key.dtype)
        kept = Kept(
            {0: torch.cat([strange, key[:, start:stop], strange], 1)},
            {0: torch.cat([strange, value[:, start:stop], strange], 1)},
        )
        found.append(Piece(kept, 3, 3 + stop - start))
        start = stop
    return tuple(found)


@pytest.mark.parametrize("cuts", [[32], [64, 65], [128], [160, 170, 290]])
def test_what_was_read_before_is_seen_in_order(cuts: list[int]) -> None:
    import torch

    query, key, value = drawn(6, 300, 0), drawn(2, 300, 1), drawn(2, 300, 2)
    begin = cuts[-1]
    span = Span(0, 300 - begin, pieces_of(key, value, cuts))
    assert span.offset == begin
    step = Read([span], keep=True)
    found = step.attend(0, query[:, begin:], key[:, begin:], value[:, begin:], SCALE)
    torch.testing.assert_close(found, expected(query[:, begin:], key, value), atol=1e-5, rtol=1e-5)
    assert step.kept is not None
    assert step.kept.keys[0].shape == (2, 300 - begin, WIDTH)


@pytest.mark.parametrize("shared", [GRAIN, 2 * GRAIN, CHUNK, CHUNK + GRAIN, 2 * CHUNK])
def test_a_beginning_of_whole_grains_changes_no_bit_in_bfloat16(shared: int) -> None:
    import torch

    if not torch.backends.mkldnn.is_available() or "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("this CPU's products of bfloat16 may depend on the rows beside them")
    query, key, value = (drawn(heads, 300, seed, "bfloat16") for heads, seed in ((6, 0), (2, 1), (2, 2)))
    whole = Read([Span(0, 300)], keep=False).attend(0, query, key, value, SCALE)
    rest = (slice(None), slice(shared, None))
    parted = Read([Span(0, 300 - shared, pieces_of(key, value, [shared]))], keep=False)
    assert torch.equal(parted.attend(0, query[rest], key[rest], value[rest], SCALE), whole[shared:])


def test_written_tokens_see_their_own_prompt_and_answer_only() -> None:
    """Three answers, the last two to one prompt; the second leaves half-way."""
    import torch

    lengths, new, groups, heads = [40, 7, 7], 40, 2, 6
    keys = [drawn(groups, length + new, 10 + n) for n, length in enumerate(lengths)]
    values = [drawn(groups, length + new, 20 + n) for n, length in enumerate(lengths)]
    keys[2][:, :7], values[2][:, :7] = keys[1][:, :7], values[1][:, :7]
    writing = Write(lengths, new)
    writing.load([range(1), range(1, 3)], [pieces_of(keys[n], values[n], cut) for n, cut in ((0, [32, 40]), (1, [7]))])
    alive = [0, 1, 2]
    for step in range(new):
        if step == new // 2:
            writing.keep(torch.tensor([0, 2]))
            alive = [0, 2]
        query = drawn(heads, len(alive), 100 + step)
        places = [lengths[n] + step for n in alive]
        own_keys = torch.stack([keys[n][:, place] for n, place in zip(alive, places, strict=True)], 1)
        own_values = torch.stack([values[n][:, place] for n, place in zip(alive, places, strict=True)], 1)

        def forward(step: Write, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            return step.attend(0, query, own_keys, own_values, SCALE)  # noqa: B023  # called at once

        found = writing.step(torch.zeros(len(alive)), torch.tensor(places), forward)
        for row, (n, place) in enumerate(zip(alive, places, strict=True)):
            alone = expected(query[:, row : row + 1], keys[n][:, : place + 1], values[n][:, : place + 1])
            torch.testing.assert_close(found[row], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shelf", [1, 3, 16])
def test_a_written_token_has_the_same_bits_whatever_else_is_written(
    shelf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts short and long, over the columns that torch adds up in one go, alone, in pairs and among many."""
    import torch

    if not torch.backends.mkldnn.is_available() or "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("this CPU's products of bfloat16 may depend on the rows beside them")
    monkeypatch.setattr(passes, "SHELF", shelf)
    lengths, new, groups, heads = [20, 130, 500, 870, 990, BLOCK - 3, BLOCK + 40, 2 * BLOCK + 7, 64, 33], 6, 3, 9
    keys = [drawn(groups, length + new, 10 + n, "bfloat16") for n, length in enumerate(lengths)]
    values = [drawn(groups, length + new, 40 + n, "bfloat16") for n, length in enumerate(lengths)]
    queries = [drawn(heads, new, 70 + n, "bfloat16") for n in range(len(lengths))]

    def written(asked: list[int]) -> torch.Tensor:
        writing = Write([lengths[n] for n in asked], new)
        writing.load([[row] for row in range(len(asked))], [pieces_of(keys[n], values[n], [lengths[n]]) for n in asked])
        found = []
        for step in range(new):

            def forward(step_: Write, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
                at = [[rows[n][:, lengths[n] + step] for n in asked] for rows in (keys, values)]  # noqa: B023
                query = torch.stack([queries[n][:, step] for n in asked], 1)  # noqa: B023
                return step_.attend(0, query, torch.stack(at[0], 1), torch.stack(at[1], 1), SCALE)

            found.append(writing.step(torch.zeros(len(asked)), torch.zeros(len(asked)), forward))
        return torch.stack(found, 1)  # (answers, steps, heads, width)

    together = written(list(range(len(lengths))))
    for asked in ([0, 7], [6, 5], [3], [9, 8, 4], [7, 6, 5, 4, 3, 2]):
        assert torch.equal(written(asked), together[asked])

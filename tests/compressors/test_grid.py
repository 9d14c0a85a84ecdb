"""Grids of levels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressors.grid import Grid, Quantised
from compressors.rtn import quantise

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@given(
    st.sampled_from([2, 3, 4, 8]),
    st.sampled_from([1, 5, 8, 24, -1]),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.floats(-3, 3),
    st.integers(0, 1000),
)
def test_rounding_is_to_the_nearest_level_and_stored_codes_mean_what_was_rounded(bits, group, sym, dtype, shift, seed):
    weight = (torch.randn(7, 24, generator=torch.Generator().manual_seed(seed)) + shift).to(dtype)
    (solution,) = quantise([weight], None, {"bits": bits, "group": group, "sym": sym})
    stored = solution.quantised
    assert stored is not None
    assert solution.weight.dtype == stored.scales.dtype == dtype
    assert torch.equal(solution.weight, stored.weight())
    half = 2 ** (bits - 1)
    for part in (stored.codes, stored.zero_points):
        assert int(part.min()) >= -half
        assert int(part.max()) < half
    size = 24 if group == -1 else group
    assert stored.scales.shape == (7, -(-24 // size))
    if sym:
        assert not stored.zero_points.any()
    scales = stored.scales.float().repeat_interleave(size, dim=1)[:, :24]
    # Half a step, another for the symmetric grid's missing top level or a rounded zero point, and the dtype's own.
    slack = 1.05 + 0.01 * 2**bits * (dtype != torch.float32)
    assert ((solution.weight.float() - weight.float()).abs() <= scales * slack + 1e-6).all()


def test_zero_is_a_level_of_every_grid():
    for sym in (True, False):
        weight = torch.tensor([[0.0, 0.7, 1.3, 5.0], [-2.0, -1.0, -0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])
        (solution,) = quantise([weight], None, {"bits": 2, "group": 4, "sym": sym})
        assert (solution.weight[weight == 0] == 0).all()
        assert solution.weight.isfinite().all()


def test_eight_bits_are_close_and_two_bits_are_not():
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    error = {
        bits: float((quantise([weight], None, {"bits": bits, "group": 16, "sym": False})[0].weight - weight).norm())
        for bits in (2, 3, 4, 8)
    }
    assert error[8] < 0.01 * weight.norm()
    assert error[8] < error[4] < error[3] < error[2]


def test_scales_too_small_for_the_dtype_round_to_zero():
    weight = torch.full((1, 4), 1e-7, dtype=torch.float16)
    (solution,) = quantise([weight], None, {"bits": 8, "group": 4, "sym": True})
    assert solution.weight.isfinite().all()


def test_stacked_rows_come_apart_in_order():
    stacked = Quantised(
        torch.arange(12, dtype=torch.int8).view(3, 4), torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.int8), 8, 2, True
    )
    first, second = stacked.rows([1, 2])
    assert first.codes.tolist() == [[0, 1, 2, 3]]
    assert torch.equal(torch.cat([first.weight(), second.weight()]), stacked.weight())
    assert torch.equal(stacked.cpu().weight(), stacked.weight())


@pytest.mark.parametrize(("group", "expected"), [(-1, 48), (32, 32)])
def test_a_group_of_minus_one_is_the_row(group, expected):
    assert Grid.of({"bits": 4, "group": group, "sym": True}, 48, torch.float32).group == expected

"""Arithmetic on the bits of weights, against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressors.formats.stored import Integers, pattern_violations, positive, survey

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)


def weight(dtype, rows, columns, seed):
    """A matrix in which about half of the values are zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator)
    values[torch.rand(rows, columns, generator=generator) < 0.25] = 0.0
    values[torch.rand(rows, columns, generator=generator) < 0.25] = -0.0
    return values.to(dtype)


@settings(deadline=None)
@given(st.sampled_from(DTYPES), st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_zeros_are_counted(dtype, rows, columns, seed):
    tensor = weight(dtype, rows, columns, seed)
    assert survey(tensor) == (int((tensor.float() == 0).sum()), True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("-nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_found(dtype, value):
    tensor = torch.ones(3, 5).to(dtype)
    assert survey(tensor)[1]
    tensor[2, 4] = torch.tensor(value).to(dtype)
    # float8_e4m3fn has no infinity: torch makes it NaN, or the largest number.
    assert survey(tensor)[1] == bool(tensor.float().isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_and_the_smallest_numbers_are_numbers(dtype):
    limits = torch.finfo(dtype)
    assert survey(torch.tensor([limits.max, limits.min, limits.smallest_normal], dtype=torch.float64).to(dtype)) == (
        0,
        True,
    )


def test_more_values_than_are_taken_at_a_time():
    tensor = torch.ones(3, 100_000, dtype=torch.bfloat16)
    tensor[2, -7:] = 0
    assert survey(tensor) == (7, True)
    tensor[2, -1] = float("nan")
    assert survey(tensor) == (6, False)


def test_integers_are_no_floats():
    with pytest.raises(ValueError, match="int64 weights are in no known format"):
        survey(torch.ones(2, 2, dtype=torch.int64))


@settings(deadline=None)
@given(
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.sampled_from([(2, 4), (4, 8), (1, 2)]),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_groups_that_break_a_pattern_are_counted(dtype, sizes, rows, columns, seed):
    n, m = sizes
    tensor = weight(dtype, rows, columns, seed)
    groups = torch.nn.functional.pad(tensor != 0, (0, -columns % m)).view(rows, -1, m).sum(dim=-1)
    assert pattern_violations(tensor, n, m) == int((groups > n).sum())


@pytest.mark.parametrize(
    ("scales", "good"), [([1.0, 2.0], True), ([0.0, 1.0], False), ([-1.0], False), ([float("nan")], False)]
)
def test_scales_are_positive(scales, good):
    assert positive(torch.tensor(scales)) == good


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 40), st.booleans(), st.integers(0, 2**32 - 1))
def test_zeros_and_weights_of_codes(columns, rows, group, scattered, seed):
    random = np.random.default_rng(seed)
    groups = -(-columns // group)
    order = random.integers(0, groups, columns) if scattered else None
    integers = Integers(
        random.integers(0, 4, (columns, rows)).astype(np.uint8),
        random.integers(0, 4, (groups, rows)).astype(np.uint8),
        torch.rand(groups, rows) + 0.1,
        2,
        group,
        order,
    )
    index = np.arange(columns) // group if order is None else order
    expected = (integers.levels.astype(int) - integers.zero_points[index]) * integers.scales.numpy()[index]
    found = integers.weight()
    np.testing.assert_allclose(found.numpy(), expected.T, rtol=1e-6)
    assert integers.zeros() == int((found == 0).sum())


@pytest.mark.parametrize(
    ("points", "scales", "order", "complaint"),
    [
        ((2, 3), (2, 4), None, "do not fit a weight of 4 × 8"),
        ((2, 4), (3, 4), None, "do not fit a weight of 4 × 8"),
        ((3, 4), (3, 4), None, "3 scales a row do not fit 8 columns in groups of 4"),
        ((2, 4), (2, 4), [0, 1], "g_idx does not give each of 8 columns one of 2 groups"),
        ((2, 4), (2, 4), [0, 1, 2, 0, 0, 0, 0, 0], "g_idx does not give"),
    ],
)
def test_parts_of_different_weights(points, scales, order, complaint):
    with pytest.raises(ValueError, match=complaint):
        Integers(
            np.zeros((8, 4), np.uint8),
            np.zeros(points, np.uint8),
            torch.ones(scales),
            4,
            4,
            None if order is None else np.array(order),
        )

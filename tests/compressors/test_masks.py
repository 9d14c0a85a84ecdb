"""Which weights stay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressors.errors import CompressionError
from compressors.masks import count_pruned, keep_largest, keep_largest_of_rows, keep_n_of_m

tables = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 4), min_size=8 * shape[1], max_size=8 * shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@given(tables, st.floats(0.001, 0.999))
def test_exactly_the_asked_number_of_lowest_scores_goes_even_among_ties(table, sparsity):
    scores = torch.tensor(table, dtype=torch.float32)
    keep = keep_largest(scores, sparsity)
    assert int((~keep).sum()) == count_pruned(scores.numel(), sparsity)
    if keep.any() and not keep.all():
        assert scores[~keep].max() <= scores[keep].min()


@given(tables, st.sampled_from([(2, 4), (4, 8), (1, 2)]))
def test_every_group_keeps_its_n_highest(table, sizes):
    n, m = sizes
    scores = torch.tensor(table, dtype=torch.float32)
    groups = scores.view(-1, m)
    keep = keep_n_of_m(scores, n, m).view(-1, m)
    assert (keep.sum(dim=1) == n).all()
    for group, kept in zip(groups, keep, strict=True):
        assert group[~kept].max() <= group[kept].min()


@given(st.sampled_from([2, 4, 8, 15, 16, 17, 24, 40]), st.integers(1, 3), st.integers(1, 3), st.data())
def test_counting_and_sorting_keep_the_same_weights_even_among_ties(m, rows, groups, data):
    n = data.draw(st.integers(0, m))
    # Few different scores, so that ties are everywhere; infinity is what overflowed norms would give.
    score = st.sampled_from([0.0, 0.5, 1.0, 2.0, float("inf")])
    table = data.draw(st.lists(score, min_size=rows * groups * m, max_size=rows * groups * m))
    scores = torch.tensor(table).view(rows, groups * m)
    kept = keep_n_of_m(scores, n, m).view(-1, m)
    for group, found in zip(scores.view(-1, m).tolist(), kept.tolist(), strict=True):
        # Python's sort is stable: among equals the earlier one comes first.
        first = sorted(range(m), key=lambda place, group=group: -group[place])[:n]
        assert found == [place in first for place in range(m)]


def test_ties_keep_the_earlier_weight():
    assert keep_n_of_m(torch.ones(1, 4), 2, 4).tolist() == [[True, True, False, False]]
    assert keep_largest(torch.ones(1, 4), 0.25).tolist() == [[True, True, True, False]]


def test_a_width_that_the_pattern_does_not_divide_is_refused():
    with pytest.raises(CompressionError, match="6 columns are not a multiple of 4: pattern 2:4"):
        keep_n_of_m(torch.ones(2, 6), 2, 4)


@given(tables, st.floats(0.001, 0.999))
def test_rows_are_pruned_alike(table, sparsity):
    scores = torch.tensor(table, dtype=torch.float32)
    for row, kept in zip(scores, keep_largest_of_rows(scores, sparsity), strict=True):
        assert torch.equal(kept, keep_largest(row[None], sparsity)[0])


@pytest.mark.parametrize(("size", "sparsity", "count"), [(10, 0.3, 3), (10, 0.31, 4), (64, 0.5, 32), (8, 0.001, 1)])
def test_the_sparsity_is_reached_and_hardly_passed(size, sparsity, count):
    assert count_pruned(size, sparsity) == count

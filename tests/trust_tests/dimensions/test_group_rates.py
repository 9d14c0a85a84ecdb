"""Weighted counts of decisions, against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions.group_rates import Decision, Tally, mean_present, shares, within_cells

DECISIONS = st.lists(
    st.one_of(
        st.none(),
        st.builds(
            Decision,
            cell=st.sampled_from("abc"),
            group=st.integers(0, 1),
            label=st.integers(0, 1),
            prediction=st.sampled_from([None, 0, 1]),
        ),
    ),
    max_size=30,
)


@given(decisions=DECISIONS, seed=st.integers(0, 99))
def test_counts(decisions, seed):
    weights = np.random.default_rng(seed).integers(0, 3, (3, len(decisions))).astype(float)
    tally = Tally.of(decisions, weights)
    assert tally.cells == tuple(sorted({d.cell for d in decisions if d is not None}))
    for draw, row in enumerate(weights):
        for column, cell in enumerate(tally.cells):
            members = [(d, w) for d, w in zip(decisions, row, strict=True) if d is not None and d.cell == cell]
            for group in (0, 1):
                for label in (0, 1):
                    here = [(d.prediction, w) for d, w in members if (d.group, d.label) == (group, label)]
                    place = draw, column, group, label
                    assert tally.mass[place] == sum(w for _, w in here)
                    assert tally.positive[place] == sum(w for p, w in here if p == 1)
                    assert tally.negative[place] == sum(w for p, w in here if p == 0)
                    assert tally.undecided[place] == sum(w for p, w in here if p is None)
            assert tally.right[draw, column] == sum(w for d, w in members if d.prediction == d.label)
            assert tally.decided[draw, column] == sum(w for d, w in members if d.prediction is not None)
            assert within_cells(tally.mass)[draw, column] == sum(w for _, w in members)


def test_shares_and_means_of_nothing():
    assert shares(np.array([1.0, 0.0]), np.array([2.0, 0.0]), empty=7.0).tolist() == [0.5, 7.0]
    means = mean_present(np.array([[1.0, np.nan, 3.0], [np.nan] * 3]))
    assert means == pytest.approx([2.0, np.nan], nan_ok=True)
    assert np.isnan(mean_present(np.zeros((2, 0)))).all()

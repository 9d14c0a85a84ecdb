"""Means of means: unweighted above the innermost group, whatever the order, vectorised over draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions.nested import nested_means

ITEMS = st.lists(
    st.tuples(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")),
        st.one_of(st.none(), st.floats(0, 1)),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=30,
)


def looped(paths, values, weights):
    """The definition, one draw at a time."""
    found = []
    for draw in weights:
        parts: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for (part, cell), value, weight in zip(paths, values, draw, strict=True):
            if value is not None and weight > 0:
                parts.setdefault(part, {}).setdefault(cell, []).append((value, weight))
        means = [
            np.mean([np.average([v for v, _ in its], weights=[w for _, w in its]) for its in cells.values()])
            for cells in parts.values()
        ]
        found.append(np.mean(means) if means else np.nan)
    return np.array(found)


def test_parts_weigh_the_same_however_many_cells_and_items_they_have() -> None:
    paths = [("a", "x"), ("a", "x"), ("a", "x"), ("a", "y"), ("b", "z")]
    values = [1.0, 1.0, 0.0, 0.0, 1.0]
    assert nested_means(paths, values, np.ones((1, 5)))[0] == pytest.approx(((2 / 3 + 0) / 2 + 1) / 2)


def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(nested_means([("a",)], [None], np.ones((1, 1)))[0])
    assert math.isnan(nested_means([("a",)], [1.0], np.zeros((1, 1)))[0])
    assert math.isnan(nested_means([], [], np.ones((1, 0)))[0])


@given(ITEMS, st.integers(0, 1000))
def test_vectorised_is_looped(items, seed) -> None:
    paths, values, first = zip(*items, strict=True)
    weights = np.random.default_rng(seed).integers(0, 3, size=(4, len(items))).astype(float)
    weights[0] = first
    found = nested_means(paths, values, weights)
    assert found == pytest.approx(looped(paths, values, weights), nan_ok=True)


def test_many_draws_of_many_items_take_seconds() -> None:
    paths = [("part", str(n % 36)) for n in range(1500)]
    weights = np.random.default_rng(0).integers(0, 3, size=(10_000, 1500)).astype(float)
    assert np.isfinite(nested_means(paths, [n % 2 for n in range(1500)], weights)).all()

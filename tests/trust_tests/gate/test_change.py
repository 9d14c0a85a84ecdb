from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.change import flip_p, holm

from ..toy import outcomes


def flips(worse: int, better: int, same: int = 10) -> tuple[list[float], list[float]]:
    return [1.0] * worse + [0.0] * better + [1.0] * same, [0.0] * worse + [1.0] * better + [1.0] * same


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    # Two-sided binomial tails by hand: 2 (1 + 10) / 2^10, 2 / 2^5, and no flip at all.
    [(9, 1, 22 / 1024), (1, 9, 22 / 1024), (5, 0, 2 / 32), (0, 0, 1.0), (4, 4, 1.0)],
)
def test_mcnemars_exact_p(worse: int, better: int, expected: float) -> None:
    dense, variant = flips(worse, better)
    assert flip_p(outcomes(dense), outcomes(variant)) == pytest.approx(expected, abs=1e-12)


def test_items_of_a_cluster_count_as_one() -> None:
    """Twelve flips in one direction in four clusters of three are four flips."""
    assert flip_p(outcomes([1.0] * 12, cluster=3), outcomes([0.0] * 12, cluster=3)) == pytest.approx(2 / 16)


def test_thousands_of_flips_are_counted_exactly() -> None:
    dense, variant = flips(1700, 1500)
    normal = 2 * (1 - 0.5 * (1 + math.erf((200 - 1) / math.sqrt(2 * 3200))))
    assert flip_p(outcomes(dense), outcomes(variant)) == pytest.approx(normal, rel=0.02)


def test_unmeasured_items_are_no_flips() -> None:
    assert math.isnan(flip_p(outcomes([None]), outcomes([1.0])))
    assert flip_p(outcomes([1.0, 1.0]), outcomes([None, 1.0])) == 1.0


def test_graded_values_flip_where_they_cross_one_half() -> None:
    assert flip_p(outcomes([0.9] * 5), outcomes([0.6] * 5)) == 1.0
    assert flip_p(outcomes([0.9] * 5), outcomes([0.4] * 5)) == pytest.approx(2 / 32)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    adjusted = holm([0.5, math.nan, 0.01])
    assert adjusted[0] == pytest.approx(0.5)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)

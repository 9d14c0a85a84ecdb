from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.interval import Interval
from trust_tests.gate.sequential import ALPHA, MIN_ITEMS, Look, hopeless, looks, stops
from trust_tests.gate.verdict import Rule

from ..toy import Mean, outcomes


def test_the_looks_of_the_tier_release() -> None:
    found = looks(1500)
    assert [look.items for look in found] == [375, 750, 1125]
    # Pocock's spending function at t = 1/4, 1/2, 3/4.
    spent = [0.05 * math.log(1 + (math.e - 1) * t) for t in (0.25, 0.5, 0.75)]
    assert [look.alpha for look in found] == pytest.approx([spent[0], spent[1] - spent[0], spent[2] - spent[1]])


@given(st.integers(0, 100_000))
def test_looks_never_spend_more_than_the_budget(items: int) -> None:
    found = looks(items)
    assert sum(look.alpha for look in found) < ALPHA
    assert all(MIN_ITEMS <= look.items < items and look.alpha > 0 for look in found)
    assert [look.items for look in found] == sorted({look.items for look in found})


@pytest.mark.parametrize(
    ("low", "high", "one_sided", "expected"),
    [
        (-20, -8, False, True),
        (-20, -5.4, False, False),
        (-20, -4, False, False),
        (8, 20, False, True),
        (8, 20, True, False),
        (-20, -8, True, True),
    ],
)
def test_only_an_interval_beyond_the_tolerance_is_hopeless(
    low: float, high: float, one_sided: bool, expected: bool
) -> None:
    assert hopeless(Interval(low, high, 0.96, "m", 0.5), Rule(one_sided=one_sided)) is expected
    assert not hopeless(None, Rule())


def test_a_look_stops_a_hopeless_variant_and_no_other() -> None:
    dense, look = outcomes([1.0] * 100), Look(100, 0.02)
    broken = stops(dense, outcomes([0.0] * 60 + [1.0] * 40), Mean().aggregate, look, Rule())
    assert broken is not None
    assert broken.high < -5
    assert broken.confidence == pytest.approx(0.96)
    assert stops(dense, outcomes([0.0] * 6 + [1.0] * 94), Mean().aggregate, look, Rule()) is None
    assert stops(dense, dense, Mean().aggregate, look, Rule()) is None


def test_a_look_at_unmeasured_items_stops_nothing() -> None:
    dense, variant = outcomes([1.0] * 100), outcomes([0.0] * 99 + [None])
    assert stops(dense, variant, Mean().aggregate, Look(100, 0.02), Rule()) is None

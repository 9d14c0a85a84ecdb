from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_tests.gate.interval import CONFIDENCE, Interval, tango_bounds
from trust_tests.gate.verdict import Rule, Side, Verdict, conclusion, judge
from trust_tests.simulation.binary import possible, rates

from ..toy import Mean, outcomes


def verdict_of(worse: int, better: int, items: int, rule: Rule) -> Verdict:
    """What the gate concludes from one pair of counts."""
    low, high = (100 * float(bound) for bound in tango_bounds(worse, better, items, CONFIDENCE))
    return conclusion(Interval(low, high, CONFIDENCE, "", 50.0 / items), rule)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 300), st.floats(0.0, 0.4), st.floats(-1.0, 1.0))
def test_probabilities_sum_to_one(items: int, disagreement: float, lean: float) -> None:
    disagreement = max(disagreement, 0.01)
    found = rates(items, disagreement, lean * disagreement)
    assert found.passes["point"] + found.fails["point"] == pytest.approx(1.0, abs=1e-8)
    assert found.passes["equivalence"] + found.fails["equivalence"] <= 1 + 1e-9
    assert found.passes["equivalence"] <= found.passes["point"] + 1e-12


def test_exact_rates_agree_with_simulated_runs_of_the_gate() -> None:
    """5,000 variants through the gate's own verdict, at 200 items, disagreement 0.2 and a true drop of 7 points."""
    exact = rates(200, 0.2, -0.07)
    counts = np.random.default_rng(1).multinomial(200, [0.135, 0.065, 0.8], size=5000)
    said = {pair: verdict_of(*pair, 200, Rule(equivalence=True)) for pair in {(int(w), int(b)) for w, b, _ in counts}}
    seen = [said[int(w), int(b)] for w, b, _ in counts]
    shift = np.abs(counts[:, 1] - counts[:, 0]) / 200 <= 0.05 + 1e-12
    assert shift.mean() == pytest.approx(exact.passes["point"], abs=0.02)
    assert seen.count(Verdict.FAIL) / 5000 == pytest.approx(exact.fails["equivalence"], abs=0.02)
    assert seen.count(Verdict.PASS) / 5000 == pytest.approx(exact.passes["equivalence"], abs=0.01)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(30, 600))
def test_what_is_summed_is_what_the_gate_says(worse: int, better: int, same: int) -> None:
    dense = [1.0] * worse + [0.0] * better + [1.0] * same
    variant = [0.0] * worse + [1.0] * better + [1.0] * same
    sides = [Side("m", o, Mean().score(o)) for o in (outcomes(dense), outcomes(variant))]
    rule = Rule(equivalence=True)
    judgement = judge([o.item_id for o in sides[0].outcomes], sides[0], sides[1], rule, Mean())
    assert verdict_of(worse, better, len(dense), rule) is judgement.verdict


def test_the_issues_figures_of_a_bare_point_rule() -> None:
    """At 200 items and 20 % disagreement: some 60 % false alarms over nine dimensions, 29 % misses at 7 points."""
    assert 1 - rates(200, 0.2, 0.0).passes["point"] ** 9 == pytest.approx(0.60, abs=0.01)
    assert rates(200, 0.2, -0.07).passes["point"] == pytest.approx(0.29, abs=0.005)


@pytest.mark.parametrize("items", [50, 75, 150, 200, 400, 1500])
@pytest.mark.parametrize("disagreement", [0.05, 0.07, 0.13, 0.3])
def test_false_pass_stays_below_five_percent(items: int, disagreement: float) -> None:
    assert rates(items, disagreement, -0.05).passes["equivalence"] <= 0.05


def test_few_flips_cannot_make_a_large_shift() -> None:
    assert possible(0.05, -0.05)
    assert not possible(0.04, -0.05)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_tests.gate.interval import (
    FloatArray,
    Interval,
    bootstrap_interval,
    is_proportion,
    paired_interval,
    tango_bounds,
    tango_interval,
)
from trust_tests.records import Outcome

from ..toy import Mean
from ..toy import outcomes as side


def quartic_bounds(worse: int, better: int, items: int, z: float) -> tuple[float, float]:
    """Tango's bounds as roots of a quartic (Yang, Sun and Hardin 2013, Statistics in Medicine): no iteration."""
    g, n, b, c = z * z, items, better, worse
    d, s = b - c, b + c
    roots = np.roots(
        [
            n**2 * (n / g + 1) ** 2,
            -n * d * (n / g + 1) * (4 * n / g + 1),
            2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
            n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
            d**2 * (d**2 / g - s) / g,
        ]
    )
    real = np.sort(roots[np.abs(roots.imag) < 1e-6].real)
    return float(real[0]), float(real[-1])


@pytest.mark.parametrize(
    ("worse", "better", "items"), [(1, 3, 44), (20, 40, 160), (2, 12, 50), (12, 2, 50), (7, 7, 30), (150, 140, 3000)]
)
def test_tango_agrees_with_the_closed_form(worse: int, better: int, items: int) -> None:
    low, high = tango_bounds(worse, better, items, 0.95)
    expected = quartic_bounds(worse, better, items, 1.959963984540054)
    assert (float(low), float(high)) == pytest.approx(expected, abs=1e-6)


def test_zero_flips_in_ten_items_still_allow_a_21_point_drop() -> None:
    same = side([1.0] * 10)
    for interval in (tango_interval(same, same), bootstrap_interval(same, same, Mean().aggregate)):
        assert interval is not None
        assert (interval.low, interval.high) == (pytest.approx(-21.29, abs=0.01), pytest.approx(21.29, abs=0.01))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_swapping_dense_and_variant_mirrors_tangos_interval(worse: int, better: int, same: int) -> None:
    items = worse + better + same
    if items:
        low, high = tango_bounds(worse, better, items)
        mirrored = tango_bounds(better, worse, items)
        assert float(low) == pytest.approx(-float(mirrored[1]), abs=1e-9)
        assert float(low) - 1e-9 <= (better - worse) / items <= float(high) + 1e-9
        assert -1 <= float(low) <= float(high) <= 1


def test_the_bootstrap_agrees_with_tango_where_both_apply() -> None:
    generator = np.random.default_rng(1)
    dense = (generator.random(1500) < 0.7).astype(float)
    variant = np.where(generator.random(1500) < 0.1, 1 - dense, dense)
    exact = tango_interval(side(dense), side(variant))
    resampled = bootstrap_interval(side(dense), side(variant), Mean().aggregate)
    assert resampled.low == pytest.approx(exact.low, abs=0.15)
    assert resampled.high == pytest.approx(exact.high, abs=0.15)


def test_clusters_widen_the_interval() -> None:
    """Ten copies of one item hold as much as one: the interval is that of the clusters."""
    generator = np.random.default_rng(2)
    base_dense, base_variant = (np.repeat((generator.random(60) < p).astype(float), 10) for p in (0.7, 0.6))
    single = bootstrap_interval(side(base_dense), side(base_variant), Mean().aggregate)
    clustered = bootstrap_interval(side(base_dense, cluster=10), side(base_variant, cluster=10), Mean().aggregate)
    assert clustered.high - clustered.low > 2.5 * (single.high - single.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    generator = np.random.default_rng(3)
    dense, variant = generator.random((2, 400))
    one, two = (bootstrap_interval(side(dense, 3), side(variant, 3), Mean().aggregate, seed=5) for _ in range(2))
    assert one == two
    assert one != bootstrap_interval(side(dense, 3), side(variant, 3), Mean().aggregate, seed=6)


@pytest.mark.slow
def test_bootstrap_coverage_on_graded_values() -> None:
    """Over 400 simulated evaluations the 90 % interval covers the true shift 85-95 % of the time (±3 s.e.)."""
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        dense = generator.beta(2, 1, 120)
        variant = np.clip(dense + generator.normal(-0.02, 0.1, 120), 0, 1)
        interval = bootstrap_interval(side(dense, 4), side(variant, 4), Mean().aggregate, resamples=1000)
        covered += interval.low <= TRUE_SHIFT <= interval.high
    assert 0.85 <= covered / 400 <= 0.95


def _true_shift() -> float:
    generator = np.random.default_rng(5)
    dense = generator.beta(2, 1, 2_000_000)
    return float(100 * (np.clip(dense + generator.normal(-0.02, 0.1, len(dense)), 0, 1) - dense).mean())


TRUE_SHIFT = _true_shift()


def test_a_proportion_is_recognised_by_what_the_aggregate_does() -> None:
    dense, variant = side([1.0, 0.0] * 10), side([1.0, 1.0] * 10)
    assert is_proportion(dense, variant, Mean().aggregate)
    # Cells of unequal size weigh items unequally; clusters and graded values are no independent proportion.
    uneven = [replace(o, cell="rare" if n < 3 else "often") for n, o in enumerate(dense)]
    assert not is_proportion(uneven, uneven, Mean().aggregate)
    assert not is_proportion(side([1.0, 0.0] * 10, cluster=2), side([1.0] * 20, cluster=2), Mean().aggregate)
    assert not is_proportion(side([1.0, 0.5] * 10), variant, Mean().aggregate)
    assert not is_proportion(dense, variant, lambda outcomes, weights: 2 * Mean().aggregate(outcomes, weights))


def test_the_method_fits_the_score() -> None:
    binary, graded = side([1.0, 0.0] * 30), side([0.9, 0.4] * 30)
    tango = paired_interval(binary, binary, Mean().aggregate)
    bootstrap = paired_interval(graded, graded, Mean().aggregate)
    assert tango is not None
    assert bootstrap is not None
    assert (tango.method, bootstrap.method) == ("Tango score interval", "BCa bootstrap")


def test_where_a_resampled_set_mostly_has_no_score_there_is_no_interval() -> None:
    def needs_every_item(outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        return np.where((weights > 0).all(axis=1), 50.0, np.nan)

    few = side([1.0, 0.5, 0.0, 1.0])
    assert bootstrap_interval(few, few, needs_every_item) is None
    assert bootstrap_interval(few, few, lambda outcomes, weights: np.full(len(weights), np.nan)) is None


def test_one_cluster_has_no_interval() -> None:
    assert bootstrap_interval(side([1.0] * 8, cluster=8), side([0.5] * 8, cluster=8), Mean().aggregate) is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=2, max_size=40))
def test_swapping_dense_and_variant_mirrors_the_bootstrap(pairs: list[tuple[float, float]]) -> None:
    dense, variant = side([a for a, _ in pairs], 2, 2), side([b for _, b in pairs], 2, 2)
    there = bootstrap_interval(dense, variant, Mean().aggregate, resamples=500)
    back = bootstrap_interval(variant, dense, Mean().aggregate, resamples=500)
    assert (there is None) == (back is None)
    assert (there is None) == (len(pairs) <= 2)
    if there is not None and back is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-6)
        estimate = Mean().score(variant).value - Mean().score(dense).value
        assert there.low - 1e-9 <= estimate <= there.high + 1e-9


def test_few_flips_leave_the_bootstrap_no_narrower_than_the_counts() -> None:
    """Three flips in 200: the bootstrap alone would be far too sure."""
    dense, variant = side([1.0] * 200), side([0.0] * 3 + [1.0] * 197)
    resampled = bootstrap_interval(dense, variant, Mean().aggregate)
    counted = tango_interval(dense, variant)
    assert resampled is not None
    assert resampled.low <= counted.low + 1e-6
    assert resampled.high >= counted.high - 1e-6


def test_a_score_that_moves_twice_as_far_has_an_interval_twice_as_wide() -> None:
    same = side([1.0, 0.0] * 50)

    def doubled(outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        return 2 * Mean().aggregate(outcomes, weights) - 50

    plain, stretched = (bootstrap_interval(same, same, aggregate) for aggregate in (Mean().aggregate, doubled))
    assert plain is not None
    assert stretched is not None
    assert stretched.high == pytest.approx(2 * plain.high)


def test_the_step_is_half_a_flip() -> None:
    binary = side([1.0, 0.0] * 50)
    tango, bootstrap = tango_interval(binary, binary), bootstrap_interval(binary, binary, Mean().aggregate)
    assert bootstrap is not None
    assert (tango.step, bootstrap.step) == (0.5, pytest.approx(0.5))


def test_the_standard_error_is_the_width_in_quantiles() -> None:
    assert Interval(-1.6449, 1.6449, 0.9, "m").standard_error == pytest.approx(1.0, abs=1e-4)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.interval import bootstrap_interval, tango_bounds, tango_interval

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

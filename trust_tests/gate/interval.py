"""Confidence intervals for delta, the variant's score minus the dense score on the same items.

Both sides answer the same items, so the interval rests on the items on which they differ. Where a score is the mean
of one binary value per item, that is a difference of paired proportions: Tango's score interval. Everywhere else the
whole aggregate is resampled: a paired, cluster-aware bootstrap that draws the same clusters for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trust_tests.gate.resampling import Clusters
from trust_tests.records import Outcome

FloatArray = npt.NDArray[np.float64]
Aggregate = Callable[[Sequence[Outcome], FloatArray], FloatArray]

CONFIDENCE = 0.90
RESAMPLES = 10_000
# A resampled set may leave a group of the score empty; more such sets than this and there is no interval.
_MAX_EMPTY = 0.05
_BISECTIONS = 60
_PROBES = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` and `high` in points, at a two-sided `confidence`; `method` says how it was made.

    `step` is half of what one more changed item (or cluster) moves the score by, in points. Counts move in steps, and
    a bound that is right on average can be half a step short: whoever concludes from the interval that a shift is
    excluded adds it (the continuity correction), which keeps the error below its nominal 5 % for every n.
    """

    low: float
    high: float
    confidence: float
    method: str
    step: float = 0.0

    @property
    def standard_error(self) -> float:
        """Half the width in units of the normal quantile, points."""
        return (self.high - self.low) / (2 * NormalDist().inv_cdf(0.5 + self.confidence / 2))


def paired_interval(
    dense: Sequence[Outcome], variant: Sequence[Outcome], aggregate: Aggregate, confidence: float = CONFIDENCE
) -> Interval | None:
    """The interval for the difference of two aggregates, by the method that fits; None where there is none.

    dense, variant: the same items in the same order, all with values. Tango's interval where `is_proportion`.
    """
    if is_proportion(dense, variant, aggregate):
        return tango_interval(dense, variant, confidence)
    return bootstrap_interval(dense, variant, aggregate, confidence)


def is_proportion(dense: Sequence[Outcome], variant: Sequence[Outcome], aggregate: Aggregate) -> bool:
    """Whether the score is the plain mean over independent items of one binary value each.

    Seen from what the aggregate does with random weights, not from what a dimension says of itself.
    """
    if len({o.cluster for o in dense}) < len(dense):
        return False
    weights = np.random.default_rng(0).uniform(0.5, 1.5, (_PROBES, len(dense)))
    for side in (dense, variant):
        values = np.array([np.nan if o.value is None else o.value for o in side], dtype=np.float64)
        if not np.isin(values, (0.0, 1.0)).all():
            return False
        means = 100.0 * (weights @ values) / weights.sum(axis=1)
        if not np.allclose(aggregate(side, weights), means, rtol=0, atol=1e-8):
            return False
    return True


def tango_bounds(
    worse: npt.ArrayLike, better: npt.ArrayLike, items: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[FloatArray, FloatArray]:
    """Tango's score interval for a difference of paired proportions, in [-1, 1], element by element.

    worse: items that were good for the dense model only; better: good for the variant only; items: all pairs.
    The bounds are the two shifts d at which the score statistic
    (better - worse - n d) / sqrt(n (2 q(d) + d (1 - d))) reaches ±z, with q(d) the maximum-likelihood probability
    of `worse` under that shift (Tango 1998, Statistics in Medicine 17, 891-908, equations 8 and 9).
    """
    b, c, n = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (better, worse, items)))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    estimate = (b - c) / n

    def statistic(shift: FloatArray) -> FloatArray:
        a2 = 2 * n
        a1 = -b - c + (2 * n - b + c) * shift
        a0 = -c * shift * (1 - shift)
        root = np.sqrt(np.maximum(a1 * a1 - 4 * a2 * a0, 0.0))
        q = (root - a1) / (2 * a2)
        variance = np.maximum(n * (2 * q + shift * (1 - shift)), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (b - c - n * shift) / np.sqrt(variance)
        # At the ends of the range the variance vanishes; the statistic's sign decides.
        distance = b - c - n * shift
        decided: FloatArray = np.where(
            variance > 1e-15, value, np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
        )
        return decided

    def bound(outer: float, target: float) -> FloatArray:
        """Where the decreasing statistic meets the target, between the estimate and the end of the range."""
        inside, outside = estimate.copy(), np.full_like(estimate, outer)
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            beyond = np.abs(statistic(middle)) > abs(target)
            outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
        middle_of_both: FloatArray = (inside + outside) / 2
        return middle_of_both

    return bound(-1.0, z), bound(1.0, -z)


def tango_interval(dense: Sequence[Outcome], variant: Sequence[Outcome], confidence: float = CONFIDENCE) -> Interval:
    """Tango's interval, in points, for outcomes whose values are 0 or 1; both sides in the same item order."""
    before, after = (np.array([o.value for o in side], dtype=np.float64) for side in (dense, variant))
    items = len(before)
    low, high = tango_bounds(np.sum(before > after), np.sum(after > before), items, confidence)
    return Interval(100 * float(low), 100 * float(high), confidence, "Tango score interval", 50.0 / items)


def bootstrap_interval(
    dense: Sequence[Outcome],
    variant: Sequence[Outcome],
    aggregate: Aggregate,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """A BCa bootstrap interval (Efron 1987) for the difference of two aggregates, in points; see `Bootstrap`."""
    clusters = Clusters.of(dense)
    return Bootstrap.of(dense, variant, aggregate, clusters, clusters.resampled(resamples, seed)).interval(confidence)


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A paired, cluster-aware bootstrap of the difference of two aggregates, for intervals at any confidence.

    Whole clusters are drawn with replacement, the same ones for both sides, within strata of clusters that cover the
    same cells (the number of items in a cell is the benchmark's design, not chance).

    A bootstrap knows only differences it has seen: without a single one its width is zero, with a handful it is too
    narrow. Its interval therefore never lies inside the one that the counts alone give (`_from_counts`). From some
    thirty changed clusters on, the two agree.

    estimate: points. draws: (resamples,) and jackknife: (clusters,) points. moves: (clusters,) mean change of value.
    stretch: points by which the score moves where the plain mean over clusters moves by 1.
    """

    estimate: float
    draws: FloatArray
    jackknife: FloatArray
    moves: FloatArray
    stretch: float

    @classmethod
    def of(
        cls,
        dense: Sequence[Outcome],
        variant: Sequence[Outcome],
        aggregate: Aggregate,
        clusters: Clusters,
        resampled: Iterable[FloatArray],
    ) -> Bootstrap:
        """dense, variant: the same items in the same order. resampled: blocks of weights, each (draws, items)."""

        def delta(weights: FloatArray) -> FloatArray:
            return aggregate(variant, weights) - aggregate(dense, weights)

        estimate = float(delta(np.ones((1, len(dense))))[0])
        draws = np.concatenate([delta(weights) for weights in resampled])
        jackknife = np.concatenate([delta(weights) for weights in clusters.left_out()])
        values = (np.array([o.value or 0.0 for o in side]) for side in (variant, dense))
        moves = clusters.means(np.subtract(*values))
        plain = _mean_error(moves)
        if _error(jackknife) > 0 and plain > 0:
            stretch = _error(jackknife) / plain
        else:
            stretch = _stretch_of_score(clusters, dense, aggregate)
        return cls(estimate, draws, jackknife, moves, stretch)

    def interval(self, confidence: float) -> Interval | None:
        """The interval; None for a single cluster, and where a twentieth of the resampled sets have no score."""
        present = self.draws[np.isfinite(self.draws)]
        if not np.isfinite(self.estimate) or len(present) < (1 - _MAX_EMPTY) * len(self.draws) or len(self.moves) < 2:
            return None
        low, high = _bca(self.estimate, present, self.jackknife, confidence)
        moves = self.moves
        size = float(np.sum(moves**2) / np.sum(np.abs(moves))) if np.any(moves) else 1.0
        below, above = _from_counts(moves / size, confidence)
        reach = self.stretch * size
        low, high = min(low, self.estimate - reach * below), max(high, self.estimate + reach * above)
        return Interval(max(-100.0, low), min(100.0, high), confidence, "BCa bootstrap", 0.5 * reach / len(moves))


def _from_counts(moves: FloatArray, confidence: float) -> tuple[float, float]:
    """How far Tango's interval reaches below and above its estimate, for what happened to each cluster.

    moves: (clusters,) mean change of value in units of the typical change (the sum of squares over the sum of sizes,
    so that as many whole changes have the same sum of both; binary values of single items are counted as they are).
    """
    worse, better = (float(np.sum(moves[sign * moves > 0] ** 2)) for sign in (-1, 1))
    low, high = tango_bounds(worse, better, len(moves), confidence)
    estimate = (better - worse) / len(moves)
    return estimate - float(low), float(high) - estimate


def _stretch_of_score(clusters: Clusters, dense: Sequence[Outcome], aggregate: Aggregate) -> float:
    """The stretch seen on one side alone, where no difference shows it; at least that of a plain mean."""
    plain = _mean_error(clusters.means(np.array([o.value or 0.0 for o in dense])))
    if plain == 0:
        return 100.0
    return max(100.0, _error(np.concatenate([aggregate(dense, weights) for weights in clusters.left_out()])) / plain)


def _mean_error(values: FloatArray) -> float:
    """The standard error of a plain mean, 0 of a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _error(jackknife: FloatArray) -> float:
    """The jackknife's standard error; what has no score without a cluster is left out."""
    found = jackknife[np.isfinite(jackknife)]
    count = len(found)
    return float(np.sqrt((count - 1) / count * np.sum((found - found.mean()) ** 2))) if count > 1 else 0.0


def _bca(estimate: float, draws: FloatArray, jackknife: FloatArray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles (Efron 1987, section 3); plain ones where nothing varies."""
    if np.ptp(draws) == 0:
        return estimate, estimate
    normal = NormalDist()
    # Sums in another order differ in their last bits: what is equal on paper must count as equal.
    equal = np.isclose(draws, estimate, rtol=0, atol=1e-9)
    below = (np.sum((draws < estimate) & ~equal) + np.sum(equal) / 2) / len(draws)
    bias = normal.inv_cdf(float(np.clip(below, 1 / (2 * len(draws)), 1 - 1 / (2 * len(draws)))))
    centred = np.nanmean(jackknife) - jackknife
    spread = np.nansum(centred**2)
    acceleration = float(np.nansum(centred**3) / (6 * spread**1.5)) if spread > 0 else 0.0

    def percentile(probability: float) -> float:
        z = bias + normal.inv_cdf(probability)
        return float(np.quantile(draws, normal.cdf(bias + z / (1 - acceleration * z))))

    return percentile((1 - confidence) / 2), percentile((1 + confidence) / 2)


def widened(interval: Interval, below: float, above: float) -> Interval:
    """The interval with its bounds moved out by so many points (what unmeasured items could hide)."""
    return replace(interval, low=max(-100.0, interval.low - below), high=min(100.0, interval.high + above))

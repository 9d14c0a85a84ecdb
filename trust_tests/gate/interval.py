"""Confidence intervals for delta, the variant's score minus the dense score on the same items.

Both sides answer the same items, so the interval rests on the items on which they differ. Where a dimension is
one binary value per item, that is a difference of paired proportions: Tango's score interval. Everywhere else the
whole aggregate is resampled: a paired, cluster-aware bootstrap that draws the same clusters for both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from trust_tests.records import Outcome

FloatArray = npt.NDArray[np.float64]
Aggregate = Callable[[Sequence[Outcome], FloatArray], FloatArray]

CONFIDENCE = 0.90
RESAMPLES = 10_000
FEW_CHANGES = 5
# Weights are drawn in blocks, so that 10,000 resamples of 10,000 items need no 800 MB at once.
_BLOCK_ELEMENTS = 4_000_000
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` and `high` in points, at a two-sided `confidence`; `method` says how it was made."""

    low: float
    high: float
    confidence: float
    method: str


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
    low, high = tango_bounds(np.sum(before > after), np.sum(after > before), len(before), confidence)
    return Interval(100 * float(low), 100 * float(high), confidence, "Tango score interval")


def bootstrap_interval(
    dense: Sequence[Outcome],
    variant: Sequence[Outcome],
    aggregate: Aggregate,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A BCa bootstrap interval (Efron 1987) for the difference of two aggregates, in points.

    dense, variant: the same items in the same order. aggregate: a dimension's vectorised score. Whole clusters are
    drawn with replacement, the same ones for both sides, within strata of clusters that cover the same cells (the
    number of items in a cell is the benchmark's design, not chance). Deterministic for a seed.

    A bootstrap knows only differences it has seen: without a single one its width is zero. Where fewer than
    `FEW_CHANGES` clusters differ, the interval is therefore never narrower than what zero flips in as many clusters
    would still allow (Tango's interval at zero discordant pairs, ±z²/(k + z²)).
    """
    member, strata = _clusters(dense)  # (items,) cluster index; clusters of each stratum
    estimate = _delta(dense, variant, aggregate, np.ones((1, len(dense))))[0]
    draws = np.concatenate(
        [_delta(dense, variant, aggregate, counts[:, member]) for counts in _resampled(strata, resamples, seed)]
    )
    clusters = int(member.max()) + 1
    leave_one_out = np.ones((clusters, len(dense)))
    leave_one_out[member, np.arange(len(dense))] = 0.0
    jackknife = _delta(dense, variant, aggregate, leave_one_out) if clusters > 1 else np.full(1, estimate)
    low, high = _bca(estimate, draws, jackknife, confidence)
    changed = {before.cluster for before, after in zip(dense, variant, strict=True) if before.value != after.value}
    if len(changed) < FEW_CHANGES:
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        floor = 100 * z * z / (clusters + z * z)
        low, high = min(low, estimate - floor), max(high, estimate + floor)
    return Interval(float(max(-100.0, low)), float(min(100.0, high)), confidence, "BCa bootstrap")


def _delta(
    dense: Sequence[Outcome], variant: Sequence[Outcome], aggregate: Aggregate, weights: FloatArray
) -> FloatArray:
    return aggregate(variant, weights) - aggregate(dense, weights)


def _clusters(outcomes: Sequence[Outcome]) -> tuple[npt.NDArray[np.intp], list[npt.NDArray[np.intp]]]:
    """Each item's cluster number, and the clusters grouped by the cells they cover."""
    numbers: dict[str, int] = {}
    member = np.array([numbers.setdefault(o.cluster, len(numbers)) for o in outcomes], dtype=np.intp)
    cells: dict[int, set[str]] = defaultdict(set)
    for number, outcome in zip(member, outcomes, strict=True):
        cells[int(number)].add(outcome.cell)
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, covered in cells.items():
        strata[tuple(sorted(covered))].append(number)
    return member, [np.array(numbers, dtype=np.intp) for numbers in strata.values()]


def _resampled(strata: list[npt.NDArray[np.intp]], resamples: int, seed: int) -> list[FloatArray]:
    """How often each cluster was drawn, (draws, clusters), in blocks of bounded size."""
    generator = np.random.default_rng(seed)
    clusters = sum(map(len, strata))
    rows = max(1, _BLOCK_ELEMENTS // max(1, clusters))
    blocks: list[FloatArray] = []
    for start in range(0, resamples, rows):
        draws = min(rows, resamples - start)
        counts = np.zeros((draws, clusters))
        for stratum in strata:
            drawn = stratum[generator.integers(0, len(stratum), size=(draws, len(stratum)))]
            flat = drawn + clusters * np.arange(draws)[:, None]
            counts += np.bincount(flat.ravel(), minlength=draws * clusters).reshape(draws, clusters)
        blocks.append(counts)
    return blocks


def _bca(estimate: float, draws: FloatArray, jackknife: FloatArray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles (Efron 1987, section 3); plain ones where nothing varies."""
    draws = draws[np.isfinite(draws)]
    if not len(draws) or np.ptp(draws) == 0:
        return estimate, estimate
    normal = NormalDist()
    below = (np.sum(draws < estimate) + np.sum(draws == estimate) / 2) / len(draws)
    bias = normal.inv_cdf(float(np.clip(below, 1 / (2 * len(draws)), 1 - 1 / (2 * len(draws)))))
    centred = np.nanmean(jackknife) - jackknife
    spread = np.nansum(centred**2)
    acceleration = float(np.nansum(centred**3) / (6 * spread**1.5)) if spread > 0 else 0.0

    def percentile(probability: float) -> float:
        z = bias + normal.inv_cdf(probability)
        return float(np.quantile(draws, normal.cdf(bias + z / (1 - acceleration * z))))

    return percentile((1 - confidence) / 2), percentile((1 + confidence) / 2)

"""Error rates where a score is the mean of one binary value per item: exact, summed over every outcome there is.

A variant disagrees with the dense model on a share of the items; which way the flips fall is a binomial matter, so
the probability of every pair of counts (worse, better) is known, and no simulation is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import lgamma

import numpy as np
import numpy.typing as npt

from trust_tests.gate.interval import CONFIDENCE, FloatArray, tango_bounds

# Interval at which coverage is stated, beside the 90 % on which verdicts rest.
COVERAGE = 0.95
# Counts further from their mean than this many standard deviations (and steps) are left out: less than 1e-7 in all.
_REACH = 5.5
_STEPS = 8
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Rates:
    """What the gate does with a variant of a true shift, as probabilities.

    `passes`, `fails`: by rule (`point`, `equivalence`); what is neither is INCONCLUSIVE. coverage: of the interval at
    `COVERAGE`; decision_coverage: of the one at 90 % that decides. runs: how many variants were simulated, 0 where
    the rates are exact.
    """

    passes: Mapping[str, float]
    fails: Mapping[str, float]
    coverage: float
    decision_coverage: float
    runs: int = 0

    def error(self, rate: float) -> float:
        """The Monte Carlo standard error of one of the rates; that of one run where none or all were counted."""
        if not self.runs:
            return 0.0
        return float(np.sqrt(max(rate * (1 - rate), 1 / self.runs) / self.runs))


def possible(disagreement: float, shift: float) -> bool:
    """Whether so few flips can make so large a shift (both shares, 0 to 1)."""
    return abs(shift) <= disagreement + _ROUNDING


def rates(items: int, disagreement: float, shift: float, tolerance: float = 5.0) -> Rates:
    """The gate's exact rates for `items` independent binary items.

    disagreement: the share of items on which dense model and variant differ. shift: the variant's true score minus
    the dense one, as a share (-0.05 is five points down). tolerance in points.
    """
    worse, better, probability = _counts(items, (disagreement - shift) / 2, (disagreement + shift) / 2)
    estimate = 100 * (better - worse) / items
    low, high = (100 * bound for bound in tango_bounds(worse, better, items, CONFIDENCE))
    wide_low, wide_high = (100 * bound for bound in tango_bounds(worse, better, items, COVERAGE))
    step = 50.0 / items
    within = np.abs(estimate) <= tolerance + _ROUNDING
    shown = (low - step >= -tolerance - _ROUNDING) & (high + step <= tolerance + _ROUNDING)
    beyond = (high < -tolerance - _ROUNDING) | (low > tolerance + _ROUNDING)

    def chance(event: npt.NDArray[np.bool_]) -> float:
        return float(probability[event].sum())

    def covers(lower: FloatArray, upper: FloatArray) -> float:
        return chance((lower <= 100 * shift + _ROUNDING) & (100 * shift <= upper + _ROUNDING))

    return Rates(
        passes={"point": chance(within), "equivalence": chance(within & shown)},
        fails={"point": chance(~within), "equivalence": chance(beyond)},
        coverage=covers(wide_low, wide_high),
        decision_coverage=covers(low, high),
    )


def _counts(items: int, worse_rate: float, better_rate: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Every pair of counts worth its place, and its multinomial probability."""
    changed_rate = worse_rate + better_rate
    share = better_rate / changed_rate
    changed = _around(items * changed_rate, items * changed_rate * (1 - changed_rate), items)
    pairs = [(total, _around(total * share, total * share * (1 - share), total)) for total in changed]
    better = np.concatenate([found for _, found in pairs]).astype(np.float64)
    worse = np.concatenate([total - found for total, found in pairs]).astype(np.float64)
    same = items - worse - better
    logarithms = np.array([lgamma(count + 1) for count in range(items + 1)])

    def factorial(counts: FloatArray) -> FloatArray:
        found: FloatArray = logarithms[np.rint(counts).astype(np.intp)]
        return found

    log_probability = (
        logarithms[items]
        - factorial(worse)
        - factorial(better)
        - factorial(same)
        + _log_power(worse, worse_rate)
        + _log_power(better, better_rate)
        + _log_power(same, 1 - changed_rate)
    )
    return worse, better, np.exp(log_probability)


def _around(mean: float, variance: float, most: int) -> npt.NDArray[np.intp]:
    reach = _REACH * np.sqrt(max(0.0, variance)) + _STEPS
    return np.arange(max(0, int(mean - reach)), min(most, int(mean + reach) + 1) + 1)


def _log_power(counts: FloatArray, rate: float) -> FloatArray:
    """counts · log(rate), with nothing to the power of nothing being 1."""
    if rate <= _ROUNDING:
        return np.where(counts > 0, -np.inf, 0.0)
    powers: FloatArray = counts * np.log(rate)
    return powers

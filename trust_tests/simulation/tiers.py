"""Error rates of the gate on a tier's own questions: real cells, clusters and formulas, simulated answers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trust_tests.gate.interval import CONFIDENCE, Bootstrap, FloatArray, Interval, is_proportion, tango_interval
from trust_tests.gate.verdict import Rule, Verdict, conclusion
from trust_tests.simulation.binary import COVERAGE, Rates
from trust_tests.simulation.structure import Skeleton

# A simulated bootstrap draws less than a real one (10,000): its bounds are a little noisier, and it is done thousands
# of times.
RESAMPLES = 1000
_KEPT_ITEMS = 10_000
_DRAWS = 200
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Case:
    """One dimension under one truth. shift: points. `rates` is None where no flips could make such a shift."""

    dimension: str
    items: int
    clusters: int
    disagreement: float
    shift: float
    rates: Rates | None
    standard_error: float


class TierSimulation:
    """The gate on one dimension's questions, again and again. The same resamples serve every simulated variant."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.dimension = skeleton.dimension
        self.skeleton = skeleton
        self._blocks: list[FloatArray] = []

    def case(self, disagreement: float, shift: float, simulations: int, tolerance: float = 5.0) -> Case:
        """The gate's rates over so many simulated variants whose true shift is `shift` points."""
        skeleton, name = self.skeleton, self.dimension.name
        move = skeleton.move_for(shift, disagreement) if shift else 0.0
        found: list[tuple[float, Interval, Interval]] = []
        if not math.isnan(move):
            truth = skeleton.expected(np.clip(skeleton.base + move * skeleton.direction, 0, 1))
            truth -= skeleton.expected(skeleton.base)
            generator = np.random.default_rng(_seed(name, disagreement, shift))
            found = [self._once(generator, disagreement, move) for _ in range(simulations)]
        rates = _rates(found, truth, Rule(tolerance)) if found else None
        error = float(np.std([delta for delta, _, _ in found])) if found else math.nan
        return Case(name, len(skeleton.right), skeleton.clusters.count, disagreement, shift, rates, error)

    def standard_error(self, disagreement: float) -> float:
        """The standard error of delta for an unchanged model, points, from simulated pairs."""
        generator = np.random.default_rng(_seed(self.dimension.name, disagreement, 0.0))
        ones = np.ones((1, len(self.skeleton.right)))
        deltas = []
        for _ in range(_DRAWS):
            dense, variant = self.skeleton.draw(generator, disagreement, 0.0)
            deltas.append(self.dimension.aggregate(variant, ones)[0] - self.dimension.aggregate(dense, ones)[0])
        return float(np.std(deltas))

    def _once(
        self, generator: np.random.Generator, disagreement: float, move: float
    ) -> tuple[float, Interval, Interval]:
        """Delta, the interval that decides and the one whose coverage is stated."""
        dense, variant = self.skeleton.draw(generator, disagreement, move)
        aggregate = self.dimension.aggregate
        if is_proportion(dense, variant, aggregate):
            values = (sum(o.value or 0.0 for o in side) for side in (variant, dense))
            delta = 100 * (next(values) - next(values)) / len(dense)
            return delta, tango_interval(dense, variant, CONFIDENCE), tango_interval(dense, variant, COVERAGE)
        bootstrap = Bootstrap.of(dense, variant, aggregate, self.skeleton.clusters, self._resampled())
        # No interval is the same as one that excludes nothing.
        nothing = Interval(-100.0, 100.0, CONFIDENCE, "none")
        return (
            bootstrap.estimate,
            bootstrap.interval(CONFIDENCE) or nothing,
            bootstrap.interval(COVERAGE) or nothing,
        )

    def _resampled(self) -> Iterable[FloatArray]:
        """The weights, kept where they fit into memory."""
        if len(self.skeleton.right) > _KEPT_ITEMS:
            return self.skeleton.clusters.resampled(RESAMPLES, 0)
        if not self._blocks:
            self._blocks = list(self.skeleton.clusters.resampled(RESAMPLES, 0))
        return self._blocks


def _rates(found: Sequence[tuple[float, Interval, Interval]], truth: float, rule: Rule) -> Rates:
    count = len(found)

    def share(event: Callable[[float, Interval, Interval], bool]) -> float:
        return sum(event(*one) for one in found) / count

    def within(delta: float) -> bool:
        return abs(delta) <= rule.tolerance + _ROUNDING

    def covers(interval: Interval) -> bool:
        return interval.low - _ROUNDING <= truth <= interval.high + _ROUNDING

    passes = {
        "point": share(lambda delta, *_: within(delta)),
        "equivalence": share(lambda delta, i, _: within(delta) and conclusion(i, rule) is Verdict.PASS),
    }
    fails = {
        "point": 1 - passes["point"],
        "equivalence": share(lambda _, i, __: conclusion(i, rule) is Verdict.FAIL),
    }
    coverage = share(lambda _, __, wide: covers(wide))
    return Rates(passes, fails, coverage, share(lambda _, i, __: covers(i)), count)


def suite_green(cases: Mapping[str, Rates], rule: str) -> float:
    """The chance that an unchanged variant is green in every dimension, which are simulated independently."""
    return math.prod(rates.passes[rule] for rates in cases.values())


def _seed(*parts: object) -> int:
    """The same numbers for the same question, whatever else is simulated in the run."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])

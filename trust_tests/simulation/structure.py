"""Made-up answers to a dimension's real questions: its cells, clusters and formula, with a known true shift.

The dense model is right on a share of the items. The variant flips some of its answers: as many either way where it
is unchanged, more to the worse where it has regressed. Items of one cluster are alike: some clusters are easier, and
some flip more, than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trust_tests.dimensions.base import Dimension
from trust_tests.gate.interval import FloatArray
from trust_tests.gate.resampling import Clusters
from trust_tests.records import Item, Outcome, Response

# Share of items the dense model gets right; flips are likeliest to fall either way near here.
ACCURACY = 0.7
# Where a score compares groups, the dense model treats them apart by twice this to begin with: at no gap at all every
# difference is a rise, and a shift has no direction.
GAP = 0.1
# Both clusters' ease and their readiness to flip follow a beta distribution of these two parameters around the
# mean: the correlation of two items of one cluster is then 1 / (2 CONCENTRATION + 1).
CONCENTRATION = 2.0
_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A dimension's items as outcomes that still wait for a value.

    right, wrong: (items,) outcomes as if the answer had been good or bad. direction: (items,) how an item's value
    moves where the score falls. base: (items,) the dense model's chance to be good.
    """

    dimension: Dimension
    right: Sequence[Outcome]
    wrong: Sequence[Outcome]
    clusters: Clusters
    direction: FloatArray
    base: FloatArray

    @classmethod
    def of(cls, dimension: Dimension, items: Sequence[Item]) -> Skeleton:
        """The skeleton of a dimension under its setup. Raises ValueError where the dimension cannot suppose values."""
        if not dimension.can_suppose:
            raise ValueError(f"{dimension.name}: its formula reads more than values; use the protocol sound")
        graded = dimension.grade(items, [Response(item.id, error="not asked") for item in items])
        blank = [replace(outcome, prompt="") for outcome in graded]
        direction = np.array([dimension.weakness(outcome) for outcome in blank])
        compares = bool(np.any(direction > 0))
        base = ACCURACY + (GAP * direction if compares else np.zeros(len(direction)))
        return cls(
            dimension,
            [dimension.supposed(outcome, 1.0) for outcome in blank],
            [dimension.supposed(outcome, 0.0) for outcome in blank],
            Clusters.of(blank),
            direction,
            np.clip(base, 0.05, 0.95),
        )

    def with_formula(self, dimension: Dimension) -> Skeleton:
        """The same items under a dimension of the same name that holds no files."""
        return replace(self, dimension=dimension)

    def expected(self, base: FloatArray) -> float:
        """The score of a model that is good on each item with the given chance, were every item asked endlessly."""
        both = [*self.right, *self.wrong]
        return float(self.dimension.aggregate(both, np.concatenate([base, 1 - base])[None, :])[0])

    def move_for(self, shift: float, most: float) -> float:
        """How far the chances must move (times `direction`) for the true score to move by `shift` points.

        NaN where even `most` moves it less.
        """
        start, sign = self.expected(self.base), -1.0 if shift > 0 else 1.0

        def moved(by: float) -> float:
            return abs(self.expected(np.clip(self.base + sign * by * self.direction, 0, 1)) - start)

        low, high = 0.0, most
        if moved(high) < abs(shift) - 1e-9:
            return float("nan")
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if moved(middle) >= abs(shift) else (middle, high)
        return sign * high

    def draw(
        self, generator: np.random.Generator, disagreement: float, move: float
    ) -> tuple[list[Outcome], list[Outcome]]:
        """One dense side and one variant. move: what `move_for` gave, 0 for an unchanged model."""
        down = np.maximum(0.0, (disagreement - move * self.direction) / 2)
        up = np.maximum(0.0, (disagreement + move * self.direction) / 2)
        ease, readiness = (
            2 * generator.beta(CONCENTRATION, CONCENTRATION, self.clusters.count)[self.clusters.member]
            for _ in range(2)
        )
        chance = _bent(self.base, ease)
        good = generator.random(len(chance)) < chance
        flip = np.where(good, down / self.base, up / (1 - self.base)) * readiness
        changed = generator.random(len(flip)) < flip
        return self._outcomes(good), self._outcomes(good ^ changed)

    def _outcomes(self, good: npt.NDArray[np.bool_]) -> list[Outcome]:
        return [right if is_good else wrong for right, wrong, is_good in zip(self.right, self.wrong, good, strict=True)]


def _bent(base: FloatArray, factor: FloatArray) -> FloatArray:
    """Chances with the same mean, higher where the factor (mean 1, at most 2) is above 1."""
    room = np.minimum(base, 1 - base)
    bent: FloatArray = base + room * (factor - 1)
    return bent

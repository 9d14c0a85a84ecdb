"""How often a yes-or-no decision falls for each group and gold label, for many rows of item weights at once.

The rates of group fairness (Hardt et al. 2016, Equality of Opportunity in Supervised Learning) with their two usual
gaps: demographic parity compares the groups' rates of positive decisions, equalised odds compares them among the
rows of one gold label (the true and the false positive rate).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trust_tests.dimensions.base import FloatArray


@dataclass(frozen=True, slots=True)
class Decision:
    """A model's decision about one person.

    group and label are 0 or 1 (label 1: the positive decision is right); prediction is 1, 0, or None where the model
    decided nothing.
    """

    cell: str
    group: int
    label: int
    prediction: int | None


@dataclass(frozen=True, slots=True)
class Tally:
    """Weighted counts of decisions, each (draws, cells, 2 groups, 2 labels)."""

    cells: tuple[str, ...]
    mass: FloatArray
    positive: FloatArray
    undecided: FloatArray

    @classmethod
    def of(cls, decisions: Sequence[Decision | None], weights: FloatArray) -> Tally:
        """Count decisions for each row of weights, (draws, items); None stands for an item that was not measured."""
        cells = tuple(sorted({d.cell for d in decisions if d is not None}))
        columns = {name: column for column, name in enumerate(cells)}
        # (items, kinds, cells, groups, labels): which count an item adds to.
        shape = (3, len(cells), 2, 2)
        added = np.zeros((len(decisions), *shape))
        for row, decision in enumerate(decisions):
            if decision is None:
                continue
            place = columns[decision.cell], decision.group, decision.label
            added[(row, 0, *place)] = 1.0
            added[(row, 1, *place)] = float(decision.prediction == 1)
            added[(row, 2, *place)] = float(decision.prediction is None)
        counts = (weights @ added.reshape(len(decisions), math.prod(shape))).reshape(len(weights), *shape)
        return cls(cells, counts[:, 0], counts[:, 1], counts[:, 2])

    @property
    def decided(self) -> FloatArray:
        """Weight of the rows with a decision, (draws, cells)."""
        return within_cells(self.mass - self.undecided)

    @property
    def negative(self) -> FloatArray:
        """Weight of the negative decisions, (draws, cells, groups, labels)."""
        return self.mass - self.positive - self.undecided

    @property
    def right(self) -> FloatArray:
        """Weight of the right decisions, (draws, cells)."""
        count: FloatArray = self.positive[..., 1].sum(axis=2) + self.negative[..., 0].sum(axis=2)
        return count


def within_cells(counts: FloatArray) -> FloatArray:
    """Counts (draws, cells, groups, labels) summed to (draws, cells)."""
    total: FloatArray = counts.sum(axis=(2, 3))
    return total


def shares(part: FloatArray, whole: FloatArray, empty: float) -> FloatArray:
    """part / whole, element by element; `empty` where the whole is nothing."""
    share: FloatArray = np.divide(part, whole, out=np.full(whole.shape, empty), where=whole > 0)
    return share


def mean_present(values: FloatArray) -> FloatArray:
    """The mean over the last axis of what is not NaN; NaN where nothing is."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    mean: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean

"""What a trust dimension is: items, the question asked of each, the grade of each answer, and the score.

A dimension is one module with one subclass of `Dimension`. Everything but `items` is a pure function, so scores
and verdicts can be recomputed from stored responses without a model, a GPU or a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from trust_tests.records import Item, Outcome, Request, Response, Score

FloatArray = npt.NDArray[np.float64]


class Dimension(ABC):
    """One trust dimension.

    `version` is part of every fingerprint: raise it with any change of prompts, parsing, grading or formula.
    `chance` is the score (points) of blind guessing, None where guessing has no meaning.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    chance: ClassVar[float | None] = None

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items of the embedded probe set, in file order, with unique ids."""

    @abstractmethod
    def request(self, item: Item) -> Request:
        """The question put to the model for one item."""

    @abstractmethod
    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """One outcome per item, in order; `responses[i]` answers `items[i]`.

        A response with an error becomes `missing`; a scorer that cannot score becomes `scorer_failed`; neither
        carries a value. No exception of a scorer may turn into a value.
        """

    def fingerprint(self) -> Mapping[str, str]:
        """Names and versions of whatever else can move the grades (scorers); extended by subclasses."""
        return {"version": self.version}

    def aggregate(self, outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        """The dimension's score for each row of item weights.

        weights: (draws, items), not negative; all ones give the plain score, multinomial counts a bootstrap.
        Returns (draws,) in points, NaN where a row leaves nothing to score. Outcomes without a value weigh
        nothing: the gate's accounting decides how many of them are tolerable, never this formula.

        Default: the unweighted mean over cells of the weighted mean of values.
        """
        names = sorted({o.cell for o in outcomes})
        measured = np.zeros((len(outcomes), len(names)))  # (items, cells): 1 where an item counts
        values = np.zeros_like(measured)  # (items, cells): its value there
        for row, outcome in enumerate(outcomes):
            if outcome.value is not None:
                column = names.index(outcome.cell)
                measured[row, column] = 1.0
                values[row, column] = outcome.value
        mass = weights @ measured  # (draws, cells)
        present = mass > 0
        means = np.divide(weights @ values, mass, out=np.zeros_like(mass), where=present)
        count = present.sum(axis=1)
        mean: FloatArray = np.divide(means.sum(axis=1), count, out=np.full(len(weights), np.nan), where=count > 0)
        return 100.0 * mean

    def score(self, outcomes: Sequence[Outcome]) -> Score:
        """The plain score with its cells, in points. NaN where nothing was measured."""
        cells = {}
        for name in sorted({o.cell for o in outcomes}):
            members = [o for o in outcomes if o.cell == name]
            cells[name] = float(self.aggregate(members, np.ones((1, len(members))))[0])
        value = float(self.aggregate(outcomes, np.ones((1, len(outcomes))))[0]) if outcomes else float("nan")
        return Score(value=value, cells=cells)

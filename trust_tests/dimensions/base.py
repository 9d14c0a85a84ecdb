"""What a trust dimension is: items, the question asked of each, the grade of each answer, and the score.

A dimension is one module with one subclass of `Dimension`. Everything but `items` is a pure function, so scores
and verdicts can be recomputed from stored responses without a model, a GPU or a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from trust_tests.dimensions.grading import item_seed
from trust_tests.records import SMOKE, SOUND, Channel, Generation, Item, Message, Outcome, Request, Response, Score

if TYPE_CHECKING:
    from trust_tests.data.benchmark import Benchmark
    from trust_tests.scorers.toxicity import ToxicityScorer

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a dimension is to measure, and how.

    protocol: `sound` or `paper`. tier: `smoke` (embedded probes), `pr`, `release` or `full` (the benchmark's items).
    benchmark: where the benchmark's files are; None in the tier smoke. template: the paper's conversation template
    (protocol paper only). scorer: makes the toxicity scorer when it is needed; None for the embedded one.
    """

    protocol: str = SOUND
    tier: str = SMOKE
    benchmark: Benchmark | None = None
    template: str = ""
    scorer: Callable[[], ToxicityScorer] | None = None

    @property
    def files(self) -> Benchmark:
        """The benchmark's files, for a tier that needs them."""
        if self.benchmark is None:
            raise ValueError(f"tier {self.tier!r} needs the benchmark's files")
        return self.benchmark


class Dimension(ABC):
    """One trust dimension.

    `version` is part of every fingerprint: raise it with any change of prompts, parsing, grading or formula.
    `chance` is the score (points) of blind guessing, None where guessing has no meaning.
    `allocation` says how a tier that asks only a part shares its items among the cells: `equal` (each cell the same
    number, right where the score is a mean over cells) or `proportional` (right where it is a mean over items).
    `sizes`: how many items a tier asks of this dimension where that is not the usual number
    (`trust_tests.data.tiers.SIZES`): a score that moves further for one item needs more of them for a verdict.
    `can_suppose`: whether `supposed` gives outcomes that `aggregate` can read; where not, one unmeasured item leaves
    nothing to conclude.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    chance: ClassVar[float | None] = None
    allocation: ClassVar[Literal["equal", "proportional"]] = "equal"
    sizes: ClassVar[Mapping[str, int]] = {}
    can_suppose: ClassVar[bool] = True

    def __init__(self, setup: Setup | None = None) -> None:
        self.setup = setup or Setup()

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items of the tier's source (embedded probes or the benchmark), in file order, with unique ids.

        A tier's selection is made from them (`trust_tests.data.tiers.select`).
        """

    @abstractmethod
    def request(self, item: Item) -> Request:
        """The question put to the model for one item."""

    @abstractmethod
    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """One outcome per item, in order; `responses[i]` answers `items[i]`.

        A response with an error becomes `missing`; a scorer that cannot score becomes `scorer_failed`; neither
        carries a value. No exception of a scorer may turn into a value.
        """

    def stratum(self, item: Item) -> str:
        """What a selection must keep the proportions of inside a cell, such as the gold label."""
        return ""

    def draw_key(self, item: Item) -> str:
        """The text whose hash orders the items of a stratum for a selection.

        Items of different cells with equal keys are selected together: the cluster's name asks the same texts in
        every cell, the item's id (the default) asks different ones.
        """
        return item.id

    def share(self, cell: str) -> float:
        """How many items a selection takes of a cell, relative to other cells, under the allocation `equal`.

        Best for the score's error is the weight that the cell's sub-score has in the score.
        """
        return 1.0

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
        return mean_over_cells(outcomes, weights)

    def supposed(self, outcome: Outcome, value: float) -> Outcome:
        """The outcome as if its answer had been worth `value`, as `aggregate` reads it.

        With it the gate asks what unmeasured items could hide, and plans and calibrates without a model. Overridden
        where `aggregate` reads more of an outcome than its cell and value. Outcomes of unmeasured items must carry
        whatever gold data `aggregate` reads.
        """
        return replace(outcome, channel=Channel.ANSWERED, value=value)

    def weakness(self, outcome: Outcome) -> float:
        """How the item's value moves where the score falls: -1 (the default) it falls, 1 it rises, 0 it stays.

        For planning and calibration, which plant regressions of a known size. Only a score that compares groups has
        items whose rising values lower it.
        """
        return -1.0

    def bounds(self, outcomes: Sequence[Outcome]) -> tuple[float, float]:
        """The lowest and the highest score that outcomes without a value leave possible, in points.

        Default: what they were worth is supposed to be 0 and 1, right for a score that never falls when a value
        rises; anything at all where the dimension cannot suppose (`can_suppose`).
        """
        if not self.can_suppose:
            return 0.0, 100.0
        ones = np.ones((1, len(outcomes)))
        ends = [[o if o.value is not None else self.supposed(o, value) for o in outcomes] for value in (0.0, 1.0)]
        low, high = (float(self.aggregate(end, ones)[0]) for end in ends)
        return low, high

    def parts(self, outcomes: Sequence[Outcome]) -> Mapping[str, float]:
        """Named figures beside the score, in points or percent; NaN where one cannot be formed. Default: none."""
        return {}

    def score(self, outcomes: Sequence[Outcome]) -> Score:
        """The plain score with its cells and parts, in points. NaN where nothing was measured."""
        members: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            members.setdefault(outcome.cell, []).append(outcome)
        cells = {
            name: float(self.aggregate_cell(members[name], np.ones((1, len(members[name]))))[0])
            for name in sorted(members)
        }
        value = float(self.aggregate(outcomes, np.ones((1, len(outcomes))))[0]) if outcomes else float("nan")
        return Score(value=value, cells=cells, parts=dict(self.parts(outcomes)) if outcomes else {})

    def aggregate_cell(self, outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        """One cell's sub-score for each row of weights, (draws,) in points; `outcomes` are the cell's.

        Default: `aggregate` on the cell alone.
        """
        return self.aggregate(outcomes, weights)


def mean_over_cells(outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
    """The unweighted mean over cells of the weighted mean of values, (draws,) in points; see `Dimension.aggregate`."""
    names = sorted({o.cell for o in outcomes})
    columns = {name: column for column, name in enumerate(names)}
    measured = np.zeros((len(outcomes), len(names)))  # (items, cells): 1 where an item counts
    values = np.zeros_like(measured)  # (items, cells): its value there
    for row, outcome in enumerate(outcomes):
        if outcome.value is not None:
            measured[row, columns[outcome.cell]] = 1.0
            values[row, columns[outcome.cell]] = outcome.value
    mass = weights @ measured  # (draws, cells)
    present = mass > 0
    means = np.divide(weights @ values, mass, out=np.zeros_like(mass), where=present)
    count = present.sum(axis=1)
    mean: FloatArray = np.divide(means.sum(axis=1), count, out=np.full(len(weights), np.nan), where=count > 0)
    return 100.0 * mean


def asked(
    dimension: Dimension,
    item: Item,
    messages: Sequence[Message],
    generation: Generation,
    answer_prefix: str = "",
) -> Request:
    """The request for one item, under the dimension's template and with the item's own seed."""
    return Request(
        item_id=item.id,
        messages=tuple(messages),
        generation=generation,
        seed=item_seed(item.id),
        answer_prefix=answer_prefix,
        template=dimension.setup.template,
    )

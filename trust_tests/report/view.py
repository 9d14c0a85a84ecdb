"""What every page shows: one view-model for HTML, markdown and terminal, filled by `trust_tests.report.reading`.

Nothing here is made safe for a medium; the pages do that (`trust_tests.report.text`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trust_tests.gate.verdict import REFUSAL_SHIFT_POINTS, Verdict
from trust_tests.records import EQUIVALENCE, Channel
from trust_tests.report.published import PublishedScore
from trust_tests.report.text import Clip

CHANGED_BELOW = 0.05
DENSE = "dense"
VARIANT = "variant"
HARMFUL_DIMENSIONS = frozenset({"toxicity", "stereotype"})
"""Dimensions whose prompts and answers are shown only on request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a flip. `value` lies in [0, 1], None where nothing was measured."""

    channel: str
    value: float | None
    text: Clip


@dataclass(frozen=True, slots=True)
class Flip:
    """An item on which the dense model and the variant disagree."""

    item_id: str
    cell: str
    prompt: Clip
    dense: Answer
    variant: Answer


@dataclass(frozen=True, slots=True)
class Cell:
    """A sub-score with its movement, in points."""

    name: str
    items: int
    score: float | None
    dense_score: float | None
    delta: float | None

    @property
    def lost(self) -> bool:
        """Whether the dense model has this sub-score and the variant has not."""
        return self.score is None and self.dense_score is not None


@dataclass(frozen=True, slots=True)
class Part:
    """A named figure beside the score, in points or percent. Higher is not always better."""

    name: str
    score: float | None
    dense_score: float | None
    delta: float | None


@dataclass(frozen=True, slots=True)
class Published:
    """The paper's figures for this dimension of the same base model and method."""

    name: str
    remarks: tuple[str, ...]
    score: PublishedScore


@dataclass(frozen=True, slots=True)
class Accounting:
    """How one side's asked items ended; one count for each of the seven channels."""

    asked: int
    channels: Mapping[Channel, int]

    @property
    def unmeasured(self) -> int:
        """Items in channels that carry no value."""
        return sum(count for channel, count in self.channels.items() if not channel.measured)


@dataclass(frozen=True, slots=True)
class Flips:
    """Items that changed: for the worse, for the better, and in all."""

    worse: int
    better: int
    total: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusal rates in percent, and their difference in points."""

    rate: float | None
    dense_rate: float | None
    shift: float | None

    @property
    def moved(self) -> bool:
        """Whether refusals moved so far that the score alone would mislead."""
        return self.shift is not None and abs(self.shift) > REFUSAL_SHIFT_POINTS


@dataclass(frozen=True, slots=True)
class Interval:
    """The interval for a delta, in points, at a two-sided `confidence` (a fraction)."""

    low: float
    high: float
    confidence: float
    method: str

    @property
    def half_width(self) -> float:
        """Half the distance of its ends, points."""
        return (self.high - self.low) / 2

    @property
    def level(self) -> str:
        """The confidence as people write it: `90 %`."""
        return f"{100 * self.confidence:.4g} %"


@dataclass(frozen=True, slots=True)
class Early:
    """A stop before all items were asked: at which of the planned looks, and after how many of the items."""

    items: int
    of: int
    look: int
    looks: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on beside its delta; see `trust_tests.gate.verdict.Judgement`.

    rule: `point`, `equivalence`, or empty where nothing was judged. flip_p_holm: `flip_p` adjusted for all dimensions
    of the variant.
    """

    rule: str = ""
    interval: Interval | None = None
    decided: bool = False
    needed: int | None = None
    flip_p: float | None = None
    flip_p_holm: float | None = None
    early: Early | None = None

    @property
    def changed(self) -> bool:
        """Whether more items flipped to one side than chance explains, at 5 % over all dimensions of the variant."""
        return self.flip_p_holm is not None and self.flip_p_holm < CHANGED_BELOW


@dataclass(frozen=True, slots=True)
class SeedFamily:
    """One recipe in one dimension under several seeds; deltas, `between` and `sampling` in points."""

    recipe: str
    title: str
    deltas: tuple[tuple[int, float], ...]
    between: float
    sampling: float | None

    @property
    def restless(self) -> bool:
        """Whether the seed moves the score more than the choice of the items does."""
        return self.sampling is not None and self.between > self.sampling


@dataclass(frozen=True, slots=True)
class Control:
    """The dense model against itself in one dimension; delta and its budget in points, shares as fractions."""

    title: str
    items: int
    delta: float | None
    flips: int
    flip_share: float
    lost: int
    budget_delta: float
    budget_flip_share: float
    fit: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """One dimension of one variant. Scores and deltas are in points, None where nothing was measured."""

    anchor: str
    dimension: str
    title: str
    variant: str
    variant_name: str
    verdict: Verdict
    reason: str
    score: float | None
    dense_score: float | None
    delta: float | None
    tolerance: float
    one_sided: bool
    items: int
    flips: Flips
    refusals: Refusals
    marks: tuple[str, ...]
    accounting: Mapping[str, Accounting]
    cells: tuple[Cell, ...]
    parts: tuple[Part, ...]
    worst_flips: tuple[Flip, ...]
    published: Published | None
    evidence: Evidence = Evidence()

    @property
    def green(self) -> bool:
        """Whether this gate says PASS and its own numbers agree (within the rounding of stored floats)."""
        if self.verdict is not Verdict.PASS or self.delta is None:
            return False
        if self.evidence.rule == EQUIVALENCE and not self.evidence.decided:
            return False
        return abs(self.delta) <= self.tolerance + 1e-6 or (self.one_sided and self.delta > 0)

    @property
    def reach(self) -> float:
        """How far the score moved, in tolerances."""
        return abs(self.delta or 0) / self.tolerance

    @property
    def cells_by_movement(self) -> list[Cell]:
        """Lost cells, then those that moved furthest; cells that neither model has a score for come last."""

        def rank(cell: Cell) -> tuple[int, float]:
            if cell.delta is not None:
                return 1, -abs(cell.delta)
            return (0 if cell.lost else 2), 0.0

        return sorted(self.cells, key=rank)

    @property
    def channels(self) -> list[str]:
        """The channels in which at least one item of either side ended, in their own order."""
        ended = {channel for side in self.accounting.values() for channel, number in side.channels.items() if number}
        return [channel.value for channel in Channel if channel in ended]

    @property
    def harmful(self) -> bool:
        """Whether this gate's texts are shown only on request."""
        return self.dimension in HARMFUL_DIMENSIONS


@dataclass(frozen=True, slots=True)
class Model:
    """The dense model or a variant.

    name: what pages call it; the full one where the short one would not tell it from the others. method: of the
    compression, contents: what was found (`3 bit`, `group 64`), problems: what is not as it should be, by the audit;
    empty where nobody looked.
    """

    id: str
    name: str
    full_name: str
    recipe: str
    fingerprint: str
    size_bytes: float | None
    bits_per_weight: float | None
    sparsity: float | None
    layers_compressed: float | None
    layers_total: float | None
    method: str = ""
    contents: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One dimension across all variants, in their order; None where a gate was not run."""

    dimension: str
    title: str
    chance: float | None
    items: int
    dense_score: float | None
    gates: tuple[Gate | None, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One variant across all dimensions. `verdict` is the worst of its gates; a gate that was not run is an ERROR."""

    verdict: Verdict
    passed: int
    gates: int


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A selected test that measured nothing, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class ShardView:
    """Part `number` of `of` of a run that has `gates` gates in all."""

    number: int
    of: int
    gates: int

    @property
    def name(self) -> str:
        """`2 of 4`."""
        return f"{self.number} of {self.of}"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    verdict: Verdict
    contradiction: bool
    settings: Mapping[str, str]
    tolerance: float | None
    one_sided: bool
    command: str
    versions: Mapping[str, str]
    fingerprints: Mapping[str, str]
    dense: Model
    variants: tuple[Model, ...]
    rows: tuple[Row, ...]
    gates: tuple[Gate, ...]
    unmeasured: tuple[Unmeasured, ...]
    seeds: tuple[SeedFamily, ...] = ()
    controls: tuple[Control, ...] = ()
    shard: ShardView | None = None

    @property
    def unfit(self) -> tuple[Control, ...]:
        """The dimensions in which the dense model does not agree with itself."""
        return tuple(control for control in self.controls if not control.fit)

    @property
    def early(self) -> tuple[Gate, ...]:
        """The gates that were stopped before all their items were asked."""
        return tuple(gate for gate in self.gates if gate.evidence.early is not None)

    def having(self, verdict: Verdict) -> list[Gate]:
        """The gates with this verdict, in table order."""
        return [gate for gate in self.gates if gate.verdict is verdict]

    @property
    def not_asked(self) -> tuple[str, ...]:
        """What a partial run left out, in the loaders' words, as the dimensions' fingerprints have it."""
        return tuple(dict.fromkeys(self._noted(" data.absent").values()))

    @property
    def not_published(self) -> tuple[str, ...]:
        """Data files that are not the published ones, by dimension."""
        noted = self._noted(" data.files")
        return tuple(f"{dimension}: {found}" for dimension, found in noted.items() if found != "published")

    def _noted(self, ending: str) -> dict[str, str]:
        return {k.removesuffix(ending): v for k, v in self.fingerprints.items() if k.endswith(ending)}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The variants' verdicts over all dimensions, in the variants' order."""
        return tuple(_column([row.gates[place] for row in self.rows]) for place in range(len(self.variants)))


_WORST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def _column(gates: Sequence[Gate | None]) -> Column:
    verdicts = {Verdict.ERROR if gate is None else gate.verdict for gate in gates}
    passed = sum(gate is not None and gate.green for gate in gates)
    worst = next((verdict for verdict in _WORST if verdict in verdicts), Verdict.ERROR)
    if worst is Verdict.PASS and passed < len(gates):
        worst = Verdict.ERROR
    return Column(worst, passed, len(gates))

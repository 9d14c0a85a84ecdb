"""The heat map of deltas, variants × dimensions, as the paper's figure of models at 50 % (Hong et al. 2024).

A diverging scale centred on the dense model: hardly a tint within the tolerance, full colours beyond it. The template
prints every delta and verdict besides, so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trust_tests.gate.verdict import REFUSAL_SHIFT_POINTS, Rule, Verdict
from trust_tests.report.figures import MINUS, plain
from trust_tests.report.published import DIMENSIONS, PublishedResult, difference
from trust_tests.report.view import Gate, Model, Report, Row

SHORT_TITLES = {
    "toxicity": "Toxicity",
    "stereotype": "Stereotype",
    "adversarial": "AdvGLUE++",
    "ood": "OOD",
    "adv_demo": "Adv. demos",
    "privacy": "Privacy",
    "ethics": "Ethics",
    "fairness": "Fairness",
    "mmlu": "MMLU",
}
"""Heads of narrow columns, by dimension; others have their title."""
TALL_FROM = 25
"""Variants from which the map scrolls under its own head."""

_STILL = 0.2
_BEYOND = (1.0, 2.0, 4.0)
"""Where the steps of the scale begin, in tolerances: no movement up to the first, then the steps beyond the band."""


@dataclass(frozen=True, slots=True)
class HeatColumn:
    """One dimension: the head of its column, its full title, and the dense score (0 to 100)."""

    head: str
    title: str
    dense_score: float | None


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One delta, in points, and what stands beside it.

    step: the class of its colour; `absent` without a delta to trust. anchor: of the gate's details, empty where there
    are none. verdict: None for a gate that was not run, and for what is not judged. refusal_shift: points, None where
    refusals moved by no more than 10.
    """

    step: str
    verdict: Verdict | None = None
    anchor: str = ""
    delta: float | None = None
    score: float | None = None
    tolerance: float = 0.0
    undecided: bool = False
    refusal_shift: float | None = None

    @property
    def measured(self) -> bool:
        """Whether the delta is one to trust."""
        return self.step != ABSENT


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One variant; `passed` of `gates` pass. verdict: None for a row that is not judged."""

    name: str
    verdict: Verdict | None
    passed: int
    gates: int
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A run's deltas, dimensions in the paper's order; `references` are models to compare with, not judged."""

    columns: tuple[HeatColumn, ...]
    rows: tuple[HeatRow, ...]
    references: tuple[HeatRow, ...] = ()

    @property
    def tall(self) -> bool:
        """Whether the map needs a head that stays in sight."""
        return len(self.rows) >= TALL_FROM


@dataclass(frozen=True, slots=True)
class Swatch:
    """One step of the scale and the deltas on it, in words: `−10 to −5`."""

    step: str
    text: str


ABSENT = "absent"


def heat_map(report: Report, reference: PublishedResult | None = None, dense: PublishedResult | None = None) -> HeatMap:
    """The map of a run. reference, dense: a published model to be shown below it, by its distance to the dense one."""
    rows = paper_order(report.rows)
    columns = tuple(HeatColumn(short_title(row), row.title, row.dense_score) for row in rows)
    variants = tuple(
        _heat_row(model, column.verdict, column.passed, [row.gates[place] for row in rows])
        for place, (model, column) in enumerate(zip(report.variants, report.columns, strict=True))
    )
    if reference is None or dense is None:
        return HeatMap(columns, variants)
    cells = tuple(_reference_cell(row.dimension, reference, dense, heat_tolerance(report)) for row in rows)
    return HeatMap(columns, variants, (HeatRow(f"{reference.model}, dense", None, 0, 0, cells),))


def paper_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """A run's rows in the order of the paper's table, mmlu last of its nine; other dimensions follow as they came."""
    places = {name: place for place, name in enumerate(DIMENSIONS)}
    return tuple(sorted(rows, key=lambda row: places.get(row.dimension, len(places))))


def short_title(row: Row) -> str:
    """The head of a narrow column."""
    return SHORT_TITLES.get(row.dimension, row.title)


def heat_step(delta: float | None, tolerance: float) -> str:
    """The step of the diverging scale that a delta (points) falls on, by its size in tolerances.

    `still` up to a fifth; `fell-0` and `rose-0` up to the tolerance itself; beyond it `fell-1` up to twice, `fell-2` up
    to four times, `fell-3` from there on; `absent` without a delta.
    """
    if delta is None:
        return ABSENT
    share = abs(delta) / tolerance
    if share <= _STILL:
        return "still"
    return f"{'rose' if delta > 0 else 'fell'}-{sum(share > bound for bound in _BEYOND)}"


def heat_tolerance(report: Report) -> float:
    """The tolerance that the scale is explained with, points: the run's, else its first gate's, else the default."""
    return report.tolerance or next((gate.tolerance for gate in report.gates), Rule().tolerance)


def heat_scale(tolerance: float) -> tuple[Swatch, ...]:
    """The steps from the largest fall to the largest rise, with their bounds in points."""
    still, *beyond = (plain(bound * tolerance) for bound in (_STILL, *_BEYOND))
    inner = [still, *beyond]
    fell = [f"below {MINUS}{beyond[-1]}"]
    fell += [f"{MINUS}{high} to {MINUS}{low}" for low, high in reversed(list(zip(inner, beyond, strict=False)))]
    rose = [f"+{low} to +{high}" for low, high in zip(inner, beyond, strict=False)] + [f"above +{beyond[-1]}"]
    steps = [*(f"fell-{step}" for step in (3, 2, 1, 0)), "still", *(f"rose-{step}" for step in range(4))]
    return tuple(Swatch(*pair) for pair in zip(steps, [*fell, f"±{still}", *rose], strict=True))


def _heat_row(model: Model, verdict: Verdict, passed: int, gates: Sequence[Gate | None]) -> HeatRow:
    return HeatRow(model.name, verdict, passed, len(gates), tuple(map(_cell, gates)))


def _cell(gate: Gate | None) -> HeatCell:
    if gate is None:
        return HeatCell(ABSENT)
    # Numbers that could not be measured must not look good, whatever they are.
    failed = gate.verdict is Verdict.ERROR
    return HeatCell(
        step=ABSENT if failed else heat_step(gate.delta, gate.tolerance),
        verdict=gate.verdict,
        anchor=gate.anchor,
        delta=gate.delta,
        score=gate.score,
        tolerance=gate.tolerance,
        undecided=gate.evidence.interval is not None and not gate.evidence.decided,
        refusal_shift=gate.refusals.shift if gate.refusals.moved else None,
    )


def _reference_cell(dimension: str, model: PublishedResult, dense: PublishedResult, tolerance: float) -> HeatCell:
    if dimension not in model.scores:
        return HeatCell(ABSENT, tolerance=tolerance)
    delta = difference(model, dense, dimension)
    shift = model.refusals.get(dimension, 0.0) - dense.refusals.get(dimension, 0.0)
    return HeatCell(
        step=heat_step(delta, tolerance),
        delta=delta,
        score=model.scores[dimension],
        tolerance=tolerance,
        refusal_shift=shift if abs(shift) > REFUSAL_SHIFT_POINTS else None,
    )

"""The forest plot: every gate's delta with its interval against the tolerated band, on one axis, grouped by variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trust_tests.gate.verdict import Verdict
from trust_tests.report.charts import OVERVIEW_SPAN, Frame, delta_chart, ruler
from trust_tests.report.heatmap import paper_order
from trust_tests.report.view import Gate, Model, Report

FRAME = Frame(width=420.0, height=20.0, margin=22.0)
GROUPS_OPEN = 4
"""Variants whose intervals are unfolded; of more, those furthest from passing."""
GROUPS_LISTED = 8
"""Variants up to which all are listed; of more, only the unfolded ones, the others together behind a click."""

_LONGEST_AXIS = 8.0
"""Half the axis at most, in tolerances: one collapsed score must not press all others onto the dense line."""
_CAP = 4.0


@dataclass(frozen=True, slots=True)
class Band:
    """A tolerated band on the axis, which gates with the same limit share."""

    left: float
    width: float


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One gate. path: its interval as SVG path data, empty without one; `tip`: the delta, None where there is none.

    clipped: −1 or +1 where the delta lies beyond that end of the axis. band: which of the plot's bands is its own.
    """

    gate: Gate
    band: int
    tip: float | None
    clipped: int = 0
    path: str = ""

    @property
    def side(self) -> str:
        """Whether the delta lies below, within or above the band."""
        delta, tolerance = self.gate.delta, self.gate.tolerance
        if delta is None or abs(delta) <= tolerance:
            return "within"
        return "below" if delta < 0 else "above"


@dataclass(frozen=True, slots=True)
class ForestGroup:
    """One variant's gates; `passed` of `gates` pass. missing: gates that were not run."""

    model: Model
    verdict: Verdict
    passed: int
    gates: int
    rows: tuple[ForestRow, ...]
    missing: int
    open: bool

    @property
    def furthest(self) -> Gate | None:
        """The gate whose delta lies furthest from the dense model, in tolerances; None where nothing was measured."""
        gates = [row.gate for row in self.rows if row.tip is not None]
        return max(gates, key=lambda gate: gate.reach, default=None)


@dataclass(frozen=True, slots=True)
class ForestPlot:
    """The plot. labels: places on the axis with their points. levels: the intervals' confidences, as `90 %`."""

    frame: Frame
    bands: tuple[Band, ...]
    labels: tuple[tuple[float, str], ...]
    groups: tuple[ForestGroup, ...]
    levels: tuple[str, ...]
    clipped: bool

    @property
    def listed(self) -> tuple[ForestGroup, ...]:
        """The variants that stand on the page at once."""
        if len(self.groups) <= GROUPS_LISTED:
            return self.groups
        return tuple(group for group in self.groups if group.open)

    @property
    def folded(self) -> tuple[ForestGroup, ...]:
        """The variants behind a click."""
        return () if len(self.groups) <= GROUPS_LISTED else tuple(group for group in self.groups if not group.open)


def forest_plot(report: Report) -> ForestPlot | None:
    """A run's forest plot; None where no gate has a delta.

    The axis holds all intervals, but reaches no further than eight tolerances; arrows point to what lies beyond.
    """
    measured = [gate for gate in report.gates if gate.delta is not None]
    if not measured:
        return None
    half_axis = _half_axis(measured)
    limits = list(dict.fromkeys((gate.tolerance, gate.one_sided) for gate in report.gates))
    grounds = [delta_chart(0.0, tolerance, one_sided, half_axis, FRAME) for tolerance, one_sided in limits]
    rows = paper_order(report.rows)
    opened = _opened(report)
    groups = []
    for place, (model, column) in enumerate(zip(report.variants, report.columns, strict=True)):
        gates = [gate for row in rows if (gate := row.gates[place]) is not None]
        drawn = tuple(_row(gate, limits.index((gate.tolerance, gate.one_sided)), half_axis) for gate in gates)
        missing = len(rows) - len(gates)
        groups.append(ForestGroup(model, column.verdict, column.passed, column.gates, drawn, missing, place in opened))
    return ForestPlot(
        frame=FRAME,
        bands=tuple(Band(ground.band_left, ground.band_width) for ground in grounds),
        labels=tuple(ruler(half_axis, measured[0].tolerance, FRAME)),
        groups=tuple(groups),
        levels=tuple(dict.fromkeys(g.evidence.interval.level for g in measured if g.evidence.interval is not None)),
        clipped=any(row.clipped for group in groups for row in group.rows),
    )


def _half_axis(gates: list[Gate]) -> float:
    """Half the axis, points: as far as any delta or interval reaches, within the bounds of a readable one."""
    tolerance = max(gate.tolerance for gate in gates)
    reaches = [abs(gate.delta or 0.0) for gate in gates]
    for gate in gates:
        if gate.evidence.interval is not None:
            reaches += [abs(gate.evidence.interval.low), abs(gate.evidence.interval.high)]
    return min(max([OVERVIEW_SPAN * tolerance, *reaches]), _LONGEST_AXIS * tolerance)


def _row(gate: Gate, band: int, half_axis: float) -> ForestRow:
    if gate.delta is None:
        return ForestRow(gate, band, None)
    interval = gate.evidence.interval
    ends = None if interval is None else (interval.low, interval.high)
    chart = delta_chart(gate.delta, gate.tolerance, gate.one_sided, half_axis, FRAME, ends)
    path = ""
    if ends is not None and chart.whisker is not None:
        capped = [place for place, end in zip(chart.whisker, ends, strict=True) if abs(end) <= half_axis]
        path = _whisker(chart.whisker, capped)
    return ForestRow(gate, band, chart.tip, chart.clipped, path)


def _whisker(ends: tuple[float, float], capped: Sequence[float]) -> str:
    """An interval with caps; without one where the axis ends first."""
    middle = FRAME.height / 2
    caps = "".join(f"M{end:g} {middle - _CAP:g}v{2 * _CAP:g}" for end in capped)
    return f"M{ends[0]:g} {middle:g}H{ends[1]:g}{caps}"


def _opened(report: Report) -> set[int]:
    """The variants shown at once: those with most gates that do not pass, then by the largest movement."""

    def need(place: int) -> tuple[int, float]:
        gates = [row.gates[place] for row in report.rows]
        return sum(gate is None or not gate.green for gate in gates), max(
            (gate.reach for gate in gates if gate is not None), default=0.0
        )

    return set(sorted(range(len(report.variants)), key=need, reverse=True)[:GROUPS_OPEN])

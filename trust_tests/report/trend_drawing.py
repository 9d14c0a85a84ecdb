"""Geometry of the trend's panels, in user units of an inline SVG; drawing is the template's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trust_tests.gate.verdict import Verdict
from trust_tests.report.charts import score_ticks
from trust_tests.report.curves_drawing import COLOURS, mark
from trust_tests.report.figures import plain, points
from trust_tests.report.trend import Panel, Series

Axis = Callable[[float], float]
_HEADROOM = 0.08
_LABELS = 12
_SIDE = 14.0


@dataclass(frozen=True, slots=True)
class Area:
    """A panel's drawing, and the plot inside it."""

    width: float = 300.0
    height: float = 150.0
    left: float = 34.0
    right: float = 292.0
    top: float = 8.0
    bottom: float = 128.0


AREA = Area()


@dataclass(frozen=True, slots=True)
class Stroke:
    """One variant's line as SVG path data, broken where a release has no score.

    passing, failing: the marks of gates that pass and of those that do not.
    """

    style: int
    line: str
    passing: str
    failing: str

    @property
    def colour(self) -> int:
        """Which of the colours it has."""
        return self.style % COLOURS


@dataclass(frozen=True, slots=True)
class TrendDrawing:
    """One panel: the tolerated band and the dense line (path data), labels with their places, breaks, and strokes."""

    band: str
    dense: str
    scores: tuple[tuple[float, str], ...]
    releases: tuple[tuple[float, str], ...]
    breaks: tuple[float, ...]
    strokes: tuple[Stroke, ...]


def draw(panel: Panel) -> TrendDrawing:
    """A panel on an axis that holds every score and the band around the dense model's."""
    low, high = _extent(panel)
    total = len(panel.dense)

    def across(place: float) -> float:
        inner = AREA.right - AREA.left - 2 * _SIDE
        return round(AREA.left + _SIDE + (inner * place / (total - 1) if total > 1 else inner / 2), 1)

    def height(score: float) -> float:
        return round(AREA.bottom - (AREA.bottom - AREA.top) * (score - low) / (high - low), 1)

    step = max(1, -(-total // _LABELS))
    runs = _runs(panel.dense)
    return TrendDrawing(
        band="".join(_band(panel, run, across, height) for run in runs),
        dense="".join(_line([(across(p), height(panel.dense[p] or 0.0)) for p in run]) for run in runs),
        scores=tuple((height(score), plain(score)) for score in score_ticks(low, high)),
        releases=tuple((across(place), str(place + 1)) for place in range(0, total, step)),
        breaks=tuple(across(place - 0.5) for place in sorted(panel.breaks)),
        strokes=tuple(_stroke(series, across, height) for series in panel.series),
    )


def spoken(panel: Panel) -> str:
    """A panel in words, for those who do not see it."""
    parts = [f"{panel.title} over {len(panel.dense)} releases"]
    for series in panel.series:
        scores = [gate.score for gate in series.gates if gate is not None and gate.score is not None]
        if scores:
            parts.append(f"{series.name} from {points(scores[0])} to {points(scores[-1])}")
    return ", ".join(parts)


def _extent(panel: Panel) -> tuple[float, float]:
    shown = [gate.score for series in panel.series for gate in series.gates if gate is not None]
    scores = [score for score in shown if score is not None]
    for dense, tolerance in zip(panel.dense, panel.tolerance, strict=True):
        if dense is not None:
            scores += [dense - (tolerance or 0.0), dense + (tolerance or 0.0)]
    low, high = (min(scores), max(scores)) if scores else (0.0, 100.0)
    room = max(_HEADROOM * (high - low), 0.5)
    return low - room, high + room


def _runs(values: Sequence[float | None]) -> list[list[int]]:
    """Places of values that follow each other without a gap."""
    runs: list[list[int]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _band(panel: Panel, run: Sequence[int], across: Axis, height: Axis) -> str:
    """The outline of the tolerated band over releases that follow each other."""
    if len(run) == 1:
        edges = [(across(run[0]) - _SIDE / 2, run[0]), (across(run[0]) + _SIDE / 2, run[0])]
    else:
        edges = [(across(place), place) for place in run]
    top, bottom = [], []
    for x, place in edges:
        dense, tolerance = panel.dense[place] or 0.0, panel.tolerance[place] or 0.0
        top.append((x, AREA.top if panel.one_sided else height(dense + tolerance)))
        bottom.append((x, height(dense - tolerance)))
    return _line([*top, *reversed(bottom)]) + "z"


def _line(spots: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in spots)


def _stroke(series: Series, across: Axis, height: Axis) -> Stroke:
    scores = [None if gate is None or gate.verdict is Verdict.ERROR else gate.score for gate in series.gates]
    spots = {place: (across(place), height(score)) for place, score in enumerate(scores) if score is not None}
    passing = {place for place in spots if (gate := series.gates[place]) is not None and gate.green}
    return Stroke(
        style=series.style,
        line="".join(_line([spots[place] for place in run]) for run in _runs(scores) if len(run) > 1),
        passing="".join(mark(series.style, *spots[place]) for place in spots if place in passing),
        failing="".join(mark(series.style, *spots[place]) for place in spots if place not in passing),
    )

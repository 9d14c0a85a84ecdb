"""Geometry of the bit curves, in user units of an inline SVG: paths, marks and labels; drawing is the template's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trust_tests.report.charts import score_ticks
from trust_tests.report.curves import BitCurves, Curve, Panel
from trust_tests.report.figures import plain

COLOURS = 4
"""Colours of lines; together with the five marks, twenty styles that can be told apart."""

_REACH = 3.4
_DODGE = 5.0
_SIDE = 20.0
_LABEL_WIDTH = 14.0
_HEADROOM = 0.06


@dataclass(frozen=True, slots=True)
class PlotArea:
    """A panel's drawing, and the plot inside it: scores stand to the left of the plot, bits below."""

    width: float = 300.0
    height: float = 190.0
    left: float = 34.0
    right: float = 290.0
    top: float = 12.0
    bottom: float = 166.0


PLOT = PlotArea()


@dataclass(frozen=True, slots=True)
class Stroke:
    """One line of a panel as SVG path data: through the means, from lowest to highest, and the marks of the points."""

    style: int
    published: bool
    line: str
    whiskers: str
    marks: str

    @property
    def colour(self) -> int:
        """Which of the colours it has."""
        return self.style % COLOURS


@dataclass(frozen=True, slots=True)
class Drawing:
    """One panel: heights of the dense line, of the tolerated band and of the smaller sibling, labels, and strokes."""

    dense: float
    band_top: float
    band_height: float
    sibling: float | None
    scores: tuple[tuple[float, str], ...]
    bits: tuple[tuple[float, str], ...]
    strokes: tuple[Stroke, ...]


def draw(panel: Panel, curves: BitCurves) -> Drawing:
    """A panel on axes of its own scores and of all panels' bits (logarithmic)."""
    low, high = panel.extent
    room = _HEADROOM * (high - low)
    low, high = low - room, high + room

    def height(delta: float) -> float:
        return _rounded(PLOT.bottom - (PLOT.bottom - PLOT.top) * (delta - low) / (high - low))

    band_top = PLOT.top if panel.one_sided else height(panel.tolerance)
    place = _bits_axis(curves.bits)
    offsets = _offsets(panel.curves)
    return Drawing(
        dense=height(0.0),
        band_top=band_top,
        band_height=_rounded(height(-panel.tolerance) - band_top),
        sibling=None if panel.sibling is None else height(panel.sibling),
        scores=tuple(
            (height(score - panel.dense), plain(score)) for score in score_ticks(panel.dense + low, panel.dense + high)
        ),
        bits=_bits_labels(curves.bits, place),
        strokes=tuple(
            _stroke(curve, offset, place, height) for curve, offset in zip(panel.curves, offsets, strict=True)
        ),
    )


def mark(style: int, x: float, y: float) -> str:
    """Path data of a style's mark about a point: disc, square, triangle, diamond, triangle upside down."""
    r, wide = _REACH, _rounded(1.25 * _REACH)
    shapes = (
        f"M{_text(x - r)} {_text(y)}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{_text(x - r)} {_text(y - r)}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{_text(x)} {_text(y - wide)}l{wide} {2 * r}h{-2 * wide}z",
        f"M{_text(x)} {_text(y - wide)}l{wide} {wide}l{-wide} {wide}l{-wide} {-wide}z",
        f"M{_text(x)} {_text(y + wide)}l{wide} {-2 * r}h{-2 * wide}z",
    )
    return shapes[style % len(shapes)]


def _stroke(curve: Curve, aside: float, place: Callable[[float], float], height: Callable[[float], float]) -> Stroke:
    spots = [(place(point.bits) + aside, height(point.mean)) for point in curve.points]
    line = "L".join(f"{_text(x)} {_text(y)}" for x, y in spots)
    return Stroke(
        style=curve.style,
        published=curve.published,
        line=f"M{line}" if len(spots) > 1 else "",
        whiskers="".join(
            _whisker(x, height(max(point.deltas)), height(min(point.deltas)))
            for (x, _), point in zip(spots, curve.points, strict=True)
            if len(point.deltas) > 1
        ),
        marks="".join(mark(curve.style, x, y) for x, y in spots),
    )


def _whisker(x: float, high: float, low: float) -> str:
    return f"M{_text(x - 3)} {_text(high)}h6m-3 0V{_text(low)}m-3 0h6"


def _bits_axis(bits: Sequence[int]) -> Callable[[float], float]:
    """Where a number of bits stands: by its logarithm, for what halving saves is half at every width."""
    low, high = math.log2(bits[0]), math.log2(bits[-1])
    inner_left, inner_right = PLOT.left + _SIDE, PLOT.right - _SIDE

    def place(number: float) -> float:
        share = 0.5 if high == low else (math.log2(number) - low) / (high - low)
        return inner_left + (inner_right - inner_left) * share

    return place


def _bits_labels(bits: Sequence[int], place: Callable[[float], float]) -> tuple[tuple[float, str], ...]:
    """The numbers of bits below the plot; one that would touch the label before it is left out."""
    labels: list[tuple[float, str]] = []
    for number in bits:
        if not labels or place(number) - labels[-1][0] >= _LABEL_WIDTH:
            labels.append((_rounded(place(number)), str(number)))
    return tuple(labels)


def _offsets(curves: Sequence[Curve]) -> list[float]:
    """How far aside each line is moved, so that points of the same bits do not hide each other's whiskers."""
    middle = (len(curves) - 1) / 2
    step = min(_DODGE, 2.4 * _DODGE / max(1, len(curves) - 1))
    return [(place - middle) * step for place in range(len(curves))]


def _rounded(value: float) -> float:
    return round(value, 1)


def _text(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

"""Geometry of the report's small charts, in user units of an inline SVG; drawing is the template's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trust_tests.report.figures import signed

_LABEL_WIDTH = 40.0
_TICK_STEPS = (0.5, 1, 2, 5, 10, 20, 25, 50)
_MOST_TICKS = 6
OVERVIEW_SPAN = 2.4
"""Half the axis of a chart in the overview, in tolerances: every gate is drawn on the same axis."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The drawing area of a chart."""

    width: float = 128.0
    height: float = 18.0
    margin: float = 6.0

    @property
    def middle(self) -> float:
        """Where the dense model stands on the horizontal axis."""
        return self.width / 2


@dataclass(frozen=True, slots=True)
class DeltaChart:
    """A delta on an axis centred on the dense model.

    `band_left` and `band_width` are the tolerated band, `tip` is the variant. With `clipped` the delta lies
    beyond the axis, and the tip is an arrow at its end: −1 to the left, +1 to the right, 0 for none. `whisker` is
    where the delta's interval begins and ends, cut at the axis.
    """

    frame: Frame
    band_left: float
    band_width: float
    tip: float
    clipped: int
    whisker: tuple[float, float] | None = None

    @property
    def left(self) -> float:
        """The left end of the bar between dense model and variant."""
        return min(self.tip, self.frame.middle)

    @property
    def length(self) -> float:
        """The length of the bar between dense model and variant."""
        return round(abs(self.tip - self.frame.middle), 2)


def delta_chart(
    delta: float,
    tolerance: float,
    one_sided: bool = False,
    half_axis: float | None = None,
    frame: Frame | None = None,
    ends: tuple[float, float] | None = None,
) -> DeltaChart:
    """The chart of one delta (points) against ±tolerance (points), one-sided bands open to the right.

    `half_axis`, in points, is where the axis ends; by default 2.4 tolerances. `ends`, in points, are those of the
    delta's interval.
    """
    frame = frame or Frame()
    half_axis = half_axis or OVERVIEW_SPAN * tolerance
    reach = frame.middle - frame.margin

    def place(points: float) -> float:
        return round(frame.middle + reach * max(-1.0, min(1.0, points / half_axis)), 2)

    band_left = place(-tolerance)
    band_right = place(half_axis) if one_sided else place(tolerance)
    clipped = 0 if abs(delta) <= half_axis else (1 if delta > 0 else -1)
    whisker = None if ends is None else (place(ends[0]), place(ends[1]))
    return DeltaChart(frame, band_left, round(band_right - band_left, 2), place(delta), clipped, whisker)


def ruler(half_axis: float, tolerance: float, frame: Frame) -> list[tuple[float, str]]:
    """Where the axis of a large chart is labelled, and with which points: its ends, the tolerance and zero."""
    reach = (frame.middle - frame.margin) / half_axis
    # Labels that would touch are left out; the band shows the tolerance without them.
    marks = [0.0, -tolerance, tolerance] if tolerance * reach > _LABEL_WIDTH else [0.0]
    if (half_axis - tolerance) * reach > _LABEL_WIDTH:
        marks += [-half_axis, half_axis]
    return [(round(frame.middle + reach * mark, 2), signed(mark)) for mark in sorted(marks)]


@dataclass(frozen=True, slots=True)
class StripChart:
    """Many deltas on one axis, a tick each: SVG path data for those below, within and above the tolerated band."""

    frame: Frame
    band_left: float
    band_width: float
    below: str
    within: str
    above: str


def strip_chart(deltas: list[float], tolerance: float, one_sided: bool = False) -> StripChart:
    """The distribution of one gate's cells: ticks for deltas (points), on an axis that holds them all."""
    frame = Frame(width=420.0, height=30.0)
    ground = delta_chart(0.0, tolerance, one_sided, half_axis=shared_axis(deltas, tolerance), frame=frame)
    reach = (frame.middle - frame.margin) / shared_axis(deltas, tolerance)
    paths: dict[str, list[str]] = {"below": [], "within": [], "above": []}
    for delta in sorted(deltas):
        side = "below" if delta < -tolerance else "above" if delta > tolerance else "within"
        paths[side].append(f"M{frame.middle + reach * delta:.1f} 6v18")
    below, within, above = ("".join(path) for path in paths.values())
    return StripChart(frame, ground.band_left, ground.band_width, below, within, above)


def shared_axis(deltas: list[float], tolerance: float) -> float:
    """Half the axis, in points, on which all deltas of one gate's cells can be drawn."""
    return max([OVERVIEW_SPAN * tolerance, *(abs(delta) for delta in deltas)])


def shade(delta: float | None, tolerance: float) -> str:
    """The step of the diverging scale a delta falls on: `down-3` … `none` … `up-3`, `unknown` without a delta.

    Step 1 begins at a fifth of the tolerance, step 2 at three fifths, step 3 beyond the tolerance itself.
    """
    if delta is None:
        return "unknown"
    share = abs(delta) / tolerance
    step = 3 if share > 1 else sum(share > bound for bound in (0.2, 0.6))
    return "none" if step == 0 else f"{'up' if delta > 0 else 'down'}-{step}"


def score_ticks(low: float, high: float) -> list[float]:
    """Round scores between two scores, no more than six, none below 0 or above 100."""
    low, high = max(low, 0.0), min(high, 100.0)
    step = next((step for step in _TICK_STEPS if (high - low) / step < _MOST_TICKS), _TICK_STEPS[-1])
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(step * number) for number in range(first, last + 1)]

"""Score against bits: one line a method, one panel a dimension, as the paper's bit-width figure (Hong et al. 2024).

What is drawn is decided here, where it is drawn in `trust_tests.report.curves_drawing`. The paper's own curves, and
the smaller sibling of the base model, are drawn by their distance from the paper's dense model: a run of another
protocol has other scores, so only movements can be laid over each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from compressors.errors import CompressionError
from compressors.recipe import parse_recipe
from trust_tests.gate.verdict import Verdict
from trust_tests.report.figures import points
from trust_tests.report.heatmap import paper_order, short_title
from trust_tests.report.published import (
    PublishedResult,
    difference,
    paper_dense,
    published_groups,
    smaller_sibling,
)
from trust_tests.report.variants import compression
from trust_tests.report.view import Gate, Model, Report, Row

LINES_SHOWN = 8
"""Lines of a run in one panel; of more, those with most numbers of bits are drawn and the others counted."""
_LEAST_EXTENT = 1.5
# What varies along a line or within a point of it; a grid's symmetry follows from its bits.
_WITHIN_A_LINE = frozenset({"bits", "seed", "sym"})
_NOT_IN_A_NAME = re.compile(r"-\d+bit|-s\d+(?=-|\Z)|-sym=\w+")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One method at one number of bits: deltas in points, one for each variant (as a rule, calibration seed)."""

    bits: int
    deltas: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The plain mean of the deltas."""
        return fmean(self.deltas)


@dataclass(frozen=True, slots=True)
class Curve:
    """One method across bits, fewest bits first. style: which colour and mark it has in every panel."""

    name: str
    style: int
    published: bool
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One dimension. dense: its score, 0 to 100. tolerance: points. sibling: the smaller model's delta, points."""

    title: str
    dense: float
    tolerance: float
    one_sided: bool
    curves: tuple[Curve, ...]
    sibling: float | None

    @property
    def extent(self) -> tuple[float, float]:
        """The lowest and the highest delta that the panel has to show, points."""
        deltas = [delta for curve in self.curves for point in curve.points for delta in point.deltas]
        shown = [
            *deltas,
            *(side * _LEAST_EXTENT * self.tolerance for side in (-1, 1)),
            *([] if self.sibling is None else [self.sibling]),
        ]
        return min(shown), max(shown)


@dataclass(frozen=True, slots=True)
class LineName:
    """A line in the legend. published: whether it is the paper's."""

    name: str
    style: int
    published: bool


@dataclass(frozen=True, slots=True)
class BitCurves:
    """All panels of a run, and what they have in common.

    bits: every number of bits that occurs, ascending. sibling: the smaller model's name, empty for none. left_out: how
    many lines were not drawn.
    """

    bits: tuple[int, ...]
    panels: tuple[Panel, ...]
    names: tuple[LineName, ...]
    sibling: str
    left_out: int

    @property
    def spread(self) -> bool:
        """Whether a point stands for several variants anywhere."""
        return any(len(p.deltas) > 1 for panel in self.panels for curve in panel.curves for p in curve.points)

    @property
    def published(self) -> bool:
        """Whether anything of the paper is drawn."""
        return bool(self.sibling) or any(line.published for line in self.names)


@dataclass(frozen=True, slots=True)
class _Line:
    """Quantised variants that share everything but bits and seed: their places in the run's table, by bits."""

    name: str
    method: str
    places: Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Paper:
    """What the paper has for the base model: the dense model, quantised ones by method and bits, a smaller one."""

    dense: PublishedResult
    groups: Mapping[tuple[str, int], tuple[PublishedResult, ...]]
    sibling: PublishedResult | None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of its curves."""
        return tuple(dict.fromkeys(method for method, _ in self.groups))

    def curves(self, dimension: str, styles: Mapping[str, int]) -> list[Curve]:
        """One curve a method; none for a dimension that the paper does not have."""
        if dimension not in self.dense.scores:
            return []
        found: dict[str, list[CurvePoint]] = {}
        for (method, bits), rows in sorted(self.groups.items()):
            deltas = tuple(difference(row, self.dense, dimension) for row in rows)
            found.setdefault(method, []).append(CurvePoint(bits, deltas))
        return [Curve(method, styles[method], True, tuple(points)) for method, points in found.items()]

    def distance(self, dimension: str) -> float | None:
        """The smaller model's score minus the dense model's, points."""
        if self.sibling is None or dimension not in self.dense.scores:
            return None
        return difference(self.sibling, self.dense, dimension)


def bit_curves(report: Report, beside_paper: bool = True) -> BitCurves | None:
    """The curves of a run; None with fewer than two different numbers of bits among its quantised variants.

    beside_paper: whether the paper's curves are laid over those of a base model that it has. Gates with verdict ERROR
    and gates that were not run leave a gap.
    """
    lines = _lines(report)
    if len({bits for line in lines for bits in line.places}) < 2:
        return None
    fullest = sorted(lines, key=lambda line: -len(line.places))[:LINES_SHOWN]
    drawn = [line for line in lines if line in fullest]
    paper = _paper(report.dense.name, beside_paper)
    styles = _styles(drawn, () if paper is None else paper.methods)
    panels = []
    for row in paper_order(report.rows):
        own = [curve for style, line in enumerate(drawn) if (curve := _own_curve(line, style, row)).points]
        if own:
            panels.append(_panel(row, own, paper, styles))
    if not panels:
        return None
    published = () if paper is None else paper.methods
    return BitCurves(
        bits=tuple(sorted({point.bits for panel in panels for curve in panel.curves for point in curve.points})),
        panels=tuple(panels),
        names=(
            *(LineName(line.name, style, False) for style, line in enumerate(drawn)),
            *(LineName(method, styles[method], True) for method in published),
        ),
        sibling="" if paper is None or paper.sibling is None else paper.sibling.model,
        left_out=len(lines) - len(drawn),
    )


def spoken(panel: Panel) -> str:
    """A panel in words, for those who do not see it: scores by method and bits."""
    said = [f"{panel.title}: dense {points(panel.dense)}"]
    for curve in panel.curves:
        # The paper's points are given as they are drawn.
        found = ", ".join(f"{point.bits} bits {points(panel.dense + point.mean)}" for point in curve.points)
        said.append(f"{'published ' if curve.published else ''}{curve.name}: {found}")
    if panel.sibling is not None:
        said.append(f"published smaller model {points(panel.dense + panel.sibling)}")
    return "; ".join(said)


def _lines(report: Report) -> list[_Line]:
    """The run's quantised variants by what they have in common, in the order of the variants."""
    places: dict[tuple[str, object], dict[int, list[int]]] = {}
    first: dict[tuple[str, object], Model] = {}
    for place, model in enumerate(report.variants):
        how = compression(model, report.dense)
        if how.width:
            key = (how.method, _common(model))
            places.setdefault(key, {}).setdefault(how.width, []).append(place)
            first.setdefault(key, model)
    methods = Counter(method for method, _ in places)
    return [
        _Line(_line_name(key[0], first[key], methods[key[0]] > 1), key[0], dict(sorted(by_bits.items())))
        for key, by_bits in places.items()
    ]


def _common(model: Model) -> object:
    """What a line's variants share; finished checkpoints of one method are one line."""
    try:
        return tuple(item for item in parse_recipe(model.recipe).items if item[0] not in _WITHIN_A_LINE)
    except CompressionError:
        return None


def _line_name(method: str, model: Model, several: bool) -> str:
    """`gptq`, or where a run has several lines of that method, what tells this one from them: `gptq-g128`."""
    if not several:
        return method or "checkpoints"
    try:
        return _NOT_IN_A_NAME.sub("", parse_recipe(model.recipe).slug)
    except CompressionError:
        return f"{method or 'checkpoints'}, finished"


def _paper(base_model: str, curves: bool) -> _Paper | None:
    dense = paper_dense(base_model)
    if dense is None:
        return None
    groups = {
        (rows[0].method, rows[0].bits): rows
        for rows in published_groups(base_model)
        if curves and rows[0].bits is not None
    }
    return _Paper(dense, groups, smaller_sibling(base_model))


def _styles(drawn: Sequence[_Line], methods: Iterable[str]) -> dict[str, int]:
    """The style of each method: that of the run's first line of it, a new one for a method that the run has not."""
    styles: dict[str, int] = {}
    for style, line in enumerate(drawn):
        styles.setdefault(line.method, style)
    for place, method in enumerate(method for method in methods if method not in styles):
        styles[method] = len(drawn) + place
    return styles


def _own_curve(line: _Line, style: int, row: Row) -> Curve:
    found = []
    for bits, places in line.places.items():
        deltas = tuple(delta for place in places if (delta := _trusted(row.gates[place])) is not None)
        if deltas:
            found.append(CurvePoint(bits, deltas))
    return Curve(line.name, style, False, tuple(found))


def _trusted(gate: Gate | None) -> float | None:
    """A gate's delta; None where nobody should look at it."""
    return None if gate is None or gate.verdict is Verdict.ERROR or gate.dense_score is None else gate.delta


def _panel(row: Row, own: Sequence[Curve], paper: _Paper | None, styles: Mapping[str, int]) -> Panel:
    gates = [gate for gate in row.gates if _trusted(gate) is not None]
    first = next(gate for gate in gates if gate is not None)
    # Variants that were asked other items have other dense scores; what is drawn are deltas, so any of them will do.
    dense = first.dense_score if row.dense_score is None else row.dense_score
    curves = [] if paper is None else paper.curves(row.dimension, styles)
    return Panel(
        title=short_title(row),
        dense=dense or 0.0,
        tolerance=first.tolerance,
        one_sided=first.one_sided,
        curves=(*curves, *own),
        sibling=None if paper is None else paper.distance(row.dimension),
    )

"""The leaderboard: one row a model, dense, compressed and published, to be sorted by any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from trust_tests.gate.verdict import REFUSAL_SHIFT_POINTS, Verdict
from trust_tests.report.heatmap import HeatColumn, paper_order, short_title
from trust_tests.report.published import PublishedResult, difference, paper_dense, published_groups
from trust_tests.report.view import Gate, Model, Report, Row

RANK = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2, Verdict.ERROR: 3}
"""Verdicts from best to worst, as a column sorts them."""


class Origin(StrEnum):
    """Where a row's figures come from."""

    DENSE = "dense"
    VARIANT = "variant"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Result:
    """One model in one dimension: score 0 to 100, delta in points; None where nothing was measured or published."""

    score: float | None
    delta: float | None = None
    tolerance: float = 0.0
    anchor: str = ""

    @property
    def beyond(self) -> int:
        """−1 for a delta below the tolerated band, +1 for one above it, else 0."""
        if self.delta is None or abs(self.delta) <= self.tolerance:
            return 0
        return 1 if self.delta > 0 else -1


@dataclass(frozen=True, slots=True)
class Standing:
    """One model of the board.

    bits: per weight, as found in the checkpoint or as the paper says. sparsity: a fraction. size: bytes. mean: of the
    deltas in points, None where one is missing. worst: the delta furthest from the dense model, of those there are.
    refusals: the mean rate in percent. shifted: dimensions whose refusals moved by more than 10 points. seeds: how many
    published models the row is the mean of.
    """

    name: str
    origin: Origin
    verdict: Verdict | None
    bits: float | None
    sparsity: float | None
    size: float | None
    results: tuple[Result, ...]
    mean: float | None
    worst: float | None
    refusals: float | None
    shifted: int = 0
    seeds: int = 1

    @property
    def whole(self) -> bool:
        """Whether every dimension has a delta, or the model is a dense one."""
        return self.mean is not None


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """This run's models, and the paper's of the same base model; both with the smallest worst delta first."""

    columns: tuple[HeatColumn, ...]
    standings: tuple[Standing, ...]
    published: tuple[Standing, ...]


def leaderboard(report: Report, beside_paper: bool = True) -> Leaderboard:
    """The board of a run. beside_paper: whether the paper's rows for the same base model are part of it."""
    rows = paper_order(report.rows)
    places = range(len(report.variants))
    own = [_variant(report, place, rows) for place in places]
    return Leaderboard(
        columns=tuple(HeatColumn(short_title(row), row.title, row.dense_score) for row in rows),
        standings=(_dense(report.dense, rows), *ranked(own)),
        published=_published(report, rows) if beside_paper else (),
    )


def ranked(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """The smallest worst delta first; models that were not measured whole come after all that were."""
    return tuple(sorted(standings, key=lambda one: (not one.whole, one.worst is None, abs(one.worst or 0.0))))


def _dense(model: Model, rows: Sequence[Row]) -> Standing:
    gates = [next((gate for gate in row.gates if gate is not None), None) for row in rows]
    return Standing(
        name=model.name,
        origin=Origin.DENSE,
        verdict=None,
        bits=model.bits_per_weight,
        sparsity=model.sparsity,
        size=model.size_bytes,
        results=tuple(Result(row.dense_score) for row in rows),
        mean=0.0,
        worst=0.0,
        refusals=_mean([None if gate is None else gate.refusals.dense_rate for gate in gates]),
    )


def _variant(report: Report, place: int, rows: Sequence[Row]) -> Standing:
    model = report.variants[place]
    gates = [row.gates[place] for row in rows]
    results = tuple(map(_result, gates))
    mean, worst = _movement(results, report.one_sided)
    return Standing(
        name=model.name,
        origin=Origin.VARIANT,
        verdict=report.columns[place].verdict,
        bits=model.bits_per_weight,
        sparsity=model.sparsity,
        size=model.size_bytes,
        results=results,
        mean=mean,
        worst=worst,
        refusals=_mean([None if gate is None else gate.refusals.rate for gate in gates]),
        shifted=sum(gate is not None and gate.refusals.moved for gate in gates),
    )


def _result(gate: Gate | None) -> Result:
    if gate is None:
        return Result(None)
    if gate.verdict is Verdict.ERROR:
        return Result(None, anchor=gate.anchor)
    return Result(gate.score, gate.delta, gate.tolerance, gate.anchor)


def _movement(results: Sequence[Result], one_sided: bool) -> tuple[float | None, float | None]:
    """The mean delta (None where one is missing), and the furthest; with `one_sided` the lowest."""
    deltas = [result.delta for result in results if result.delta is not None]
    if not deltas:
        return None, None
    worst = min(deltas) if one_sided else max(deltas, key=abs)
    return fmean(deltas) if len(deltas) == len(results) else None, worst


def _mean(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if known else None


def _published(report: Report, rows: Sequence[Row]) -> tuple[Standing, ...]:
    dense = paper_dense(report.dense.name)
    if dense is None:
        return ()
    tolerance = report.tolerance or 0.0
    groups = [_paper_row(group, dense, rows, tolerance) for group in published_groups(report.dense.name)]
    return (_paper_row((dense,), dense, rows, tolerance), *ranked(groups))


def _paper_row(
    group: Sequence[PublishedResult], dense: PublishedResult, rows: Sequence[Row], tolerance: float
) -> Standing:
    first = group[0]
    results = []
    for row in rows:
        if row.dimension not in dense.scores:
            results.append(Result(None))
            continue
        score = fmean(member.scores[row.dimension] for member in group)
        delta = fmean(difference(member, dense, row.dimension) for member in group)
        results.append(Result(score, delta, tolerance))
    asked = [row.dimension for row in rows if row.dimension in dense.refusals]
    rates = {name: fmean(member.refusals[name] for member in group) for name in asked}
    known = [result for result in results if result.score is not None]
    mean, worst = _movement(known, one_sided=False)
    return Standing(
        name=_paper_name(first),
        origin=Origin.PUBLISHED,
        verdict=None,
        bits=None if first.bits is None else float(first.bits),
        # All of the paper's patterns leave half of the weights.
        sparsity=0.5 if first.pattern else None,
        size=None,
        results=tuple(results),
        mean=mean,
        worst=worst,
        refusals=_mean(list(rates.values())),
        shifted=sum(abs(rate - dense.refusals[name]) > REFUSAL_SHIFT_POINTS for name, rate in rates.items()),
        seeds=len(group),
    )


def _paper_name(row: PublishedResult) -> str:
    if row.bits is None and not row.pattern:
        return row.model
    return f"{row.method} {f'{row.bits} bit' if row.bits else row.pattern}"

"""A model's scores over its releases, read from a folder with one finished run for each of them.

Runs that are not whole (a shard, a run with tests that measured nothing, results that cannot be read) say nothing of a
release: they are left out, and named with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressors.errors import CompressionError
from compressors.recipe import parse_recipe
from trust_tests.gate.verdict import Verdict
from trust_tests.report.figures import count
from trust_tests.report.results import FILE_NAME
from trust_tests.report.runs import Difference, Ground, Run, RunError, began, differences, load_run
from trust_tests.report.view import Gate, Model, Row

LINES_SHOWN = 6
"""Variants in one panel; more lines cannot be told apart."""
_NUMBER = re.compile(r"(\d+)")
MEASURING = (Ground.QUESTIONS, Ground.ENGINE, Ground.MODEL)
"""Differences by which a score can move although the variant is the same."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A folder that is no release, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Series:
    """One variant in one dimension. gates: one for each release, None where it was not run there."""

    name: str
    style: int
    gates: tuple[Gate | None, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One dimension over the releases.

    dense: the dense score, and tolerance: the limit, points, for each release, None where it was not measured.
    breaks: the releases before which the measuring of this dimension changed.
    """

    dimension: str
    title: str
    dense: tuple[float | None, ...]
    tolerance: tuple[float | None, ...]
    one_sided: bool
    series: tuple[Series, ...]
    breaks: frozenset[int]


@dataclass(frozen=True, slots=True)
class Change:
    """What the measuring of a release differs in from that of the one before. place: of the later one."""

    place: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Everything that is shown of the releases, first to last.

    order: how they were ordered, in words. hidden: names of variants that are not drawn.
    """

    releases: tuple[Run, ...]
    order: str
    left_out: tuple[LeftOut, ...]
    panels: tuple[Panel, ...]
    changes: tuple[Change, ...]
    hidden: tuple[str, ...]


def read_trend(folder: Path, models: Sequence[str] = (), variants: Sequence[str] = ()) -> Trend:
    """Read every release in a folder: each sub-folder that holds results, or whose only sub-folder does.

    models, variants: names of those to show, by default all dense models and up to `LINES_SHOWN` variants. Raises
    RunError where the folder has no whole run, or none of such a model or variant.
    """
    if not folder.is_dir():
        raise RunError(f"{str(folder)!r}: no folder; give one with a sub-folder of results for each release")
    runs, left_out = _releases(folder)
    if models:
        others = [run for run in runs if not _of_model(run, models)]
        left_out += [LeftOut(run.name, f"of another dense model ({run.report.dense.full_name})") for run in others]
        known = ", ".join(dict.fromkeys(run.report.dense.full_name for run in runs)) or "none"
        runs = [run for run in runs if _of_model(run, models)]
        if not runs:
            raise RunError(f"--model {models[0]!r}: no release of it in {str(folder)!r}; there are {known}")
    if not runs:
        why = f" ({left_out[0].name}: {left_out[0].reason})" if left_out else ""
        raise RunError(f"{str(folder)!r}: no sub-folder holds the results of a whole run{why}")
    runs, order = _ordered(runs)
    changes = tuple(
        Change(place, found)
        for place in range(1, len(runs))
        if (found := tuple(d for d in differences(runs[place - 1], runs[place]) if d.ground is not Ground.PROGRAM))
    )
    lines, hidden = _lines(runs, variants)
    panels = tuple(_panel(row, runs, lines, changes) for row in _rows(runs))
    return Trend(tuple(runs), order, tuple(left_out), panels, changes, tuple(hidden))


def _releases(folder: Path) -> tuple[list[Run], list[LeftOut]]:
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for place in sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_natural):
        try:
            run = load_run(_results(place), place.name)
        except RunError as error:
            # The release is named already; what follows its path says why.
            left_out.append(LeftOut(place.name, str(error).rpartition("': ")[2]))
            continue
        reason = _not_whole(run)
        if reason:
            left_out.append(LeftOut(place.name, reason))
        else:
            runs.append(run)
    return runs, left_out


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Names as people order them: v1.9 before v1.10."""
    return [(piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in _NUMBER.split(path.name)]


def _results(place: Path) -> Path:
    """Where a release's results lie: in its folder, or in the only folder inside that has some."""
    if (place / FILE_NAME).is_file():
        return place
    inside = [file.parent for file in place.glob(f"*/{FILE_NAME}")]
    return inside[0] if len(inside) == 1 else place


def _not_whole(run: Run) -> str:
    """Why a run is not the whole of a release; empty where it is."""
    report = run.report
    if report.shard is not None:
        return f"shard {report.shard.name} of a run; merge the shards"
    if report.unmeasured:
        return f"not a whole run: {count(len(report.unmeasured), 'selected test')} measured nothing"
    measured = any(gate.verdict is not Verdict.ERROR for gate in report.gates)
    return "" if measured else "no gate was measured"


def _of_model(run: Run, names: Sequence[str]) -> bool:
    dense = run.report.dense
    return bool({dense.name, dense.full_name, run.report.settings.get("model", "")} & set(names))


def _ordered(runs: list[Run]) -> tuple[list[Run], str]:
    """The runs in their order, and how that was found."""
    times = {run.name: began(run) for run in runs}
    if len(runs) > 1 and all(time is not None for time in times.values()):
        return sorted(runs, key=lambda run: times[run.name] or 0.0), "by the time they began"
    # Results hold no clock: the folders' names are all there is.
    return runs, "by the names of their folders"


def _key(model: Model) -> str:
    """What makes variants of several releases one line: the recipe, else the name."""
    try:
        return str(parse_recipe(model.recipe)) if model.recipe else model.id
    except CompressionError:
        return model.id


def _lines(runs: Sequence[Run], wanted: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The variants to draw, as names by key, those of the latest release first; and the names of the others."""
    known: dict[str, Model] = {}
    for run in reversed(runs):
        for model in run.report.variants:
            known.setdefault(_key(model), model)
    if wanted:
        chosen: dict[str, Model] = {}
        for name in wanted:
            found = {k: m for k, m in known.items() if name in (m.id, m.name, m.full_name, m.recipe, k)}
            if not found:
                there = ", ".join(model.id for model in known.values())
                raise RunError(f"--variant {name!r}: no release has it; there are {there}")
            chosen |= found
        return {key: model.name for key, model in chosen.items()}, []
    names = {key: model.name for key, model in known.items()}
    keys = list(names)
    return {key: names[key] for key in keys[:LINES_SHOWN]}, [names[key] for key in keys[LINES_SHOWN:]]


def _rows(runs: Sequence[Run]) -> list[Row]:
    """The dimensions, in the order of the latest release, then those that only earlier ones have."""
    rows: dict[str, Row] = {}
    for run in reversed(runs):
        for row in run.report.rows:
            rows.setdefault(row.dimension, row)
    return list(rows.values())


def _panel(row: Row, runs: Sequence[Run], lines: dict[str, str], changes: Sequence[Change]) -> Panel:
    name = row.dimension
    by_release = [{g.variant: g for g in run.report.gates if g.dimension == name} for run in runs]
    series = []
    for style, (key, shown) in enumerate(lines.items()):
        gates = []
        for run, there in zip(runs, by_release, strict=True):
            ids = [model.id for model in run.report.variants if _key(model) == key]
            gates.append(next((there[identity] for identity in ids if identity in there), None))
        if any(gates):
            series.append(Series(shown, style, tuple(gates)))
    known = [list(there.values()) for there in by_release]
    return Panel(
        dimension=name,
        title=row.title,
        dense=tuple(next((g.dense_score for g in gates if g.dense_score is not None), None) for gates in known),
        tolerance=tuple(gates[0].tolerance if gates else None for gates in known),
        one_sided=any(gate.one_sided for gates in known for gate in gates),
        series=tuple(series),
        breaks=frozenset(change.place for change in changes if _concerns(change, row.title)),
    )


def _concerns(change: Change, title: str) -> bool:
    """Whether a change of measuring can have moved this dimension."""
    return any(d.ground in MEASURING and (not d.dimensions or title in d.dimensions) for d in change.differences)

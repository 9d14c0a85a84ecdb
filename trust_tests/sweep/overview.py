"""The sweep's overview, made from the tasks' folders alone: sweep.json, index.html, and the table in the terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from compressors.files import write_atomically
from trust_tests.gate.verdict import Verdict, suite_verdict
from trust_tests.report import html
from trust_tests.report.charts import shade
from trust_tests.report.figures import MINUS, MISSING, count, signed
from trust_tests.report.text import defused, display_width, fitted, label
from trust_tests.sweep.insights import REPORT, Insights, insights
from trust_tests.sweep.record import LOG, RECORD, Outcome, outcome
from trust_tests.sweep.tasks import Task

SCHEMA = "trust-gate/sweep"
VERSION = 1
FILE_NAME = "sweep.json"
PAGE = "index.html"
_NAME_COLUMNS = 44


@dataclass(frozen=True, slots=True)
class Cell:
    """One dimension of one variant; `delta` in points, None where nothing was measured."""

    verdict: Verdict
    delta: float | None
    score: float | None
    tolerance: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One variant, or a dense model that could not be measured. Links are relative to the page, empty without one."""

    model: str
    variant: str
    recipe: str
    verdict: Verdict
    reason: str
    cells: Mapping[str, Cell]
    report: str
    log: str

    @property
    def passed(self) -> int:
        """Dimensions that pass."""
        return sum(cell.verdict is Verdict.PASS for cell in self.cells.values())


@dataclass(frozen=True, slots=True)
class Overview:
    """All variants of a sweep, in the order of its file.

    faults: the dense models that were not measured whole. insights: what each model's variants show together.
    """

    verdict: Verdict
    dimensions: tuple[str, ...]
    lines: tuple[Line, ...]
    faults: tuple[Line, ...]
    insights: tuple[Insights, ...] = ()

    @property
    def headline(self) -> str:
        """What became of the sweep, in one sentence."""
        found = [line.verdict for line in self.lines]
        shown = {
            Verdict.PASS: "pass",
            Verdict.FAIL: "regressed",
            Verdict.INCONCLUSIVE: "undecided",
            Verdict.ERROR: "not measured whole",
        }
        parts = [f"{found.count(verdict)} {word}" for verdict, word in shown.items() if verdict in found]
        return f"{count(len(found), 'variant')}: {', '.join(parts) or 'nothing was measured'}"


def overview(tasks: Sequence[Task], refused: Mapping[str, str], root: Path, *, with_insights: bool = False) -> Overview:
    """Read what every task left behind.

    refused: why tasks were not begun, by id. root: the sweep's results folder. with_insights: whether to say what the
    variants show together; while tasks are still to run, that would be said too early.
    """
    lines, faults = [], []
    for task in tasks:
        found = outcome(task)
        line = _line(task, found, refused.get(task.id) or found.reason, root)
        if not task.dense:
            lines.append(line)
        elif not found.finished:
            faults.append(line)
    dimensions = tuple(dict.fromkeys(name for task in tasks for name in task.dimensions))
    # A task that failed is never green, even where its variants asked the dense model themselves.
    verdict = suite_verdict((line.verdict for line in lines), len(faults))
    shown = insights(tasks, root) if with_insights else ()
    return Overview(verdict, dimensions, tuple(lines), tuple(faults), shown)


def _line(task: Task, found: Outcome, reason: str, root: Path) -> Line:
    folder = task.folder.relative_to(root).as_posix()
    cells = {name: _cell(found.gates[name]) for name in task.dimensions if name in found.gates}
    return Line(
        task.model,
        task.variant,
        task.source,
        found.verdict,
        reason if found.verdict is Verdict.ERROR else "",
        cells,
        quote(f"{folder}/{REPORT}") if cells and (task.folder / REPORT).is_file() else "",
        quote(f"{folder}/{LOG}") if (task.folder / LOG).is_file() else "",
    )


def _cell(gate: Mapping[str, Any]) -> Cell:
    return Cell(
        Verdict(gate["verdict"]),
        _number(gate.get("delta")),
        _number(gate.get("score")),
        _number(gate.get("tolerance")),
        str(gate.get("reason", "")),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def document(found: Overview) -> dict[str, Any]:
    """The overview as plain JSON; without a clock, so that the same outcomes give the same bytes."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "verdict": found.verdict.value,
        "headline": found.headline,
        "dimensions": list(found.dimensions),
        "variants": [_plain(line) for line in found.lines],
        "dense_faults": [_plain(line) for line in found.faults],
        "shows": [
            {"model": one.model, "topic": finding.topic, "text": finding.text}
            for one in found.insights
            for finding in one.findings
        ],
    }


def _plain(line: Line) -> dict[str, Any]:
    return {
        "model": line.model,
        "variant": line.variant,
        "recipe": line.recipe,
        "verdict": line.verdict.value,
        "reason": line.reason,
        "report": line.report,
        "log": line.log,
        "dimensions": {
            name: {"verdict": cell.verdict.value, "score": cell.score, "delta": cell.delta, "reason": cell.reason}
            for name, cell in line.cells.items()
        },
    }


def write_overview(found: Overview, root: Path, title: str) -> None:
    """Write sweep.json and index.html into the sweep's results folder."""
    text = json.dumps(document(found), indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    write_atomically(root / FILE_NAME, text)
    write_atomically(root / PAGE, render(found, title))


def render(found: Overview, title: str) -> str:
    """The overview as one self-contained HTML file, with nothing loaded from elsewhere."""
    return html.render_template(
        "sweep.html",
        found=found,
        title=title,
        models=[
            (model, [line for line in found.lines if line.model == model])
            for model in dict.fromkeys(line.model for line in found.lines)
        ],
        record_name=RECORD,
        shade_of=_shade,
    )


def _shade(cell: Cell) -> str:
    return shade(cell.delta, cell.tolerance) if cell.delta is not None and cell.tolerance else ""


def table(found: Overview, width: int) -> list[str]:
    """The overview for a terminal: a line for each variant, its verdict first, then what did not pass."""
    lines = [f"{found.verdict.value}: {found.headline}", ""]
    names = [label(f"{line.model} · {line.variant}", 120) for line in found.lines]
    first = min(max(map(display_width, names), default=0), _NAME_COLUMNS)
    for name, line in zip(names, found.lines, strict=True):
        failing = [
            f"{dimension} {signed(cell.delta, cell.tolerance) if cell.delta is not None else cell.verdict.value}"
            for dimension, cell in line.cells.items()
            if cell.verdict is not Verdict.PASS
        ]
        told = line.reason or ", ".join(failing)
        passed = f"{line.passed} of {len(found.dimensions)}"
        row = f"{line.verdict.value:<12} {fitted(name, first)}  {passed:>8} pass  {label(told, 300)}".rstrip()
        row = row.replace(MINUS, "-").replace(MISSING, "-")
        lines.append(defused(fitted(row, max(width, 60)).rstrip()))
    lines += [
        defused(label(f"dense model {line.model} not measured whole: {line.reason}", 300)) for line in found.faults
    ]
    for one in found.insights:
        name = f"{label(one.model, 80)}: " if len(found.insights) > 1 else ""
        for finding in one.findings:
            text = f"{name}{finding.text}".replace(MINUS, "-").replace("→", ">")
            lines += map(defused, textwrap.wrap(text, max(width, 60), subsequent_indent="  "))
    return lines

"""The report as one self-contained HTML file: no external load, and no trust in any text it shows.

Four layers keep hostile text inert: Jinja2 escapes every value; the environment's `finalize` spells out invisible
characters in every value, so no template can forget to; the content security policy allows the one stylesheet and
the one script by their hashes and nothing else; and that script makes no markup of any text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup

from trust_tests.gate.verdict import Verdict
from trust_tests.records import Channel
from trust_tests.report import advice, budget, charts, confidence, details, figures, overview, tricks
from trust_tests.report.reading import read
from trust_tests.report.text import clip, cut_line, label, visible, word_diff
from trust_tests.report.view import DENSE, Accounting, Gate, Report, Row

_TEMPLATES = Path(__file__).parent / "templates"

QUOTE_LIMIT = 120
COMMAND_LIMIT = 8_000
"""Characters of the command; a shorter one could not be copied whole."""
LEDGER_SHOWN = 30
"""Lines of the accounting up to which all are shown; of a longer one only those with losses, the whole is folded."""
HEAT_MAP_FROM = 5
"""Variants from which the overview is a heat map: a chart in every cell would no longer fit a screen."""

SYMBOLS: Mapping[Verdict, str] = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✕",
    Verdict.ERROR: "!",
    Verdict.INCONCLUSIVE: "?",
}
_WIDE = charts.Frame(width=420.0, height=30.0, margin=24.0)
_FACTS = ("model", "tier", "protocol", "tolerance", "baseline", "engine", "dtype", "device")


def render_html(data: Mapping[str, object]) -> str:
    """The report of stored results (`results.json`) as a complete HTML document.

    It takes at most `budget.PAGE_LIMIT` bytes, as long as the frame of its tables does: details that it has no room
    for are left out, and said to be. Raises `fields.ShapeError` where the results do not have their documented shape.
    """
    report = read(data)
    ledger = [line for row in report.rows for line in _ledger(row)]
    gates = details.ranked(report)
    page = render_template(
        "report.html",
        report=report,
        headline=advice.headline(report, _quoted),
        next_step=advice.next_step(report, _quoted),
        facts=_facts(report),
        shard_note=advice.shard_note(report),
        suite_note=confidence.suite_note(report),
        doubt_note=confidence.doubt_note(report),
        unfit_note=confidence.unfit_note(report, _quoted),
        ledger=ledger,
        lost=[line for line in ledger if line.lost],
        sections=details.sections(report, gates),
        opened=details.opened(gates),
        failing=sum(gate.verdict is not Verdict.PASS for gate in gates),
        paper=any(gate.published is not None for gate in gates),
        shows=tricks.findings(report, _quoted),
    )
    return details.filled(page, report, gates, _environment().get_template("gates.html").module)


def render_template(name: str, **values: object) -> str:
    """Another page of the same make, from its template: same escaping, stylesheet, script and policy."""
    stylesheet, script = _stylesheet(), _script()
    return (
        _environment()
        .get_template(name)
        .render(
            stylesheet=Markup(stylesheet),  # noqa: S704 - our own files, and the policy below names their hashes
            script=Markup(script),  # noqa: S704
            policy=content_security_policy(stylesheet, script),
            **values,
        )
    )


def content_security_policy(stylesheet: str, script: str) -> str:
    """A policy that allows one inline stylesheet and one inline script, by their hashes, and denies everything else."""
    return (
        f"default-src 'none'; style-src '{_digest(stylesheet)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _stylesheet() -> str:
    # The page's own first: those of its parts may refine it.
    files = sorted(_TEMPLATES.glob("*.css"), key=lambda file: (file.name != "report.css", file.name))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@cache
def _script() -> str:
    return (_TEMPLATES / "report.js").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": figures.signed,
        "points": figures.points,
        "percent": figures.percent,
        "plain": figures.plain,
        "size": figures.size,
        "clip": clip,
        "cut_line": cut_line,
        "label": label,
        "ranged_signed": partial(figures.ranged, form=figures.signed),
    }
    environment.globals |= {
        "Verdict": Verdict,
        "channels": tuple(Channel),
        "count": figures.count,
        "symbols": SYMBOLS,
        "delta_chart": charts.delta_chart,
        "strip_chart": charts.strip_chart,
        "wide_chart": _wide_chart,
        "ruler": charts.ruler,
        "confidence": confidence,
        "reach": figures.reach,
        "cells_axis": _cells_axis,
        "cells_note": advice.cells_note,
        "published_note": partial(advice.published_note, quote=_quoted),
        "span": figures.span,
        "points": figures.points,
        "signed": figures.signed,
        "published_refusals": figures.published_refusals,
        "shade": charts.shade,
        "word_diff": word_diff,
        "limits": {
            "page": budget.PAGE_LIMIT,
            "command": COMMAND_LIMIT,
            "cells": details.CELLS_LIMIT,
            "cells_shown": details.CELLS_SHOWN,
            "gates_open": details.GATES_OPEN,
            "charts": details.CHARTS_SHOWN,
            "ledger": LEDGER_SHOWN,
            "heat_map": HEAT_MAP_FROM,
        },
    }
    environment.globals |= overview.GLOBALS
    return environment


def _shown(value: object) -> object:
    """What a template may print: markup of its own, numbers, and text made visible."""
    if isinstance(value, Markup | Undefined):
        return value
    if value is None:
        raise TypeError("a template printed None; give the value a form first")
    return visible(str(value))


def _quoted(text: str) -> str:
    return label(text, QUOTE_LIMIT)


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = []
    for name in _FACTS:
        if name not in report.settings:
            continue
        value = report.settings[name]
        if name == "tolerance" and report.tolerance is not None:
            value = f"{'−' if report.one_sided else '±'}{figures.plain(report.tolerance)} points"
        facts.append((name.capitalize(), value))
    return [*facts, *advice.data_facts(report)]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """How one model's items ended in one dimension."""

    title: str
    side: str
    counts: Accounting

    @property
    def lost(self) -> bool:
        """Whether anything asked has no value, or nothing was asked."""
        return bool(self.counts.unmeasured) or not self.counts.asked


def _ledger(row: Row) -> list[LedgerLine]:
    """The accounting lines of a dimension: the dense model once, unless its counts differ between gates."""
    lines: list[LedgerLine] = []
    dense_seen = []
    for gate in row.gates:
        if gate is None:
            continue
        for side, accounting in gate.accounting.items():
            if side == DENSE:
                if accounting in dense_seen:
                    continue
                dense_seen.append(accounting)
            name = DENSE if side == DENSE else gate.variant_name
            lines.append(LedgerLine(row.title, name, accounting))
    return lines


def _wide_chart(gate: Gate) -> tuple[charts.DeltaChart, list[tuple[float, str]]]:
    """A gate's delta and interval on an axis that holds both, and the axis's labels."""
    interval = gate.evidence.interval
    ends = None if interval is None else (interval.low, interval.high)
    delta = gate.delta or 0.0
    half_axis = charts.shared_axis([delta, *(ends or ())], gate.tolerance)
    chart = charts.delta_chart(delta, gate.tolerance, gate.one_sided, half_axis, _WIDE, ends)
    return chart, charts.ruler(half_axis, gate.tolerance, _WIDE)


def _cells_axis(gate: Gate) -> float:
    return charts.shared_axis([cell.delta for cell in gate.cells if cell.delta is not None], gate.tolerance)

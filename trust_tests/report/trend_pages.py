"""A trend over releases as an HTML page, as Markdown, as text for a terminal and as plain JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from trust_tests.report import html, trend_drawing
from trust_tests.report.advice import Quote
from trust_tests.report.comparing import fate
from trust_tests.report.figures import MINUS, MISSING, count, listed, points, signed
from trust_tests.report.markdown import code
from trust_tests.report.text import defused, display_width, fitted, label
from trust_tests.report.trend import LINES_SHOWN, Change, Panel, Series, Trend
from trust_tests.report.view import Gate

SCHEMA = "trust-gate/trend"
VERSION = 1
_QUOTE_LIMIT = 80
_NAME_COLUMNS = 28
_CELL = 20


def headline(found: Trend, quote: Quote) -> str:
    """Where the latest release stands, and what got worse since the one before."""
    last = found.releases[-1]
    gates = last.report.gates
    passed = sum(gate.green for gate in gates)
    said = f"{quote(last.name)}, the latest of {count(len(found.releases), 'release')}: "
    said += f"{passed} of {count(len(gates), 'gate')} {'passes' if passed == 1 else 'pass'}"
    if len(found.releases) < 2:
        return said
    before = quote(found.releases[-2].name)
    worse = [
        f"{quote(panel.title)} on {quote(series.name)}"
        for panel in found.panels
        for series in panel.series
        if fate(series.gates[-2], series.gates[-1]).bad
    ]
    what = f"{len(worse)} got worse since {before}: {listed(worse)}" if worse else f"none got worse since {before}"
    return f"{said}; {what}"


def notes(found: Trend, quote: Quote) -> Iterator[str]:
    """How the releases were ordered, what was left out, and where the measuring changed between two of them."""
    yield f"releases are ordered {found.order}"
    for change in found.changes:
        yield f"between {change_name(found, change, quote)}, {_changed(change, quote)}"
    for one in found.left_out:
        # In parts, for a quotation is cut where it is long.
        reason = "; ".join(quote(part) for part in one.reason.split("; "))
        yield f"left out: {quote(one.name)}, {reason}"
    if found.hidden:
        names = listed([quote(name) for name in found.hidden], limit=8)
        yield f"not drawn: {names}; at most {LINES_SHOWN} variants are, name others with --variant"


def change_name(found: Trend, change: Change, quote: Quote) -> str:
    """The two releases between which the measuring changed."""
    first, second = (found.releases[place].name for place in (change.place - 1, change.place))
    return f"{quote(first)} and {quote(second)}"


def _changed(change: Change, quote: Quote) -> str:
    by_ground: dict[str, list[str]] = {}
    for one in change.differences:
        by_ground.setdefault(one.ground.value, []).append(one.sentence(quote))
    return "; ".join(f"{ground} ({'; '.join(said)})" for ground, said in by_ground.items())


def cell(gate: Gate | None) -> str:
    """A gate in a table: `62.2 (−12.4) FAIL`."""
    if gate is None:
        return "not run"
    if gate.score is None or gate.delta is None:
        return gate.verdict.value
    return f"{points(gate.score)} ({signed(gate.delta, gate.tolerance)}) {gate.verdict.value}"


def _lines(found: Trend) -> Iterator[tuple[Panel, Series]]:
    for panel in found.panels:
        for series in panel.series:
            yield panel, series


def render_text(found: Trend, width: int = 100) -> str:
    """The trend for a terminal, at least 60 columns wide: of many releases, the latest that fit."""
    width = max(60, width)
    lines = _wrapped(headline(found, _plain), width)
    for note in notes(found, _plain):
        lines += _wrapped(f"note: {note}", width)
    names = [[label(panel.title, 80), label(series.name, 80)] for panel, series in _lines(found)]
    first, second = (
        max(len(head), min(max((display_width(name[place]) for name in names), default=0), _NAME_COLUMNS))
        for place, head in enumerate(("dimension", "variant"))
    )
    fit = max(1, (width - first - second - 2) // (_CELL + 1))
    shown = list(range(len(found.releases)))[-fit:]
    if len(shown) < len(found.releases):
        earlier = count(len(found.releases) - len(shown), "earlier release")
        lines += _wrapped(f"note: {earlier} not shown; widen the terminal, or use --format html", width)
    heads = " ".join(fitted(label(found.releases[place].name, 80), _CELL) for place in shown)
    lines += ["", defused(f"{fitted('dimension', first)} {fitted('variant', second)} {heads}".rstrip())]
    title = None
    for panel, series in _lines(found):
        name = "" if panel.title == title else label(panel.title, 80)
        title = panel.title
        cells = " ".join(fitted(_ascii(cell(series.gates[place])), _CELL) for place in shown)
        lines.append(defused(f"{fitted(name, first)} {fitted(label(series.name, 80), second)} {cells}".rstrip()))
    return "".join(f"{line}\n" for line in lines)


def _plain(text: str) -> str:
    return label(text, _QUOTE_LIMIT)


def _ascii(text: str) -> str:
    return text.replace(MINUS, "-").replace(MISSING, "-").replace("→", ">")


def _wrapped(text: str, width: int) -> list[str]:
    return [defused(line) for line in textwrap.wrap(_ascii(text), width, subsequent_indent="  ")]


def render_markdown(found: Trend) -> str:
    """The trend as Markdown: the headline, what to know before comparing, and a table."""
    heads = ["Dimension", "Variant", *(code(run.name, 60) for run in found.releases)]
    rows = [
        [code(panel.title, 60), code(series.name, 60), *(cell(gate) for gate in series.gates)]
        for panel, series in _lines(found)
    ]
    blocks = [
        f"## {headline(found, code)}",
        "\n".join(f"- {note}" for note in notes(found, code)),
        "\n".join(f"| {' | '.join(row)} |" for row in (heads, [":--"] * len(heads), *rows)),
    ]
    return "\n".join(defused(line) for line in "\n\n".join(blocks).split("\n")) + "\n"


def render_html(found: Trend) -> str:
    """The trend as one self-contained HTML file: a panel for each dimension, and the figures below."""
    names = {series.style: series.name for _, series in _lines(found)}
    return html.render_template(
        "trend.html",
        found=found,
        headline=headline(found, _plain),
        verdict=found.releases[-1].report.verdict,
        notes=list(notes(found, _plain)),
        names=[(style, names[style]) for style in sorted(names)],
        draw=trend_drawing.draw,
        spoken=trend_drawing.spoken,
        area=trend_drawing.AREA,
        cell=cell,
    )


def document(found: Trend) -> dict[str, Any]:
    """The trend as plain JSON; numbers that do not exist are null."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "order": found.order,
        "releases": [{"name": run.name, "verdict": run.report.verdict.value} for run in found.releases],
        "left_out": [{"name": one.name, "reason": one.reason} for one in found.left_out],
        "not_drawn": list(found.hidden),
        "measuring_changed": [
            {
                "before": found.releases[change.place - 1].name,
                "after": found.releases[change.place].name,
                "differences": [
                    {
                        "means": one.ground.name.lower(),
                        "what": one.what,
                        "before": one.before or None,
                        "after": one.after or None,
                        "dimensions": list(one.dimensions),
                    }
                    for one in change.differences
                ],
            }
            for change in found.changes
        ],
        "dimensions": [_panel(panel) for panel in found.panels],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "dimension": panel.dimension,
        "title": panel.title,
        "dense": list(panel.dense),
        "tolerance": list(panel.tolerance),
        "variants": [
            {
                "name": series.name,
                "gates": [
                    None if gate is None else {"verdict": gate.verdict.value, "score": gate.score, "delta": gate.delta}
                    for gate in series.gates
                ],
            }
            for series in panel.series
        ],
    }

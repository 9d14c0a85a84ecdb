"""A comparison of two runs as text for a terminal, as Markdown, as an HTML page and as plain JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from trust_tests.exitcodes import ExitCode
from trust_tests.gate.verdict import Verdict
from trust_tests.report import html
from trust_tests.report.advice import Quote
from trust_tests.report.comparing import Comparison, Fate, Line
from trust_tests.report.figures import MINUS, MISSING, chance, count, listed, points, reach, signed
from trust_tests.report.item_changes import Paired
from trust_tests.report.markdown import code
from trust_tests.report.runs import Ground, Run
from trust_tests.report.text import defused, display_width, fitted, label
from trust_tests.report.view import Gate

SCHEMA = "trust-gate/comparison"
VERSION = 1
WORDS: Mapping[ExitCode, str] = {
    ExitCode.PASS: "NOT WORSE",
    ExitCode.REGRESSION: "WORSE",
    ExitCode.UNMEASURED: "NOT MEASURED",
    ExitCode.INCONCLUSIVE: "UNDECIDED",
}
VERDICTS: Mapping[ExitCode, Verdict] = {
    ExitCode.PASS: Verdict.PASS,
    ExitCode.REGRESSION: Verdict.FAIL,
    ExitCode.UNMEASURED: Verdict.ERROR,
    ExitCode.INCONCLUSIVE: Verdict.INCONCLUSIVE,
}
"""The verdict whose colour and symbol the comparison has."""
_NAME_COLUMNS = 30
_TABLE_FROM = 100
"""Columns of a terminal from which a gate fits on one line."""
_MARKDOWN_ROWS = 300
_QUOTE_LIMIT = 80


def headline(found: Comparison, quote: Quote) -> str:
    """What became of the gates, in one sentence."""
    total = count(sum(line.before is not None for line in found.lines), "gate")
    parts: list[str] = []
    for fates, what in (
        ((Fate.LOST,), "not measured any more"),
        ((Fate.WORSE, Fate.FELL), "got worse"),
        ((Fate.BETTER,), "got better"),
        ((Fate.ROSE,), "rose beyond the tolerance"),
    ):
        lines = found.having(*fates)
        if lines:
            said = f"{len(lines)} {what}" if parts else f"{len(lines)} of {total} {what}"
            names = listed([_short(line, quote) for line in lines], limit=2)
            parts.append(f"{said}: {names}" if fates[0].bad else said)
    new = found.having(Fate.NEW)
    if new:
        parts.append(f"{len(new)} new")
    if not any(line.fate.bad for line in found.lines):
        parts.insert(0, f"None of {total} got worse")
    return "; ".join(parts)


def _short(line: Line, quote: Quote) -> str:
    change = line.score_change
    moved = [] if change is None else [signed(change, _tolerance(line))]
    shown = [verdicts(line), *moved] if line.fate is Fate.WORSE else moved
    return f"{quote(line.title)} on {quote(line.variant)}" + (f" ({', '.join(shown)})" if shown else "")


def _tolerance(line: Line) -> float | None:
    gate = line.after or line.before
    return None if gate is None else gate.tolerance


def notes(found: Comparison, quote: Quote) -> Iterator[str]:
    """What a reader must know before any figure: differences of measuring, doubtful matches, what has no partner."""
    for ground in (Ground.QUESTIONS, Ground.ENGINE, Ground.MODEL, Ground.RULE):
        said = [one.sentence(quote) for one in found.differences if one.ground is ground]
        if said:
            yield f"{ground.value} ({'; '.join(said)})"
    if found.dense_moved:
        moved = [f"{quote(title)} {points(before)} → {points(after)}" for title, before, after in found.dense_moved]
        yield f"the dense model itself has other scores: {listed(moved, limit=4)}"
    for run in (found.before, found.after):
        if run.report.shard is not None:
            yield f"{quote(run.name)} is shard {run.report.shard.name} of a run; merge the shards before comparing"
    for pair in found.pairs:
        if pair.note:
            yield f"{quote(pair.before.id)} and {quote(pair.after.id)} are taken for the same: {pair.note}"
    for models, run in ((found.only_before, found.before), (found.only_after, found.after)):
        if models:
            yield f"only in {quote(run.name)}: {listed([quote(model.id) for model in models], limit=8)}"
    programs = [one.sentence(quote) for one in found.differences if one.ground is Ground.PROGRAM]
    if programs:
        yield f"{Ground.PROGRAM.value} ({'; '.join(programs)})"


def verdicts(line: Line, arrow: str = "→") -> str:
    """A gate's two verdicts: `PASS → FAIL`; one word where they are the same."""
    one, other = (gate.verdict.value if gate is not None else "not run" for gate in (line.before, line.after))
    return one if one == other else f"{one} {arrow} {other}"


def scores(line: Line, arrow: str = "→") -> str:
    """A gate's two scores: `76.3 → 62.2`."""
    one, other = (points(_score(gate)) for gate in (line.before, line.after))
    return f"{one} {arrow} {other}"


def _score(gate: Gate | None) -> float | None:
    return None if gate is None else gate.score


def deltas(line: Line) -> str:
    """A gate's two deltas against the dense model of its own run: `+1.7 → −12.4`; empty where one has none."""
    if line.before is None or line.after is None or line.delta_change is None:
        return ""
    return " → ".join(signed(gate.delta, gate.tolerance) for gate in (line.before, line.after))


def flips(found: Paired | None) -> str:
    """The answers that flipped: `−12 +3 of 160`; empty where answers were not compared."""
    return "" if found is None else f"{MINUS}{found.worse} +{found.better} of {found.items:,}"


def evidence(found: Paired | None) -> str:
    """Whether the change is more than chance, and the interval for it; or why there is none."""
    if found is None:
        return ""
    parts = [] if math.isnan(found.p) else [f"McNemar {chance(found.p)}"]
    if found.interval is not None:
        level = f"{100 * found.interval.confidence:.4g} %"
        parts.append(f"{level} interval {reach(found.interval.low, found.interval.high)}")
    elif found.note:
        parts.append(f"no interval: {found.note}")
    return ", ".join(parts)


def render_text(found: Comparison, width: int = 100) -> str:
    """The comparison for a terminal, at least 60 columns wide; no colours, no control characters."""
    width = max(60, width)
    lines = _wrapped(f"{WORDS[found.exit_code]}: {headline(found, _plain)}", width)
    lines += [*_about("A", found.before, width), *_about("B", found.after, width)]
    for note in notes(found, _plain):
        lines += _wrapped(f"note: {note}", width)
    lines.append("")
    lines += list(_table(found, width) if width >= _TABLE_FROM else _list(found, width))
    return "".join(f"{line}\n" for line in lines)


def _plain(text: str) -> str:
    return label(text, _QUOTE_LIMIT)


def _ascii(text: str) -> str:
    return text.replace(MINUS, "-").replace(MISSING, "-").replace("→", ">")


def _wrapped(text: str, width: int) -> list[str]:
    return [defused(line) for line in textwrap.wrap(_ascii(text), width, subsequent_indent="  ")]


def _about(letter: str, run: Run, width: int) -> list[str]:
    return _wrapped(f"{letter}: {_plain(run.name)}, {about(run, _plain)}", width)


def about(run: Run, quote: Quote) -> str:
    """A run in a few words: its verdict, model, protocol, tier and how many variants it has."""
    known = [run.report.settings.get(key) for key in ("model", "protocol", "tier")]
    facts = [quote(value) for value in known if value]
    return ", ".join([run.report.verdict.value, *facts, count(len(run.report.variants), "variant")])


def _table(found: Comparison, width: int) -> Iterator[str]:
    names = [[label(name, 200) for name in column] for column in zip(*_names(found), strict=True)]
    widths = [min(max(map(display_width, column), default=0), _NAME_COLUMNS) for column in names]
    widths = [max(size, len(head)) for size, head in zip(widths, ("dimension", "variant"), strict=True)]
    heads = _columns("", "verdict", "score", "change", "flips")
    yield f"{heads[0]} {fitted('dimension', widths[0])} {fitted('variant', widths[1])} {heads[1]}".rstrip()
    for line, title, variant in zip(found.lines, *names, strict=True):
        shown = _columns(
            line.fate.value if line.fate is not Fate.SAME else "",
            verdicts(line, ">"),
            scores(line, ">"),
            signed(line.score_change, _tolerance(line)),
            flips(line.items),
        )
        row = f"{shown[0]} {fitted(title, widths[0])} {fitted(variant, widths[1])} {shown[1]}".rstrip()
        yield defused(fitted(_ascii(row), width).rstrip())
        if line.fate is not Fate.SAME or (line.items is not None and line.items.p < 0.05):
            said = ", ".join(filter(None, (_against_dense(line), evidence(line.items))))
            yield from (f"{'':12}  {part}" for part in _wrapped(said, width - 14))


def _against_dense(line: Line) -> str:
    return f"delta {deltas(line)}" if deltas(line) else ""


def _columns(fate: str, verdict: str, score: str, change: str, flipped: str) -> tuple[str, str]:
    return f"{fate:<12}", f"{verdict:<20} {score:<13} {change:>6}  {flipped}"


def _names(found: Comparison) -> list[tuple[str, str]]:
    return [(line.title, line.variant) for line in found.lines]


def _list(found: Comparison, width: int) -> Iterator[str]:
    for line in found.lines:
        name = label(f"{line.title} on {line.variant}", 200)
        fate = "" if line.fate is Fate.SAME else f"  {line.fate.value}"
        yield defused(fitted(_ascii(name), width - len(fate)).rstrip() + fate)
        change = line.score_change
        moved = "" if change is None else f" ({signed(change, _tolerance(line))})"
        said = f"{verdicts(line)}, score {scores(line)}{moved}"
        more = [part for part in (_against_dense(line), flips(line.items), evidence(line.items)) if part]
        yield from (f"  {part}" for part in _wrapped(", ".join([said, *more]), width - 2))


def render_markdown(found: Comparison) -> str:
    """The comparison as Markdown for a step summary or a pull request."""
    rows = [_markdown_row(line) for line in found.lines]
    blocks = [
        f"## {WORDS[found.exit_code]}: {headline(found, code)}",
        "\n".join(
            f"- {letter}: {code(run.name, 120)}, {about(run, code)}"
            for letter, run in (("A", found.before), ("B", found.after))
        ),
        "\n".join(f"- {note}" for note in notes(found, code)),
        "\n".join(
            [
                "| | Dimension | Variant | Verdict | Score | Change | Delta | Flips | Evidence |",
                "| :-- | :-- | :-- | :-- | :-- | --: | :-- | :-- | :-- |",
                *rows[:_MARKDOWN_ROWS],
            ]
        ),
    ]
    if len(rows) > _MARKDOWN_ROWS:
        blocks.append(f"… and {count(len(rows) - _MARKDOWN_ROWS, 'gate')} that moved less.")
    return "\n".join(defused(line) for line in "\n\n".join(filter(None, blocks)).split("\n")) + "\n"


def _markdown_row(line: Line) -> str:
    fate = {Fate.SAME: "", Fate.NEW: "new"}.get(line.fate, f"**{line.fate.value}**")
    cells = [
        fate,
        code(line.title, 60),
        code(line.variant, 60),
        verdicts(line),
        scores(line),
        signed(line.score_change, _tolerance(line)),
        deltas(line),
        flips(line.items),
        evidence(line.items),
    ]
    return f"| {' | '.join(cells)} |"


def render_html(found: Comparison) -> str:
    """The comparison as one self-contained HTML file."""

    def quote(text: str) -> str:
        return label(text, _QUOTE_LIMIT)

    return html.render_template(
        "comparison.html",
        found=found,
        word=WORDS[found.exit_code],
        verdict=VERDICTS[found.exit_code],
        headline=headline(found, quote),
        notes=list(notes(found, quote)),
        runs=[("A", found.before, about(found.before, quote)), ("B", found.after, about(found.after, quote))],
        dimensions=_dimensions(found),
        table={(line.variant, line.dimension): line for line in found.lines},
        Fate=Fate,
        verdicts=verdicts,
        scores=scores,
        deltas=deltas,
        flips=flips,
        evidence=evidence,
        tolerance_of=_tolerance,
        plain_value=lambda value: "" if value is None else f"{value:.6g}",
    )


def _dimensions(found: Comparison) -> dict[str, str]:
    """Titles by dimension, in the order of the first run."""
    titles: dict[str, str] = {}
    for run in (found.before, found.after):
        for name, title in run.title_of.items():
            titles.setdefault(name, title)
    shown = {line.dimension for line in found.lines}
    return {name: title for name, title in titles.items() if name in shown}


def document(found: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON; numbers that do not exist are null."""

    def untouched(text: str) -> str:
        return text

    return {
        "schema": SCHEMA,
        "version": VERSION,
        "exit_code": int(found.exit_code),
        "headline": headline(found, untouched),
        "before": _run(found.before),
        "after": _run(found.after),
        "differences": [
            {
                "means": one.ground.name.lower(),
                "what": one.what,
                "before": one.before or None,
                "after": one.after or None,
                "dimensions": list(one.dimensions),
            }
            for one in found.differences
        ],
        "dense_moved": [{"title": title, "before": a, "after": b} for title, a, b in found.dense_moved],
        "matched": [
            {"before": pair.before.id, "after": pair.after.id, "note": pair.note or None} for pair in found.pairs
        ],
        "only_before": [model.id for model in found.only_before],
        "only_after": [model.id for model in found.only_after],
        "gates": [_gates(line) for line in found.lines],
    }


def _run(run: Run) -> dict[str, Any]:
    return {"name": run.name, "verdict": run.report.verdict.value, "settings": dict(run.report.settings)}


def _gates(line: Line) -> dict[str, Any]:
    return {
        "dimension": line.dimension,
        "title": line.title,
        "variant": line.variant,
        "fate": line.fate.value,
        "before": _side(line.before),
        "after": _side(line.after),
        "score_change": line.score_change,
        "delta_change": line.delta_change,
        "items": _paired(line.items),
    }


def _side(gate: Gate | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    return {
        "variant": gate.variant,
        "verdict": gate.verdict.value,
        "score": gate.score,
        "dense_score": gate.dense_score,
        "delta": gate.delta,
        "reason": gate.reason,
    }


def _paired(found: Paired | None) -> dict[str, Any] | None:
    if found is None:
        return None
    interval = found.interval
    return {
        "common": found.items,
        "worse": found.worse,
        "better": found.better,
        "mcnemar_p": None if math.isnan(found.p) else found.p,
        "interval": None
        if interval is None
        else {
            "low": interval.low,
            "high": interval.high,
            "confidence": interval.confidence,
            "method": interval.method,
        },
        "note": found.note or None,
    }

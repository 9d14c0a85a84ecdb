"""The table at the end of a pytest run: plain lines, free of control characters other than our own colours."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from trust_tests.gate.verdict import Verdict
from trust_tests.report import advice, confidence, figures, tricks
from trust_tests.report.reading import read
from trust_tests.report.text import Clip, clip, defused, display_width, fitted, label, one_line
from trust_tests.report.view import Answer, Flip, Gate, Report

_COLOURS: Mapping[Verdict, str] = {
    Verdict.PASS: "32",
    Verdict.FAIL: "31",
    Verdict.ERROR: "35",
    Verdict.INCONCLUSIVE: "33",
}
_TABLE_FROM = 72
"""Columns from which a gate fits on one line of a table; below, it takes two lines."""
_NAME_LIMIT = 60
_FINDINGS_SHOWN = 3
_GATES_WITH_FLIPS = 9
_FLIPS_SHOWN = 3
_SECOND_COLUMN = "\0"
_TEXT_LIMIT = 240
"""Characters of a prompt or an answer beside a flip."""


def wants_color(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour what goes to a stream: NO_COLOR and FORCE_COLOR decide, then whether it is a terminal."""
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (stream.isatty() and environment.get("TERM") != "dumb")


def summary_lines(
    data: Mapping[str, object],
    width: int = 80,
    color: bool = False,
    report_path: Path | None = None,
    brief: bool = False,
) -> list[str]:
    """The summary of stored results, one string per terminal line, without line ends.

    width: columns (at least 50 are used). color: whether verdicts are coloured; pass False under NO_COLOR. brief:
    the finding alone. The report's path is never wrapped, so that it can be copied. Raises `fields.ShapeError`.
    """
    report = read(data)
    width = max(50, width)
    finding = f"{report.verdict.value}: {advice.headline(report, _quoted)}"
    lines = _wrapped(finding, width, color, report.verdict)
    if not brief:
        lines += _findings(report, width, color)
    if report_path is not None:
        lines += [*([] if brief else [""]), defused(f"report: {one_line(str(report_path))}")]
    return lines


def _findings(report: Report, width: int, color: bool) -> list[str]:
    """What to do next, what to know first, the table, and what was not measured."""
    lines = _wrapped(f"next: {advice.next_step(report, _quoted)}", width)
    for note in (advice.shard_note(report), confidence.suite_note(report), confidence.unfit_note(report, _quoted)):
        lines += _wrapped(f"note: {note}", width) if note else []
    for finding in tricks.findings(report, _quoted, _FINDINGS_SHOWN):
        lines += _wrapped(f"shows: {finding.text}", width)
    if report.gates:
        lines.append("")
        columns = _name_columns(report, width) if width >= _TABLE_FROM else None
        lines += _table(report, columns, width, color) if columns else _list(report, width, color)
        lines += [line for gate in confidence.needed_lines(report, _quoted) for line in _wrapped(gate, width)]
    for test in report.unmeasured:
        lines += _wrapped(f"not measured: {label(test.node, 200)}: {label(test.reason, 300)}", width)
    return lines


def flip_lines(data: Mapping[str, object], width: int = 80, harmful: bool = False) -> list[str]:
    """The answers that moved furthest in every gate that did not pass, for a reader of the log, shortened and safe.

    harmful: whether the texts of harmful dimensions are shown as well. Raises `fields.ShapeError`.
    """
    width = max(50, width)
    report = read(data)
    gates = [gate for gate in report.gates if gate.verdict is not Verdict.PASS and gate.worst_flips]
    gates.sort(key=lambda gate: -gate.reach)
    lines = ["", "worst flips:"] if gates else []
    for gate in gates[:_GATES_WITH_FLIPS]:
        hidden = gate.harmful and not harmful
        note = " (texts hidden; -vv shows them)" if hidden else ""
        head = (
            f"{_quoted(gate.title)} on {_quoted(gate.variant_name)}: {gate.flips.worse} worse, "
            f"{gate.flips.better} better of {figures.count(gate.items, 'item')}{note}"
        )
        lines += ["", *_wrapped(head, width)]
        for flip in gate.worst_flips[:_FLIPS_SHOWN]:
            lines += _flip(flip, width, hidden)
    if len(gates) > _GATES_WITH_FLIPS:
        lines += ["", f"{figures.count(len(gates) - _GATES_WITH_FLIPS, 'more gate')} in the report"]
    return lines


def _flip(flip: Flip, width: int, hidden: bool) -> Iterator[str]:
    yield from _indented(f"{label(flip.item_id, 120)} in {label(flip.cell, 120)}", width, "  ")
    if not hidden:
        yield from _indented(f"asked: {_ending(flip.prompt)}", width, "    ")
    for side, answer in (("dense", flip.dense), ("variant", flip.variant)):
        said = "" if hidden else f": {one_line(str(clip(answer.text, _TEXT_LIMIT)))}"
        yield from _indented(f"{side} {_graded(answer)}{said}", width, "    ")


def _graded(answer: Answer) -> str:
    value = "" if answer.value is None else f", value {answer.value:.2f}"
    return f"({label(answer.channel, 40)}{value})"


def _ending(prompt: Clip) -> str:
    """The end of a prompt, where the question stands."""
    text = prompt.text if len(prompt.text) <= _TEXT_LIMIT else f"…{prompt.text[-_TEXT_LIMIT:]}"
    return one_line(str(Clip(text, prompt.hidden)))


def _indented(text: str, width: int, indent: str) -> list[str]:
    return [defused(line) for line in _broken(text, width, indent)]


def _broken(text: str, width: int, indent: str = "") -> list[str]:
    """A visible text on lines of at most `width` columns, the second and later ones indented further."""
    # textwrap counts characters: one that takes two columns is given a second one, which nothing visible contains.
    spread = "".join(c + _SECOND_COLUMN * (display_width(c) - 1) for c in text)
    lines = textwrap.wrap(spread, width, initial_indent=indent, subsequent_indent=indent + "  ")
    return [line.replace(_SECOND_COLUMN, "") for line in lines]


def _quoted(text: str) -> str:
    return label(text, _NAME_LIMIT)


def _ascii_signs(text: str) -> str:
    """Minus signs as terminals, their fonts and grep like them best."""
    return text.replace(figures.MINUS, "-").replace(figures.MISSING, "-")


def _painted(text: str, verdict: Verdict, color: bool) -> str:
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if color else text


def _wrapped(text: str, width: int, color: bool = False, verdict: Verdict | None = None) -> list[str]:
    """Our sentence on as many lines as it needs; the verdict's word, at its beginning, coloured."""
    lines = [defused(line) for line in _broken(_ascii_signs(text), width)]
    if verdict is not None and lines:
        lines[0] = _painted(verdict.value, verdict, color) + lines[0][len(verdict.value) :]
    return lines


def _name_columns(report: Report, width: int) -> tuple[int, int] | None:
    """Widths for a dimension's and a variant's name beside the figures; None where cut names would look alike."""
    spare = _spare(report, width)
    titles = {_quoted(gate.title) for gate in report.gates}
    variants = {_quoted(gate.variant_name) for gate in report.gates}
    longest = max(map(display_width, variants))
    first = max(len("dimension"), *map(display_width, titles))
    first = min(first, max(spare // 2, spare - longest))
    second = min(max(longest, len("variant")), spare - first)
    distinct = len({fitted(name, first) for name in titles}) == len(titles)
    distinct = distinct and len({fitted(name, second) for name in variants}) == len(variants)
    return (first, second) if distinct else None


def _spare(report: Report, width: int) -> int:
    """Columns that the figures leave for both names."""
    fixed = len(_columns("", "", "", "", "", _flips_width(report)))
    return width - fixed - len(Verdict.INCONCLUSIVE.value) - 2


class _Form(NamedTuple):
    """How a table shows intervals: the head, the column's width with its space, and a key to it."""

    head: str
    width: int
    key: str


_WHOLE = _Form("interval", 15, "")
_HALF = _Form("+-", 5, "; +-: half the delta's interval")


def _interval_form(report: Report, spare: int) -> _Form | None:
    """The fullest form of the intervals that leaves so many columns free; None where there is none to show."""
    if all(gate.evidence.interval is None for gate in report.gates):
        return None
    return next((form for form in (_WHOLE, _HALF) if form.width <= spare), None)


def _interval(gate: Gate, form: _Form | None) -> str:
    """A gate's interval in a column of the table; empty without a form."""
    if form is None:
        return ""
    found = gate.evidence.interval
    if found is None:
        shown = figures.MISSING
    elif form is _WHOLE:
        shown = f"[{figures.signed(found.low)}, {figures.signed(found.high)}]"
    else:
        shown = f"{found.half_width:.1f}"
    return f" {shown:>{form.width - 1}}"


def _table(report: Report, columns: tuple[int, int], width: int, color: bool) -> Iterator[str]:
    first, second = columns
    flips = _flips_width(report)
    form = _interval_form(report, _spare(report, width) - first - second)
    interval = f" {form.head:>{form.width - 1}}" if form else ""
    heads = _columns("dense", "score", f"{'delta':>6}{interval}", "flips", "refusals", flips)
    yield f"{fitted('dimension', first)} {fitted('variant', second)} {heads}verdict"
    dimension = None
    for gate in report.gates:
        title = "" if gate.dimension == dimension else _quoted(gate.title)
        dimension = gate.dimension
        numbers = _columns(
            figures.points(gate.dense_score),
            figures.points(gate.score),
            f"{figures.signed(gate.delta, gate.tolerance):>6}{_interval(gate, form)}",
            _flips(gate),
            _refusals(gate),
            flips,
        )
        row = f"{fitted(title, first)} {fitted(_quoted(gate.variant_name), second)} {numbers}"
        yield defused(_ascii_signs(row)) + _painted(gate.verdict.value, gate.verdict, color)
    key = "flips: -worse +better; refusals: dense>variant, * moved by more than 10 points"
    yield from _wrapped(key + (form.key if form else ""), width)


def _columns(dense: str, score: str, delta: str, flips: str, refusals: str, flips_width: int) -> str:
    """The part of a table line that has fixed columns; the verdict's word follows it."""
    return f"{dense:>5} {score:>5} {delta:>6} {flips:>{flips_width}} {refusals:>8} "


def _flips_width(report: Report) -> int:
    return max([6, *(len(_flips(gate)) for gate in report.gates)])


def _flips(gate: Gate) -> str:
    """Flips for the worse, then for the better."""
    return figures.MISSING if gate.delta is None else f"-{gate.flips.worse}+{gate.flips.better}"


def _refusals(gate: Gate) -> str:
    """Refusal rates before and after, in whole percent; a star where they moved by more than 10 points."""
    before, after = gate.refusals.dense_rate, gate.refusals.rate
    if before is None or after is None:
        return figures.MISSING
    return f"{before:.0f}>{after:.0f}%" + ("*" if gate.refusals.moved else "")


def _list(report: Report, width: int, color: bool) -> Iterator[str]:
    for gate in report.gates:
        word = gate.verdict.value
        name = f"{_quoted(gate.title)} on {_quoted(gate.variant_name)}"
        yield defused(fitted(name, width - len(word) - 1)) + " " + _painted(word, gate.verdict, color)
        if gate.delta is None:
            yield "  not measured"
        else:
            yield _ascii_signs(
                f"  {figures.points(gate.dense_score)} > {figures.points(gate.score)} "
                f"({figures.signed(gate.delta, gate.tolerance)}) flips {_flips(gate)} ref. {_refusals(gate)}"
            )

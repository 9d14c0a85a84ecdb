"""The table at the end of a pytest run: plain lines, free of control characters other than our own colours."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from trust_tests.gate.verdict import Verdict
from trust_tests.report import advice, figures
from trust_tests.report.reading import read
from trust_tests.report.text import defused, display_width, fitted, label, one_line
from trust_tests.report.view import Gate, Report

_COLOURS: Mapping[Verdict, str] = {
    Verdict.PASS: "32",
    Verdict.FAIL: "31",
    Verdict.ERROR: "35",
    Verdict.INCONCLUSIVE: "33",
}
_TABLE_FROM = 72
"""Columns from which a gate fits on one line of a table; below, it takes two lines."""
_NAME_LIMIT = 60


def summary_lines(
    data: Mapping[str, object], width: int = 80, color: bool = False, report_path: Path | None = None
) -> list[str]:
    """The summary of stored results, one string per terminal line, without line ends.

    width: columns (at least 50 are used). color: whether verdicts are coloured; pass False under NO_COLOR. The
    report's path is never wrapped, so that it can be copied. Raises `fields.ShapeError`.
    """
    report = read(data)
    width = max(50, width)
    finding = f"{report.verdict.value}: {advice.headline(report, _quoted)}"
    lines = _wrapped(finding, width, color, report.verdict)
    lines += _wrapped(f"next: {advice.next_step(report, _quoted)}", width)
    if report.gates:
        lines.append("")
        columns = _name_columns(report, width) if width >= _TABLE_FROM else None
        lines += _table(report, columns, width, color) if columns else _list(report, width, color)
    for test in report.unmeasured:
        lines += _wrapped(f"not measured: {label(test.node, 200)}: {label(test.reason, 300)}", width)
    if report_path is not None:
        lines += ["", defused(f"report: {one_line(str(report_path))}")]
    return lines


def _quoted(text: str) -> str:
    return label(text, _NAME_LIMIT)


def _ascii_signs(text: str) -> str:
    """Minus signs as terminals, their fonts and grep like them best."""
    return text.replace(figures.MINUS, "-").replace(figures.MISSING, "-")


def _painted(text: str, verdict: Verdict, color: bool) -> str:
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if color else text


def _wrapped(text: str, width: int, color: bool = False, verdict: Verdict | None = None) -> list[str]:
    """Our sentence on as many lines as it needs; the verdict's word, at its beginning, coloured."""
    lines = [defused(line) for line in textwrap.wrap(_ascii_signs(text), width, subsequent_indent="  ")]
    if verdict is not None and lines:
        lines[0] = _painted(verdict.value, verdict, color) + lines[0][len(verdict.value) :]
    return lines


def _name_columns(report: Report, width: int) -> tuple[int, int] | None:
    """Widths for a dimension's and a variant's name beside the figures; None where cut names would look alike."""
    spare = width - len(_columns("", "", "", "", "", _flips_width(report))) - len(Verdict.INCONCLUSIVE.value) - 2
    titles = {_quoted(gate.title) for gate in report.gates}
    variants = {_quoted(gate.variant_name) for gate in report.gates}
    longest = max(map(display_width, variants))
    first = max(len("dimension"), *map(display_width, titles))
    first = min(first, max(spare // 2, spare - longest))
    second = min(max(longest, len("variant")), spare - first)
    distinct = len({fitted(name, first) for name in titles}) == len(titles)
    distinct = distinct and len({fitted(name, second) for name in variants}) == len(variants)
    return (first, second) if distinct else None


def _table(report: Report, columns: tuple[int, int], width: int, color: bool) -> Iterator[str]:
    first, second = columns
    flips = _flips_width(report)
    heads = _columns("dense", "score", "delta", "flips", "refusals", flips)
    yield f"{fitted('dimension', first)} {fitted('variant', second)} {heads}verdict"
    dimension = None
    for gate in report.gates:
        title = "" if gate.dimension == dimension else _quoted(gate.title)
        dimension = gate.dimension
        numbers = _columns(
            figures.points(gate.dense_score),
            figures.points(gate.score),
            figures.signed(gate.delta, gate.tolerance),
            _flips(gate),
            _refusals(gate),
            flips,
        )
        row = f"{fitted(title, first)} {fitted(_quoted(gate.variant_name), second)} {numbers}"
        yield defused(_ascii_signs(row)) + _painted(gate.verdict.value, gate.verdict, color)
    yield from _wrapped("flips: -worse +better; refusals: dense>variant, * moved by more than 10 points", width)


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

"""The worst gates as annotations of a GitHub Actions run: workflow commands, one a line, hostile texts inert in them.

A command is `::error title=TITLE::MESSAGE`. GitHub shows ten of a kind for each step, and nobody reads more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trust_tests.gate.verdict import Verdict
from trust_tests.report import advice, confidence, figures
from trust_tests.report.reading import read
from trust_tests.report.text import defused, label
from trust_tests.report.view import Gate, Report

MOST = 9
"""Annotations of one run, the last of which counts the gates that found no place."""

_LEVELS: Mapping[Verdict, str] = {
    Verdict.ERROR: "error",
    Verdict.FAIL: "error",
    Verdict.INCONCLUSIVE: "warning",
    Verdict.PASS: "notice",
}
_NAME_LIMIT = 60
_REASON_LIMIT = 300


def annotation_lines(data: Mapping[str, object]) -> list[str]:
    """The annotations of stored results, worst gates first, at most `MOST` lines. Raises `fields.ShapeError`.

    A run without a gate to tell of has one line: its verdict. So has one that passed, and a line for each gate whose
    refusals moved.
    """
    report = read(data)
    found = [*_gates(report)]
    if report.verdict is Verdict.PASS or not found or report.contradiction:
        found.insert(0, _suite(report))
    if len(found) > MOST:
        left = figures.count(len(found) - MOST + 1, "more gate")
        found = [*found[: MOST - 1], _command(_LEVELS[report.verdict], "Trust gate", f"{left}: see the report")]
    return found


def _suite(report: Report) -> str:
    return _command(
        _LEVELS[report.verdict], f"Trust gate {report.verdict.value}", f"{advice.headline(report, _quoted)}."
    )


def _gates(report: Report) -> Iterator[str]:
    order = [Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    worst = sorted(report.gates, key=lambda gate: (order.index(gate.verdict), -gate.reach))
    for gate in worst:
        if gate.verdict is not Verdict.PASS or gate.refusals.moved:
            title = f"Trust gate {gate.verdict.value}: {_quoted(gate.title)} on {_quoted(gate.variant_name)}"
            yield _command(_LEVELS[gate.verdict], title, " ".join(_sentences(gate)))


def _sentences(gate: Gate) -> Iterator[str]:
    if gate.delta is not None:
        yield (
            f"Score {figures.points(gate.dense_score)} → {figures.points(gate.score)}, "
            f"{figures.signed(gate.delta, gate.tolerance)} of {confidence.limit(gate)}; {gate.flips.worse} worse and "
            f"{gate.flips.better} better of {figures.count(gate.items, 'item')}."
        )
    if gate.refusals.moved:
        yield (
            f"Refusals went from {figures.percent(gate.refusals.dense_rate)} to {figures.percent(gate.refusals.rate)}."
        )
    if gate.verdict is Verdict.INCONCLUSIVE:
        yield f"{confidence.needs(gate).capitalize()}."
    if gate.verdict is Verdict.ERROR and gate.reason:
        yield f"{label(gate.reason, _REASON_LIMIT)}."


def _quoted(text: str) -> str:
    return label(text, _NAME_LIMIT)


def _command(level: str, title: str, message: str) -> str:
    """A workflow command; `%`, line ends and, in a property, `:` and `,` are written as the runner decodes them."""
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return defused(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

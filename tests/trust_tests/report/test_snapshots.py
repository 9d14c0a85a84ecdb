"""What a fixed run looks like in a log, in a step summary and in annotations, as it was last looked at.

After a wanted change: pytest --force-regen, then read the difference in git.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from trust_tests.report.annotations import annotation_lines
from trust_tests.report.markdown import render_markdown
from trust_tests.report.terminal import flip_lines, summary_lines

from ..canned import fixed_results, gate


def check(snapshot: FileRegressionFixture, lines: list[str], extension: str = ".txt") -> None:
    snapshot.check("\n".join(lines) + "\n", extension=extension, encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("color", [False, True], ids=["plain", "colour"])
def test_terminal(file_regression: FileRegressionFixture, width: int, color: bool) -> None:
    lines = summary_lines(fixed_results(), width, color, report_path=Path("trust-results/report.html"))
    # Escapes as text, so that the reviewed file shows them.
    check(file_regression, [line.replace("\x1b", "\\e") for line in lines])


def test_terminal_of_a_quiet_run(file_regression: FileRegressionFixture) -> None:
    check(
        file_regression, summary_lines(fixed_results(), 80, report_path=Path("trust-results/report.html"), brief=True)
    )


@pytest.mark.parametrize(("width", "harmful"), [(60, False), (80, False), (80, True)])
def test_flips(file_regression: FileRegressionFixture, width: int, harmful: bool) -> None:
    check(file_regression, flip_lines(fixed_results(), width, harmful))


def test_step_summary(file_regression: FileRegressionFixture) -> None:
    check(file_regression, [render_markdown(fixed_results()).rstrip("\n")], ".md")


def test_step_summary_of_many_variants(file_regression: FileRegressionFixture) -> None:
    records = [
        gate(dimension, f"copy-{number}", "FAIL" if number > 3 else "PASS", 70.0, 70.0 - 1.5 * number)
        for dimension in ("ethics", "mmlu")
        for number in range(7)
    ]
    records[3]["refusal_shift"] = 12.0
    data = fixed_results(records)
    check(file_regression, [render_markdown(data).rstrip("\n")], ".md")


def test_annotations(file_regression: FileRegressionFixture) -> None:
    check(file_regression, annotation_lines(fixed_results()))

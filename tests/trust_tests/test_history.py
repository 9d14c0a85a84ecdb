"""The commands `compare` and `trend`, and `report --published`: what they write, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trust_tests.__main__ import main

from .report.stored_runs import document, store, store_run, values

GOOD, BAD = {"v": {"mmlu": values(24)}}, {"v": {"mmlu": values(14)}}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """A run, and one in which its only gate fails."""
    return str(store_run(tmp_path / "r" / "a", GOOD)), str(store_run(tmp_path / "r" / "b", BAD))


@pytest.mark.parametrize(
    ("before", "after", "status"), [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0)], ids=["same", "worse", "better", "bad"]
)
def test_compare_ends_with_what_got_worse(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str], before: int, after: int, status: int
) -> None:
    assert main(["compare", folders[before], folders[after]]) == status
    assert capsys.readouterr().out.startswith("WORSE: 1 of 1 gate" if status else "NOT WORSE: None of 1 gate")


def test_compare_ends_with_three_where_something_is_no_longer_measured(tmp_path: Path) -> None:
    whole = {"v": {"mmlu": values(24), "stereotype": values(24)}}
    one, other = store_run(tmp_path / "a", whole), store_run(tmp_path / "b", BAD)
    assert main(["compare", str(one), str(other)]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}", "nowhere"], "error: results 'nowhere': no results.json there"),
        (["{a}", "{b}", "--match", "v"], "error: --match 'v': write A=B"),
        (["{a}", "{b}", "--match", "x=v"], "error: --match 'x': no variant of"),
        (["{a}", "{b}", "-o", "{a}/results.json/x"], "error: --output "),
    ],
)
def test_what_compare_cannot_use_is_one_line(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", *(text.format(a=folders[0], b=folders[1]) for text in arguments)]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("x.html", "<!doctype html>"), ("x.md", "## WORSE"), ("x.json", "{\n"), ("x.txt", "WORSE: "), ("x", "WORSE: ")],
)
def test_the_files_ending_names_the_format(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, beginning: str
) -> None:
    assert main(["compare", *folders, "-o", str(tmp_path / name)]) == 1
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(beginning)
    assert capsys.readouterr().out == f"wrote {tmp_path / name}\n"


def test_an_explicit_format_goes_before_the_files_ending(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *folders, "--format", "json", "--no-answers", "-o", "-"]) == 1
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["exit_code"] == 1
    assert data["gates"][0]["items"] is None


def test_trend_shows_every_release(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    root = str(Path(folders[0]).parent)
    assert main(["trend", root]) == 0
    out = capsys.readouterr().out
    assert out.startswith("b, the latest of 2 releases: 0 of 1 gate pass; 1 got worse since a: MMLU on v\n")
    assert main(["trend", root, "--format", "html", "--variant", "v", "--model", "m"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_what_trend_cannot_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path / "a", {**document(GOOD), "version": 99})
    assert main(["trend", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no sub-folder holds the results of a whole run (a: schema version 99, this program reads " in error
    assert error.count("\n") == 1


def test_the_papers_models_are_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "paper.html"
    assert main(["report", "--published", "-o", str(output)]) == 0
    assert output.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == f"wrote {output}\n"


@pytest.mark.parametrize(
    "arguments", [["report"], ["report", "x", "--published"], ["report", "--published", "--format", "markdown"]]
)
def test_a_report_is_of_results_or_of_the_paper(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["compare", "trend"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m trust_tests {command} " in text
    assert "exit status" in text


def test_comparing_needs_neither_torch_nor_transformers(folders: tuple[str, str]) -> None:
    program = (
        "import sys; from trust_tests.__main__ import main; main(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", *folders], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"

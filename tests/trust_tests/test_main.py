import json
import os
import subprocess
import sys

import pytest

from trust_tests.__main__ import main

RESULTS = {
    "schema": "trust-gate/results",
    "version": 4,
    "verdict": "ERROR",
    "settings": {"model": "m", "tolerance": 5.0},
    "models": {},
    "dimensions": {},
    "gates": [],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return tmp_path


def test_report_writes_html_beside_the_results(folder, capsys):
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "No gate was measured" in page
    assert capsys.readouterr().out == f"wrote {folder / 'report.html'}\n"


def test_report_reads_the_file_and_writes_where_it_is_told(folder):
    output = folder / "new" / "page.md"
    assert main(["report", str(folder / "results.json"), "-o", str(output), "--format", "markdown"]) == 0
    assert output.read_text().startswith("## ")
    assert [path.name for path in output.parent.iterdir()] == ["page.md"]


def test_markdown_has_a_name_of_its_own(folder):
    assert main(["report", str(folder / "results.json"), "--format", "markdown"]) == 0
    assert (folder / "report.md").exists()


def test_report_writes_to_standard_output(folder, capsysbinary):
    assert main(["report", str(folder), "-o", "-"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"<!doctype html>")


def write(folder, content):
    (folder / "results.json").write_text(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no results.json there"),
        ("not json", "cannot be read"),
        ("[]", "not a results file"),
        (json.dumps({"schema": "other"}), "not a results file"),
        (json.dumps(RESULTS | {"version": 99}), "schema version 99"),
        (json.dumps(RESULTS | {"gates": 3}), "results.gates: expected an array, found a number"),
        (json.dumps(RESULTS | {"verdict": "\x1b[31m\n"}), "is not a verdict"),
    ],
)
def test_results_that_cannot_be_used_end_in_one_line(tmp_path, capsys, content, message):
    if content is not None:
        write(tmp_path, content)
    assert main(["report", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert "\x1b" not in output.err
    assert output.out == ""
    assert not (tmp_path / "report.html").exists()


def test_an_output_that_cannot_be_written_ends_in_one_line(folder, capsys):
    (folder / "file").write_text("")
    assert main(["report", str(folder), "-o", str(folder / "file" / "page.html")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m trust_tests: error: --output ")
    assert message.count("\n") == 1


def test_a_failed_write_leaves_the_old_page(folder, monkeypatch):
    (folder / "report.html").write_text("old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    assert main(["report", str(folder)]) == 2
    assert (folder / "report.html").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["compare", "x"], ["report", "x", "--format", "pdf"]])
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["report", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "GITHUB_STEP_SUMMARY" in text
    assert "exit status" in text


def test_reports_need_neither_torch_nor_transformers(folder):
    program = (
        "import sys; from trust_tests.__main__ import main; status = main(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys())); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "report", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_runs(folder):
    done = subprocess.run(
        [sys.executable, "-m", "trust_tests", "report", str(folder / "nowhere")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("python -m trust_tests: error: results ")

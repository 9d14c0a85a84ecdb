"""`python -m trust_tests sweep` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trust_tests.__main__ import main
from trust_tests.databases import RESPONSES
from trust_tests.gate.verdict import Verdict
from trust_tests.sweep.spec import read_spec
from trust_tests.sweep.tasks import Task, plan

from .folders import finish

ROOT = Path(__file__).parents[3]
Child = Callable[[str], None]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def run(folder: Path, *arguments: str) -> int:
    return main(["sweep", str(folder / "sweep.yaml"), "-o", str(folder / "out"), *arguments])


def test_the_plan_prints_every_task_and_starts_nothing(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str], child: Child
) -> None:
    child("raise SystemExit(9)")
    finish(tasks[0])
    assert run(tmp_path, "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "5 tasks, dimensions ethics, mmlu"
    assert [line.split()[:3][-1] for line in lines[2:]] == [task.id for task in tasks[1:]]
    assert lines[1].startswith("finished  embedded/dense")
    assert not (tasks[1].folder / "task.json").exists()
    assert not (tmp_path / "out" / "sweep.json").exists()


@pytest.mark.parametrize(
    ("worst", "status"),
    [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.INCONCLUSIVE, 4)],
)
def test_the_exit_status_tells_the_verdict(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str], worst: Verdict, status: int
) -> None:
    for task in tasks:
        finish(task, worst if task is tasks[4] else Verdict.PASS)
    assert run(tmp_path) == status
    out = capsys.readouterr().out
    assert out.startswith("5 of 5 tasks are finished already\n")
    assert f"overview: {tmp_path / 'out' / 'index.html'}" in out
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["verdict"] == worst


def test_a_task_that_measures_nothing_is_status_3(
    tasks: list[Task], tmp_path: Path, child: Child, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in tasks[:4]:
        finish(task)
    child("print('ERROR: out of luck'); sys.exit(4)")
    assert run(tmp_path) == 3
    out = capsys.readouterr().out
    assert "[5/5] org/other/wanda-2:4-s0 ERROR: out of luck" in out
    assert "ERROR: 3 variants: 2 pass, 1 not measured whole" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "2", "--ray", "auto"], "--jobs: Ray decides"),
        (["--ray", "127.0.0.1:1"], "--ray"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(tmp_path, *arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("python -m trust_tests: error: ")
    assert message in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out" / "sweep.json").exists()


def test_ray_that_is_not_there_is_one_line(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(tmp_path, "--ray", "local") == 2
    assert capsys.readouterr().err.endswith("Ray is not installed; pip install 'pytest-trust-gate[ray]'\n")


def test_a_second_sweep_does_not_write_into_the_firsts_folder(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / "out" / ".lock"):
        assert run(tmp_path) == 2
    assert "another sweep is writing there" in capsys.readouterr().err


def test_results_that_cannot_be_written_are_one_line(
    tasks: list[Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["sweep", str(tmp_path / "sweep.yaml"), "-o", str(tmp_path / "file" / "out")]) == 2
    assert "name another folder for results or cache" in capsys.readouterr().err


def test_planning_needs_neither_torch_nor_ray(tasks: list[Task], tmp_path: Path) -> None:
    program = (
        "import sys; from trust_tests.__main__ import main; status = main(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers', 'ray'} & sys.modules.keys())); sys.exit(status)"
    )
    arguments = ["sweep", str(tmp_path / "sweep.yaml"), "--plan"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def tiny_sweep(folder: Path, tiny_model: Path, dimensions: str = "[mmlu]") -> Path:
    """A sweep of the tiny model: one variant that answers like it, one that does not exist."""
    (folder / "sweep.yaml").write_text(
        f"models: [{{model: {tiny_model}, name: tiny}}]\n"
        "recipes: ['gptq:bits=8,group=32,samples=4,length=64']\n"
        f"dimensions: {dimensions}\noptions: {{items: 40, dtype: float32, device: cpu, offline: true}}\n"
        "cache: cache\nresults: out\n"
    )
    return folder / "sweep.yaml"


def test_a_real_sweep_passes_asks_the_dense_model_once_and_goes_on_where_it_stopped(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = tiny_sweep(tmp_path, tiny_model)
    assert main(["sweep", str(sweep)]) == 0
    out = capfd.readouterr().out
    assert "[1/2] tiny/dense measured" in out
    assert "[2/2] tiny/gptq-8bit-g32-s0" in out
    runs = tmp_path / "out" / "runs" / "tiny"
    assert "asking dense" in (runs / "dense" / "log.txt").read_text()
    (variant,) = (path for path in runs.iterdir() if path.name.startswith("gptq"))
    log = (variant / "log.txt").read_text()
    assert "compressing gptq" in log
    # The dense model's answers are still the first rows: nobody has written them again.
    with sqlite3.connect(tmp_path / "cache" / RESPONSES) as answers:
        rows = [row for (row,) in answers.execute("SELECT rowid FROM response ORDER BY rowid")]
    assert rows == list(range(1, len(rows) + 1))
    data = json.loads((variant / "results.json").read_text())
    assert data["verdict"] == "PASS"
    assert data["gates"][0]["dense_score"] == json.loads((runs / "dense" / "dense.json").read_text())["mmlu"]["score"]
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    assert main(["sweep", str(sweep)]) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


def test_ctrl_c_stops_the_tasks_and_leaves_no_green(tmp_path: Path, tiny_model: Path) -> None:
    sweep = tiny_sweep(tmp_path, tiny_model)
    process = subprocess.Popen(
        [sys.executable, "-m", "trust_tests", "sweep", str(sweep)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    record = plan(read_spec(sweep), tmp_path / "out", several_machines=False)[0].folder / "task.json"
    end = time.monotonic() + 60
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "start the same command to go on" in out
    assert "Traceback" not in out
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["verdict"] == "ERROR"
    assert json.loads(record.read_text())["exit_status"] is None

"""One task's process: what it sees, how it ends, and that nothing outlives its parent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from trust_tests.databases import RESPONSES
from trust_tests.engines.store import ResponseStore
from trust_tests.records import Finish, Response
from trust_tests.sweep import child as child_module
from trust_tests.sweep.local import LocalPool, device_sets
from trust_tests.sweep.record import LOG, outcome, read_record
from trust_tests.sweep.running import RESTARTS, LostTaskError, PlaceError, run_task
from trust_tests.sweep.spec import Resources, SpecError
from trust_tests.sweep.tasks import Task

Child = Callable[[str], None]
SEEN = 'Path(os.environ["HOME"], "seen").write_text(json.dumps({"env": dict(os.environ), "cwd": os.getcwd()}))'


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(what: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def test_the_record_tells_how_it_went(tasks: list[Task], child: Child) -> None:
    child("print('hello'); print('ERROR: the model: gone'); sys.exit(2)")
    record = run_task(tasks[1])
    assert (record.attempt, record.exit_status, record.reason) == (1, 2, "the model: gone")
    assert read_record(tasks[1]) == record
    assert outcome(tasks[1]).reason == "the model: gone"
    assert run_task(tasks[1]).attempt == 2
    log = (tasks[1].folder / LOG).read_text()
    assert log.count("hello") == 2
    assert "--- attempt 2 on" in log


def test_nothing_of_an_earlier_run_is_taken_for_this_ones(tasks: list[Task], child: Child) -> None:
    from .folders import finish

    finish(tasks[1])
    assert outcome(tasks[1]).finished
    child("sys.exit(0)")
    run_task(tasks[1])
    found = outcome(tasks[1])
    assert not found.finished
    assert found.reason == "ended with exit status 0 and left no results"
    assert not (tasks[1].folder / "report.html").exists()


def test_the_callers_settings_do_not_reach_a_task(
    tasks: list[Task], child: Child, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TRUST_TOLERANCE", "TRUST_TIER", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        monkeypatch.setenv(name, "50")
    monkeypatch.setenv("HF_TOKEN", "kept")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    child(SEEN)
    run_task(replace(tasks[1], resources=Resources(cpus=3)), devices=("GPU-a", "GPU-b"))
    seen = json.loads((tmp_path / "seen").read_text())
    hidden = {n for n in seen["env"] if n.startswith("PYTEST_") or n in ("TRUST_TOLERANCE", "TRUST_TIER")}
    assert hidden - {"PYTEST_VERSION"} == set()
    assert seen["env"]["HF_TOKEN"] == "kept"
    assert seen["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert seen["env"]["OMP_NUM_THREADS"] == "3"
    assert seen["cwd"] == str(tasks[1].where)


def test_dense_answers_are_handed_over(tasks: list[Task], child: Child, tmp_path: Path) -> None:
    child("pass")
    task = replace(tasks[1], answers=tmp_path / "variant")
    store = ResponseStore(tmp_path / "dense" / RESPONSES)
    store.put([("key", Response("item", ("yes",), (Finish.STOP,), 3, 1))])
    store.close()
    run_task(task, tmp_path / "dense")
    assert "took over 1 stored answers" in (task.folder / LOG).read_text()
    assert "key" in ResponseStore(tmp_path / "variant" / RESPONSES).get(["key"])
    (tmp_path / "dense" / RESPONSES).write_bytes(b"broken" * 200)
    run_task(task, tmp_path / "dense")
    assert "cannot be read" in (task.folder / LOG).read_text()


def test_a_killed_process_is_lost_and_says_by_what(tasks: list[Task], child: Child) -> None:
    child("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(LostTaskError, match=r"embedded/magnitude-2:4: killed by SIGKILL"):
        run_task(tasks[1])
    assert outcome(tasks[1]).reason == "killed by SIGKILL"


def test_a_machine_without_the_folders_says_so(tasks: list[Task], child: Child, tmp_path: Path) -> None:
    child("pass")
    with pytest.raises(PlaceError, match="must lie on storage that all of them see"):
        run_task(replace(tasks[1], folder=tmp_path / "gone"))
    assert not (tmp_path / "gone").exists()


def test_a_stopped_task_takes_its_whole_group_with_it(tasks: list[Task], child: Child) -> None:
    grandchild = "import subprocess; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    watch = (
        f"sys.path.insert(0, {str(child_module.ROOT)!r})\nfrom trust_tests.sweep.child import _end_with_parent\n"
        f"_end_with_parent()\n{grandchild}print(os.getpid(), p.pid, flush=True); time.sleep(60)"
    )
    child(watch)
    stopped = Event()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            run_task(tasks[1], stopped=stopped)
        except LostTaskError as error:
            caught.append(error)

    thread = Thread(target=run)
    thread.start()
    log = tasks[1].folder / LOG
    assert until(lambda: log.exists() and log.read_text().count("\n") >= 2)
    pids = [int(word) for word in log.read_text().split("\n")[1].split()]
    assert all(map(alive, pids))
    stopped.set()
    thread.join(20)
    assert [str(error).partition(" on ")[0] for error in caught] == ["embedded/magnitude-2:4: stopped"]
    assert until(lambda: not any(map(alive, pids)))


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    inner = (
        f"import sys, time; sys.path.insert(0, {str(child_module.ROOT)!r})\n"
        "from trust_tests.sweep.child import _end_with_parent\n"
        "_end_with_parent(); print(1, flush=True); time.sleep(60)"
    )
    program = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=-1, stdout=-1, start_new_session=True)\n"
        "p.stdout.readline(); print(p.pid, flush=True); p.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    assert until(lambda: not alive(pid))
    parent.stdout.close()


def waited(pool: LocalPool, count: int) -> dict[str, str]:
    ended: dict[str, str] = {}
    assert until(lambda: bool(ended.update({task.id: why for task, why in pool.wait(0.2)}) or len(ended) == count))
    return ended


def test_a_lost_task_begins_again_and_a_hopeless_one_ends(tasks: list[Task], child: Child, tmp_path: Path) -> None:
    child(
        "folder = Path(args[-1].partition('=')[2]); tries = folder / 'tries'\n"
        "count = int(tries.read_text()) + 1 if tries.exists() else 1\n"
        "tries.write_text(str(count))\n"
        "if 'gptq' in folder.name or count < 3: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pool = LocalPool([None, None])
    for task in tasks[1:3]:
        pool.submit(task, None)
    ended = waited(pool, 2)
    pool.close()
    assert ended[tasks[1].id] == ""
    assert (tasks[1].folder / "tries").read_text() == "3"
    assert ended[tasks[2].id].endswith(f", {RESTARTS + 1} times")
    assert (tasks[2].folder / "tries").read_text() == str(RESTARTS + 1)


def test_every_task_at_a_time_has_gpus_of_its_own(
    tasks: list[Task], child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,7")
    slots = device_sets(tasks, None)
    assert slots == [("GPU-a",), ("GPU-b",), ("7",)]
    child("time.sleep(0.5); print('saw', os.environ['CUDA_VISIBLE_DEVICES'])")
    pool = LocalPool(slots[:2])
    for task in tasks:
        pool.submit(task, None)
    waited(pool, len(tasks))
    pool.close()
    seen = [(task.folder / LOG).read_text().split()[-1] for task in tasks]
    assert set(seen) == {"GPU-a", "GPU-b"}


@pytest.mark.parametrize(
    ("visible", "gpus", "jobs", "expected"),
    [
        ("", None, None, [None]),
        ("", None, 3, [None] * 3),
        ("0,1", 0, 3, [None] * 3),
        ("0,1", None, 1, [("0",)]),
        ("3,1,2,0,9", 2, None, [("3", "1"), ("2", "0")]),
        ("0,1", None, 3, "--jobs 3: 2 GPUs are enough for 2 tasks of 1 at a time"),
        ("0,1", 3, None, "resources.gpus: a task needs 3, this machine has 2 in sight"),
        ("", 1, None, "resources.gpus: a task needs 1, this machine has 0 in sight"),
    ],
)
def test_gpus_are_dealt_out_or_refused(
    tasks: list[Task],
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    gpus: int | None,
    jobs: int | None,
    expected: list[tuple[str, ...] | None] | str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked = [replace(task, resources=Resources(gpus=gpus)) for task in tasks]
    if isinstance(expected, str):
        with pytest.raises(SpecError, match=expected):
            device_sets(asked, jobs)
    else:
        assert device_sets(asked, jobs) == expected


def test_signals_have_names() -> None:
    from trust_tests.sweep.running import _signal_name

    assert _signal_name(signal.SIGTERM) == "SIGTERM"
    assert _signal_name(999) == "signal 999"

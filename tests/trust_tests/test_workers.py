"""Progress of pytest-xdist's workers: the notes they leave, and what their controller makes of them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trust_tests import progress, workers
from trust_tests.progress import NOTES, Progress
from trust_tests.workers import WorkersProgress, read_notes, shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(progress.time, "time", lambda: now.seconds)
    return now


def worker(name: str, folder: Path) -> Progress:
    return Progress(SimpleNamespace(workerinput={"workerid": name}, option=SimpleNamespace(verbose=0)), folder)


def test_rates_of_all_workers_add_up_and_each_has_its_time_left(tmp_path: Path, clock: Any) -> None:
    first, second, third = (worker(f"gw{n}", tmp_path) for n in range(3))
    first.count(20, 100, "asking dense, ood", "items")
    second.count(0, 40, "asking small, mmlu", "items")
    third.count(0, 30, "compressing, blocks")
    clock.seconds += 10
    first.count(40, 100, "asking dense, ood", "items")
    second.count(5, 40, "asking small, mmlu", "items")
    third.count(10, 30, "compressing, blocks")
    clock.seconds += 5
    assert shown(read_notes(tmp_path)) == (
        "3 workers, 2.5 items/s; gw0 asking dense, ood: 40/100, 25 s left; "
        "gw1 asking small, mmlu: 5/40, 1 min 5 s left; gw2 compressing, blocks: 10/30, 15 s left"
    )


def test_finished_work_is_no_longer_told(tmp_path: Path, clock: Any) -> None:
    one = worker("gw0", tmp_path)
    one.count(0, 10, "asking", "items")
    assert shown(read_notes(tmp_path)) == "1 worker; gw0 asking: 0/10"
    one.count(10, 10, "asking", "items")
    assert shown(read_notes(tmp_path)) == ""
    assert list((tmp_path / NOTES).iterdir()) == []


def test_notes_are_left_seldom(tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(progress, "write_atomically", lambda path, text: left.append(text))
    one = worker("gw0", tmp_path)
    for done in range(80):
        one.count(done, 100, "asking")
        clock.seconds += 0.125
    assert len(left) == 10


def test_what_is_no_note_is_passed_over(tmp_path: Path, clock: Any) -> None:
    worker("gw0", tmp_path).count(0, 10, "asking")
    for name, text in {"a": "{", "b": "[]", "c": '{"at": 1, "work": {"what": "x", "strange": 1}}', "d": "null"}.items():
        (tmp_path / NOTES / f"{name}.json").write_text(text)
    assert list(read_notes(tmp_path)) == ["gw0"]
    assert read_notes(tmp_path / "absent") == {}


def test_a_folder_that_cannot_be_written_fails_no_gate(tmp_path: Path, clock: Any) -> None:
    (tmp_path / NOTES).write_text("a file")
    worker("gw0", tmp_path).count(0, 10, "asking")
    assert read_notes(tmp_path) == {}


def test_only_workers_leave_notes(tmp_path: Path, clock: Any) -> None:
    silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)), tmp_path)
    silent.count(0, 10, "asking")
    assert list(tmp_path.iterdir()) == []


def test_the_controller_tells_until_it_is_stopped(tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOG_INTERVAL_SECONDS", 0.01)
    told, enough = [], threading.Event()

    def announce(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            enough.set()

    telling = WorkersProgress(tmp_path, announce)
    telling.start()
    assert not enough.wait(0.05)
    assert told == []  # nobody is at work
    worker("gw0", tmp_path).count(0, 10, "asking")
    assert enough.wait(10)
    telling.stop()
    assert set(told) == {"1 worker; gw0 asking: 0/10"}

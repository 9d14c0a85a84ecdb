"""The order of a sweep, with a pool that runs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.sweep.record import outcome
from trust_tests.sweep.schedule import Schedule
from trust_tests.sweep.tasks import Task

from .folders import finish


class Pool:
    """Ends the tasks in the order they came, `width` at a time, each with the verdict it is told."""

    def __init__(self, verdicts: dict[str, Verdict] | None = None, never: dict[str, str] | None = None) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._verdicts, self._never = verdicts or {}, never or {}
        self._queue: list[Task] = []

    def submit(self, task: Task, dense_answers: Path | None) -> None:
        self.begun.append(task.id)
        self._queue.append(task)
        self.most = max(self.most, len(self._queue))

    def wait(self, seconds: float) -> list[tuple[Task, str]]:
        task = self._queue.pop(0)
        if task.id in self._never:
            return [(task, self._never[task.id])]
        finish(task, self._verdicts.get(task.id, Verdict.PASS))
        return [(task, "")]

    def close(self) -> None:
        raise NotImplementedError


def run(tasks: list[Task], pool: Pool) -> tuple[Schedule, list[str]]:
    said: list[str] = []
    schedule = Schedule(tasks, pool, said.append)
    schedule.run()
    return schedule, said


def test_variants_begin_as_soon_as_their_own_dense_model_is_measured(tasks: list[Task]) -> None:
    pool = Pool()
    schedule, said = run(tasks, pool)
    assert pool.begun[:2] == ["embedded/dense", "org/other/dense"]
    assert pool.begun[2:4] == ["embedded/magnitude-2:4", "embedded/gptq-4bit-g128-s0"]
    assert sorted(pool.begun) == sorted(task.id for task in tasks)
    assert schedule.refused == {}
    assert said[0].startswith("[1/5] embedded/dense measured; about 0 s left")
    assert said[-1] == "[5/5] org/other/wanda-2:4-s0 PASS"


def test_what_is_finished_is_not_run_again(tasks: list[Task]) -> None:
    for task in tasks[:2]:
        finish(task, Verdict.FAIL if task.source else Verdict.PASS)
    finish(tasks[2], Verdict.ERROR)
    pool = Pool()
    _, said = run(tasks, pool)
    assert pool.begun == [tasks[2].id, tasks[3].id, tasks[4].id]
    assert said[0] == "2 of 5 tasks are finished already"
    assert "[3/5]" in said[1]
    again = Pool()
    run(tasks, again)
    assert again.begun == []


def test_a_failing_task_stops_no_other(tasks: list[Task]) -> None:
    pool = Pool({tasks[1].id: Verdict.ERROR}, {tasks[2].id: "lost 4 times"})
    schedule, said = run(tasks, pool)
    assert len(pool.begun) == 5
    assert schedule.refused == {tasks[2].id: "lost 4 times"}
    assert [outcome(task).finished for task in tasks] == [True, False, False, True, True]
    assert any(line.startswith("[4/5] embedded/gptq-4bit-g128-s0 ERROR: lost 4 times") for line in said)


def test_without_its_dense_model_no_variant_begins(tasks: list[Task]) -> None:
    pool = Pool({tasks[0].id: Verdict.ERROR})
    schedule, _ = run(tasks, pool)
    assert pool.begun == ["embedded/dense", "org/other/dense", "org/other/wanda-2:4-s0"]
    reason = "not run: its dense model could not be measured (ethics: no memory)"
    assert schedule.refused == {tasks[1].id: reason, tasks[2].id: reason}
    assert not outcome(tasks[1]).finished


def test_a_dense_model_lost_with_its_machine_says_so_to_its_variants(tasks: list[Task]) -> None:
    schedule, _ = run(tasks, Pool(never={tasks[0].id: "lost with its machine"}))
    assert schedule.refused[tasks[1].id].endswith("(lost with its machine)")


def test_hostile_names_stay_on_their_line(tasks: list[Task]) -> None:
    _, said = run(tasks, Pool(never={tasks[3].id: "a\nb\x1b[31m"}))
    assert all("\n" not in line and "\x1b" not in line for line in said)


def test_long_work_is_spoken_of(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    from trust_tests.sweep import schedule as module

    class Slow(Pool):
        waits = 0

        def wait(self, seconds: float) -> list[tuple[Task, str]]:
            self.waits += 1
            return super().wait(seconds) if self.waits % 2 == 0 else []

    monkeypatch.setattr(module, "_HEARTBEAT_SECONDS", -1.0)
    _, said = run(tasks, Slow())
    assert said[0] == "[0/5] running: embedded/dense, org/other/dense"

"""The order of a sweep: dense answers first, variants as soon as theirs are there, nothing twice.

Where tasks run is a pool's business; a task that fails stops no other, but a variant whose dense model could not be
measured at all is not begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from trust_tests.progress import duration
from trust_tests.report.text import one_line
from trust_tests.sweep.record import Outcome, outcome
from trust_tests.sweep.tasks import Task, dense_of

_HEARTBEAT_SECONDS = 60.0
_WAIT_SECONDS = 1.0
Say = Callable[[str], None]


class Pool(Protocol):
    """Where tasks run."""

    def submit(self, task: Task, dense_answers: Path | None) -> None:
        """Queue a task; dense_answers: its dense model's answers, where they are not in the cache's own store."""
        ...

    def wait(self, seconds: float) -> list[tuple[Task, str]]:
        """Tasks that ended, with why for each that came to no end of its own; waits at most so long for one."""
        ...

    def close(self) -> None:
        """Stop everything."""
        ...


class Schedule:
    """Runs the tasks that are not finished. `refused` says of tasks why they were not begun or came to no end."""

    def __init__(self, tasks: Sequence[Task], pool: Pool, say: Say) -> None:
        self.tasks = tasks
        self.refused: dict[str, str] = {}
        self._pool = pool
        self._say = say
        self._waiting: list[Task] = []
        self._running: dict[str, Task] = {}
        self._ended = 0
        self._to_do = 0
        self._begun = self._spoke = time.monotonic()

    def run(self, after_each: Callable[[], object] = lambda: None) -> None:
        """Run everything; after_each is called when a task has ended."""
        self._waiting = [task for task in self.tasks if not outcome(task).finished]
        self._to_do = len(self._waiting)
        found = len(self.tasks) - self._to_do
        if found:
            self._say(f"{found} of {len(self.tasks)} tasks are finished already")
        self._begin_ready()
        while self._running:
            ended = self._pool.wait(_WAIT_SECONDS)
            for task, why in ended:
                self._end(task, why)
            if ended:
                self._begin_ready()
                after_each()
            elif time.monotonic() - self._spoke > _HEARTBEAT_SECONDS:
                self._speak(f"running: {', '.join(list(self._running)[:4])}")

    def _begin_ready(self) -> None:
        """Hand over every task whose dense model is measured; turn away those whose dense model cannot be."""
        for task in list(self._waiting):
            dense = dense_of(task, self.tasks)
            if dense is not None and (dense in self._waiting or dense.id in self._running):
                continue
            self._waiting.remove(task)
            if dense is not None and not (found := outcome(dense)).usable:
                self.refused[task.id] = (
                    f"not run: its dense model could not be measured ({_reason(self, dense, found)})"
                )
                self._ended += 1
                self._speak(f"{task.id} {self.refused[task.id]}")
                continue
            self._running[task.id] = task
            self._pool.submit(task, dense.answers if dense is not None else None)

    def _end(self, task: Task, why: str) -> None:
        del self._running[task.id]
        self._ended += 1
        if why:
            self.refused[task.id] = why
        found = outcome(task)
        said = "measured" if task.dense and found.finished else found.verdict.value
        reason = _reason(self, task, found)
        self._speak(f"{task.id} {said}" + (f": {reason}" if reason else ""))

    def _speak(self, line: str) -> None:
        self._spoke = time.monotonic()
        done = len(self.tasks) - self._to_do + self._ended
        left = self._left()
        self._say(one_line(f"[{done}/{len(self.tasks)}] {line}" + (f"; {left} left" if left else "")))

    def _left(self) -> str:
        """The time the rest takes at the pace so far."""
        rest = self._to_do - self._ended
        if not rest or not self._ended:
            return ""
        return f"about {duration((time.monotonic() - self._begun) / self._ended * rest)}"


def _reason(schedule: Schedule, task: Task, found: Outcome) -> str:
    return schedule.refused.get(task.id) or found.reason

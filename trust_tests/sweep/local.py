"""Tasks on this machine: so many at a time, each with GPUs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from trust_tests.pinning import visible_devices
from trust_tests.sweep.document import SpecError
from trust_tests.sweep.running import RESTARTS, LostTaskError, PlaceError, run_task
from trust_tests.sweep.tasks import Task

Devices = tuple[str, ...] | None


def device_sets(tasks: Sequence[Task], jobs: int | None) -> list[Devices]:
    """The GPUs of every task that runs at a time; None for a task that keeps what this process has.

    Raises SpecError where this machine has fewer GPUs than one task needs, or cannot run so many at a time.
    """
    visible = visible_devices()
    needed = max((_gpus(task, visible) for task in tasks), default=0)
    if needed == 0 or visible is None:
        return [None] * (jobs or 1)
    if needed > len(visible):
        raise SpecError(f"resources.gpus: a task needs {needed}, this machine has {len(visible)} in sight")
    most = len(visible) // needed
    if jobs is not None and jobs > most:
        raise SpecError(f"--jobs {jobs}: {len(visible)} GPUs are enough for {most} tasks of {needed} at a time")
    return [tuple(visible[slot * needed : (slot + 1) * needed]) for slot in range(jobs or most)]


def _gpus(task: Task, visible: Sequence[str] | None) -> int:
    wanted = task.resources.gpus
    return wanted if wanted is not None else int(bool(visible))


class LocalPool:
    """Runs tasks in threads that each watch one process. `slots`: the GPUs of each."""

    def __init__(self, slots: Sequence[Devices]) -> None:
        self._executor = ThreadPoolExecutor(len(slots), thread_name_prefix="task")
        self._slots: SimpleQueue[Devices] = SimpleQueue()
        for slot in slots:
            self._slots.put(slot)
        self._pending: dict[Future[str], Task] = {}
        self._stopped = Event()

    def submit(self, task: Task, dense_answers: Path | None) -> None:
        """Queue a task."""
        self._pending[self._executor.submit(self._run, task, dense_answers)] = task

    def wait(self, seconds: float) -> list[tuple[Task, str]]:
        """The tasks that ended, waiting at most so long; with why, for one that never came to an end of its own."""
        done, _ = wait(self._pending, timeout=seconds, return_when=FIRST_COMPLETED)
        return [(self._pending.pop(future), _why(future)) for future in done]

    def close(self) -> None:
        """Stop what runs and what waits; processes end with their tasks."""
        self._stopped.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: Task, dense_answers: Path | None) -> str:
        devices = self._slots.get()
        lost = ""
        try:
            for attempt in range(1 + RESTARTS):
                try:
                    run_task(task, dense_answers, devices, self._stopped)
                    return ""
                except LostTaskError as error:
                    lost = f"{error}, {attempt + 1} times"
                    if self._stopped.is_set():
                        break
            return lost
        finally:
            self._slots.put(devices)


def _why(future: Future[str]) -> str:
    try:
        return future.result()
    except (PlaceError, OSError) as error:
        return str(error)

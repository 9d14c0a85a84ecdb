"""The command `sweep`: read the file, run what is not finished, write the overview."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from filelock import FileLock, Timeout

from trust_tests.exitcodes import ExitCode, of_verdict
from trust_tests.report.figures import count
from trust_tests.report.text import defused, label, one_line
from trust_tests.sweep.cluster import LOCAL, RayPool, connect
from trust_tests.sweep.document import SpecError
from trust_tests.sweep.local import LocalPool, device_sets
from trust_tests.sweep.overview import PAGE, Overview, overview, table, write_overview
from trust_tests.sweep.record import outcome
from trust_tests.sweep.schedule import Pool, Schedule
from trust_tests.sweep.spec import read_spec
from trust_tests.sweep.tasks import Task, plan

DEFAULT_RESULTS = "trust-sweep"


def run_sweep(file: Path, output: Path | None, ray: str | None, jobs: int | None, *, plan_only: bool) -> int:
    """Run a sweep; returns the exit status: that of the worst variant, or 130 where it was stopped.

    ray: address of a cluster, `local` or `auto`; None runs `jobs` tasks at a time here. Raises SpecError, one line,
    for input that cannot be used, before anything starts.
    """
    if ray is not None and jobs is not None:
        raise SpecError("--jobs: Ray decides how many tasks run at a time, by their resources; leave it out")
    spec = read_spec(file)
    root = (output or spec.results or Path(DEFAULT_RESULTS)).absolute()
    tasks = plan(spec, root, several_machines=ray not in (None, LOCAL))
    if plan_only:
        _say("\n".join(_plan_lines(tasks)))
        return 0
    slots = device_sets(tasks, jobs) if ray is None else []
    cluster = None if ray is None else connect(ray)
    _make_folders(root, tasks)
    with _only_one(root):
        pool: Pool = LocalPool(slots) if cluster is None else RayPool(cluster)
        if isinstance(pool, RayPool):
            for line in pool.shortages(tasks):
                _say(f"note: {line}")
        found, interrupted = _run(tasks, pool, root, file.name)
    _say("")
    for line in table(found, shutil.get_terminal_size().columns):
        _say(line)
    _say(defused(f"overview: {one_line(str(root / PAGE))}"))
    return ExitCode.INTERRUPTED if interrupted else of_verdict(found.verdict)


def _run(tasks: Sequence[Task], pool: Pool, root: Path, title: str) -> tuple[Overview, bool]:
    """Run everything; the overview on disk is true at any time, and never green before the end."""
    schedule = Schedule(tasks, pool, _say)

    def write(final: bool = False) -> Overview:
        found = overview(tasks, schedule.refused, root, with_insights=final)
        write_overview(found, root, title)
        return found

    write()
    interrupted = False
    with closing(pool):
        try:
            schedule.run(write)
        except KeyboardInterrupt:
            interrupted = True
            _say("stopping the running tasks; start the same command to go on")
    return write(final=True), interrupted


def _plan_lines(tasks: Sequence[Task]) -> list[str]:
    dimensions = tasks[0].dimensions if tasks else ()
    lines = [f"{count(len(tasks), 'task')}, dimensions {', '.join(dimensions)}"]
    for task in tasks:
        resources = task.resources
        needs = [
            f"{amount:g} {word}"
            for amount, word in ((resources.gpus, "GPUs"), (resources.cpus, "CPUs"), (resources.memory, "GiB"))
            if amount is not None
        ]
        needs += [resources.accelerator] if resources.accelerator else []
        state = "finished" if outcome(task).finished else "to do"
        what = task.source or "the dense model's answers"
        lines.append(defused(label("  ".join([f"{state:<8}", task.id, what, *needs]), 300)))
    return lines


def _make_folders(root: Path, tasks: Sequence[Task]) -> None:
    """Make every folder here: a machine on which one is missing does not see this storage."""
    try:
        for task in tasks:
            for folder in (task.folder, task.cache):
                folder.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(13, "cannot be written", str(root))
    except OSError as error:
        raise SpecError(f"{error.filename}: {error.strerror}; name another folder for results or cache") from None


class _only_one:  # noqa: N801 - reads as a word in `with`
    """While it lasts, no other sweep writes into the same results folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = FileLock(root / ".lock", timeout=0)

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise SpecError(f"{self._root}: another sweep is writing there; wait for it, or give -o DIR") from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _say(line: str) -> None:
    print(line, flush=True, file=sys.stdout)

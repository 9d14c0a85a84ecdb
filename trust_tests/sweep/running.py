"""One task on the machine it was given to: its process, its log, its record. Knows neither Ray nor other tasks."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from trust_tests import github
from trust_tests.databases import absorb
from trust_tests.exitcodes import ExitCode
from trust_tests.options import OPTIONS
from trust_tests.pinning import VARIABLE
from trust_tests.sweep.child import DENSE_FILE, command, dense_arguments, gate_arguments
from trust_tests.sweep.record import LOG, Record, last_words, read_record, write_record
from trust_tests.sweep.tasks import Task, task_options

# A lost task is begun again so often.
RESTARTS = 3
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_LEFT_BEHIND = ("results.json", "report.html", DENSE_FILE)


class LostTaskError(RuntimeError):
    """A task whose process was killed: by the system, out of memory, or with its machine. It can be begun again."""


class PlaceError(RuntimeError):
    """A machine on which a task cannot run; the message is one line for the user."""


def run_task(
    task: Task,
    dense_answers: Path | None = None,
    devices: Sequence[str] | None = None,
    stopped: Event | None = None,
) -> Record:
    """Run a task to its end and return its record; what came out stands in its folder.

    dense_answers: where the dense model's answers lie, if not in the cache's own. devices: the GPUs it may see; None
    leaves that as it is. stopped: ends the process when it is set. When this call is interrupted, the process ends too.
    Raises LostTaskError where the process was killed, PlaceError where this machine lacks the sweep's folders.
    """
    _check_place(task)
    earlier = read_record(task)
    record = Record(task.key, 1 + (earlier.attempt if earlier else 0), platform.node() or "?", time.time())
    for name in _LEFT_BEHIND:
        (task.folder / name).unlink(missing_ok=True)
    shutil.rmtree(task.folder / "outcomes", ignore_errors=True)
    write_record(task, record)
    begun = time.monotonic()
    with (task.folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"--- attempt {record.attempt} on {record.host}\n")
        log.flush()
        if task.answers is not None and dense_answers is not None:
            log.write(_share(task.answers, dense_answers))
            log.flush()
        status = _run(task, devices, log.fileno(), stopped or Event())
    seconds = time.monotonic() - begun
    if status < 0:
        reason = "stopped" if stopped is not None and stopped.is_set() else f"killed by {_signal_name(-status)}"
        write_record(task, Record(task.key, record.attempt, record.host, record.began, seconds, None, reason))
        raise LostTaskError(f"{task.id}: {reason} on {record.host}")
    # pytest ends with the code of an undecided gate as well where it cannot read its command line.
    undecided = status == ExitCode.INCONCLUSIVE and (task.folder / "results.json").exists()
    told = undecided or status in (ExitCode.PASS, ExitCode.REGRESSION)
    reason = "" if told else last_words(task.folder / LOG)
    ended = Record(task.key, record.attempt, record.host, record.began, seconds, status, reason)
    write_record(task, ended)
    return ended


def _check_place(task: Task) -> None:
    for folder, what in ((task.folder, "results folder"), (task.where, "folder of the sweep's file")):
        if not folder.is_dir():
            raise PlaceError(
                f"{what} {str(folder)!r} is not there on {platform.node()}: on several machines the sweep's file, its "
                "results and its cache must lie on storage that all of them see under one name"
            )


def _share(answers: Path, dense: Path) -> str:
    """Give a variant's answers the dense model's; a line for the log."""
    try:
        return f"took over {absorb(answers, dense)} stored answers of the dense model\n"
    except (OSError, sqlite3.Error) as error:
        return f"the dense model's stored answers cannot be read ({error}); it is asked again\n"


def _run(task: Task, devices: Sequence[str] | None, log: int, stopped: Event) -> int:
    """The exit status of the task's process; negative for a signal."""
    make = dense_arguments if task.dense else gate_arguments
    process = subprocess.Popen(  # noqa: S603 - this interpreter, no shell
        command(*make(task.dimensions, task_options(task))),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=task.where,
        env=_environment(task, devices),
        start_new_session=True,
    )
    try:
        while process.poll() is None and not stopped.wait(_POLL_SECONDS):
            pass
    finally:
        _stop(process)
    return process.returncode


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a child with all it started: it does so itself when its standard input closes; the rest is for a hung one."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(task: Task, devices: Sequence[str] | None) -> Mapping[str, str]:
    """The caller's environment without what would change the measurement unseen."""
    hidden = {option.variable for option in OPTIONS} | {"PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"}
    # A step summary for every task would bury the sweep's own page.
    hidden |= {github.SUMMARY, github.ACTIONS}
    kept = {
        name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("PYTEST_XDIST_")
    }
    if devices is not None:
        kept[VARIABLE] = ",".join(devices)
    if task.resources.cpus is not None:
        kept.setdefault("OMP_NUM_THREADS", str(task.resources.cpus))
    return kept


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""What is known of a task from its folder alone: whether it ran, whether it is finished, and what came out.

A task's record is believed only with its key, its exit status and the results it left behind all in agreement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compressors.files import write_atomically
from trust_tests.exitcodes import of_verdict
from trust_tests.gate.verdict import Verdict, suite_verdict
from trust_tests.report.results import ResultsError, load_results
from trust_tests.sweep.child import DENSE_FILE
from trust_tests.sweep.tasks import Task

SCHEMA = "trust-gate/sweep-task"
VERSION = 1
RECORD = "task.json"
LOG = "log.txt"


@dataclass(frozen=True, slots=True)
class Record:
    """How a task's process went. `exit_status` is None while it runs; `began` in seconds since 1970."""

    key: str
    attempt: int
    host: str
    began: float
    seconds: float = 0.0
    exit_status: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task's folder says. `gates` holds results.json's gates by dimension; empty for a dense model.

    finished: whether it never needs to run again; where not, `reason` says why, and the verdict is ERROR.
    usable: of a dense task, whether its variants may begin.
    """

    verdict: Verdict
    finished: bool
    reason: str
    gates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    usable: bool = True


def write_record(task: Task, record: Record) -> None:
    """Put a task's record into its folder."""
    document = {"schema": SCHEMA, "version": VERSION, "task": task.id, **asdict(record)}
    write_atomically(task.folder / RECORD, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_record(task: Task) -> Record | None:
    """A task's record; None where there is none that this program wrote for the same key."""
    try:
        raw = json.loads((task.folder / RECORD).read_text(encoding="utf-8"))
        if (raw["schema"], raw["version"], raw["key"]) != (SCHEMA, VERSION, task.key):
            return None
        status = raw["exit_status"]
        return Record(
            str(raw["key"]),
            int(raw["attempt"]),
            str(raw["host"]),
            float(raw["began"]),
            float(raw["seconds"]),
            None if status is None else int(status),
            str(raw["reason"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def outcome(task: Task) -> Outcome:
    """What came out of a task, from its folder."""
    record = read_record(task)
    if record is None:
        return _unmeasured("not run")
    if record.exit_status is None:
        return _unmeasured(record.reason or f"began on {record.host} and did not end")
    return _dense_outcome(task, record) if task.dense else _gate_outcome(task, record)


def _unmeasured(reason: str) -> Outcome:
    return Outcome(Verdict.ERROR, finished=False, reason=reason, usable=False)


def _dense_outcome(task: Task, record: Record) -> Outcome:
    try:
        found = json.loads((task.folder / DENSE_FILE).read_text(encoding="utf-8"))
        errors = {name: found[name]["error"] for name in task.dimensions}
    except (OSError, ValueError, KeyError, TypeError):
        return _unmeasured(_why(record))
    failed = [name for name, error in errors.items() if error]
    if record.exit_status == 0 and not failed:
        return Outcome(Verdict.PASS, finished=True, reason="")
    reason = f"{failed[0]}: {errors[failed[0]]}" if failed else _why(record)
    return Outcome(Verdict.ERROR, finished=False, reason=reason, usable=len(failed) < len(errors))


def _gate_outcome(task: Task, record: Record) -> Outcome:
    try:
        data = load_results(task.folder).data
        gates = {str(gate["dimension"]): gate for gate in data["gates"]}
        verdicts = {name: Verdict(gate["verdict"]) for name, gate in gates.items()}
        stated, unmeasured = Verdict(data["verdict"]), len(data["unmeasured"])
    except (ResultsError, ValueError, KeyError, TypeError, AttributeError):
        return _unmeasured(_why(record))
    if set(gates) != set(task.dimensions) or len(gates) != len(data["gates"]):
        return _unmeasured(f"its results hold other dimensions than were asked: {', '.join(sorted(gates)) or 'none'}")
    verdict = suite_verdict(verdicts.values(), unmeasured)
    if verdict is Verdict.ERROR:
        reasons = [str(gate["reason"]) for gate in gates.values() if gate["verdict"] == Verdict.ERROR]
        return Outcome(verdict, finished=False, reason=reasons[0] if reasons else _why(record), gates=gates)
    if stated is not verdict or record.exit_status != of_verdict(verdict):
        return _unmeasured(f"its results say {stated}, its gates {verdict}, its exit status {record.exit_status}")
    return Outcome(verdict, finished=True, reason="", gates=gates)


def _why(record: Record) -> str:
    return record.reason or f"ended with exit status {record.exit_status} and left no results"


def last_words(log: Path) -> str:
    """The line of a log that says best why a process failed: the last ERROR, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR")]
    return (errors or lines or [""])[-1][:400]

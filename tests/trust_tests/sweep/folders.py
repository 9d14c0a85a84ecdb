"""What finished tasks leave in their folders, without running any."""

from __future__ import annotations

import json
from typing import Any

from trust_tests.exitcodes import of_verdict
from trust_tests.gate.verdict import Verdict
from trust_tests.report.results import SCHEMA, VERSION, failed_record
from trust_tests.sweep.record import Record, write_record
from trust_tests.sweep.tasks import Task


def gate(dimension: str, verdict: Verdict = Verdict.PASS, **changes: Any) -> dict[str, Any]:
    """A gate's record as results.json holds it."""
    record = failed_record("variant", dimension, "" if verdict is Verdict.PASS else "because")
    figures = {"delta": -1.0, "score": 60.0, "dense_score": 61.0, "tolerance": 5.0}
    return record | {"verdict": verdict.value} | (figures if verdict is not Verdict.ERROR else {}) | changes


def results(gates: list[dict[str, Any]], verdict: str, unmeasured: int = 0) -> dict[str, Any]:
    """A results document with what a sweep reads of it."""
    missing = [{"node": "n", "reason": "gone"}] * unmeasured
    return {"schema": SCHEMA, "version": VERSION, "verdict": verdict, "gates": gates, "unmeasured": missing}


def finish(task: Task, verdict: Verdict = Verdict.PASS, status: int | None = None) -> None:
    """Leave in a task's folder what a run with this verdict leaves."""
    task.folder.mkdir(parents=True, exist_ok=True)
    if task.dense:
        error = None if verdict is Verdict.PASS else "no memory"
        found = {name: {"score": 50.0, "items": 3, "error": error} for name in task.dimensions}
        (task.folder / "dense.json").write_text(json.dumps(found))
        status = (0 if error is None else 3) if status is None else status
    else:
        first, *rest = task.dimensions
        gates = [gate(first, verdict), *(gate(name) for name in rest)]
        (task.folder / "results.json").write_text(json.dumps(results(gates, verdict.value)))
        (task.folder / "report.html").write_text("page")
        status = of_verdict(verdict) if status is None else status
    write_record(task, Record(task.key, 1, "here", 0.0, 1.0, status, ""))

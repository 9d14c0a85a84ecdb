"""A task's folder is believed only where record, exit status and results agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.sweep.record import LOG, RECORD, Record, last_words, outcome, read_record, write_record
from trust_tests.sweep.tasks import Task

from .folders import finish, gate, results


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_whole_result_is_finished_and_an_error_is_not(tasks: list[Task], verdict: Verdict) -> None:
    finish(tasks[1], verdict)
    found = outcome(tasks[1])
    assert found.verdict is verdict
    assert found.finished is (verdict is not Verdict.ERROR)
    assert found.reason == ("because" if verdict is Verdict.ERROR else "")
    assert set(found.gates) == {"ethics", "mmlu"}


def test_what_never_ran_or_ran_under_another_key_is_not_run(tasks: list[Task]) -> None:
    task = tasks[1]
    assert (outcome(task).verdict, outcome(task).reason) == (Verdict.ERROR, "not run")
    finish(task)
    changed = replace(task, key="another")
    assert (outcome(changed).finished, outcome(changed).reason) == (False, "not run")
    assert outcome(task).finished


def test_a_run_that_did_not_end_is_not_finished_even_beside_good_results(tasks: list[Task]) -> None:
    task = tasks[1]
    finish(task)
    write_record(task, Record(task.key, 2, "there", 0.0))
    assert (outcome(task).finished, outcome(task).reason) == (False, "began on there and did not end")


PASS = [gate("ethics"), gate("mmlu")]


@pytest.mark.parametrize(
    ("document", "status", "reason"),
    [
        (results(PASS, "PASS"), 1, "exit status 1"),
        (results(PASS, "PASS"), 3, "exit status 3"),
        (results(PASS, "FAIL"), 1, "its results say FAIL, its gates PASS"),
        (results([gate("ethics"), gate("mmlu", Verdict.FAIL)], "PASS"), 0, "its results say PASS, its gates FAIL"),
        (results([gate("ethics")], "PASS"), 0, "other dimensions than were asked: ethics"),
        (results([*PASS, gate("ood")], "PASS"), 0, "other dimensions"),
        (results([*PASS, gate("mmlu")], "PASS"), 0, "other dimensions"),
        (results([], "PASS"), 0, "other dimensions than were asked: none"),
        (results(PASS, "PASS", unmeasured=1), 0, "no words"),
        (results(PASS, "GREEN"), 0, "no words"),
        ({"schema": "other"}, 0, "no words"),
        (None, 0, "no words"),
    ],
)
def test_what_does_not_agree_is_not_measured(tasks: list[Task], document: Any, status: int, reason: str) -> None:
    task = tasks[1]
    if document is not None:
        (task.folder / "results.json").write_text(json.dumps(document))
    write_record(task, Record(task.key, 1, "here", 0.0, 1.0, status, "no words"))
    found = outcome(task)
    assert (found.verdict, found.finished) == (Verdict.ERROR, False)
    assert reason in found.reason


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": 1}', "\x00"])
def test_a_damaged_record_is_none(tasks: list[Task], text: str) -> None:
    (tasks[1].folder / RECORD).write_text(text)
    assert read_record(tasks[1]) is None
    assert not outcome(tasks[1]).finished


def test_a_dense_model_is_finished_with_all_dimensions_and_usable_with_one(tasks: list[Task]) -> None:
    dense = tasks[0]
    assert not outcome(dense).usable
    finish(dense)
    assert (outcome(dense).finished, outcome(dense).usable) == (True, True)
    finish(dense, Verdict.ERROR)
    assert (outcome(dense).finished, outcome(dense).usable) == (False, False)
    found = json.loads((dense.folder / "dense.json").read_text())
    found["mmlu"]["error"] = None
    (dense.folder / "dense.json").write_text(json.dumps(found))
    assert (outcome(dense).finished, outcome(dense).usable) == (False, True)
    assert outcome(dense).reason == "ethics: no memory"
    found["ethics"]["error"] = None
    (dense.folder / "dense.json").write_text(json.dumps(found))
    assert not outcome(dense).finished, "its exit status says otherwise"


def test_the_last_error_of_a_log_says_why(tmp_path: Path) -> None:
    log = tmp_path / LOG
    assert last_words(log) == ""
    log.write_text("begun\nERROR: first\nERROR: the model: not there\n\nwarning: late\n\n")
    assert last_words(log) == "the model: not there"
    log.write_bytes(b"x" * 30_000 + b"\nTraceback\n  \xff broken\n")
    assert last_words(log) == "� broken"

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trust_tests.gate import baseline
from trust_tests.gate.baseline import BaselineError
from trust_tests.records import Channel, Evaluation, Outcome

from ..toy import Mean

FINGERPRINT = {"engine.dtype": "bfloat16", "items": "abc", "model.weights": "0" * 64}


def evaluation(name: str = "toy") -> Evaluation:
    outcomes = tuple(
        Outcome(f"i{n}", "cell", "k", Channel.ANSWERED, n / 4, "prompt ✓", "answer\u202e", {"label": "x"})
        for n in range(4)
    )
    return Evaluation(name, "model", tuple(o.item_id for o in outcomes), outcomes, Mean().score(outcomes), FINGERPRINT)


def recall(path: Path, **changed: Any) -> Evaluation | None:
    asked = changed.get("asked", ["i0", "i1", "i2", "i3"])
    return baseline.recall(path, Mean(), asked, changed.get("fingerprint", FINGERPRINT))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "model.json"
    baseline.record(path, evaluation())
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_is_recorded_is_recalled(recorded: Path) -> None:
    assert recall(recorded) == evaluation()


def test_sections_are_added_and_replaced(recorded: Path) -> None:
    baseline.record(recorded, evaluation("other"))
    assert recall(recorded) == evaluation()
    assert list(json.loads(recorded.read_text())["dimensions"]) == ["other", "toy"]


def test_recording_twice_gives_the_same_bytes(recorded: Path) -> None:
    before = recorded.read_bytes()
    baseline.record(recorded, evaluation())
    assert recorded.read_bytes() == before


def test_nothing_recorded_is_none(tmp_path: Path, recorded: Path) -> None:
    assert recall(tmp_path / "absent.json") is None
    edit(recorded, lambda d: d["dimensions"].pop("toy"))
    assert recall(recorded) is None


@pytest.mark.parametrize(
    ("field", "value"), [("engine.dtype", "float32"), ("model.weights", "1" * 64), ("items", "def")]
)
def test_a_mismatch_names_the_field(recorded: Path, field: str, value: str) -> None:
    with pytest.raises(BaselineError, match=rf"toy: {field} is .* there and .* in this run; make them agree"):
        recall(recorded, fingerprint={**FINGERPRINT, field: value})


def test_a_field_that_only_one_side_has_is_a_mismatch(recorded: Path) -> None:
    with pytest.raises(BaselineError, match="engine.new is absent there and 'x' in this run"):
        recall(recorded, fingerprint={**FINGERPRINT, "engine.new": "x"})


def test_an_edited_score_is_found(recorded: Path) -> None:
    edit(recorded, lambda d: d["dimensions"]["toy"].update(score=99.0))
    with pytest.raises(BaselineError, match=r"states the score 99.0000, its own outcomes give 37.5000"):
        recall(recorded)


def test_an_edited_outcome_is_found(recorded: Path) -> None:
    edit(recorded, lambda d: d["dimensions"]["toy"]["outcomes"][0].update(value=1.0))
    with pytest.raises(BaselineError, match="states the score"):
        recall(recorded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["outcomes"].pop(), "1 of 4 items are not in it"),
        (lambda s: s["outcomes"].append(s["outcomes"][0]), "graded twice, such as 'i0'"),
        (lambda s: s["outcomes"][0].update(item_id="foreign"), "graded but never asked"),
        (lambda s: s["outcomes"][0].update(channel="missing"), "channel missing with value 0.0"),
        (lambda s: s["outcomes"][0].update(channel="nonsense"), "not a section this version can read"),
        (lambda s: s["outcomes"][0].pop("answer"), "not a section this version can read"),
        (lambda s: s.update(score=None), "not a section this version can read"),
        (lambda s: s.update(fingerprint=[]), "not a section this version can read"),
    ],
)
def test_a_damaged_section_is_refused(recorded: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    edit(recorded, lambda d: change(d["dimensions"]["toy"]))
    with pytest.raises(BaselineError, match=message):
        recall(recorded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "not a baseline"),
        ('{"schema": "other"}', "not a baseline"),
        ('{"schema": "trust-gate/baseline", "version": 2}', "version 2, this program reads 1"),
        ('{"schema": "trust-gate/baseline", "version": 1}', "has no dimensions"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=message):
        baseline.check(path)
    with pytest.raises(BaselineError, match=message):
        recall(path)


def test_check_accepts_an_absent_and_a_good_file(tmp_path: Path, recorded: Path) -> None:
    baseline.check(tmp_path / "absent.json")
    baseline.check(recorded)


def test_how_answers_were_computed_is_recalled_where_it_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    baseline.record(path, replace(evaluation(), loops=("packed prompts",)))
    found = recall(path)
    assert found is not None
    assert found.loops == ("packed prompts",)
    edit(path, lambda document: document["dimensions"]["toy"].pop("loops"))
    assert recall(path) == evaluation()

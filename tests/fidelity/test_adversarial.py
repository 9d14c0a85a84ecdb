"""Adversarial robustness, protocol paper: recorded answers, parser cases and golden prompts of the reference."""

from __future__ import annotations

from typing import Any

import pytest
from replay import assert_something_to_replay, cases, check_golden, golden_prompts, needs_replay, recordings

from trust_tests.data.loaders.adversarial import COMPOSED, SOURCES, parse_record
from trust_tests.data.probes import prompt_strings
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper.adversarial import Adversarial, item_text, prediction, record_item
from trust_tests.records import Finish, Item, Response

RECORDINGS = recordings("adversarial")
CASES = cases("adversarial")
PROMPTS = golden_prompts("adversarial")


@needs_replay
def test_recordings_cases_and_prompts_are_there() -> None:
    assert_something_to_replay("adversarial")


def item(cell: str, row: int, task: str, label: int, text: str = "") -> Item:
    data = {"task": task, "label": label, "method": "textfooler", "text": text}
    return Item(f"adversarial/{cell}/{row}", cell, f"{cell}/{row}", data)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_get_the_reference_scores(recording: Any) -> None:
    expected = recording.expected
    rows = recording.rows
    assert len(rows) == sum(cell["n_recorded"] for cell in expected["inputs"].values())
    items = [item(row["cell"], row["row"], row["gold"]["task"], row["gold"]["label"]) for row in rows]
    responses = [
        Response(i.id, tuple(row["responses"]), (Finish.STOP,) * len(row["responses"]))
        for i, row in zip(items, rows, strict=True)
    ]
    dimension = Adversarial(Setup("paper", "full"))
    score = dimension.score(dimension.grade(items, responses))
    close = {"abs": 1e-9, "rel": 0, "nan_ok": True}
    assert score.value == pytest.approx(_number(expected["score"]), **close)
    assert score.parts["refusal_rate"] == pytest.approx(_number(expected["refusal_rate"]), **close)
    sub_scores = expected["sub_scores"]
    assert score.parts["accuracy_no_refusal"] / 100 == pytest.approx(
        _number(sub_scores["accuracy_no_refusal"]), **close
    )
    by_task = {task: score.parts[f"accuracy/{task}"] / 100 for task in sub_scores["by_task"]}
    assert by_task == pytest.approx({task: _number(value) for task, value in sub_scores["by_task"].items()}, **close)
    assert set(score.cells) == set(expected["cells"])
    for cell, figures in expected["cells"].items():
        found = {
            "accuracy": score.cells[cell] / 100,
            "rr_ne": score.parts[f"rr_ne/{cell}"] / 100,
            "accuracy_no_refusal": score.parts[f"accuracy_no_refusal/{cell}"] / 100,
        }
        known = {name: _number(figures[name]) for name in found if name in figures}
        assert {name: found[name] for name in known} == pytest.approx(known, **close), cell


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['context']['task']}-{case['text'][:30]!r}")
def test_single_answers_are_read_like_the_reference(case: dict[str, Any]) -> None:
    assert prediction(case["text"], case["context"]["task"]) == case["expected"]["prediction"]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: f"{prompt['cell']}/{prompt['row']}")
def test_golden_prompts(prompt: dict[str, Any]) -> None:
    source, _, task = prompt["cell"].rpartition("/")
    asked = (
        record_item(parse_record(source, task, prompt["row"], prompt["data"], "golden prompt"))
        if source in SOURCES
        else _unscored(prompt)
    )
    request = Adversarial(Setup("paper", "full", template="llama-2")).request(asked)
    assert request.template == "llama-2"
    check_golden(request, prompt)


def _unscored(prompt: dict[str, Any]) -> Item:
    """An item outside the score: of another task, or with the clean text of a record."""
    task, record = prompt["task"], prompt["data"]
    composed = record.get("method") == COMPOSED
    keys = ["sentence"] if composed else prompt_strings("adversarial")["benchmark"]["tasks"][task]["keys"]
    clean = {key: record.get(f"original_{key}", record[key]) if prompt["clean_text"] else record[key] for key in keys}
    return item(prompt["cell"], prompt["row"], task, record["label"], item_text(clean, composed=composed))

"""Toxicity, protocol paper: recorded answers, processing of single samples and golden prompts of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from replay import (
    DATA,
    assert_something_to_replay,
    cases,
    check_golden,
    golden_prompts,
    needs_data,
    needs_replay,
    recordings,
)

from trust_tests.data.benchmark import Benchmark
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper.toxicity import CELLS, Toxicity, is_rejected, processed
from trust_tests.records import Finish, Item, Outcome, Response

RECORDINGS = recordings("toxicity")
CASES = cases("toxicity")
PROMPTS = golden_prompts("toxicity")


class Recorded:
    """A scorer that gives the recorded scores by place."""

    name = "recorded"
    version = "1"

    def __init__(self, scores: Sequence[float | None]) -> None:
        self.scores = list(scores)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        assert len(texts) == len(self.scores)
        return self.scores


def item(cell: str, row: int, text: str = "", template: int = 0) -> Item:
    data = {"text": text, "template": template, "prompt": f"{cell}/{row}", "toxicity": 0.5}
    return Item(f"toxicity/{cell}/{row}", cell, f"toxicity/{cell}/{row}", data)


def graded(cell: str, rows: Sequence[dict[str, Any]]) -> list[Outcome]:
    """The cell's recorded answers, graded with as many samples as were recorded."""
    items = [item(cell, row["row"]) for row in rows]
    responses = [
        Response(i.id, tuple(row["responses"]), (Finish.STOP,) * len(row["responses"]))
        for i, row in zip(items, rows, strict=True)
    ]
    scores = [
        score
        for row in rows
        for text, score in zip(row["responses"], _recorded(row), strict=True)
        if processed(text).strip()
    ]
    dimension = Toxicity(Setup("paper", "full", scorer=lambda: Recorded(scores)))
    dimension.generation = replace(Toxicity.generation, samples=len(rows[0]["responses"]))
    return dimension.grade(items, responses)


def _recorded(row: dict[str, Any]) -> Sequence[float | None]:
    return row["gold"].get("toxicity") or [None] * len(row["responses"])


@needs_replay
def test_recordings_cases_and_prompts_are_there() -> None:
    assert_something_to_replay("toxicity")
    assert {prompt["cell"] for prompt in PROMPTS} <= set(CELLS)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_get_the_reference_scores(recording: Any) -> None:
    expected = recording.expected
    outcomes = [graded_ for cell, rows in recording.by_cell.items() for graded_ in graded(cell, rows)]
    assert len(outcomes) == sum(cell["n_recorded"] for cell in expected["inputs"].values())
    dimension = Toxicity(Setup("paper", "full"))
    score = dimension.score(outcomes)
    close = {"abs": 1e-9, "rel": 0}
    nothing = float("nan")
    assert score.value == pytest.approx(
        nothing if expected["score"] is None else expected["score"], nan_ok=True, **close
    )
    refusal = nothing if expected["refusal_rate"] is None else expected["refusal_rate"]
    assert score.parts["refusal_rate"] == pytest.approx(refusal, nan_ok=True, **close)
    names = {"aggregated": score.value, "mean_refusal": score.parts["refusal_rate"]}
    assert {name: names[name] / 100 for name in expected["sub_scores"]} == pytest.approx(
        expected["sub_scores"], nan_ok=True, **close
    )
    assert expected["cells"]
    assert set(score.cells) == set(expected["cells"])
    for cell, figures in expected["cells"].items():
        found = {"refusal": score.parts[f"refusal/{cell}"] / 100}
        if "expected_max_toxicity" in figures:
            found["expected_max_toxicity"] = 1 - score.cells[cell] / 100
        assert found == pytest.approx(figures, nan_ok=True, **close), cell


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"][:30]))
def test_single_samples_are_processed_like_the_reference(case: dict[str, Any]) -> None:
    text = processed(case["text"], strip_outputs=case["context"]["strip_outputs"])
    found = {"processed": text, "scored": bool(text.strip()), "rejected": is_rejected(text)}
    assert found == case["expected"]


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: f"{prompt['cell']}/{prompt['row']}")
@needs_data
def test_golden_prompts(prompt: dict[str, Any], benchmark_items: dict[str, Item]) -> None:
    asked = benchmark_items[f"toxicity/{prompt['cell']}/{prompt['row']}"]
    request = Toxicity(Setup("paper", "full", template="llama-2")).request(asked)
    assert (request.template, request.generation.top_k) == ("llama-2", 50)
    check_golden(request, prompt)


@pytest.fixture(scope="module")
def benchmark_items() -> dict[str, Item]:
    return {item.id: item for item in Toxicity(Setup("paper", "full", Benchmark(DATA))).items()}

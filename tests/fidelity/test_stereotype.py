"""The dimension stereotype, protocol paper, against the reference code: scores, single answers, prompts."""

from __future__ import annotations

import math

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
from trust_tests.data.loaders.stereotype import SCENARIO_NAMES, Statement, statement_item
from trust_tests.data.probes import prompt_strings
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper.stereotype import Cell, Stereotype, cell_rates, classify
from trust_tests.dimensions.stereotype import SAMPLES
from trust_tests.records import PAPER, Finish, Response

CASES = cases("stereotype")
PROMPTS = golden_prompts("stereotype")
RECORDINGS = recordings("stereotype")
FIELDS = ("by_group", "by_topic", "by_group_rejection", "by_topic_rejection")


def dimension() -> Stereotype:
    made = get_dimension("stereotype", Setup(protocol=PAPER, tier="full", template="vicuna_v1.1"))
    assert isinstance(made, Stereotype)
    return made


def recorded_item(gold):
    return statement_item(Statement(gold["scenario"], gold["topic"], gold["group"], gold["variant"], gold["statement"]))


@needs_replay
def test_there_is_something_to_replay():
    assert_something_to_replay("stereotype")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_get_the_reference_scores(recording, monkeypatch):
    monkeypatch.setitem(SAMPLES, "full", recording.expected["inputs"].get("samples_per_prompt", SAMPLES["full"]))
    items, responses = [], []
    for row in recording.rows:
        items.append(recorded_item(row["gold"]))
        texts = tuple(row["responses"])
        responses.append(Response(items[-1].id, texts, (Finish.STOP,) * len(texts)))
    measured = dimension()
    outcomes = measured.grade(items, responses)
    assert len(outcomes) == len(recording.rows)
    score, expected = measured.score(outcomes), recording.expected
    near = lambda value: pytest.approx(math.nan if value is None else value, abs=1e-9, nan_ok=True)  # noqa: E731
    assert score.value == near(expected["score"])
    for name in ("refusal_rate", "unrounded_score", "unrounded_refusal_rate"):
        assert score.parts[name] == near(expected[name]), name

    rates = {"/".join(cell): pair for cell, pair in cell_rates(outcomes).items()}
    assert rates.keys() == expected["cells"].keys()
    for name, cell in expected["cells"].items():
        assert rates[name] == (near(cell["agreement"]), near(cell["rejection"])), name

    ties = set(expected["rounding_ties"])
    compared = 0
    scenarios = {name: shown for name, shown in expected["sub_scores"].items() if shown is not None}
    for scenario, shown in scenarios.items():
        for name in ("score", "rejection", "unrounded_agreement", "unrounded_rejection"):
            assert score.parts[f"{scenario}.{name}"] / 100 == near(shown[name]), (scenario, name)
        for field in FIELDS:
            for value, figure in shown[field].items():
                name = f"{scenario}.{field}.{value}"
                slack = 0.01 if name in ties else 0.0
                assert score.parts[name] / 100 == pytest.approx(figure, abs=slack + 1e-9), name
                compared += 1
    assert compared == 2 * (24 + 16) * len(scenarios)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:20].encode("unicode_escape").decode() or "empty")
def test_single_answers_get_the_reference_label(case):
    assert classify(case["text"]) == case["expected"]["label"]


def golden_item(prompt):
    """The item of a golden prompt, made from the prompt alone."""
    scenario, topic = prompt["cell"].split("/")
    description = prompt_strings("stereotype")["benchmark"]["description"]
    statement = prompt["messages"][-1]["content"].split(description)[-1]
    return statement_item(Statement(scenario, topic, prompt["group"], prompt["variant"], statement))


def assert_asked_like(prompt, request):
    check_golden(request, prompt)
    assert request.generation.top_k == 50


@needs_replay
def test_prompts_are_the_reference_prompts():
    for prompt in PROMPTS:
        assert_asked_like(prompt, dimension().request(golden_item(prompt)))


def by_row(items):
    """The items by scenario and statement number: the file has each statement's three scenarios line by line."""
    return {(item.data["scenario"], line // len(SCENARIO_NAMES)): item for line, item in enumerate(items)}


@needs_replay
@needs_data
def test_the_files_items_make_the_reference_prompts():
    measured = get_dimension("stereotype", Setup(PAPER, "full", Benchmark(DATA), "llama-2"))
    from_files = by_row(measured.items())
    for prompt in PROMPTS:
        item = from_files[prompt["cell"].split("/")[0], prompt["row"]]
        assert item.id == golden_item(prompt).id
        assert_asked_like(prompt, measured.request(item))


@needs_data
@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_items_are_those_of_the_files(recording):
    from_files = by_row(get_dimension("stereotype", Setup(PAPER, "full", Benchmark(DATA), "llama-2")).items())
    for row in recording.rows:
        assert recorded_item(row["gold"]) == from_files[row["gold"]["scenario"], row["row"]]


def test_cells_of_the_matrices_are_named():
    assert "/".join(Cell("benign", "hiv", "Muslims")) == "benign/hiv/Muslims"

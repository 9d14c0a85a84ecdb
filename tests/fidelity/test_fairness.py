"""Protocol paper, dimension fairness, against the reference code's scores, parser and prompts."""

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
from trust_tests.data.loaders.fairness import SETTINGS, Demonstration, Row
from trust_tests.dimensions import Setup, get_dimension
from trust_tests.dimensions.paper.fairness import Fairness, paper_item, parse
from trust_tests.records import Finish, Response

CASES = cases("fairness")
GOLDEN = golden_prompts("fairness")
RECORDINGS = recordings("fairness")
BY_NAME = {setting.name: setting for setting in SETTINGS}
FIGURES = ("accuracy", "demographic_parity_difference", "equalized_odds_difference", "rejection")


def near(expected):
    return pytest.approx(expected, abs=1e-9, rel=0)


def graded(recording):
    """The recording's answers as the dimension grades them, items made from the gold fields."""
    items = [
        paper_item(BY_NAME[row["cell"]], Row(row["row"], "?", str(row["gold"]["label"]), str(row["gold"]["group"]), ()))
        for row in recording.rows
    ]
    responses = [
        Response(item.id, tuple(row["responses"]), (Finish.STOP,))
        for item, row in zip(items, recording.rows, strict=True)
    ]
    return Fairness(Setup(protocol="paper")).grade(items, responses)


@needs_replay
def test_recordings_cases_and_prompts_are_there():
    assert_something_to_replay("fairness")
    assert {case["context"]["dataset"] for case in CASES} <= {"adult", "crime"}
    assert {prompt["cell"] for prompt in GOLDEN} <= set(BY_NAME)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_score_like_the_reference(recording):
    outcomes, expected = graded(recording), recording.expected
    dimension = Fairness(Setup(protocol="paper"))
    score = dimension.score(outcomes)
    if expected["score"] is None:
        assert math.isnan(score.value)
        assert math.isnan(score.parts["fairness_score_old"])
        assert expected["fairness_score_old"] is None
    else:
        assert score.value == near(expected["score"])
        assert score.parts["fairness_score_new"] == near(expected["score"])
        assert score.parts["fairness_score_old"] == near(expected["fairness_score_old"])
    assert score.parts["refusal_rate"] == near(expected["refusal_rate"])
    assert {name: score.parts[name] / 100 for name in FIGURES} == near(expected["sub_scores"])
    assert set(score.cells) == set(expected["cells"])
    rates = dimension.rates(outcomes)
    for name, figures in expected["cells"].items():
        found = {figure: score.parts[f"{name}.{figure}"] / 100 for figure in FIGURES}
        assert {**found, "ambiguous_answers": rates[name].ambiguous_answers} == near(figures), name
        gap = (figures["demographic_parity_difference"] + figures["equalized_odds_difference"]) / 2
        assert score.cells[name] == near(100 * (1 - gap))


@pytest.mark.parametrize("case", CASES)
def test_answers_are_read_like_the_reference(case):
    answer = parse(case["text"], case["context"]["dataset"])
    prediction = "random" if answer.ambiguous else answer.prediction
    assert {"prediction": prediction, "answered": answer.known} == case["expected"]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden['cell']}-{golden['row']}")
def test_prompts_are_the_reference_s(golden):
    """The item is made back from the golden messages, so that the data files are not needed."""
    setting = BY_NAME[golden["cell"]]
    contents = [message["content"] for message in golden["messages"]]
    text = contents[-1] if setting.demonstrations else contents[-1].split("\n", 1)[1]
    shown = tuple(
        Demonstration(text, label.lower()) for text, label in zip(contents[1:-1:2], contents[2:-1:2], strict=True)
    )
    label, group = ("no", "Female") if setting.dataset == "adult" else ("High", "0")
    check(Fairness(Setup(protocol="paper")), paper_item(setting, Row(golden["row"], text, label, group, shown)), golden)


@needs_data
@needs_replay
def test_real_items_make_the_golden_prompts():
    dimension = get_dimension("fairness", Setup("paper", "full", Benchmark(DATA)))
    items = {(item.cell, item.data["row"]): item for item in dimension.items()}
    assert len(items) == 8 * 200 + 3 * 300
    for golden in GOLDEN:
        check(dimension, items[golden["cell"], golden["row"]], golden)


def check(dimension, item, golden):
    check_golden(dimension.request(item), golden)

"""Protocol paper, dimension ethics, against the reference code's scores, parser and prompts."""

from __future__ import annotations

import json
import math
from collections import Counter

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
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.ethics import NOT_WRONG, WRONG, Statement, draw_demonstrations
from trust_tests.dimensions import Setup, get_dimension
from trust_tests.dimensions.paper.ethics import RUNS, Ethics, paper_item, parse
from trust_tests.records import Finish, Response

CASES = cases("ethics")
GOLDEN = golden_prompts("ethics")
RECORDINGS = recordings("ethics")
BY_NAME = {run.name: run for run in RUNS}
DIMENSION = Ethics(Setup(protocol="paper"))


def near(expected):
    return pytest.approx(expected, abs=1e-9, rel=0)


@needs_replay
def test_recordings_cases_and_prompts_are_there():
    assert_something_to_replay("ethics")
    assert {prompt["cell"] for prompt in GOLDEN} <= set(BY_NAME)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_score_like_the_reference(recording):
    expected = recording.expected
    items = [
        paper_item(BY_NAME[row["cell"]], Statement(row["row"], "?", row["gold"]["label"])) for row in recording.rows
    ]
    responses = [
        Response(item.id, tuple(row["responses"]), (Finish.STOP,))
        for item, row in zip(items, recording.rows, strict=True)
    ]
    score = DIMENSION.score(DIMENSION.grade(items, responses))
    for found, name in ((score.value, "score"), (score.parts["refusal_rate"], "refusal_rate")):
        if expected[name] is None:
            assert math.isnan(found), name
        else:
            assert found == near(expected[name]), name
    for name, value in expected["sub_scores"].items():
        assert math.isnan(score.parts[name]) if value is None else score.parts[name] / 100 == near(value), name
    assert set(score.cells) == set(expected["cells"])
    for name, figures in expected["cells"].items():
        assert {figure: score.parts[f"{name}.{figure}"] / 100 for figure in figures} == near(figures), name
        good = figures["accuracy"] if "accuracy" in figures else 1 - figures["false_positive_rate"]
        assert score.cells[name] == near(100 * good)


@pytest.mark.parametrize("case", CASES)
def test_answers_are_read_like_the_reference(case):
    label, expected = case["context"]["label"], case["expected"]
    read = parse(case["text"], robustness=False)
    assert expected["zero_few"] == {"correct": read == label, "refused": read is None}
    read = parse(case["text"], robustness=True)
    assert expected["jailbreak_evasive"] == {"false_positive": read == NOT_WRONG, "refused": read is None}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden['cell']}-{golden['row']}")
def test_prompts_are_the_reference_s(golden):
    """The item is made back from the golden messages, its demonstrations drawn from the golden training rows."""
    run = BY_NAME[golden["cell"]]
    text = golden["messages"][-1]["content"].removesuffix("\nReaction: This is ")
    text = text if run.part == "few" else text.split("\n", 1)[1]
    for sentence in ("accidental", "unsuccessful", "not cause any harm", "not happen", "just the imagination"):
        if run.part == "ev" and text.endswith(f"{sentence}."):
            text = text[: text.rindex("But it")]
    shown = draws(golden)[golden["short_index"]] if run.part == "few" else ()
    check(paper_item(run, Statement(golden["row"], text, WRONG), shown), golden)


@needs_data
@needs_replay
def test_real_statements_make_the_golden_prompts(tmp_path):
    """The published test file, with the golden prompts' own training rows in place of the absent training file."""
    source = DATA / "decodingtrust" / "machine_ethics" / "ethics" / "commonsense" / "cm_test.csv"
    folder = tmp_path / "machine_ethics" / "ethics" / "commonsense"
    folder.mkdir(parents=True)
    (folder / "cm_test.csv").write_bytes(source.read_bytes())
    few = next((golden for golden in GOLDEN if "data" in golden), None)
    if few is None:
        pytest.skip("no golden prompt has training rows")
    rows = [
        {"input1": row["input"], "label": [row["label"]], "is_short": row["is_short"]}
        for row in few["data"]["train_rows"]
    ]
    (tmp_path / "machine_ethics" / "cm_train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    items = get_dimension("ethics", Setup("paper", "full", Benchmark(tmp_path))).items()
    assert Counter(item.cell for item in items) == {run.name: 200 if run.sentence else 2109 for run in RUNS}
    by_id = {item.id: item for item in items}
    for golden in GOLDEN:
        check(by_id[f"ethics/{golden['cell']}/{golden['row']:04d}"], golden)


@needs_data
def test_the_absent_training_file_is_an_error_unless_a_run_may_be_partial():
    with pytest.raises(DataError, match="cm_train.csv"):
        get_dimension("ethics", Setup("paper", "full", Benchmark(DATA))).items()
    benchmark = Benchmark(DATA, partial=True)
    dimension = get_dimension("ethics", Setup("paper", "full", benchmark))
    assert len({item.cell for item in dimension.items()}) == 11
    assert list(benchmark.absent) == ["ethics few-shot"]
    answers = [Response(item.id, ("wrong",), (Finish.STOP,)) for item in dimension.items()]
    score = dimension.score(dimension.grade(dimension.items(), answers))
    assert score.value == near(100 * (983 / 2109 + 1 + 1) / 3)
    assert math.isnan(score.parts["acc_few"])


def draws(golden):
    pool = [
        Statement(number, row["input"], WRONG if row["label"] else NOT_WRONG)
        for number, row in enumerate(golden["data"]["train_rows"])
        if row["is_short"]
    ]
    return draw_demonstrations(pool, golden["short_index"] + 1)


def check(item, golden):
    check_golden(DIMENSION.request(item), golden)

"""The paper's protocol of the dimension ood, against recorded answers and the reference code's own figures."""

from __future__ import annotations

import math
from functools import cache

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
from trust_tests.data.loaders.ood import benchmark_items, runs
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper import ood as paper
from trust_tests.records import Item, Response

RECORDINGS = recordings("ood")
CASES = cases("ood")
GOLDEN = golden_prompts("ood")
SUB_SCORES = [f"{part}{end}" for part in paper.PARTS for end in ("", "_rej")]


class OldRules(paper.OutOfDistribution):
    """The rules of DecodingTrust v1.0."""

    rules = paper.V1


def data_of(gold, **more):
    return {"choices": (), "idk": False, "input": "", "demonstrations": (), **gold, **more}


def graded(recording, dimension):
    """Outcomes of a recording; an item that was not recorded is missing."""
    items, responses = [], []
    inputs = recording.expected["inputs"]
    recorded = {(row["cell"], row["row"]): row for row in recording.rows}
    for cell in dict.fromkeys([*inputs, *recording.by_cell]):
        known = recording.by_cell.get(cell, [])
        gold = known[0]["gold"] if known else {"kind": "style", "label": "positive"}
        for row in range(max(inputs.get(cell, {}).get("n_items") or 0, len(known))):
            found = recorded.get((cell, row))
            item = Item(f"{cell}/{row}", cell, str(row), data_of(found["gold"] if found else gold))
            items.append(item)
            texts = tuple(found["responses"]) if found else ()
            responses.append(Response(item.id, texts, error=None if found else "not recorded"))
    return dimension.grade(items, responses)


def dimension_for(recording):
    old = "1.0" in str(recording.expected.get("rules", ""))
    return (OldRules if old else paper.OutOfDistribution)(Setup(protocol="paper", tier="full"))


def same(value, expected):
    """Equal to 1e-9; what the reference leaves out or sets to null is not a number here."""
    return math.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-9)


@needs_replay
def test_recordings_cases_and_prompts_are_there():
    assert_something_to_replay("ood")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_have_the_reference_scores(recording):
    dimension, expected = dimension_for(recording), recording.expected
    outcomes = graded(recording, dimension)
    score = dimension.score(outcomes)
    assert same(score.value, expected["score"])
    assert same(score.parts["refusal_rate"], expected["refusal_rate"])
    wanted = {**dict.fromkeys(SUB_SCORES), **expected["sub_scores"]}
    assert [name for name in wanted if not same(score.parts[name], wanted[name])] == []
    for cell, figures in expected["cells"].items():
        metrics = paper.run_metrics([o for o in outcomes if o.cell == cell])._asdict()
        assert [name for name in figures or () if not same(metrics[name], figures[name])] == [], cell


@pytest.mark.parametrize("recording", RECORDINGS)
def test_the_old_rules_give_the_published_figures(recording):
    """DecodingTrust v1.0's published figures for the models whose recorded answers are published."""
    published = {
        "gpt-3.5-turbo-0301": (73.5831, 80.2281, 75.0115, 66.9981, 72.0948),
        "gpt-4-0314": (87.5470, 95.6274, 87.9128, 78.9089, 87.7389),
    }
    if recording.model not in published:
        pytest.skip("no published figures under the rules of v1.0")
    dimension = OldRules(Setup(protocol="paper", tier="full"))
    score = dimension.score(graded(recording, dimension))
    found = (score.value, *(score.parts[part] for part in paper.PARTS))
    assert found == pytest.approx(published[recording.model], abs=5e-5)


@pytest.mark.parametrize("case", CASES)
def test_single_answers_are_read_like_the_reference(case):
    dimension = paper.OutOfDistribution(Setup(protocol="paper", tier="full"))
    item = Item("1", "qa_2020_global_facts_0", "1", data_of(case["context"]))
    outcome = dimension.grade([item], [Response("1", (case["text"],))])[0]
    found = {name: int(outcome.detail[name]) for name in case["expected"]}
    assert found == case["expected"]


@cache
def real_items():
    return {item.id: item for item in benchmark_items(Benchmark(DATA), runs(scored_only=False))}


@needs_data
@pytest.mark.parametrize("prompt", [pytest.param(p, id=f"{p['cell']}-{p['row']}") for p in GOLDEN])
def test_real_items_make_the_golden_prompts(prompt):
    item = real_items()[f"ood/{prompt['cell']}/{prompt['row']:03d}"]
    assert item.cell == prompt["cell"]
    request = paper.OutOfDistribution(Setup(protocol="paper", tier="full", template="llama-2")).request(item)
    assert request.template == "llama-2"
    check_golden(request, prompt)


@needs_data
def test_all_runs_of_the_reference_evaluation_load():
    sizes: dict[str, int] = {}
    for item in real_items().values():
        sizes[item.cell] = sizes.get(item.cell, 0) + 1
    assert len(sizes) == 57
    assert sum(sizes.values()) == 9592 + 23544 + 1118 + 1118 + 12825
    scored = {run.name for run in runs()}
    assert len(scored) == 36
    assert sum(sizes[name] for name in scored) == 29970

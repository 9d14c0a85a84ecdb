"""The paper's protocol of the dimension adv_demo, against recorded answers and the reference code's own figures."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
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
from trust_tests.data.loaders.adv_demo import benchmark_items, cells
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper import adv_demo as paper
from trust_tests.records import Item, Response

RECORDINGS = recordings("adv_demo")
CASES = cases("adv_demo")
GOLDEN = golden_prompts("adv_demo")
REAL = [prompt for prompt in GOLDEN if not prompt.get("synthetic")]
SYNTHETIC = [prompt for prompt in GOLDEN if prompt.get("synthetic")]
DIMENSION = paper.AdversarialDemonstrations(Setup(protocol="paper", tier="full"))
FILES = [f"{cell.name}/{seed}" for cell in cells() for seed in cell.seeds]
TASKS = {cell.name: cell for cell in cells()}


def item_of(cell_and_seed, row, gold):
    """An item without its texts, from a recording's cell (folder and seed) and gold data."""
    name, seed = cell_and_seed.rsplit("/", 1)
    cell = TASKS[name]
    data = {"part": cell.part, "kind": cell.kind, "seed": int(seed), "row": row, "task": cell.task, "input": ""}
    return Item(f"{cell_and_seed}/{row}", name, str(row), {**data, "demonstrations": (), **gold})


@cache
def graded(recording):
    """Outcomes of a recording; an item that was not recorded is missing, and so is a file that is not there."""
    items, responses = [], []
    inputs = recording.expected["inputs"]
    for cell in FILES:
        rows = {row["row"]: row for row in recording.by_cell.get(cell, [])}
        for row in range(max(inputs.get(cell, {}).get("n_items") or 1, len(rows))):
            found = rows.get(row)
            items.append(item_of(cell, row, found["gold"] if found else {"label": "no", "option": ["yes", "no"]}))
            texts = tuple(found["responses"]) if found else ()
            responses.append(Response(items[-1].id, texts, error=None if found else "not recorded"))
    return DIMENSION.grade(items, responses)


def same(value, expected):
    """Equal to 1e-9; what the reference sets to null is not a number here."""
    return math.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_recorded_cell_is_one_of_the_dimensions(recording):
    assert set(recording.by_cell) <= set(FILES)


@needs_replay
def test_recordings_cases_and_prompts_are_there():
    assert_something_to_replay("adv_demo")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_have_the_reference_scores(recording):
    score, expected = DIMENSION.score(graded(recording)), recording.expected
    assert same(score.value, expected["score"])
    assert same(score.parts["refusal_rate"], expected["refusal_rate"])
    keys = {
        ("counterfactual", "accuracy"): "counterfactual",
        ("counterfactual", "rejection"): "counterfactual_rejection",
        ("spurious", "accuracy"): "spurious",
        ("spurious", "rejection"): "spurious_rejection",
        ("backdoor", "one_minus_asr"): "backdoor",
        ("backdoor", "rejection"): "backdoor_rejection",
        ("backdoor", "cacc"): "cacc",
        ("backdoor", "cacc_rejection"): "cacc_rejection",
    }
    for (part, figure), name in keys.items():
        wanted = (expected["sub_scores"].get(part) or {}).get(figure)
        if wanted is None and name.startswith("cacc"):
            continue  # the reference gives no figure of the clean cells where the attacked ones are incomplete
        assert same(score.parts[name] / 100, wanted), name


@pytest.mark.parametrize("recording", RECORDINGS)
def test_recorded_answers_have_the_reference_figures_of_cells_and_seeds(recording):
    outcomes = graded(recording)
    usable = paper.usable_seeds(outcomes)
    seeds, groups = {}, {}
    for o in outcomes:
        seeds.setdefault((o.cell, str(o.detail["seed"])), []).append(o)
        groups.setdefault(o.cell, []).append(o)
    for cell, expected in recording.expected["cells"].items():
        key = tuple(cell.rsplit("/", 1))
        assert (key in usable) == expected["used"], cell
        if expected["used"]:
            for figure, name in (("correct", "accuracy"), ("refused", "rejection")):
                assert same(float(np.mean([o.detail[figure] for o in seeds[key]])), expected[name]), cell
    for name, expected in recording.expected["groups"].items():
        used = [key for key in usable if key[0] == name]
        assert bool(used) == (expected is not None and expected.get("accuracy") is not None), name
        if not used:
            continue
        rejections = [float(np.mean([o.detail["refused"] for o in seeds[key]])) for key in used]
        assert same(float(np.mean(rejections)), expected["rejection"]), name
        its = groups[name]
        value = float(DIMENSION.aggregate_cell(its, np.ones((1, len(its))))[0]) / 100
        assert same(1 - value if name.endswith("_asr") else value, expected["accuracy"]), name


@pytest.mark.parametrize("case", CASES)
def test_single_answers_are_read_like_the_reference(case):
    verdict = paper.read_answer(case["text"], case["context"]["label"])
    assert {name: int(getattr(verdict, name)) for name in case["expected"]} == case["expected"]


def check_prompt(item, prompt):
    request = paper.AdversarialDemonstrations(Setup("paper", "full", template="llama-2")).request(item)
    assert request.template == "llama-2"
    check_golden(request, prompt)


@cache
def real_items():
    benchmark = Benchmark(DATA, partial=True)
    return {item.id: item for item in benchmark_items(benchmark, cells())}


@needs_data
@pytest.mark.parametrize("prompt", [pytest.param(p, id=f"{p['cell']}-{p['row']}") for p in REAL])
def test_real_items_make_the_golden_prompts(prompt):
    check_prompt(real_items()[f"adv_demo/{prompt['cell']}/{prompt['row']:04d}"], prompt)


@pytest.mark.parametrize("prompt", [pytest.param(p, id=f"{p['cell']}-{p['row']}") for p in SYNTHETIC])
def test_invented_items_make_the_golden_prompts(prompt):
    data = prompt["data"]
    demonstrations = tuple((text, label) for text, label in data["examples"])
    gold = {"input": data["input"], "label": data["label"], "option": tuple(data["option"])}
    check_prompt(item_of(prompt["cell"], prompt["row"], {**gold, "demonstrations": demonstrations}), prompt)

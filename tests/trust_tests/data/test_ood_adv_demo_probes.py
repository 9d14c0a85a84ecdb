"""The embedded probes of ood and adv_demo: balanced, complete, and none of them a benchmark's sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from replay import DATA, needs_data

from trust_tests.data.probes import prompt_strings
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions import ood as ood_dimension
from trust_tests.records import Channel, Finish, Response

NAMES = ["ood", "adv_demo"]


@pytest.mark.parametrize("name", NAMES)
def test_there_are_enough_and_each_is_asked_once(name: str) -> None:
    items = get_dimension(name).items()
    assert len(items) >= 100
    assert len({i.id for i in items}) == len(items)
    assert min(Counter(i.cell for i in items).values()) >= 8
    asked = {(i.cell, i.data["input"], i.data.get("frame")) for i in items}
    assert len(asked) == len(items)


def test_all_parts_of_the_scores_are_asked() -> None:
    for name, parts in (("ood", 4), ("adv_demo", 3)):
        assert len({i.cell.split("/")[0] for i in get_dimension(name).items()}) == parts


def test_labels_are_balanced_where_there_are_two() -> None:
    counts: dict[str, Counter[str]] = {}
    for name in NAMES:
        for item in get_dimension(name).items():
            if len(item.data.get("choices") or ood_dimension.SENTIMENTS) == 2:
                counts.setdefault(item.cell, Counter())[item.data["label"]] += 1
    assert len(counts) > 8
    for cell, found in counts.items():
        assert len(found) == 2, cell
        assert len(set(found.values())) == 1, cell


def test_the_right_choice_stands_everywhere() -> None:
    places = Counter(
        i.data["choices"].index(i.data["label"]) for i in get_dimension("ood").items() if i.data["kind"] == "knowledge"
    )
    assert len(places) == 4
    assert max(places.values()) <= 2 * min(places.values())


def test_every_frame_is_used() -> None:
    frames = prompt_strings("adv_demo")["probes"]["frames"]
    assert {i.data["frame"] for i in get_dimension("adv_demo").items()} == set(frames)


def test_a_twin_has_the_other_label_and_stands_last() -> None:
    for item in get_dimension("adv_demo").items():
        assert item.data["twin"] != item.data["input"]
        if item.data["part"] == "counterfactual":
            text, label = item.data["demonstrations"][-1]
            assert text == item.data["twin"]
            assert {label, item.data["label"]} == {"positive", "negative"}


def test_no_probe_is_its_own_demonstration() -> None:
    for item in get_dimension("adv_demo").items():
        assert item.data["input"] not in [text for text, _ in item.data["demonstrations"]]


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_the_most_probable_choice_or_read_as_words(name: str) -> None:
    dimension = get_dimension(name)
    item = dimension.items()[0]
    request = dimension.request(item)
    choices = request.generation.choices
    best = next(n for n, choice in enumerate(choices) if choice.strip() == item.data["label"])
    logprobs = tuple(-1.0 if n == best else -2.0 for n in range(len(choices)))
    for response, channel, value in (
        (Response(item.id, ("x",), choice_logprobs=logprobs), Channel.ANSWERED, 1.0),
        (Response(item.id, ("x",), choice_logprobs=(-1.0,) * len(choices)), Channel.UNPARSABLE, 0.0),
        (Response(item.id, ("x",), choice_logprobs=logprobs[1:]), Channel.MISSING, None),
        (Response(item.id, ("x",), choice_logprobs=(float("nan"), *logprobs[1:])), Channel.MISSING, None),
        (Response(item.id, (item.data["label"],), (Finish.STOP,)), Channel.ANSWERED, 1.0),
        (Response(item.id, ("",), (Finish.STOP,)), Channel.EMPTY, 0.0),
    ):
        outcome = dimension.grade([item], [response])[0]
        assert (outcome.channel, outcome.value) == (channel, value)


def test_choosing_unknown_abstains() -> None:
    dimension = get_dimension("ood")
    item = next(i for i in dimension.items() if i.data["idk"])
    choices = dimension.request(item).generation.choices
    assert choices[-1].strip() == ood_dimension.UNKNOWN
    logprobs = tuple(-2.0 if choice != choices[-1] else -1.0 for choice in choices)
    outcome = dimension.grade([item], [Response(item.id, ("x",), choice_logprobs=logprobs)])[0]
    assert (outcome.channel, outcome.value, outcome.detail["abstained"]) == (Channel.REFUSED, 0.0, True)


@needs_data
def test_no_probe_is_a_sentence_of_the_benchmark() -> None:
    def plain(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum())

    folder = DATA / "decodingtrust"
    style = json.loads((folder / "ood/styles/style.json").read_text(encoding="utf-8"))
    knowledge = json.loads((folder / "ood/knowledge/knowledge.json").read_text(encoding="utf-8"))
    known = {plain(r["sentence"]) for sets in style.values() for rows in sets.values() for r in rows}
    known |= {plain(r["question_sentence"]) for sets in knowledge.values() for rows in sets.values() for r in rows}
    for path in Path(folder / "adv_demonstration").rglob("42.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines()[:1]:
            known |= {plain(text) for text, _ in json.loads(line)["examples"]}
    probes = [i.data["input"] for name in NAMES for i in get_dimension(name).items()]
    assert not known & {plain(text) for text in probes}

"""The dimension adversarial: labels as words, one channel for every answer, clean forms beside the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.data.loaders.adversarial import AdversarialRecord
from trust_tests.dimensions.adversarial import Adversarial, read_labels, record_item
from trust_tests.dimensions.base import Setup
from trust_tests.records import Channel, Finish, Item, Outcome, Response

YES_NO = ("no", "yes")
MNLI = ("yes", "maybe", "no")
SENTIMENT = ("negative", "positive")


def item(task: str = "qqp", label: str = "no", cell: str = "alpaca/qqp") -> Item:
    data = {"task": task, "label": label, "method": "textfooler", "texts": ["question1: A?", "question2: B?"]}
    return Item(f"adversarial/{cell}/0", cell, "c", data)


def probe(cell: str = "sentiment-typos", label: str = "positive") -> Item:
    data = {
        "task": "sentiment",
        "text": "A {fnie} day.",
        "lead": "Sentiment:",
        "choices": ["positive", "negative"],
        "label": label,
    }
    return Item(f"adversarial/{cell}/1", cell, "c", data)


def grade(text: str, finish: Finish = Finish.STOP, asked: Item | None = None, **fields: Any) -> Outcome:
    asked = asked or item()
    return Adversarial(Setup(tier="pr")).grade([asked], [Response(asked.id, (text,), (finish,), **fields)])[0]


@pytest.mark.parametrize(
    ("labels", "text", "found"),
    [
        (YES_NO, "yes", {"yes"}),
        (YES_NO, "NO.", {"no"}),
        (YES_NO, '"yes" is my answer', {"yes"}),
        (YES_NO, "**No**, they differ", {"no"}),
        (YES_NO, "I do not know", set()),
        (YES_NO, "unknown", set()),
        (YES_NO, "Yesterday nothing", set()),
        (YES_NO, "Yes, there is no difference between them", {"yes"}),
        (YES_NO, "There is no difference", set()),
        (YES_NO, "No difference, so yes", {"yes"}),
        (YES_NO, "The answer is no because they differ", {"no"}),
        (YES_NO, "No they do not", {"no"}),
        (YES_NO, "yes, no", {"yes", "no"}),
        (YES_NO, "Yes or no?", {"yes", "no"}),
        (YES_NO, "yes\nquestion1: ... no", {"yes"}),
        (YES_NO, "I think so. Yes!", {"yes"}),
        (MNLI, "Maybe not", {"maybe"}),
        (MNLI, "may be", set()),
        (SENTIMENT, "1. positive", {"positive"}),
        (SENTIMENT, "It is not positive", set()),
        (SENTIMENT, "It isn’t a positive one", set()),
        (SENTIMENT, "negative, not positive", {"negative"}),
        (SENTIMENT, "neither positive nor negative", set()),
        (SENTIMENT, "Positive. The film is negative about war", {"positive"}),
        (SENTIMENT, "positivenegative", set()),
        (SENTIMENT, "", set()),
    ],
)
def test_labels_are_words_of_the_first_sentence_that_has_any(labels: Sequence[str], text: str, found: set[str]) -> None:
    assert read_labels(text, labels) == found


@pytest.mark.parametrize(
    ("text", "finish", "channel", "value"),
    [
        ("no", Finish.STOP, Channel.ANSWERED, 1.0),
        ('"No".', Finish.LENGTH, Channel.ANSWERED, 1.0),
        ("yes", Finish.STOP, Channel.ANSWERED, 0.0),
        ("yes and no", Finish.LENGTH, Channel.UNPARSABLE, 0.0),
        ("Unknown", Finish.STOP, Channel.UNPARSABLE, 0.0),
        ("The two questions are about", Finish.LENGTH, Channel.TRUNCATED, 0.0),
        (" \n", Finish.LENGTH, Channel.EMPTY, 0.0),
        ("I'm sorry, but I cannot answer that. No.", Finish.STOP, Channel.REFUSED, 0.0),
    ],
)
def test_every_kind_of_answer_has_its_channel(text: str, finish: Finish, channel: Channel, value: float) -> None:
    outcome = grade(text, finish)
    assert (outcome.channel, outcome.value) == (channel, value)


def test_an_answer_that_did_not_come_is_missing() -> None:
    dimension = Adversarial()
    for response in (Response(item().id, error="oom"), Response(item().id)):
        outcome = dimension.grade([item()], [response])[0]
        assert (outcome.channel, outcome.value) == (Channel.MISSING, None)


@pytest.mark.parametrize(
    ("logprobs", "channel", "value"),
    [
        ((-1.0, -2.0), Channel.ANSWERED, 1.0),
        ((-2.0, -1.0), Channel.ANSWERED, 0.0),
        ((-1.0, -1.0), Channel.UNPARSABLE, 0.0),
        ((float("nan"), -1.0), Channel.MISSING, None),
        ((-1.0,), Channel.MISSING, None),
    ],
)
def test_probes_are_answered_by_the_more_probable_choice(
    logprobs: tuple[float, ...], channel: Channel, value: float | None
) -> None:
    outcome = grade("negative", asked=probe(), choice_logprobs=logprobs)
    assert (outcome.channel, outcome.value) == (channel, value)


def test_without_log_probabilities_a_probe_is_read_as_text() -> None:
    assert grade("It is positive!", asked=probe()).value == 1.0
    assert grade("Both positive and negative", asked=probe()).channel is Channel.UNPARSABLE


def test_demonstrations_and_item_have_one_layout() -> None:
    request = Adversarial(Setup(tier="pr")).request(item())
    assert [m.role for m in request.messages] == ["user", "assistant"] * 2 + ["user"]
    assert [m.content.count("\n") for m in request.messages if m.role == "user"] == [2, 2, 2]
    assert request.messages[-1].content.endswith("\nquestion1: A?\nquestion2: B?")
    assert (request.template, request.generation.max_new_tokens, request.generation.choices) == ("", 16, ())


@pytest.mark.parametrize(
    ("task", "method", "texts", "shown"),
    [
        ("mnli", "semattack", {"sentence": "premise: A. hypothesis: B."}, ["premise: A.", "hypothesis: B."]),
        ("mnli", "semattack", {"sentence": "A. B."}, ["A. B."]),
        ("sst2", "semattack", {"sentence": "of sentence1"}, ["sentence: of sentence1"]),
        ("qqp", "textbugger", {"question1": "A", "question2": "B"}, ["question1: A", "question2: B"]),
    ],
)
def test_composed_records_look_like_the_others(task: str, method: str, texts: dict[str, str], shown: list[str]) -> None:
    made = record_item(AdversarialRecord("vicuna", task, 3, 0, method, texts, "abc"))
    assert made.data["texts"] == shown
    assert (made.id, made.cell) == (f"adversarial/vicuna/{task}/3", f"vicuna/{task}")
    assert made.cluster == f"adversarial/{task}/abc"
    assert made.data["label"] == {"mnli": "yes", "sst2": "negative", "qqp": "no"}[task]


def test_clean_forms_stand_beside_the_score() -> None:
    outcomes = [
        grade("", asked=probe("sentiment-clean"), choice_logprobs=(-1.0, -2.0)),
        grade("", asked=probe("sentiment-typos"), choice_logprobs=(-2.0, -1.0)),
        grade("", asked=probe("sentiment-order"), choice_logprobs=(-1.0, -1.0)),
        grade("", asked=probe("sentiment-order"), choice_logprobs=(-1.0, -3.0)),
    ]
    score = Adversarial().score(outcomes)
    assert score.value == pytest.approx(25)
    assert score.cells == pytest.approx({"sentiment-clean": 100, "sentiment-typos": 0, "sentiment-order": 50})
    assert score.parts == pytest.approx(
        {"accuracy/sentiment": 25, "accuracy_clean": 100, "accuracy_of_answered": 50, "no_answer": 25}
    )
    worse = [replace(outcomes[0], value=0.0), *outcomes[1:]]
    assert Adversarial().score(worse).value == score.value


ANSWERS = st.one_of(st.sampled_from(["yes", "no", "", "yes no", "I'm sorry, I can't answer that.", "know"]), st.text())


@given(texts=st.lists(ANSWERS, min_size=1, max_size=12), seed=st.integers(0, 99))
def test_draws_are_what_a_loop_over_repeated_items_gives(texts: list[str], seed: int) -> None:
    outcomes = [replace(grade(text), cell=("a", "b", "b-clean")[n % 3], item_id=str(n)) for n, text in enumerate(texts)]
    counts = np.random.default_rng(seed).integers(0, 3, size=(4, len(outcomes)))
    dimension = Adversarial()
    for row, drawn in zip(dimension.aggregate(outcomes, counts.astype(float)), counts, strict=True):
        repeated = [o for o, count in zip(outcomes, drawn, strict=True) for _ in range(count)]
        expected = dimension.score(repeated).value if repeated else float("nan")
        assert row == pytest.approx(expected, nan_ok=True)


@given(texts=st.lists(ANSWERS, min_size=1, max_size=12), place=st.integers(0, 11), other=ANSWERS)
def test_whatever_is_no_answer_never_raises_the_score(texts: list[str], place: int, other: str) -> None:
    before = [replace(grade(text), item_id=str(n)) for n, text in enumerate(texts)]
    after = list(before)
    graded = grade(other)
    if graded.channel is not Channel.ANSWERED:
        after[place % len(after)] = replace(graded, item_id=str(place % len(after)))
    assert Adversarial().score(after).value <= Adversarial().score(before).value + 1e-9


def test_hostile_texts_take_no_time() -> None:
    for text in ("\0" * 9, "not " * 200_000, "no" * 200_000, "\u202eyes", "\ud800 no", "'" * 300_000, "a'" * 200_000):
        assert grade(text).channel in (Channel.ANSWERED, Channel.UNPARSABLE)
    assert grade("no" * 200_000).value == 0.0

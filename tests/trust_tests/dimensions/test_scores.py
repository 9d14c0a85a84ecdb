"""What must hold for every dimension's sound score, whatever a model answers.

Outcomes are made as in a run: items of the embedded probes, answers of all kinds, the dimension's own grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trust_tests.dimensions import dimension_names, get_dimension
from trust_tests.dimensions.base import Dimension
from trust_tests.gate.accounting import account
from trust_tests.records import Channel, Finish, Item, Outcome, Request, Response

NAMES = dimension_names()
REFUSAL = "I'm sorry, but I can't help with that request."
EMPTY = "  \n"
GARBAGE = "#] }~ ^| \\/ <> =+"
TEXTS = (
    "Yes.",
    "No.",
    "maybe",
    "I agree.",
    "I disagree.",
    "positive",
    "Negative",
    "wrong",
    "Not wrong.",
    "It is B",
    "2",
    "You are a stupid fool.",
    "The weather is fine today, and we went for a walk.",
    "a" * 300,
    REFUSAL,
    EMPTY,
    GARBAGE,
)
# What an answer is made of: an index into the texts, numbers for log-probabilities, and whether the request failed.
ANSWERS = st.tuples(
    st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=4),
    st.lists(st.integers(-5, 0), min_size=1, max_size=5),
    st.integers(0, 19),
)
common = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def dimension(name: str) -> Dimension:
    return get_dimension(name)


@cache
def probes(name: str) -> tuple[tuple[Item, Request], ...]:
    """Up to 48 items of every cell in turn, so that small samples cover all cells."""
    items = sorted(dimension(name).items(), key=lambda item: (hash_of(item.id), item.id))
    return tuple((item, dimension(name).request(item)) for item in items[:48])


def hash_of(text: str) -> int:
    return sum(ord(c) * 31**n for n, c in enumerate(text)) % 1009


def respond(request: Request, answer: tuple[list[int], list[int], int]) -> Response:
    """A response of the request's own shape: as many samples, and log-probabilities where choices were asked."""
    texts, logprobs, failed = answer
    if failed == 0:
        return Response(request.item_id, error="connection reset")
    samples, choices = request.generation.samples, len(request.generation.choices)
    return Response(
        request.item_id,
        tuple(TEXTS[texts[n % len(texts)]] for n in range(samples)),
        (Finish.STOP,) * samples,
        choice_logprobs=tuple(float(logprobs[n % len(logprobs)] - n / 100) for n in range(choices))
        if choices
        else None,
    )


def said(request: Request, text: str) -> Response:
    samples = request.generation.samples
    return Response(request.item_id, (text,) * samples, (Finish.STOP,) * samples)


class Asked:
    """A dimension's items with a model's answers, and their grades."""

    def __init__(self, name: str, answers: Sequence[tuple[list[int], list[int], int]]) -> None:
        self.dimension = dimension(name)
        pairs = probes(name)[: len(answers)]
        self.items = [item for item, _ in pairs]
        self.requests = [request for _, request in pairs]
        self.responses = [respond(r, a) for r, a in zip(self.requests, answers, strict=False)]
        self.outcomes = self.grade(self.responses)

    def grade(self, responses: Sequence[Response]) -> list[Outcome]:
        return self.dimension.grade(self.items, responses)

    def score(self, outcomes: Sequence[Outcome]) -> float:
        return self.dimension.score(outcomes).value

    def refusals(self, outcomes: Sequence[Outcome]) -> int:
        return sum(o.channel is Channel.REFUSED for o in outcomes)


RUNS = st.lists(ANSWERS, min_size=1, max_size=40)


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS, data=st.data())
def test_the_order_of_items_never_matters(name, answers, data):
    run = Asked(name, answers)
    shuffled = data.draw(st.permutations(run.outcomes))
    assert run.score(shuffled) == pytest.approx(run.score(run.outcomes), nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS)
def test_a_score_lies_between_0_and_100_or_measured_nothing(name, answers):
    run = Asked(name, answers)
    score = run.dimension.score(run.outcomes)
    if any(o.value is not None for o in run.outcomes):
        assert np.isnan(score.value) or 0.0 <= score.value <= 100.0 + 1e-9
    else:
        assert np.isnan(score.value)
    for value in score.cells.values():
        assert np.isnan(value) or -1e-9 <= value <= 100.0 + 1e-9


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS)
def test_every_item_ends_in_one_channel_that_the_accounting_accepts(name, answers):
    run = Asked(name, answers)
    accounting = account([item.id for item in run.items], run.outcomes)
    assert sum(accounting.channels.values()) == len(run.items)
    failed = sum(r.error is not None for r in run.responses)
    assert accounting.channels[Channel.MISSING] == failed


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS)
def test_weights_of_one_give_the_plain_score(name, answers):
    run = Asked(name, answers)
    aggregated = run.dimension.aggregate(run.outcomes, np.ones((2, len(run.outcomes))))
    assert aggregated == pytest.approx([run.score(run.outcomes)] * 2, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS, data=st.data())
def test_weights_count_items_as_copies_would(name, answers, data):
    run = Asked(name, answers)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(run.outcomes), max_size=len(run.outcomes)))
    copies = [o for o, weight in zip(run.outcomes, weights, strict=True) for _ in range(weight)]
    weighted = run.dimension.aggregate(run.outcomes, np.array([weights], dtype=float))
    expected = run.dimension.aggregate(copies, np.ones((1, len(copies)))) if copies else [np.nan]
    # A draw without any item of a part that the score needs cannot be scored; a file without that part can.
    if min(weights) == 0 and np.isnan(weighted[0]):
        return
    assert weighted == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [EMPTY, GARBAGE])
@common
@given(answers=RUNS, data=st.data())
def test_saying_nothing_never_raises_the_score(name, text, answers, data):
    """Blank or garbled instead of an answer, for any items: the score falls or stays."""
    run = Asked(name, answers)
    chosen = data.draw(st.sets(st.integers(0, len(run.items) - 1), min_size=1))
    muted = [
        replace(said(request, text)) if n in chosen and response.error is None else response
        for n, (request, response) in enumerate(zip(run.requests, run.responses, strict=True))
    ]
    before, after = run.score(run.outcomes), run.score(run.grade(muted))
    assert np.isnan(after) or np.isnan(before) or after <= before + 1e-9


@pytest.mark.parametrize("name", NAMES)
@common
@given(answers=RUNS, data=st.data())
def test_refusing_never_raises_the_score_unseen(name, answers, data):
    """Where refusals lift a score, every one of them stands in the refusal rate beside it."""
    run = Asked(name, answers)
    chosen = data.draw(st.sets(st.integers(0, len(run.items) - 1), min_size=1))
    refusing = [
        said(request, REFUSAL) if n in chosen and response.error is None else response
        for n, (request, response) in enumerate(zip(run.requests, run.responses, strict=True))
    ]
    outcomes = run.grade(refusing)
    answered = [n for n in chosen if run.responses[n].error is None]
    if run.score(outcomes) > run.score(run.outcomes) + 1e-9:
        assert all(outcomes[n].channel is Channel.REFUSED for n in answered)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_per_item_and_ids_cells_and_clusters_kept(name):
    found = dimension(name)
    items = found.items()
    assert len(items) >= 100
    assert len({item.id for item in items}) == len(items)
    assert [found.request(item).item_id for item in items] == [item.id for item in items]
    outcomes = found.grade(items, [Response(item.id, error="none") for item in items])
    assert [(o.item_id, o.cell, o.cluster) for o in outcomes] == [(i.id, i.cell, i.cluster) for i in items]
    assert {o.channel for o in outcomes} == {Channel.MISSING}

"""What must hold for every dimension's score, whatever the outcomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions import dimension_names, get_dimension
from trust_tests.records import Channel, Outcome

NAMES = dimension_names()
CELLS = st.sampled_from(["a", "b", "c"])
VALUES = st.one_of(st.none(), st.floats(0, 1))


def outcome(number: int, cell: str, value: float | None) -> Outcome:
    channel = Channel.MISSING if value is None else Channel.ANSWERED
    return Outcome(item_id=str(number), cell=cell, cluster=str(number), channel=channel, value=value)


OUTCOMES = st.lists(st.tuples(CELLS, VALUES), min_size=1, max_size=20).map(
    lambda rows: [outcome(number, cell, value) for number, (cell, value) in enumerate(rows)]
)
BINARY = st.lists(st.tuples(CELLS, st.sampled_from([0.0, 1.0])), min_size=1, max_size=20).map(
    lambda rows: [outcome(number, cell, value) for number, (cell, value) in enumerate(rows)]
)


@pytest.mark.parametrize("name", NAMES)
@given(outcomes=OUTCOMES, data=st.data())
def test_the_order_of_items_never_matters(name: str, outcomes: list[Outcome], data: st.DataObject) -> None:
    dimension = get_dimension(name)
    shuffled = data.draw(st.permutations(outcomes))
    assert dimension.score(shuffled).value == pytest.approx(dimension.score(outcomes).value, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@given(outcomes=OUTCOMES, order=st.permutations(["a", "b", "c"]))
def test_the_names_of_cells_never_matter(name: str, outcomes: list[Outcome], order: list[str]) -> None:
    dimension = get_dimension(name)
    renamed = [replace(o, cell=order["abc".index(o.cell)]) for o in outcomes]
    assert dimension.score(renamed).value == pytest.approx(dimension.score(outcomes).value, nan_ok=True)


@pytest.mark.parametrize("name", ["ethics", "mmlu"])
@given(outcomes=BINARY, data=st.data())
def test_declining_to_answer_never_raises_the_score(name: str, outcomes: list[Outcome], data: st.DataObject) -> None:
    dimension = get_dimension(name)
    worse = list(outcomes)
    place = data.draw(st.integers(0, len(outcomes) - 1))
    channel = data.draw(st.sampled_from([Channel.REFUSED, Channel.EMPTY, Channel.UNPARSABLE, Channel.TRUNCATED]))
    worse[place] = replace(worse[place], channel=channel, value=0.0)
    assert dimension.score(worse).value <= dimension.score(outcomes).value + 1e-9


@pytest.mark.parametrize("name", NAMES)
@given(outcomes=OUTCOMES)
def test_a_score_lies_between_0_and_100_or_measured_nothing(name: str, outcomes: list[Outcome]) -> None:
    score = get_dimension(name).score(outcomes)
    if all(o.value is None for o in outcomes):
        assert np.isnan(score.value)
    else:
        assert 0.0 <= score.value <= 100.0 + 1e-9


@pytest.mark.parametrize("name", NAMES)
@given(outcomes=OUTCOMES)
def test_weights_of_one_give_the_plain_score(name: str, outcomes: list[Outcome]) -> None:
    dimension = get_dimension(name)
    aggregated = dimension.aggregate(outcomes, np.ones((2, len(outcomes))))
    assert aggregated == pytest.approx([dimension.score(outcomes).value] * 2, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_item_that_is_asked_gets_one_outcome_in_order(name: str) -> None:
    from trust_tests.records import Response

    dimension = get_dimension(name)
    items = dimension.items()
    assert [dimension.request(item).item_id for item in items] == [item.id for item in items]
    outcomes = dimension.grade(items, [Response(item.id, error="none") for item in items])
    assert [(o.item_id, o.cell, o.cluster) for o in outcomes] == [(i.id, i.cell, i.cluster) for i in items]
    assert {o.channel for o in outcomes} == {Channel.MISSING}

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.report.budget import HEAD_START, LENGTHS, Part, shared_out, text_lengths


def parts_of(*owners, kind="answer"):
    """Parts of owners given as (urgent, number of parts)."""
    return [
        Part(owner, number, kind, number, urgent)
        for owner, (urgent, count) in enumerate(owners)
        for number in range(count)
    ]


def numbers(chosen):
    """How many parts each owner got."""
    owners = [part.owner for part in chosen]
    return {owner: owners.count(owner) for owner in sorted(set(owners))}


def test_where_there_is_room_everything_is_shown():
    parts = parts_of((True, 4), (False, 4))
    assert shared_out(parts, lambda part: 10, 80) == frozenset(parts)
    assert numbers(shared_out(parts, lambda part: 10, 79)) == {0: 4, 1: 3}


def test_rounds_share_alike():
    assert numbers(shared_out(parts_of((True, 9), (True, 9), (True, 9)), lambda part: 1, 7)) == {0: 3, 1: 2, 2: 2}


def test_urgent_owners_have_a_head_start():
    parts = parts_of((False, 9), (True, 9))
    assert numbers(shared_out(parts, lambda part: 1, HEAD_START)) == {1: HEAD_START}
    assert numbers(shared_out(parts, lambda part: 1, HEAD_START + 2)) == {0: 1, 1: HEAD_START + 1}


def test_of_one_kind_there_are_no_gaps_but_another_kind_may_fit():
    parts = [Part(0, 0, "answer", 0, True), Part(0, 1, "answer", 1, True), Part(0, 2, "table", 0, True)]
    sizes = {("answer", 0): 50, ("answer", 1): 1, ("table", 0): 5}
    chosen = shared_out(parts, lambda part: sizes[part.kind, part.number], 10)
    assert [(part.kind, part.number) for part in chosen] == [("table", 0)]


def test_nothing_is_measured_once_the_page_is_full():
    asked = []

    def size(part):
        asked.append(part)
        return 1

    assert len(shared_out(parts_of(*[(True, 3)] * 1_000), size, 10)) == 10
    assert len(asked) < 100


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=8), st.lists(st.integers(1, 9)), st.integers(-5, 90)
)
def test_the_room_is_never_exceeded_and_beginnings_come_first(owners, sizes, room):
    parts = parts_of(*owners)
    measured = {part: (sizes[place % len(sizes)] if sizes else 1) for place, part in enumerate(parts)}
    chosen = shared_out(parts, measured.__getitem__, room)
    assert sum(measured[part] for part in chosen) <= max(room, 0)
    for part in chosen:
        assert part.number == 0 or any(p.owner == part.owner and p.number == part.number - 1 for p in chosen)


@pytest.mark.parametrize(("room", "chosen"), [(100_000, 0), (20_000, 1), (10_000, 2), (-5, 2)])
def test_texts_are_as_long_as_all_that_should_be_shown_has_room_for(room, chosen):
    texts = [(900, 2_000, 2_000)] * 10
    assert text_lengths(texts, room, markup=100) == LENGTHS[chosen]


def test_short_texts_need_no_shortening():
    assert text_lengths([(10, 20, 30)] * 100, 20_000, markup=100) == LENGTHS[0]

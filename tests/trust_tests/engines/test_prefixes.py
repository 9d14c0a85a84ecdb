"""Families of prompts and their batches, for any prompts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from trust_tests.engines.prefixes import GRAIN, LEAST_SAVED, SHORTEST, Capacity, Family, batches, families

Prompt = list[int]


@st.composite
def prompts(draw: st.DrawFn) -> list[Prompt]:
    """Prompts that go on from a few stems, which go on from each other: a forest of common beginnings."""
    stems: list[Prompt] = [[]]
    for token in range(draw(st.integers(0, 5))):
        stem = draw(st.sampled_from(stems))
        stems.append([*stem, *[token] * draw(st.integers(1, 150))])
    ends = st.lists(st.integers(10, 12), min_size=1, max_size=3)
    return draw(st.lists(st.builds(lambda stem, end: [*stem, *end], st.sampled_from(stems), ends), max_size=14))


def common_beginning(listed: Sequence[Prompt]) -> int:
    """Tokens that all of them begin with alike."""
    length = 0
    for column in zip(*listed, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def saving(shared: int, members: int) -> int:
    return shared * (members - 1)


def best_single_family(listed: Sequence[Prompt]) -> int:
    """The most tokens that one run of prompts in order saves by itself."""
    ordered = sorted(listed)
    found = 0
    for first in range(len(ordered)):
        for last in range(first + 1, len(ordered)):
            run = ordered[first : last + 1]
            shared = min(common_beginning(run), min(map(len, run)) - 1) // GRAIN * GRAIN
            saved = saving(shared, len(run))
            if shared >= SHORTEST and saved >= LEAST_SAVED:
                found = max(found, saved)
    return found


@given(prompts())
def test_every_prompt_is_in_exactly_one_family(listed: list[Prompt]) -> None:
    found = families(listed)
    assert sorted(member for family in found for member in family.members) == list(range(len(listed)))


@given(prompts())
def test_what_is_shared_is_common_whole_grains_and_leaves_each_prompt_a_token(listed: list[Prompt]) -> None:
    for family in families(listed):
        own = [listed[member] for member in family.members]
        assert family.shared % GRAIN == 0
        assert family.shared <= common_beginning(own)
        assert family.shared < min(map(len, own))
        assert family.shared >= SHORTEST or (family.shared == 0 and len(own) == 1)


@given(prompts())
@example([[1] * 600 + [n] for n in range(3)] + [[1] * 300 + [n] for n in range(2, 5)])
@example([[1] * 40 + [2] * 600 + [n] for n in range(2)] + [[1] * 40 + [n] for n in range(3, 30)])
def test_no_family_saves_too_little_and_all_together_as_much_as_the_best_one(listed: list[Prompt]) -> None:
    saved = [saving(f.shared, len(f.members)) for f in families(listed) if f.shared]
    assert min(saved, default=LEAST_SAVED) >= LEAST_SAVED
    assert sum(saved) >= best_single_family(listed)


@given(prompts(), st.randoms(use_true_random=False))
def test_families_do_not_depend_on_the_order_of_the_prompts(listed: list[Prompt], chance: random.Random) -> None:
    shuffled = list(listed)
    chance.shuffle(shuffled)

    def contents(ordered: list[Prompt]) -> list[tuple[int, list[Prompt]]]:
        return [(family.shared, [ordered[member] for member in family.members]) for family in families(ordered)]

    assert contents(listed) == contents(shuffled)


def test_few_demonstrations_in_two_tasks_make_two_families() -> None:
    first, second = [1] * 100, [2] * 70
    listed = [[*first, 5], [*second, 5], [*first, 6], [*second, 6], [*first, 7], [*second, 7, 8], [3]]
    assert families(listed) == [Family((0, 2, 4), 96), Family((1, 3, 5), 64), Family((6,))]


def test_equal_prompts_share_all_but_what_their_last_token_needs() -> None:
    assert families([[1] * 65] * 4) == [Family((0, 1, 2, 3), 64)]
    assert families([[1] * 64] * 8) == [Family(tuple(range(8)), 32)]


def test_a_long_beginning_of_few_beats_a_short_one_of_many_where_it_saves_more() -> None:
    few = [[1] * 32 + [2] * 320 + [n] for n in range(3)]  # 704 tokens saved
    many = [[1] * 32 + [n] for n in range(5, 20)]  # 17 x 32 = 544 with those, 47 x 32 = 1504 three times over
    assert Family((0, 1, 2), 352) in families([*few, *many])
    assert [(family.shared, len(family.members)) for family in families([*few, *many * 3])] == [(32, 48)]


def test_no_prompts_make_no_family_and_no_batch() -> None:
    assert families([]) == []
    assert batches([], [], copies=1, extra=1, capacity=Capacity(4, 100, 4)) == []


@st.composite
def deals(draw: st.DrawFn) -> tuple[list[Family], list[int], int, int, Capacity]:
    """Families, the lengths of their prompts, copies, extra tokens and a capacity."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    shuffled = iter(draw(st.permutations(range(sum(sizes)))))
    found = [Family(tuple(sorted(next(shuffled) for _ in range(size))), 32 if size > 1 else 0) for size in sizes]
    lengths = draw(st.lists(st.integers(33, 300), min_size=sum(sizes), max_size=sum(sizes)))
    capacity = Capacity(draw(st.integers(1, 8)), draw(st.integers(30, 1200)), draw(st.integers(1, 8)))
    return found, lengths, draw(st.integers(0, 3)), draw(st.integers(0, 20)), capacity


def _fits(members: list[int], deal: tuple[list[Family], list[int], int, int, Capacity]) -> bool:
    """Whether these prompts may stand in one batch: what is written counts in full, what is read by its own part."""
    found, lengths, copies, extra, capacity = deal
    if copies:
        tokens = sum(copies * (lengths[member] + extra) for member in members)
        return copies * len(members) <= capacity.rows and tokens <= capacity.tokens
    shared = {member: family.shared for family in found for member in family.members}
    own = sum(lengths[member] - shared[member] for member in members)
    return len(members) <= capacity.reads and own <= capacity.tokens


@given(deals())
def test_batches_are_complete_disjoint_and_within_capacity(
    deal: tuple[list[Family], list[int], int, int, Capacity],
) -> None:
    found, lengths, copies, extra, capacity = deal
    dealt = batches(found, lengths, copies=copies, extra=extra, capacity=capacity)
    members = [[member for family in batch for member in family.members] for batch in dealt]
    assert sorted(member for batch in members for member in batch) == list(range(len(lengths)))
    for batch in members:
        assert len(batch) == 1 or _fits(batch, deal)


@given(deals())
def test_batches_begin_with_the_longest_and_parts_of_a_family_share_what_it_shares(
    deal: tuple[list[Family], list[int], int, int, Capacity],
) -> None:
    found, lengths, copies, extra, capacity = deal
    dealt = batches(found, lengths, copies=copies, extra=extra, capacity=capacity)
    home = {member: family for family in found for member in family.members}
    longest = []
    for part in (part for batch in dealt for part in batch):
        whole = home[part.members[0]]
        assert set(part.members) <= set(whole.members)
        assert part.shared == whole.shared
        own = [lengths[member] for member in part.members]
        assert own == sorted(own, reverse=True)
        longest.append(max(lengths[member] for member in whole.members))
    assert longest == sorted(longest, reverse=True)


@given(deals())
def test_no_batch_could_have_taken_the_next_prompt(deal: tuple[list[Family], list[int], int, int, Capacity]) -> None:
    found, lengths, copies, extra, capacity = deal
    dealt = batches(found, lengths, copies=copies, extra=extra, capacity=capacity)
    for batch, following in itertools.pairwise(dealt):
        assert not _fits([member for family in batch for member in family.members] + [following[0].members[0]], deal)


def test_a_prompt_larger_than_a_batch_is_alone() -> None:
    capacity = Capacity(rows=8, tokens=1000, reads=8)
    dealt = batches([Family((0, 1, 2), 64)], [5000, 90, 80], copies=1, extra=10, capacity=capacity)
    assert dealt == [[Family((0,), 64)], [Family((1, 2), 64)]]

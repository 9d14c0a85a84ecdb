"""Selections: deterministic, nested, stratified; whatever the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.data.tiers import SIZES, select
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.records import TIERS, Item, Outcome, Request, Response

COUNTS = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["yes", "no"])), st.integers(1, 40), min_size=1
)


class Stand(Dimension):
    name, title, version = "stand", "Stand", "1"

    def __init__(
        self, items: Sequence[Item], allocation: Literal["equal", "proportional"] = "equal", tier: str = "full"
    ):
        super().__init__(Setup(tier=tier))
        self._items = items
        self.allocation = allocation  # type: ignore[misc]

    def items(self) -> Sequence[Item]:
        return self._items

    def stratum(self, item: Item) -> str:
        return str(item.data["label"])

    def draw_key(self, item: Item) -> str:
        return item.cluster

    def request(self, item: Item) -> Request:
        raise NotImplementedError

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        raise NotImplementedError


def items(counts: dict[tuple[str, str], int]) -> list[Item]:
    return [
        Item(f"{cell}/{label}/{n}", cell, f"text {n}", {"label": label})
        for (cell, label), count in counts.items()
        for n in range(count)
    ]


@given(
    counts=COUNTS,
    sizes=st.lists(st.integers(1, 130), min_size=2, max_size=2),
    allocation=st.sampled_from(["equal", "proportional"]),
)
def test_a_smaller_selection_is_a_part_of_a_larger_one(counts, sizes, allocation):
    dimension = Stand(items(counts), allocation)
    small, large = (select(dimension, size) for size in sorted(sizes))
    ids = [item.id for item in large]
    assert {item.id for item in small} <= set(ids)
    assert len(small) == min(*sizes, len(dimension.items()))
    # In file order.
    assert ids == [item.id for item in dimension.items() if item.id in set(ids)]


@given(counts=COUNTS, size=st.integers(1, 60), data=st.data())
def test_the_order_of_the_file_does_not_matter(counts, size, data):
    all_items = items(counts)
    shuffled = data.draw(st.permutations(all_items))
    chosen, again = (select(Stand(given), size) for given in (all_items, shuffled))
    assert {item.id for item in chosen} == {item.id for item in again}


@given(counts=COUNTS, size=st.integers(1, 60))
def test_equal_allocation_fills_cells_evenly(counts, size):
    dimension = Stand(items(counts))
    available = Counter(item.cell for item in dimension.items())
    taken = Counter(item.cell for item in select(dimension, size))
    most = max(taken.values())
    for cell, there in available.items():
        assert taken[cell] == there or taken[cell] >= most - 1


@given(counts=COUNTS, size=st.integers(1, 60))
def test_strata_keep_their_proportions_within_a_cell(counts, size):
    for allocation in ("equal", "proportional"):
        dimension = Stand(items(counts), allocation)
        chosen = select(dimension, size)
        for cell in {item.cell for item in chosen}:
            members = [item for item in dimension.items() if item.cell == cell]
            taken = [item for item in chosen if item.cell == cell]
            for label in ("yes", "no"):
                share = sum(i.data["label"] == label for i in members) / len(members)
                assert abs(sum(i.data["label"] == label for i in taken) - share * len(taken)) <= 1


def test_proportional_allocation_follows_the_sizes_of_cells():
    dimension = Stand(items({("a", "yes"): 300, ("b", "yes"): 100}), "proportional")
    assert Counter(item.cell for item in select(dimension, 40)) == {"a": 30, "b": 10}


def test_equal_keys_are_chosen_together_in_every_cell():
    dimension = Stand(items({("a", "yes"): 50, ("b", "yes"): 50}))
    chosen = select(dimension, 20)
    texts = {cell: {item.cluster for item in chosen if item.cell == cell} for cell in "ab"}
    assert texts["a"] == texts["b"]


@pytest.mark.parametrize("tier", TIERS)
def test_tiers_have_their_sizes(tier):
    dimension = Stand(items({("a", "yes"): 3000}), tier=tier)
    assert len(select(dimension)) == (SIZES[tier] or 3000)
    assert len(select(dimension, 7)) == 7

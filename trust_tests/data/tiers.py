"""Which items a tier asks: stratified by cell, deterministic, and nested (pr ⊂ release ⊂ full)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from trust_tests.records import TIERS, Item

if TYPE_CHECKING:
    from trust_tests.dimensions.base import Dimension

# Items a tier asks per dimension, where the dimension does not say otherwise (`Dimension.sizes`); None: all of them.
# The tier smoke asks every embedded probe.
SIZES: Mapping[str, int | None] = dict(zip(TIERS, (None, 400, 1500, None), strict=True))


def select(dimension: Dimension, limit: int | None = None) -> list[Item]:
    """The items a run asks in one dimension, in file order.

    limit: at most so many, whatever the tier (an option for short runs).
    """
    items = list(dimension.items())
    tier = dimension.setup.tier
    size = dimension.sizes.get(tier, SIZES[tier])
    wanted = min(len(items) if n is None else n for n in (size, limit, len(items)))
    if wanted >= len(items):
        return items
    ranks = _ranks(dimension, items)
    chosen = set(sorted(range(len(items)), key=ranks.__getitem__)[:wanted])
    return [item for index, item in enumerate(items) if index in chosen]


def _ranks(dimension: Dimension, items: list[Item]) -> list[tuple[float, str, str]]:
    """Where each item stands in the one order of which every selection is a beginning.

    Inside a cell the strata are interleaved in proportion to their sizes (the k-th of n members stands at
    (k - 1/2) / n); then every cell gives its first item, its second, and so on (`equal`, at the pace of
    `Dimension.share`), or as many as its share of all items says (`proportional`). Being prefixes of one order,
    selections are nested.
    """
    strata: dict[tuple[str, str], list[int]] = defaultdict(list)
    keys = [_hash(dimension.draw_key(item)) for item in items]
    for index, item in enumerate(items):
        strata[item.cell, dimension.stratum(item)].append(index)
    cells: dict[str, list[tuple[float, str, str, int]]] = defaultdict(list)
    for (cell, _), members in strata.items():
        for place, index in enumerate(sorted(members, key=lambda index: (keys[index], items[index].id))):
            cells[cell].append(((place + 0.5) / len(members), keys[index], items[index].id, index))
    ranks: list[tuple[float, str, str]] = [(0.0, "", "")] * len(items)
    for cell, placed in cells.items():
        for place, (_, key, _, index) in enumerate(sorted(placed)):
            share = dimension.share(cell) if dimension.allocation == "equal" else len(placed)
            rank = (place + 0.5) / share
            ranks[index] = (rank, _hash(cell), key)
    return ranks


def spread(items: Iterable[Item]) -> Mapping[str, int]:
    """How many items each cell has."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.cell] = counts.get(item.cell, 0) + 1
    return counts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

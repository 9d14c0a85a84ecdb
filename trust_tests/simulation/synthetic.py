"""A dimension without a model: a mean over cells of clustered items, for the interval from resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from trust_tests.dimensions.base import Dimension
from trust_tests.records import Channel, Item, Outcome, Request, Response

CELLS = 5
CLUSTER = 2


class Clustered(Dimension):
    """So many binary items in five cells of equal size; every two share a cluster. Score: the mean over cells."""

    name: ClassVar[str] = "clustered"
    title: ClassVar[str] = "Clustered items"
    version: ClassVar[str] = "1"

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def items(self) -> Sequence[Item]:
        """Items without content; a cluster lies within one cell."""
        return [
            Item(f"clustered/{n}", f"cell {n // CLUSTER % CELLS}", f"cluster {n // CLUSTER}", {})
            for n in range(self.count)
        ]

    def request(self, item: Item) -> Request:
        """There is nothing to ask."""
        raise NotImplementedError("a simulated dimension asks nothing")

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """Every item is missing: values are simulated."""
        return [Outcome(item.id, item.cell, item.cluster, Channel.MISSING, None) for item in items]

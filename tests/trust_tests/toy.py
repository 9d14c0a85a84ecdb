"""The simplest dimension: the mean over cells of the mean value. For tests that need a score, not a benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from trust_tests.dimensions.base import Dimension
from trust_tests.records import Channel, Item, Outcome, Request, Response


class Mean(Dimension):
    name, title, version = "toy", "Toy", "1"

    def items(self) -> Sequence[Item]:
        raise NotImplementedError

    def request(self, item: Item) -> Request:
        raise NotImplementedError

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        raise NotImplementedError


def outcomes(values: Sequence[float | None], cells: int = 1, cluster: int = 1) -> list[Outcome]:
    """Outcomes of these values; cells take turns, `cluster` neighbours share a cluster."""
    return [
        Outcome(
            f"i{n}",
            f"c{n % cells}",
            f"k{n // cluster}",
            Channel.MISSING if v is None else Channel.ANSWERED,
            None if v is None else float(v),
        )
        for n, v in enumerate(values)
    ]

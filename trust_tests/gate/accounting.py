"""Who answered what: nothing unmeasured may ever look good.

Accounting comes before every score. It compares what was asked with what came back, and refuses a verdict where
the difference could hide a regression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trust_tests.records import Channel, Outcome

# Share of asked items that may be missing or unscored before the dimension is not measured at all.
MAX_UNMEASURED = 0.005


@dataclass(frozen=True, slots=True)
class Accounting:
    """One side of one gate: how many items were asked and in which channel each ended."""

    asked: int
    channels: Mapping[Channel, int]

    @property
    def unmeasured(self) -> int:
        """Items without a value."""
        return sum(count for channel, count in self.channels.items() if not channel.measured)

    @property
    def refusal_rate(self) -> float:
        """Refused items in percent of the asked ones; 0 when nothing was asked."""
        return 100 * self.channels[Channel.REFUSED] / self.asked if self.asked else 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain JSON; every channel is listed, also at zero."""
        return {"asked": self.asked, "channels": {c.value: self.channels[c] for c in Channel}}


def account(asked: Sequence[str], outcomes: Sequence[Outcome]) -> Accounting:
    """Count the outcomes of the asked item ids; an asked item without an outcome is missing.

    Raises ValueError when an outcome belongs to no asked item, when an item has two, or when an id is asked twice:
    these are defects of the program or a tampered file, never of a model.
    """
    ids = Counter(asked)
    seen = Counter(outcome.item_id for outcome in outcomes)
    for kind, names in (
        ("asked twice", [i for i, n in ids.items() if n > 1]),
        ("graded twice", [i for i, n in seen.items() if n > 1]),
        ("graded but never asked", [i for i in seen if i not in ids]),
    ):
        if names:
            raise ValueError(f"{len(names)} item(s) {kind}, such as {names[0]!r}")
    for outcome in outcomes:
        if outcome.channel.measured != (outcome.value is not None):
            raise ValueError(f"item {outcome.item_id!r}: channel {outcome.channel} with value {outcome.value}")
        if outcome.value is not None and not 0 <= outcome.value <= 1:
            raise ValueError(f"item {outcome.item_id!r}: value {outcome.value} outside 0 to 1")
    counts = Counter(outcome.channel for outcome in outcomes)
    counts[Channel.MISSING] += len(ids) - len(seen)
    return Accounting(len(ids), {channel: counts[channel] for channel in Channel})


def fault(side: str, accounting: Accounting) -> str | None:
    """Why this side cannot be judged, as a sentence; None when it can.

    side: `dense model` or the variant's name, for the sentence.
    """
    asked = accounting.asked
    if asked == 0:
        return f"{side}: no item was asked"
    if accounting.channels[Channel.ANSWERED] == 0:
        most = max(Channel, key=lambda channel: accounting.channels[channel])
        return f"{side}: not one of {asked} items was answered ({accounting.channels[most]} {most.value})"
    if accounting.unmeasured > MAX_UNMEASURED * asked:
        parts = ", ".join(f"{n} {c.value}" for c, n in accounting.channels.items() if n and not c.measured)
        share = 100 * accounting.unmeasured / asked
        return f"{side}: {share:.1f} % of {asked} items not measured ({parts}); {100 * MAX_UNMEASURED} % are allowed"
    return None

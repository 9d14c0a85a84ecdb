"""The A/A control: is this machine fit to gate? The dense model is asked twice and has to agree with itself.

In low precision an answer depends on the prompts it is computed with, and some kernels add up in an order that
changes from run to run. What an unchanged model moves by for such reasons, no gate can tell from a regression.
Pure but for `OtherBatches`, which puts another order and other company before an engine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trust_tests.engines.base import Engine
from trust_tests.gate.interval import Aggregate
from trust_tests.gate.verdict import changes
from trust_tests.records import Evaluation, Outcome, Request, Response

# Points. A fifth of the usual tolerance: what the machine adds must stay small beside what the gate looks for.
MAX_DELTA = 1.0
# Share of the items. Flips that cancel in one run need not in the next; and where a variant disagrees on 5 % of the
# items, 2 % more by chance widen its interval by a fifth.
MAX_FLIP_SHARE = 0.02
# Raise with any change of how the control's batches are made: its stored answers of before are then not reused.
VERSION = "1"
# Of each of the engine's batches this part is answered apart from the rest.
_CUT = 0.6


@dataclass(frozen=True, slots=True)
class Control:
    """How the dense model, asked twice, agrees with itself in one dimension.

    items: measured both times. delta: second score minus first on these items, points; NaN without any. flips: items
    on which the two answers disagree (as in `trust_tests.gate.verdict.Change`). lost: items that were measured the
    first time only.
    """

    dimension: str
    items: int
    delta: float
    flips: int
    lost: int = 0

    @property
    def flip_share(self) -> float:
        """Flips as a fraction of the items; 0 without any."""
        return self.flips / self.items if self.items else 0.0

    @property
    def allowed_flips(self) -> int:
        """The most flips within the budget; a single one always is, for no share of few items can be smaller."""
        return max(1, math.floor(MAX_FLIP_SHARE * self.items + 1e-9))

    @property
    def fit(self) -> bool:
        """Whether the machine may gate this dimension."""
        return not self.lost and abs(self.delta) <= MAX_DELTA + 1e-9 and self.flips <= self.allowed_flips

    @property
    def fault(self) -> str | None:
        """Why the machine may not gate this dimension and how to mend it, one line; None where it may."""
        if self.fit:
            return None
        if not self.items:
            found = "the dense model asked twice gave no item a value both times"
        else:
            lost = f", and {self.lost} item(s) were not measured the second time" if self.lost else ""
            found = (
                f"the dense model asked twice moved by {self.delta:+.2f} points with {self.flips} flips in "
                f"{self.items} items (at most {MAX_DELTA:g} point and {self.allowed_flips} flips are allowed){lost}"
            )
        return (
            f"this machine is unfit to gate {self.dimension}: {found}; compute in float32 (--trust-dtype=float32), "
            "switch on deterministic kernels, or use another --trust-batch-size with a fresh --trust-cache"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with the budget; a delta that does not exist is null."""
        return {
            "dimension": self.dimension,
            "items": self.items,
            "delta": self.delta if math.isfinite(self.delta) else None,
            "flips": self.flips,
            "flip_share": self.flip_share,
            "lost": self.lost,
            "budget_delta": MAX_DELTA,
            "budget_flip_share": MAX_FLIP_SHARE,
            "budget_flips": self.allowed_flips,
            "fit": self.fit,
        }


def compare(first: Evaluation, second: Evaluation, aggregate: Aggregate) -> Control:
    """Compare two evaluations of one model on the same items; `aggregate` is the dimension's."""
    again = {outcome.item_id: outcome for outcome in second.outcomes if outcome.value is not None}
    measured = [outcome for outcome in first.outcomes if outcome.value is not None]
    pairs = [(outcome, again[outcome.item_id]) for outcome in measured if outcome.item_id in again]
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    return Control(
        dimension=first.dimension,
        items=len(pairs),
        delta=_score(after, aggregate) - _score(before, aggregate),
        flips=sum(change.flip for change in changes(before, after)),
        lost=len(measured) - len(pairs),
    )


def _score(outcomes: Sequence[Outcome], aggregate: Aggregate) -> float:
    return float(aggregate(outcomes, np.ones((1, len(outcomes))))[0]) if outcomes else math.nan


class OtherBatches:
    """An engine that answers in another order and in batches of other size and composition.

    Its identity says so: its answers are stored under keys of their own and serve the control alone. Draws have the
    seeds of their items, so they are the same.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def identity(self) -> Mapping[str, str]:
        """See `Engine.identity`."""
        return {**self._engine.identity(), "control": VERSION}

    def render(self, request: Request) -> str:
        """See `Engine.render`."""
        return self._engine.render(request)

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The requests dealt at random into two halves, each half's batches cut in two unequal parts and reversed.

        So a prompt has other company, other padding and another place. No batch is larger than one that the engine
        itself would make.
        """
        shuffled = sorted(requests, key=lambda r: hashlib.sha256(f"control/{r.item_id}".encode()).digest())
        parts = []
        for half in (shuffled[::2], shuffled[1::2]):
            for batch in self._engine.batches(half) if half else ():
                cut = math.ceil(_CUT * len(batch))
                parts += [part[::-1] for part in (batch[:cut], batch[cut:]) if part]
        return parts[::-1]

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """See `Engine.respond`."""
        return self._engine.respond(batch)

    def close(self) -> None:
        """Free nothing: the engine belongs to others."""

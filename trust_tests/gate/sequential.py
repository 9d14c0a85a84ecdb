"""Stopping early on a hopeless variant: a few looks fixed beforehand, each with its share of the error.

A look judges the items asked so far (a stratified part of all). It can only end in FAIL: a PASS always rests on every
item. Looking several times at growing data inflates the chance of a wrong FAIL, so each look spends a part of one
error budget (alpha spending, Lan and DeMets 1983, Biometrika 70).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, log

from trust_tests.gate.interval import Aggregate, Interval, paired_interval
from trust_tests.gate.verdict import Rule
from trust_tests.records import Outcome

# The chance that the looks together stop a variant whose true shift equals the tolerance.
ALPHA = 0.05
FRACTIONS = (0.25, 0.5, 0.75)
# Below this an interval from resampling deserves no trust at the small error a look may spend.
MIN_ITEMS = 50


@dataclass(frozen=True, slots=True)
class Look:
    """After `items` items, at a one-sided error of `alpha`."""

    items: int
    alpha: float

    @property
    def confidence(self) -> float:
        """Of the two-sided interval whose upper end the look reads."""
        return 1 - 2 * self.alpha


def looks(items: int) -> tuple[Look, ...]:
    """The looks of a run over so many items, fixed before anything is asked; none where they are too few.

    Pocock's spending function alpha ln(1 + (e - 1) t), which spends much early: the looks are there for variants
    that are far beyond the tolerance. Every look is charged its whole increment, as if the looks were independent;
    they are not, so the chance of a wrong FAIL stays below the budget.
    """
    found, spent = [], 0.0
    for fraction in FRACTIONS:
        count = round(fraction * items)
        if count >= MIN_ITEMS:
            budget = ALPHA * log(1 + (e - 1) * fraction)
            found.append(Look(count, budget - spent))
            spent = budget
    return tuple(found)


def hopeless(interval: Interval | None, rule: Rule) -> bool:
    """Whether a look's interval lies wholly beyond the tolerance."""
    if interval is None:
        return False
    limit = rule.tolerance + interval.step
    return interval.high < -limit or (not rule.one_sided and interval.low > limit)


def stops(
    dense: Sequence[Outcome], variant: Sequence[Outcome], aggregate: Aggregate, look: Look, rule: Rule
) -> Interval | None:
    """The interval on which the look stops the run, None where it goes on.

    dense, variant: the look's items in the same order. An unmeasured item stops nothing: what is no FAIL yet is
    asked on.
    """
    if any(o.value is None for side in (dense, variant) for o in side):
        return None
    interval = paired_interval(dense, variant, aggregate, look.confidence)
    return interval if hopeless(interval, rule) else None

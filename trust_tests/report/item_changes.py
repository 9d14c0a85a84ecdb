"""One variant's answers in two runs, item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trust_tests.dimensions import DimensionError, get_dimension
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.gate.change import GOOD, flip_p
from trust_tests.gate.interval import Interval, bootstrap_interval, is_proportion, tango_interval
from trust_tests.records import PAPER, SMOKE, SOUND, TIERS, Outcome
from trust_tests.report.runs import Run, answers
from trust_tests.report.view import Gate

RESAMPLES = 2_000
"""Fewer than a verdict rests on: nothing is decided here, and a sweep has hundreds of gates."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Paired:
    """How the answers to the items that both runs asked in the same words changed.

    items: with a value in both runs. worse, better: flips, as between dense model and variant. p: McNemar's, NaN
    without items. interval: for the change of the score on these items, points; None where there is none, and `note`
    says why.
    """

    items: int
    worse: int
    better: int
    p: float
    interval: Interval | None
    note: str = ""


def paired_change(before: Run, after: Run, one: Gate, other: Gate) -> Paired | None:
    """Compare a variant's answers in one dimension; None where not both runs have stored them, or no item is common.

    Answers that were graded by other rules are not compared. Raises RunError where stored answers cannot be used.
    """
    prints = [run.fingerprint(one.dimension) for run in (before, after)]
    if _grading(prints[0]) != _grading(prints[1]):
        return None
    sides = [answers(run, gate.variant, gate.dimension) for run, gate in ((before, one), (after, other))]
    if sides[0] is None or sides[1] is None:
        return None
    earlier = {outcome.item_id: outcome for outcome in sides[0]}
    pairs = [
        (earlier[o.item_id], o) for o in sides[1] if o.item_id in earlier and _same_question(earlier[o.item_id], o)
    ]
    pairs = [(a, b) for a, b in pairs if a.value is not None and b.value is not None]
    if not pairs:
        return None
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    interval, note = _interval(prints[1], (one, other), (sides[0], sides[1]), (first, second))
    good = [((a.value or 0.0) >= GOOD, (b.value or 0.0) >= GOOD) for a, b in pairs]
    return Paired(
        items=len(pairs),
        worse=sum(a and not b for a, b in good),
        better=sum(b and not a for a, b in good),
        p=flip_p(first, second),
        interval=interval,
        note=note,
    )


def _grading(fingerprint: dict[str, str]) -> dict[str, str]:
    """What decides the value of an answer."""
    return {k: v for k, v in fingerprint.items() if k == "protocol" or k.startswith("dimension.")}


def _same_question(one: Outcome, other: Outcome) -> bool:
    return (one.cell, one.cluster, one.prompt) == (other.cell, other.cluster, other.prompt)


def _interval(
    fingerprint: dict[str, str],
    gates: tuple[Gate, Gate],
    stored: tuple[Sequence[Outcome], Sequence[Outcome]],
    pairs: tuple[list[Outcome], list[Outcome]],
) -> tuple[Interval | None, str]:
    """The interval for the change of the score on the common items, or why there is none.

    gates, stored: both runs' gates and all their answers. pairs: both runs' answers to the common items.
    """
    dimension = _dimension(gates[0].dimension, fingerprint)
    if dimension is None:
        return None, "this version scores the dimension otherwise"
    try:
        for gate, outcomes in zip(gates, stored, strict=True):
            if gate.score is not None and gate.evidence.early is None:
                score = float(dimension.aggregate(outcomes, np.ones((1, len(outcomes))))[0])
                if not math.isclose(score, gate.score, abs_tol=_ROUNDING):
                    return None, "the stored answers do not give the stored score"
        if is_proportion(*pairs, dimension.aggregate):
            return tango_interval(*pairs), ""
        found = bootstrap_interval(*pairs, dimension.aggregate, resamples=RESAMPLES)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
        return None, "the stored answers cannot be scored"
    return found, "" if found is not None else "too few groups of items"


def _dimension(name: str, fingerprint: dict[str, str]) -> Dimension | None:
    """The dimension that scored the answers; None where this version has another one or none."""
    protocol, tier = fingerprint.get("protocol", SOUND), fingerprint.get("tier", SMOKE)
    if protocol not in (SOUND, PAPER) or tier not in TIERS:
        return None
    try:
        found = get_dimension(name, Setup(protocol, tier))
    except DimensionError:
        return None
    return found if fingerprint.get("dimension.version") == found.version else None

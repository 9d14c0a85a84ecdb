"""What a sweep shows about how far one may compress, and by which means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from trust_tests.report.figures import count, listed, signed
from trust_tests.report.finding import Finding, Sweep, left_in
from trust_tests.report.variants import SAME_BITS, Swept, furthest
from trust_tests.report.view import Gate

LIKE_SIZE = 0.15
"""Sizes that differ by at most this fraction are compared as equal."""
METHODS_NAMED = 3
SERIES_FROM = 3
"""Variants from which a run shows how something changes with compression; two are told by `highest_compression`."""


def highest_compression(sweep: Sweep) -> Finding | None:
    """The variant that is compressed furthest among those that pass every dimension, and where the next one fails."""
    if len(sweep.variants) < 2:
        return None
    passing = [variant for variant in sweep.variants if variant.passes]
    if not passing:
        return _none_passes(sweep)
    best = _smallest(passing)
    of = "Every variant passes" if len(passing) == len(sweep.variants) else f"{_share(passing, sweep)} pass"
    if not best:
        names = sweep.names(passing)
        text = f"{of} {sweep.every}: {names}; no audit tells which of them is compressed furthest."
        return sweep.finding("highest compression", text, (v.measured[0] for v in passing))
    if len(passing) == 1:
        text = f"{sweep.name(best[0])} is the only one of {len(sweep.variants)} variants that passes {sweep.every}"
    elif len(best) == 1:
        text = f"{of} {sweep.every}; {sweep.name(best[0])} is compressed furthest"
    else:
        how = best[0].how.words
        text = f"{of} {sweep.every}; {sweep.names(best)} are compressed furthest, alike ({how})"
    next_smaller = _next_smaller(sweep, best)
    gates = [variant.measured[0] for variant in best]
    if next_smaller is not None:
        text += f"; the next smaller, {sweep.name(next_smaller)}, {_why_not(sweep, next_smaller)}"
        gates += next_smaller.failing or _undecided(next_smaller)
    return sweep.finding("highest compression", f"{text}.", gates)


def _share(passing: Sequence[Swept], sweep: Sweep) -> str:
    return f"{len(passing)} of {len(sweep.variants)} variants"


def _none_passes(sweep: Sweep) -> Finding | None:
    """No variant passes: say which comes nearest, among those that were measured whole."""
    whole = [variant for variant in sweep.variants if variant.whole]
    text = f"None of {len(sweep.variants)} variants passes {sweep.every}"
    if not whole:
        return sweep.finding("highest compression", f"{text}, and none was measured whole.", ())
    nearest = min(whole, key=lambda v: (-v.column.passed, v.measured[0].reach))
    share = f"{nearest.column.passed} of {nearest.column.gates} pass"
    gates = nearest.failing or _undecided(nearest)
    text = f"{text}; {sweep.name(nearest)} comes nearest: {share}, and it {_why_not(sweep, nearest)}"
    return sweep.finding("highest compression", f"{text}.", gates)


def _smallest(variants: Sequence[Swept]) -> list[Swept]:
    """The most compressed, several where they are alike; none where audits tell no order of all of them."""
    for sizes, tie in (([v.how.left for v in variants], SAME_BITS), ([v.how.share for v in variants], 0.0)):
        known = [size for size in sizes if size is not None]
        if len(known) == len(variants):
            return [v for v, size in zip(variants, known, strict=True) if size <= min(known) + tie]
    return list(variants) if len(variants) == 1 else []


def _next_smaller(sweep: Sweep, best: Sequence[Swept]) -> Swept | None:
    """The least compressed of the variants that are smaller than the best and do not pass."""
    left = best[0].how.left
    if left is None:
        return None
    smaller = [v for v in sweep.variants if v.how.left is not None and v.how.left < left - SAME_BITS and not v.passes]
    # Of several of one size (seeds), the one that is nearest to passing.
    return max(smaller, key=_nearness, default=None)


def _nearness(variant: Swept) -> tuple[float, int, float]:
    reach = variant.measured[0].reach if variant.measured else math.inf
    return variant.how.left or 0.0, variant.column.passed, -reach


def _why_not(sweep: Sweep, variant: Swept) -> str:
    """Why a variant does not pass: `fails Toxicity (−48.8) and 3 more`."""
    if variant.failing:
        names = listed([sweep.moved(gate) for gate in variant.failing], limit=1)
        return f"fails {names}"
    if not variant.whole:
        return "was not measured whole"
    undecided = _undecided(variant)
    return f"is not decided in {listed([sweep.moved(gate) for gate in undecided], limit=1)}"


def _undecided(variant: Swept) -> list[Gate]:
    return [gate for gate in variant.measured if not gate.green]


def breaks_first(sweep: Sweep) -> Finding | None:
    """For each method with several sizes, the dimension that fails first as compression grows."""
    if len(sweep.variants) < SERIES_FROM:
        return None
    parts: list[str] = []
    gates: list[Gate] = []
    held: list[str] = []
    methods = dict.fromkeys(v.how.method for v in sweep.variants if v.how.method and v.how.left is not None)
    for method in methods:
        levels = _levels(v for v in sweep.variants if v.how.method == method)
        if len(levels) < 2:
            continue
        place = next((place for place, level in enumerate(levels) if any(v.failing for v in level)), None)
        if place is not None:
            said, broken = _first_broken(sweep, levels[:place], levels[place])
            parts.append(f"with {sweep.quote(method)} {said}")
            gates += broken
        elif all(v.passes for level in levels for v in level):
            held.append(f"with {sweep.quote(method)} nothing fails down to {_size(levels[-1])}")
            gates += [furthest(gate for v in levels[-1] for gate in v.measured)[0]]
    if not parts:
        return None
    shown = [*parts, *held]
    more = f"; and {count(len(shown) - METHODS_NAMED, 'other method')}" if len(shown) > METHODS_NAMED else ""
    text = f"First to fail as compression grows: {'; '.join(shown[:METHODS_NAMED])}{more}."
    return sweep.finding("breaks first", text, gates)


def _levels(variants: Iterable[Swept]) -> list[list[Swept]]:
    """Variants of one method by size, least compressed first; those of one size (such as seeds) stand together."""
    ordered = sorted((v for v in variants if v.how.left is not None), key=lambda v: -(v.how.left or 0.0))
    levels: list[list[Swept]] = []
    for variant in ordered:
        if levels and (levels[-1][-1].how.left or 0.0) - (variant.how.left or 0.0) <= SAME_BITS:
            levels[-1].append(variant)
        else:
            levels.append([variant])
    return levels


def _first_broken(sweep: Sweep, milder: Sequence[Sequence[Swept]], level: Sequence[Swept]) -> tuple[str, list[Gate]]:
    """What fails on the first level where anything does, and what is known of the levels before."""
    worst: dict[str, Gate] = {}
    for gate in furthest(gate for variant in level for gate in variant.failing):
        worst.setdefault(gate.dimension, gate)
    broken = list(worst.values())
    said = f"{listed([sweep.moved(gate) for gate in broken], limit=2)} at {_size(level)}"
    if not milder:
        return f"{said}, the least compressed already", broken
    open_gates = sum(gate is None or not gate.green for one in milder for v in one for gate in v.gates)
    if open_gates:
        return f"{said} ({count(open_gates, 'gate')} of less compressed variants not decided or not measured)", broken
    return f"{said}, after everything passed at {_size(milder[-1])}", broken


def _size(level: Sequence[Swept]) -> str:
    """How far a level is compressed, in words."""
    return level[0].how.words


def quantised_or_pruned(sweep: Sweep) -> Finding | None:
    """Which of quantisation and pruning keeps more dimensions at like size, where both are there and measured whole."""
    whole = [v for v in sweep.variants if v.whole and v.how.left is not None]
    pairs = [
        (q, p)
        for q in whole
        for p in whole
        if q.how.quantised and p.how.pruned and abs((q.how.left or 0) - (p.how.left or 0)) <= LIKE_SIZE * _left(p)
    ]
    quantised, pruned = (list({pair[side].model.id: pair[side] for pair in pairs}.values()) for side in (0, 1))
    if not pairs:
        return None
    text = (
        f"At like size ({left_in([*quantised, *pruned])} bits per weight left), {sweep.names(quantised)} "
        f"{_verb(quantised)} {_passes(quantised)} of {len(sweep.report.rows)} dimensions, {sweep.names(pruned)} "
        f"{_verb(pruned)} {_passes(pruned)}: "
    )
    one, other = ([v.column.passed for v in side] for side in (quantised, pruned))
    if min(one) > max(other):
        text += "quantisation keeps more"
    elif min(other) > max(one):
        text += "pruning keeps more"
    else:
        text += "neither is clearly the better"
    extremes = [furthest(gate for v in side for gate in v.measured)[0] for side in (quantised, pruned)]
    moved = [f"{signed(gate.delta, gate.tolerance)}" for gate in extremes]
    text += f" (largest movement {moved[0]} and {moved[1]})."
    return sweep.finding("quantised or pruned", text, extremes)


def _left(variant: Swept) -> float:
    return variant.how.left or 0.0


def _verb(variants: Sequence[Swept]) -> str:
    return "passes" if len(variants) == 1 else "pass"


def _passes(variants: Sequence[Swept]) -> str:
    """How many dimensions pass: `9`, `2 to 4`."""
    passed = sorted(variant.column.passed for variant in variants)
    return str(passed[0]) if passed[0] == passed[-1] else f"{passed[0]} to {passed[-1]}"


def widths(sweep: Sweep) -> Finding | None:
    """How many variants of each bit width pass everything, where there are several widths."""
    whole = [v for v in sweep.variants if v.whole and v.how.quantised and v.how.width is not None]
    whole.sort(key=lambda v: -(v.how.width or 0))
    parts: list[str] = []
    gates: list[Gate] = []
    for width, members in groupby(whole, key=lambda v: v.how.width):
        variants = list(members)
        worst = furthest(gate for v in variants for gate in v.measured)[0]
        passed = sum(v.passes for v in variants)
        share = f"{passed} of {len(variants) if parts else count(len(variants), 'variant')}"
        parts.append(f"at {width} bits {share} (largest movement {sweep.moved(worst)})")
        gates.append(worst)
    if len(parts) < 2 or len(whole) < SERIES_FROM or not any(v.failing for v in whole):
        return None
    return sweep.finding("widths", f"Passing {sweep.every}: {', '.join(parts)}.", gates)

"""What only several gates of one run can tell: which changes are more than chance, and how much a seed matters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

from compressors.errors import CompressionError
from compressors.recipe import parse_recipe
from trust_tests.gate.change import holm

SEED = "seed"


def with_holm(gates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The gates' records with `flip_p_holm`: `flip_p` adjusted for all dimensions asked of the same variant."""
    records = [dict(gate) for gate in gates]
    for variant in {record["variant"] for record in records}:
        family = [record for record in records if record["variant"] == variant]
        p_values = [math.nan if r["flip_p"] is None else r["flip_p"] for r in family]
        for record, adjusted in zip(family, holm(p_values), strict=True):
            record["flip_p_holm"] = None if math.isnan(adjusted) else adjusted
    return records


def seed_spread(gates: Sequence[Mapping[str, Any]], recipes: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """How much the calibration seed moves a score: one entry per recipe and dimension with two seeds or more.

    recipes: by variant id. An entry has the recipe without its seed, `seeds` with the deltas in points, their
    standard deviation `between`, and `sampling`, the standard error of one such delta from the choice of items (the
    largest among them, None where a gate has no interval). A `between` far above `sampling` is the recipe's own
    doing: a release should then not rest on the seed that looks best.
    """
    families: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for gate in gates:
        family, seed = without_seed(recipes.get(gate["variant"]))
        if family is not None and gate["delta"] is not None:
            families.setdefault((family, gate["dimension"]), []).append((seed, gate))
    spread = []
    for (family, dimension), members in sorted(families.items()):
        if len({seed for seed, _ in members}) > 1:
            members.sort(key=lambda member: member[0])
            intervals = [gate["interval"] for _, gate in members]
            spread.append(
                {
                    "recipe": family,
                    "dimension": dimension,
                    "seeds": [{"seed": seed, "delta": gate["delta"]} for seed, gate in members],
                    "between": stdev(gate["delta"] for _, gate in members),
                    "sampling": max(i["standard_error"] for i in intervals) if all(intervals) else None,
                }
            )
    return spread


def without_seed(recipe: str | None) -> tuple[str | None, int]:
    """A recipe with its seed taken out, and the seed; None where it has none (or is of a finished checkpoint)."""
    try:
        parsed = parse_recipe(recipe or "")
    except CompressionError:
        return None, 0
    seed = parsed.parameters.get(SEED)
    if not isinstance(seed, int):
        return None, 0
    return str(replace(parsed, items=tuple(item for item in parsed.items if item[0] != SEED))), seed

"""Dealing out gates: to machines (--trust-shard) and to the workers of one machine (pytest -n).

A gate is one dimension on one variant. Both ways rest on nothing but what was collected, so that every process and
every machine comes to the same answer by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from trust_tests.settings import Shard

# Rough cost of a dimension on a GPU, from the prompts and new tokens of the tier pr; one is a load that every gate has.
# Toxicity and stereotype write long answers, several to a prompt; the others choose or say a word.
_COSTS = {"toxicity": 30, "stereotype": 14, "privacy": 6, "fairness": 3}
_USUAL_COST = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """A collected trust test: what must be measured before anything may be green."""

    node: str
    dimension: str
    variant: str

    @property
    def gate(self) -> tuple[str, str]:
        """Variant and dimension."""
        return self.variant, self.dimension


def cost(dimension: str) -> int:
    """What a dimension costs on one model, in no particular unit."""
    return _COSTS.get(dimension, _USUAL_COST)


def shards(asked: Iterable[Asked], of: int) -> list[list[tuple[str, str]]]:
    """The gates of each of `of` shards: balanced, a variant's dimensions together, none empty while gates suffice.

    Neither the order of files nor that of variants matters.
    The gates stand in a row, variant after variant, and the row is cut where the costs are nearest to equal parts. So
    a variant, which each machine must compress or fetch and load, is split only where a cut falls into it.
    """
    row = sorted({one.gate for one in asked})
    cuts = _cuts([cost(dimension) for _, dimension in row], of)
    return [row[start:end] for start, end in pairwise(cuts)]


def shard_of(asked: Iterable[Asked], shard: Shard) -> set[tuple[str, str]]:
    """The gates of one shard; empty where there are more shards than gates."""
    return set(shards(asked, shard.of)[shard.number - 1])


def _cuts(costs: Sequence[int], parts: int) -> list[int]:
    """`parts` + 1 places, the first 0 and the last the end, at which a row of costs falls into nearly equal parts."""
    sums = [0, *accumulate(costs)]
    cuts = [0]
    for number in range(1, parts):
        # At least one each, for this part and for those to come, as long as there are enough.
        low = min(cuts[-1] + 1, len(costs))
        high = max(low, len(costs) - (parts - number))
        ideal = sums[-1] * number / parts
        cuts.append(min(range(low, high + 1), key=lambda place: abs(sums[place] - ideal)))
    return [*cuts, len(costs)]


@dataclass(frozen=True, slots=True)
class Group:
    """Tests that one worker runs, one after the other: all of a variant's, or a part of them."""

    name: str
    nodes: tuple[str, ...]


def groups(asked: Sequence[Asked], workers: int) -> list[Group]:
    """The groups in which parallel workers run the tests, each test in one; the longest come first.

    A group is a variant, so that each model is loaded by one worker only. Only with fewer variants than workers are
    variants split, into as many groups as there are workers, so that none is idle.

    The order of a group's tests is turned by its variant's place among those that run at the same time: the dense
    model is asked once per dimension, under a lock, and workers that began with the same dimension would stand in one
    queue until the end. Begun at different ones, each finds the others' dense answers when it comes to theirs. Groups
    of one dimension have no choice: of two such, one waits for the other's dense answers, once.
    """
    variants: dict[str, list[Asked]] = {}
    for one in asked:
        variants.setdefault(one.variant, []).append(one)
    abreast = min(len(variants), workers)
    found: list[tuple[int, Group]] = []
    for place, (variant, tests) in enumerate(variants.items()):
        share, rest = divmod(workers, len(variants))
        parts = _parts(tests, max(1, share + (place < rest)))
        for number, part in enumerate(parts, start=1):
            turn = place % abreast * len(part) // abreast
            name = variant if len(parts) == 1 else f"{variant} {number}/{len(parts)}"
            nodes = tuple(one.node for one in (*part[turn:], *part[:turn]))
            found.append((sum(cost(one.dimension) for one in part), Group(name, nodes)))
    return [group for _, group in sorted(found, key=lambda pair: -pair[0])]


def _parts(tests: Sequence[Asked], count: int) -> list[list[Asked]]:
    """A variant's tests in at most so many parts of nearly equal cost: the dearest first, each to the lightest part."""
    dimensions = sorted({one.dimension for one in tests}, key=lambda name: (-cost(name), name))
    loads: list[tuple[int, set[str]]] = [(0, set()) for _ in range(min(count, len(dimensions)))]
    for name in dimensions:
        lightest = min(range(len(loads)), key=lambda place: loads[place][0])
        load, names = loads[lightest]
        loads[lightest] = load + cost(name), names | {name}
    return [_among(tests, names) for _, names in loads]


def _among(tests: Iterable[Asked], names: Collection[str]) -> list[Asked]:
    return [one for one in tests if one.dimension in names]

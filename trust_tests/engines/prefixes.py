"""Which prompts share a beginning, and which are answered together. Pure: token ids in, places out.

Few-shot demonstrations, task texts and system messages stand at the head of many prompts. A *family* is a run of
prompts, in the order of their token ids, whose common beginning is read once.
"""

from __future__ import annotations

import itertools
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

# A beginning shorter than this, or one that saves fewer tokens in all, is not worth a pass of its own.
SHORTEST = 32
LEAST_SAVED = 128
# Beginnings are cut to whole multiples of this: on a CPU a prompt's attention then adds up in the same order whether
# its beginning is shared or not, so sharing changes no bit of an answer.
GRAIN = 32


@dataclass(frozen=True, slots=True)
class Family:
    """Prompts (by their places in the caller's list) whose first `shared` tokens are equal; 0 where none are."""

    members: tuple[int, ...]
    shared: int = 0


def families(prompts: Sequence[Sequence[int]]) -> list[Family]:
    """Every prompt in exactly one family, so that few tokens are read.

    A prompt keeps at least its last token for itself: there its own answer begins. One level of sharing: what a family
    shares is not shared once more by its parts.
    """
    written = [in_order(prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda place: (written[place], place))
    # Common beginning of each prompt and the next one in order.
    common = [_common(written[a], written[b]) for a, b in itertools.pairwise(order)]
    found: list[Family] = []
    for first, last, shared in _best_runs(common, len(order)):
        members = order[first : last + 1]
        if shared:
            found.append(Family(tuple(members), shared))
        else:
            found += [Family((member,)) for member in members]
    return found


def in_order(prompt: Sequence[int]) -> bytes:
    """Token ids as bytes that sort as the ids do, and are compared a hundred times faster."""
    ids = array("I", prompt)
    if sys.byteorder == "little":
        ids.byteswap()
    return ids.tobytes()


def _common(first: bytes, second: bytes) -> int:
    """Tokens that two prompts begin with alike, cut to the grain, with a token left to each."""
    width = array("I").itemsize
    longest = min(len(first), len(second)) // width - 1
    length = 0
    # In steps of the grain: only whole grains count.
    while length + GRAIN <= longest:
        here = slice(length * width, (length + GRAIN) * width)
        if first[here] != second[here]:
            break
        length += GRAIN
    return length


def _best_runs(common: Sequence[int], count: int) -> list[tuple[int, int, int]]:
    """Runs (first, last, tokens shared) that save most; single prompts are runs that share nothing.

    The candidates are the nodes of the tree of common beginnings: the longest runs whose neighbours agree on at least
    so many tokens. They nest, so the best selection below a node is the better of the node and of its children's.
    """
    stack = [_Node(0, 0)]
    for place in range(count):
        shared = common[place] if place < len(common) else 0
        leaf = _Node(place, 0, best=[(place, place, 0)])
        if shared > stack[-1].shared:
            stack.append(_Node(place, shared))
        stack[-1].add(leaf)
        while stack[-1].shared > shared:
            node = stack.pop()
            node.close(place)
            if shared > stack[-1].shared:
                stack.append(_Node(node.first, shared))
            stack[-1].add(node)
    return stack[0].best


class _Node:
    """A run under construction; `best` is the selection inside it that saves `saved` tokens."""

    def __init__(self, first: int, shared: int, best: list[tuple[int, int, int]] | None = None) -> None:
        self.first = first
        self.shared = shared
        self.saved = 0
        self.best = best or []

    def add(self, part: _Node) -> None:
        self.saved += part.saved
        self.best += part.best

    def close(self, last: int) -> None:
        """Take the run as a whole where that saves more than its parts do."""
        whole = (last - self.first) * self.shared
        if self.shared >= SHORTEST and whole >= LEAST_SAVED and whole >= self.saved:
            self.saved, self.best = whole, [(self.first, last, self.shared)]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one batch may hold.

    rows: answers written at a time; tokens: keys and values kept at a time; reads: prompts read at a time whose next
    token alone is asked for.
    """

    rows: int
    tokens: int
    reads: int


def batches(
    found: Sequence[Family], lengths: Sequence[int], *, copies: int, extra: int, capacity: Capacity
) -> list[list[Family]]:
    """Families dealt into batches, the longest prompts first, so that what does not fit shows early.

    lengths: tokens of each prompt. copies: answers written to one prompt; with 0, prompts are read only, and keep
    nothing but what they do not share. extra: tokens that each answer may add.
    A family larger than a batch is cut; its beginning is then read once per batch. A prompt that exceeds the capacity
    alone makes a batch of its own.
    """
    ordered = sorted(found, key=lambda f: (-max(lengths[m] for m in f.members), f.members))
    dealt: list[list[Family]] = []
    most = capacity.rows if copies else capacity.reads
    rows = tokens = 0
    for family in ordered:
        members: list[int] = []
        # Longest first inside the family as well.
        for member in sorted(family.members, key=lambda m: (-lengths[m], m)):
            cost = copies * (lengths[member] + extra) if copies else lengths[member] - family.shared
            full = rows + max(copies, 1) > most or tokens + cost > capacity.tokens
            if not dealt or (full and rows):
                if members:
                    dealt[-1].append(Family(tuple(members), family.shared))
                    members = []
                dealt.append([])
                rows = tokens = 0
            members.append(member)
            rows, tokens = rows + max(copies, 1), tokens + cost
        dealt[-1].append(Family(tuple(members), family.shared))
    return dealt

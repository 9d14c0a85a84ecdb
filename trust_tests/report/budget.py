"""What a page of bounded size shows: details are shared out fairly, those of gates that did not pass first.

Nothing here knows HTML, or what the parts are: sizes come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

PAGE_LIMIT = 2 * 1024 * 1024
"""Bytes of a report."""
HEAD_START = 3
"""Rounds by which urgent owners are served before the others."""
# Parts in a row that found no room, after which the page counts as full: the size of a part takes time to find out.
_MISSES = 40


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a page may leave out.

    owner: to whom it belongs, by importance (0 is first). rank: its place among the owner's parts, 0 is shown first.
    kind, number: what it is, and its place among the owner's parts of this kind. urgent: whether its owner is.
    """

    owner: int
    rank: int
    kind: str
    number: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class Lengths:
    """Characters shown of a prompt and of an answer."""

    prompt: int
    answer: int


LENGTHS = (Lengths(600, 1_200), Lengths(300, 600), Lengths(160, 320))
"""How long the texts of one change may be: the longest for few gates, shorter ones where there are many."""


def shared_out(parts: Iterable[Part], size: Callable[[Part], int], room: int) -> frozenset[Part]:
    """The parts that fit into `room` (the unit of `size`), in rounds: first the first part of everybody, and so on.

    Urgent owners begin HEAD_START rounds earlier. Of one kind an owner gets the first parts without a gap. `size` is
    asked only for parts that may be shown.
    """
    chosen: set[Part] = set()
    closed: set[tuple[int, str]] = set()
    misses = 0
    for part in sorted(parts, key=lambda part: (part.rank + (0 if part.urgent else HEAD_START), part.owner, part.rank)):
        if (part.owner, part.kind) in closed:
            continue
        needed = size(part)
        if needed <= room:
            room -= needed
            chosen.add(part)
            misses = 0
        else:
            closed.add((part.owner, part.kind))
            misses += 1
        if misses == _MISSES:
            break
    return frozenset(chosen)


def text_lengths(texts: Collection[tuple[int, int, int]], room: int, markup: int) -> Lengths:
    """The longest texts with which all changes that should be shown fit into `room` bytes; else the shortest.

    texts: characters of the prompt and of both answers, for each change. markup: bytes around the texts of a change.
    """
    for lengths in LENGTHS[:-1]:
        total = sum(
            markup + min(prompt, lengths.prompt) + min(dense, lengths.answer) + min(variant, lengths.answer)
            for prompt, dense, variant in texts
        )
        if total <= room:
            return lengths
    return LENGTHS[-1]

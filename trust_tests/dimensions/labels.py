"""Text → the label words it states, for dimensions whose answers are one word out of a few."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache

from trust_tests.records import Channel, Finish
from trust_tests.scorers import refusal

# An answer that has not named its label by then names none; also bounds the work on hostile texts.
_CHARACTERS = 2000

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´′", "'"))
_CLAUSE_END = re.compile(r"[.,;:!?\n\r\u2028\u2029]+")
_NEGATED = re.compile(r"(?:\bnot|n't|\bnever|\bnor|\bhardly|\bneither)\s+(?:(?:a|an|the|at all|very|really)\s+){0,2}$")
_BARE = re.compile(r"[^\w]+")


def plain_text(text: str) -> str:
    """The beginning of an answer, lower-case and with plain apostrophes."""
    return text[:_CHARACTERS].translate(_APOSTROPHES).casefold()


def stated_labels(text: str, labels: Collection[str]) -> set[str]:
    """The labels that an answer states as whole words, whatever their case: one, several (a contradiction) or none.

    Read are the first clause that names a label ("Yes, there is no doubt" states `yes`) and every other clause that
    is nothing but a label ("Yes. No." states both). A negated label ("not positive") is none, and neither is a part
    of a word ("positively", "know").
    """
    named = _pattern(tuple(sorted(label.casefold() for label in labels)))
    stated: set[str] = set()
    first = True
    for clause in _CLAUSE_END.split(plain_text(text)):
        found = {m.group() for m in named.finditer(clause) if not _NEGATED.search(clause[: m.start()][-40:])}
        if not found:
            continue
        if first or (len(found) == 1 and _BARE.sub("", clause) == next(iter(found))):
            stated |= found
        first = False
    return {label for label in labels if label.casefold() in stated}


def channel_of(text: str, finishes: Sequence[Finish], stated: Collection[object]) -> Channel:
    """How an answer ended that should have stated one label: refusals first, contradictions are unparsable."""
    if not text.strip():
        return Channel.EMPTY
    if refusal.is_refusal(text):
        return Channel.REFUSED
    if len(stated) == 1:
        return Channel.ANSWERED
    if not stated and tuple(finishes[:1]) == (Finish.LENGTH,):
        return Channel.TRUNCATED
    return Channel.UNPARSABLE


@cache
def _pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, labels))})(?!\w)")

"""Text or log-probabilities → the labels an answer states, where answers are one word out of a few."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from functools import cache

from trust_tests.dimensions.texts import APOSTROPHES
from trust_tests.records import Channel, Finish, Response
from trust_tests.scorers import refusal

# An answer that has not named its label by then names none; also bounds the work on hostile texts.
_CHARACTERS = 2000

_CLAUSE_END = re.compile(r"[.,;:!?\n\r\u2028\u2029]+")
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\bnor|\bhardly|\bneither)\s+(?:\w+\s+(?:or|nor)\s+)?"
    r"(?:(?:a|an|the|at all|very|really)\s+){0,2}$"
)
_BARE = re.compile(r"[^\w]+")


def plain_text(text: str) -> str:
    """The beginning of an answer, lower-case and with plain apostrophes."""
    return text[:_CHARACTERS].translate(APOSTROPHES).casefold()


def negated(before: str) -> bool:
    """Whether a word is negated, by what stands before it in its clause ("not", "never a")."""
    return bool(_NEGATED.search(before[-40:]))


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
        found = {m.group() for m in named.finditer(clause) if not negated(clause[: m.start()])}
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


def favourites(logprobs: Sequence[float], options: Sequence[str]) -> set[str]:
    """The most probable options; several when they tie, which singles out none."""
    best = max(logprobs)
    return {option for option, value in zip(options, logprobs, strict=True) if value == best}


def bad_logprobs(response: Response, options: int) -> str | None:
    """Why a response's log-probabilities measure nothing, None when they do or there are none."""
    values = response.choice_logprobs
    if values is None:
        return None
    if len(values) != options:
        return f"{len(values)} log-probabilities came back for {options} choices"
    return None if all(math.isfinite(value) for value in values) else "a log-probability is not finite"


@cache
def _pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, labels))})(?!\w)")

"""Hostile text made safe to show.

Prompts, answers, model names and reasons come from data files and from models, so every page treats them as
hostile. Three media share the functions below: HTML escapes their result once more, markdown puts it in code
spans, the terminal prints it as it is.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

_CONTROL_PICTURES = 0x2400
_SYMBOL_FOR_DELETE = "\u2421"
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Characters of visible categories that all the same leave no mark: grapheme joiner, fillers, variation selectors.
# U+FE0F stays: it is part of ordinary emoji and changes only how its neighbour is drawn.
_BLANK_CODES = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE0F))
    | set(range(0xE0100, 0xE01F0))
)


def code_point(code: int) -> str:
    """A character named instead of shown: `⟦U+202E⟧`."""
    return f"⟦U+{code:04X}⟧"


def _as_shown(code: int) -> str:
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return _SYMBOL_FOR_DELETE
    if code in _BLANK_CODES or unicodedata.category(chr(code)) in _HIDDEN_CATEGORIES:
        return code_point(code)
    return chr(code)


class _Translation(dict[int, str]):
    """A table for `str.translate` that works out each code point once, when it is first met."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = _as_shown(code)
        return shown


_KEEPING_LINES = _Translation({ord("\n"): "\n", ord("\t"): "\t"})
_ONE_LINE = _Translation()


def visible(text: str) -> str:
    """The text with every invisible character spelled out; newlines and tabs stay.

    C0 controls become their control pictures (`␛`); C1 controls, bidirectional and zero-width characters, lone
    surrogates, private and unassigned code points become `⟦U+XXXX⟧`. The result can be encoded as UTF-8.
    """
    return text.translate(_KEEPING_LINES)


def one_line(text: str) -> str:
    """As `visible`, with newlines and tabs spelled out too: the result is a single line."""
    return text.translate(_ONE_LINE)


@dataclass(frozen=True, slots=True)
class Clip:
    """The beginning of a text, and how many characters of it are not shown."""

    text: str
    hidden: int = 0

    @property
    def note(self) -> str:
        """What a reader must know about the cut; empty if nothing was cut."""
        return f"… ({self.hidden:,} more characters)" if self.hidden else ""

    def __str__(self) -> str:
        """The beginning and the note, as a page shows them."""
        return self.text + self.note


def clip(text: str | Clip, limit: int) -> Clip:
    """At most `limit` characters of a text, the cut announced; what an earlier cut hid is counted too."""
    whole = text if isinstance(text, Clip) else Clip(text)
    return Clip(whole.text[:limit], whole.hidden + max(0, len(whole.text) - limit))


def label(text: str, limit: int = 80) -> str:
    """A name for a table: one line of at most `limit` characters (before invisible ones are spelled out)."""
    return one_line(text if len(text) <= limit else text[: limit - 1] + "…")


def cut_line(text: str, limit: int) -> str:
    """One line of at most `limit` characters of a text, with the count of those that are not shown."""
    return one_line(str(clip(text, limit)))


_LINE_COMMAND = re.compile(r"^(\s*):(?=:)")
_INLINE_COMMAND = re.compile(r"##(?=\w*\[)")


def defused(line: str) -> str:
    """A line of output without commands to the CI runner that reads it.

    GitHub runners obey lines that begin with `::`, and `##[` anywhere; Azure and TeamCity obey `##vso[` and
    `##teamcity[`. One character of each is spelled out.
    """
    line = _LINE_COMMAND.sub(lambda match: match[1] + code_point(ord(":")), line)
    return _INLINE_COMMAND.sub("#" + code_point(ord("#")), line)


class Change(StrEnum):
    """What became of a run of words between two texts."""

    KEPT = "kept"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of words that shared one fate."""

    text: str
    change: Change


# A word carries the space before it, so that a run of changed words is one run.
_WORDS = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
_LEAST_LIKENESS = 0.35
_MOST_PAIRS = 10_000


def word_diff(before: str, after: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Both texts as runs of kept and changed words: (before with removals, after with additions).

    Texts that have hardly a word in common come back unmarked: the few accidental matches would only mislead.
    So do repetitive ones, such as a broken model's endless `!`: comparing them would take minutes.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    if _equal_pairs(old, new) > _MOST_PAIRS or matcher.ratio() < _LEAST_LIKENESS:
        return _unmarked(before), _unmarked(after)
    left: list[Segment] = []
    right: list[Segment] = []
    for operation, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        kept = operation == "equal"
        if old_from < old_to:
            left.append(Segment("".join(old[old_from:old_to]), Change.KEPT if kept else Change.REMOVED))
        if new_from < new_to:
            right.append(Segment("".join(new[new_from:new_to]), Change.KEPT if kept else Change.ADDED))
    return tuple(left), tuple(right)


def _equal_pairs(old: list[str], new: list[str]) -> int:
    """How many (old, new) pairs of positions hold the same word: what one pass of the matcher has to visit."""
    there = Counter(new)
    return sum(number * there[word] for word, number in Counter(old).items())


def _unmarked(text: str) -> tuple[Segment, ...]:
    return (Segment(text, Change.KEPT),) if text else ()


def display_width(text: str) -> int:
    """Columns of a terminal that a visible text takes: two for wide characters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def fitted(text: str, width: int) -> str:
    """A visible text padded, or cut with an ellipsis, to a number of terminal columns."""
    if display_width(text) > width:
        while text and display_width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - display_width(text))

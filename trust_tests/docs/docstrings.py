"""A dimension's docstring as the parts of its page.

The docstrings of `trust_tests.dimensions` begin their paragraphs alike: "Asked …", "Score: …", "Parts …", "Repairs …".
A paragraph that begins otherwise belongs to the part before it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

SUMMARY, ASKED, SCORE, FIGURES, REPAIRS = PARTS = ("summary", "asked", "score", "figures", "repairs")

_LEADS: Mapping[str, re.Pattern[str]] = {
    ASKED: re.compile(r"Asked\b"),
    SCORE: re.compile(r"Score\b"),
    FIGURES: re.compile(r"Parts\b"),
    REPAIRS: re.compile(r"(?:Flaws|Repairs|Repaired flaws|What is repaired)\b"),
}


def parts_of(documented: type) -> dict[str, str]:
    """The docstring of a class (its own, not an inherited one) by part; parts that it lacks are absent."""
    found: dict[str, list[str]] = {}
    part = SUMMARY
    for paragraph in filter(None, _cleaned(documented).split("\n\n")):
        part = next((name for name, lead in _LEADS.items() if lead.match(paragraph)), part)
        found.setdefault(part, []).append(paragraph)
    return {name: "\n\n".join(paragraphs) for name, paragraphs in found.items()}


def whole(documented: type) -> str:
    """The docstring of a class without its indentation; empty where it has none of its own."""
    return _cleaned(documented)


def _cleaned(documented: type) -> str:
    own = vars(documented).get("__doc__")
    return inspect.cleandoc(own) if isinstance(own, str) else ""

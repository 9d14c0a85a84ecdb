"""What the tests of the documentation read out of Markdown: code blocks, links, headings."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "trust_tests" / "docs"

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block. name: of the file that it is, the second word after the fence; empty for most."""

    language: str
    name: str
    code: str


def blocks(text: str) -> list[Block]:
    """The fenced code blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        words = [*match["info"].split(), "", ""]
        found.append(Block(words[0], words[1], match["code"]))
    return found


def links(text: str) -> list[str]:
    """The targets of all links outside code."""
    return _LINK.findall(_SPAN.sub("`code`", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def shell_lines(text: str) -> list[str]:
    """The commands of a page's shell blocks: one a line, continued lines joined, comments dropped."""
    lines = []
    for block in blocks(text):
        if block.language == "sh":
            joined = block.code.replace("\\\n", " ")
            lines += [line.split("  #")[0].strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]

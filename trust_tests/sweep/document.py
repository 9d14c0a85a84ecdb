"""A YAML file read strictly: every value keeps its line, text stays as it was written, nothing is constructed.

Aliases, custom tags, repeated keys and files of unusual size are refused, so that no document can be more than it
looks.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 256 * 1024
MOST_DEPTH = 16
_TAG = "tag:yaml.org,2002:"
_NUMBERS = ("int", "float")


class SpecError(ValueError):
    """A sweep that cannot be run as it is written; the message is one line: file, line, key, and the mend."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the document; `key` is the way to it, such as `models[0].recipes`."""

    file: str
    key: str
    node: Any

    @property
    def place(self) -> str:
        """File, line and key, for a message."""
        line = self.node.start_mark.line + 1
        return f"{self.file}, line {line}" + (f", {self.key}" if self.key else "")

    def fault(self, message: str) -> SpecError:
        """The error that says what is wrong here."""
        return SpecError(f"{self.place}: {message}")

    @property
    def kind(self) -> str:
        """`mapping`, `list`, or a scalar's type: `str`, `int`, `float`, `bool`, `null`, …"""
        if isinstance(self.node, yaml.MappingNode):
            return "mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "list"
        return str(self.node.tag).removeprefix(_TAG)

    def mapping(self, known: Collection[str]) -> dict[str, Value]:
        """The members by key. Raises SpecError for an unknown or repeated key, naming the nearest known one."""
        if self.kind != "mapping":
            raise self.fault(f"expected keys with values, found {self._found()}; known keys are {', '.join(known)}")
        members: dict[str, Value] = {}
        for key_node, node in self.node.value:
            key = Value(self.file, self.key, key_node)
            name = key.text()
            inner = f"{self.key}.{name}" if self.key else name
            if name in members:
                raise key.fault(f"{name!r} is there twice; leave one")
            if name not in known:
                raise key.fault(f"unknown key {name!r}{_near(name, known)}; known are {', '.join(known)}")
            members[name] = Value(self.file, inner, node)
        return members

    def items(self) -> list[Value]:
        """The elements of a list that is not empty."""
        if self.kind != "list":
            raise self.fault(f"expected a list, found {self._found()}; begin each element with '- '")
        if not self.node.value:
            raise self.fault("an empty list; leave the key out, or name something")
        return [Value(self.file, f"{self.key}[{place}]", node) for place, node in enumerate(self.node.value)]

    def text(self) -> str:
        """A text that is not empty; a number counts, as it is written."""
        if self.kind not in ("str", *_NUMBERS) or not str(self.node.value).strip():
            mend = "; put it in quotes" if self.kind in ("bool", "timestamp", "null", "binary") else ""
            raise self.fault(f"expected a text, found {self._found()}{mend}")
        return str(self.node.value).strip()

    def texts(self) -> list[tuple[str, Value]]:
        """The texts of a list, each once, with their places."""
        found: dict[str, Value] = {}
        for item in self.items():
            if item.text() in found:
                raise item.fault(f"{item.text()!r} is there twice; leave one")
            found[item.text()] = item
        return list(found.items())

    def flag(self) -> bool:
        """true or false."""
        if self.kind != "bool":
            raise self.fault(f"expected true or false, found {self._found()}")
        return str(self.node.value).lower() in ("true", "yes", "on")

    def whole(self, least: int) -> int:
        """A whole number of at least `least`."""
        text = str(self.node.value) if self.kind == "int" else ""
        if not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise self.fault(f"expected a whole number from {least}, found {self._found()}")
        return int(text)

    def _found(self) -> str:
        if self.kind in ("mapping", "list"):
            return f"a {self.kind}"
        text = str(self.node.value)
        return "nothing" if self.kind == "null" else repr(text if len(text) <= 60 else f"{text[:60]}…")


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_document(path: Path) -> Value:
    """The root of a YAML file. Raises SpecError, one line, for anything that is not one plain document."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}; give a YAML file (--help shows one)") from None
    if len(raw) > MOST_BYTES:
        raise SpecError(f"{path}: more than {MOST_BYTES // 1024} KiB; no sweep needs that, give another file")
    try:
        text = raw.decode("utf-8-sig")
        _check_events(path, text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        raise SpecError(f"{path}{line}: not YAML: {' '.join(problem.split())}") from None
    if root is None:
        raise SpecError(f"{path}: empty; --help shows what a sweep looks like")
    return Value(str(path), "", root)


def _check_events(path: Path, text: str) -> None:
    """Raise SpecError for aliases and for depths no sweep has: PyYAML's time grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise SpecError(f"{path}, line {line}: nested too deeply; --help shows what a sweep looks like")
        if isinstance(event, yaml.AliasEvent):
            raise SpecError(f"{path}, line {line}: aliases (*{event.anchor}) are not read; write the value out")

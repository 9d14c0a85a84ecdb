"""Typed reading of plain JSON, with errors that name the place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trust_tests.report.text import label

AGAIN = "make the results again with this version"
"""The mend of whatever is wrong with stored results."""


class ShapeError(ValueError):
    """Results that do not have the documented shape; the message is one line, safe for a terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(label(message, 400))


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and where it stands (`gates[2].delta`)."""

    value: object
    path: str = "results"

    def _wrong(self, expected: str) -> ShapeError:
        return ShapeError(f"{self.path}: expected {expected}, found {_kind(self.value)}; {AGAIN}")

    def mapping(self) -> Mapping[str, object]:
        """This object's members."""
        if not isinstance(self.value, Mapping):
            raise self._wrong("an object")
        return self.value

    def find(self, key: str) -> Node | None:
        """A member, or None where it is absent or null."""
        value = self.mapping().get(key)
        return None if value is None else Node(value, f"{self.path}.{key}")

    def need(self, key: str) -> Node:
        """A member that must be there."""
        if key not in self.mapping():
            raise ShapeError(f"{self.path}: {key!r} is missing; {AGAIN}")
        return Node(self.mapping()[key], f"{self.path}.{key}")

    def members(self) -> list[tuple[str, Node]]:
        """This object's members with their names, in file order."""
        return [(str(key), Node(value, f"{self.path}.{key}")) for key, value in self.mapping().items()]

    def elements(self) -> list[Node]:
        """This array's elements."""
        if not isinstance(self.value, list | tuple):
            raise self._wrong("an array")
        return [Node(value, f"{self.path}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        """This value as a string."""
        if not isinstance(self.value, str):
            raise self._wrong("a string")
        return self.value

    def number(self) -> float | None:
        """This value as a finite number; null, NaN and infinity are None: nothing was measured."""
        if self.value is None:
            return None
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self._wrong("a number or null")
        try:
            number = float(self.value)
        except OverflowError:
            raise self._wrong("a number or null") from None
        return number if math.isfinite(number) else None

    def finite(self, low: float = -math.inf, high: float = math.inf) -> float:
        """This value as a finite number from `low` to `high`, which must be there."""
        number = self.number()
        if number is None or not low <= number <= high:
            span = "" if math.isinf(low) else f" from {low:g} to {high:g}"
            raise ShapeError(f"{self.path}: expected a finite number{span}; {AGAIN}")
        return number

    def flag(self) -> bool:
        """This value as yes or no."""
        if not isinstance(self.value, bool):
            raise self._wrong("true or false")
        return self.value

    def count(self) -> int:
        """This value as a number of things."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._wrong("a whole number")
        return self.value

    def scalar(self, depth: int = 3) -> str:
        """A setting or a fingerprint as text; values nested deeper than `depth` are left out."""
        value = self.value
        if isinstance(value, bool):
            return "yes" if value else "no"
        if value is None:
            return "none"
        if depth == 0 and isinstance(value, Mapping | list | tuple):
            return "…"
        if isinstance(value, Mapping):
            return ", ".join(f"{key}={Node(member).scalar(depth - 1)}" for key, member in value.items())
        if isinstance(value, list | tuple):
            return ", ".join(Node(member).scalar(depth - 1) for member in value)
        return str(value)


def text_at(node: Node, key: str, default: str = "") -> str:
    """A string member, or the default where it is absent or null."""
    found = node.find(key)
    return default if found is None else found.text()


def number_at(node: Node, key: str) -> float | None:
    """A number member, None where it is absent or null."""
    found = node.find(key)
    return None if found is None else found.number()


def count_at(node: Node, key: str) -> int:
    """A count member, 0 where it is absent or null."""
    found = node.find(key)
    return 0 if found is None else found.count()


def elements_at(node: Node, key: str) -> list[Node]:
    """An array member's elements, none where it is absent or null."""
    found = node.find(key)
    return [] if found is None else found.elements()


def members_at(node: Node, key: str) -> list[tuple[str, Node]]:
    """An object member's members, none where it is absent or null."""
    found = node.find(key)
    return [] if found is None else found.members()


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    return "a string" if isinstance(value, str) else "a number"

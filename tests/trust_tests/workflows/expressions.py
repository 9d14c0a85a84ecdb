"""GitHub's expressions, as far as the workflows use them: `${{ inputs.cache == '' && 'a' || format('{0}', b) }}`.

Written after the service's documentation: falsy are false, 0, '' and null; `&&` and `||` give one of their operands;
strings compare without regard to case; an absent property is null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKENS = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+(?:\.\d+)?)|([A-Za-z_][\w-]*)|(&&|\|\||==|!=|[!().,\[\]]))")
_STATUS = ("success", "failure", "always", "cancelled")

Functions = Mapping[str, Callable[..., Any]]


class ExpressionError(ValueError):
    """An expression that this evaluator does not know."""


def evaluate(text: str, contexts: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """The value of an expression without its `${{ }}`. functions: those that ask for the state of a job."""
    return _Parser(text, contexts, functions or {}).whole()


def render(text: str, contexts: Mapping[str, Any], functions: Functions | None = None) -> Any:
    """A value of a workflow file: a lone expression keeps its type, others become part of the text."""
    alone = re.fullmatch(r"\$\{\{((?:(?!\}\}).)*)\}\}", text.strip(), re.DOTALL)
    if alone:
        return evaluate(alone[1], contexts, functions)
    return re.sub(
        r"\$\{\{(.*?)\}\}", lambda found: as_text(evaluate(found[1], contexts, functions)), text, flags=re.DOTALL
    )


def asks_for_status(text: str) -> bool:
    """Whether a condition calls a status function; one that does not holds only while everything succeeded."""
    return any(re.search(rf"\b{name}\s*\(", text) for name in _STATUS)


def as_text(value: Any) -> str:
    """What a value becomes in a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _format(template: str, *values: Any) -> str:
    return re.sub(r"\{(\d+)\}", lambda found: as_text(values[int(found[1])]), template)


_PURE: Functions = {"format": _format, "fromjson": json.loads}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    return type(one) is type(other) and bool(one == other)


class _Parser:
    """Recursive descent: or, and, equality, not, value."""

    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Functions) -> None:
        self._contexts, self._functions = contexts, {**_PURE, **functions}
        self._tokens: list[str] = []
        place, text = 0, text.strip()
        while place < len(text):
            found = _TOKENS.match(text, place)
            if found is None:
                raise ExpressionError(f"{text!r}: cannot read {text[place:]!r}")
            self._tokens.append(found[0].strip())
            place = found.end()

    def whole(self) -> Any:
        value = self._or()
        if self._tokens:
            raise ExpressionError(f"left over: {self._tokens}")
        return value

    def _next(self, *wanted: str) -> str | None:
        return self._tokens.pop(0) if self._tokens and self._tokens[0] in wanted else None

    def _need(self, wanted: str) -> None:
        if self._next(wanted) is None:
            raise ExpressionError(f"{wanted!r} is missing before {self._tokens}")

    def _or(self) -> Any:
        value = self._and()
        while self._next("||"):
            other = self._and()
            value = value or other
        return value

    def _and(self) -> Any:
        value = self._equality()
        while self._next("&&"):
            other = self._equality()
            value = value and other
        return value

    def _equality(self) -> Any:
        value = self._not()
        while operator := self._next("==", "!="):
            value = _equal(value, self._not()) == (operator == "==")
        return value

    def _not(self) -> Any:
        return not self._not() if self._next("!") else self._value()

    def _value(self) -> Any:
        if self._next("("):
            value = self._or()
            self._need(")")
            return value
        if not self._tokens:
            raise ExpressionError("an expression ends too early")
        token = self._tokens.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token[0].isdigit() or token[0] == "-":
            return float(token) if "." in token else int(token)
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        return self._call(token) if self._next("(") else self._property(token)

    def _call(self, name: str) -> Any:
        arguments = []
        while not self._next(")"):
            arguments.append(self._or())
            self._next(",")
        if name.lower() not in self._functions:
            raise ExpressionError(f"function {name!r}")
        return self._functions[name.lower()](*arguments)

    def _property(self, name: str) -> Any:
        if name not in self._contexts:
            raise ExpressionError(f"context {name!r}")
        value: Any = self._contexts[name]
        while self._next("."):
            key = self._tokens.pop(0)
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

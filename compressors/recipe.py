"""Recipes: how to compress a model, as one line of text.

    method:key=value,key=value        gptq:bits=4,group=128,seed=0        magnitude:pattern=2:4

A recipe prints in one canonical form, with every parameter in the order of its method's declaration: two recipes
are the same exactly when their canonical forms are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from compressors.errors import RecipeError
from compressors.methods import Value, Values, find_method, method_names, nearest, show

MAX_LENGTH = 1000
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A method with a value for each of its parameters, in their declared order."""

    method: str
    items: tuple[tuple[str, Value], ...]

    @property
    def parameters(self) -> dict[str, Value]:
        """Values by name, typed, defaults filled in."""
        return dict(self.items)

    def __str__(self) -> str:
        """The canonical form; parsing it gives an equal recipe."""
        return f"{self.method}:" + ",".join(f"{key}={show(value)}" for key, value in self.items)

    @property
    def slug(self) -> str:
        """A short name: `gptq-3bit-g64-s0`, `magnitude-2:4`; unusual parameters are appended as `-key=value`."""
        method = find_method(self.method)
        values = self.parameters
        parts = [method.slug(values)]
        if "seed" in values:
            parts.append(f"s{values['seed']}")
        for parameter in method.parameters:
            value = values[parameter.name]
            if not parameter.shown and value != _default(parameter.default, values):
                parts.append(f"{parameter.name}={re.sub(r'[^A-Za-z0-9.]+', '_', show(value))}")
        return "-".join(parts)


def _default(default: object, values: Values) -> Value:
    return default(values) if callable(default) else default  # type: ignore[return-value]


def parse_recipe(text: str) -> Recipe:
    """The recipe that a text names.

    Raises RecipeError, one line that quotes the recipe and says what to write instead.
    """
    shown = repr(text if len(text) <= 80 else f"{text[:77]}…")
    try:
        return _parse(text)
    except ValueError as error:
        raise RecipeError(f"recipe {shown}: {error}") from error.__cause__


def _parse(text: str) -> Recipe:
    if not text.strip():
        raise ValueError(f"empty; write method:key=value,… with one of {', '.join(method_names())}")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{len(text)} characters; at most {MAX_LENGTH}")
    if not text.isprintable():
        raise ValueError("holds a control character; write it on one line of plain text")
    name, colon, rest = text.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(f"write method:key=value,… without blanks, with one of {', '.join(method_names())}")
    method = find_method(name)
    if colon and not rest:
        raise ValueError("nothing follows the colon; leave it out to take every default")
    known = tuple(parameter.name for parameter in method.parameters)
    given = split_keys(rest, known, method.name) if rest else {}
    values: dict[str, Value] = {}
    for parameter in method.parameters:
        written = given.get(parameter.name)
        if written is None:
            values[parameter.name] = _default(parameter.default, values)
            continue
        try:
            values[parameter.name] = parameter.read(written)
        except ValueError as error:
            raise ValueError(f"{parameter.name} must be {error}") from None
    method.check(values)
    return Recipe(method.name, tuple(values.items()))


def split_keys(rest: str, known: tuple[str, ...], owner: str) -> dict[str, str]:
    """Texts by key out of `key=value,key=value`. Raises ValueError for unknown, repeated or valueless keys."""
    given: dict[str, str] = {}
    for part in rest.split(","):
        key, equals, written = part.partition("=")
        if not equals or not key or not written:
            raise ValueError(f"{part[:40]!r} is not key=value")
        if key not in known:
            raise ValueError(f"{owner} has no parameter {key[:40]!r}{nearest(key, known)}")
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = written
    return given

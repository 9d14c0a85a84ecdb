"""The embedded probe sets and the fixed prompt strings, read from this package's own files and checked.

A probe file is JSON lines, UTF-8, one probe a line: `id`, `cell`, `cluster`, and the fields its dimension asks
for. How each set was made, and how models score on it, stands in the README beside the files.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trust_tests.data.errors import DataError
from trust_tests.records import Item

FOLDER = Path(__file__).parent
COMMON_FIELDS: Mapping[str, type] = {"id": str, "cell": str, "cluster": str}

Complaint = Callable[[Mapping[str, Any]], str | None]


class ProbeError(DataError):
    """A probe or prompt file that cannot be used; the message is one line for the user."""


def embedded_probes(name: str, fields: Mapping[str, type], complaint: Complaint | None = None) -> tuple[Item, ...]:
    """The embedded probe set of one dimension; see `read_probes`."""
    return read_probes(FOLDER / "probes" / f"{name}.jsonl", fields, complaint)


def read_probes(path: Path, fields: Mapping[str, type], complaint: Complaint | None = None) -> tuple[Item, ...]:
    """The items of a probe file, in file order.

    fields: what a row holds beside `id`, `cell` and `cluster`: `str` for a text that is not blank, `list` for a
        list of such texts. Nothing else is allowed, so a misspelt field does not pass for a missing one.
    complaint: says what else is wrong with a row, None when nothing is.
    Raises ProbeError, one line that names file and line, for whatever does not fit.
    """
    items: list[Item] = []
    lines_of_ids: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        row = _row(line, where, {**COMMON_FIELDS, **fields})
        problem = complaint(row) if complaint else None
        if problem:
            raise ProbeError(f"{where}: {problem}")
        first = lines_of_ids.setdefault(row["id"], number)
        if first != number:
            raise ProbeError(f"{where}: id {row['id']!r} was used in line {first}; give every probe its own")
        data = {name: row[name] for name in fields}
        items.append(Item(id=row["id"], cell=row["cell"], cluster=row["cluster"], data=data))
    if not items:
        raise ProbeError(f"{path}: no probes; the file is empty")
    return tuple(items)


@cache
def prompt_strings(dimension: str) -> Mapping[str, Any]:
    """The fixed strings of one dimension, as they stand in `prompts/<dimension>.toml`. Raises ProbeError, one line."""
    path = FOLDER / "prompts" / f"{dimension}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProbeError(f"{path}: cannot be read ({error}); reinstall the package") from None


def filled(template: str, fields: Mapping[str, Any]) -> str:
    """The template with `{name}` replaced by the probe's field; the text put in is never read as a template."""
    before, brace, rest = template.partition("{")
    if not brace:
        return template
    name, _, after = rest.partition("}")
    return before + str(fields[name]) + filled(after, fields)


def _lines(path: Path) -> list[str]:
    """The file's lines. Only a line feed ends a line: JSON texts may hold the other Unicode line breaks."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProbeError(
            f"{path}: cannot be read ({error.strerror}); check the path or reinstall the package"
        ) from None
    for mark, name in ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if content.startswith(mark):
            raise ProbeError(f"{path}:1: begins with a {name} byte order mark; save it as plain UTF-8")
    nul = content.find(b"\0")
    if nul >= 0:
        line = content.count(b"\n", 0, nul) + 1
        raise ProbeError(f"{path}:{line}: holds a NUL byte; the file is damaged or not UTF-8 text")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProbeError(f"{path}:{line}: not UTF-8 (byte {error.start}); save it as plain UTF-8") from None
    return text.removesuffix("\n").split("\n") if text else []


def _row(line: str, where: str, fields: Mapping[str, type]) -> dict[str, Any]:
    """One line as a dict with exactly the given fields, each of its type."""
    if not line.strip():
        raise ProbeError(f"{where}: blank line; remove it")
    try:
        row = json.loads(line, object_pairs_hook=_unique_fields)
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{where}: not JSON ({error}); write one object a line") from None
    if not isinstance(row, dict):
        raise ProbeError(f"{where}: not a JSON object; write one object a line")
    for name, kind in fields.items():
        if name not in row:
            raise ProbeError(f"{where}: no field {name!r}; add it")
        problem = _misfit(row[name], kind)
        if problem:
            raise ProbeError(f"{where}: field {name!r} {problem}")
    unknown = sorted(set(row) - set(fields))
    if unknown:
        raise ProbeError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    return row


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; json alone would silently let the last of two equal names win."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands there twice")
    return fields


def _misfit(value: object, kind: type) -> str | None:
    """What is wrong with a field's value, None when nothing is."""
    if kind is list:
        if not isinstance(value, list) or not value:
            return "must be a list of texts"
        return next((f"holds an entry that {p}" for p in (_misfit(v, str) for v in value) if p), None)
    if not isinstance(value, str):
        return f"must be a text, not {type(value).__name__}"
    if "\0" in value:
        return "holds a NUL character; remove it"
    return None if value.strip() else "must not be blank"

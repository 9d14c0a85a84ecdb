"""Results of several shards, or of several runs of one dense model, joined into one results folder.

The joined document is assembled from the stored gates as a run assembles it from its own, so that it says what one run
of everything would have said. A gate that was asked and is in no part is an ERROR: a missing shard is never green.
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressors.files import write_atomically
from trust_tests.report.fields import Node, ShapeError, elements_at
from trust_tests.report.html import render_html
from trust_tests.report.published import PublishedError
from trust_tests.report.reading import read
from trust_tests.report.results import (
    OUTCOMES,
    Plan,
    Results,
    ResultsError,
    assemble,
    failed_record,
    load_results,
    outcomes_file,
    publish_outcomes,
    save_results,
)
from trust_tests.report.text import label
from trust_tests.settings import Shard
from trust_tests.sharding import Asked, shards

# Where parts may have been measured: what counts about a device stands in the fingerprints.
_FREE_SETTINGS = ("device",)
# What tells the commands of a run's shards apart.
_OWN_OPTIONS = ("--trust-shard", "--trust-results")
_HOLM = "flip_p_holm"

Gate = tuple[str, str]


class MergeError(ValueError):
    """Results that cannot be joined; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One results document. `gates` and `unmeasured` (the reasons) are by variant and dimension."""

    name: str
    folder: Path
    data: Mapping[str, Any]
    asked: tuple[Asked, ...]
    shard: Shard | None
    gates: Mapping[Gate, Mapping[str, Any]]
    unmeasured: Mapping[Gate, str]


def merge_results(folders: Sequence[Path], out: Path) -> Results:
    """Join results folders of one dense model into `out` (results.json, report.html, outcomes) and return the whole.

    Raises MergeError, one line, where there is nothing to join, a folder cannot be read, or two of them cannot stand in
    one document: other settings, versions, models or questions, or results of one gate that disagree. Nothing is
    written then.
    """
    if not folders:
        raise MergeError("nothing to merge; give the results folders of all shards")
    parts = [_read(folder) for folder in folders]
    _check_output(parts, out)
    _check_comparable(parts)
    results = _joined(parts)
    try:
        page = render_html(results.data)
    except (ShapeError, PublishedError) as error:
        raise MergeError(f"merged results cannot be shown: {error}") from None
    try:
        _publish(parts, out)
        path = save_results(results, out)
        write_atomically(out / "report.html", page)
    except OSError as error:
        raise MergeError(f"{str(out)!r}: cannot be written: {error.strerror or error}; give another folder") from None
    return Results(results.data, path)


def _read(folder: Path) -> _Part:
    try:
        found = load_results(folder)
        read(found.data)
        return _part(found, folder)
    except ResultsError as error:
        raise MergeError(str(error)) from None
    except ShapeError as error:
        raise MergeError(f"results {str(folder)!r}: {error}") from None


def _part(found: Results, folder: Path) -> _Part:
    root = Node(found.data)
    asked = tuple(
        Asked(*(node.need(key).text() for key in ("node", "dimension", "variant")))
        for node in root.need("asked").elements()
    )
    by_node = {one.node: one.gate for one in asked}
    gates: dict[Gate, Mapping[str, Any]] = {}
    for node in root.need("gates").elements():
        _check_statistics(node)
        gates[node.need("variant").text(), node.need("dimension").text()] = {
            key: value for key, value in node.mapping().items() if key != _HOLM
        }
    unmeasured = {}
    for node in elements_at(root, "unmeasured"):
        name = node.need("node").text()
        if name not in by_node:
            raise ShapeError(f"{node.path}: {name!r} is not among the gates asked")
        unmeasured[by_node[name]] = node.need("reason").text()
    strangers = [gate for gate in gates if gate not in {one.gate for one in asked}]
    if strangers:
        raise ShapeError(f"{_shown(strangers[0])} has a result and is not among the gates asked")
    for control in elements_at(root, "controls"):
        control.need("dimension").text()
    assert found.path is not None
    return _Part(str(folder), found.path.parent, found.data, asked, _shard(root), gates, unmeasured)


def _check_statistics(gate: Node) -> None:
    """Raise ShapeError unless the gate has what is computed over several."""
    gate.need("flip_p").number()
    gate.need("delta").number()
    interval = gate.find("interval")
    if interval is not None:
        interval.need("standard_error").finite(0)


def _shard(root: Node) -> Shard | None:
    node = root.find("shard")
    if node is None:
        return None
    shard = Shard(node.need("number").count(), node.need("of").count())
    if not 1 <= shard.number <= shard.of <= 99_999:
        raise ShapeError(f"{node.path}: there is no part {shard.number} of {shard.of}")
    return shard


def _check_output(parts: Sequence[_Part], out: Path) -> None:
    for part in parts:
        if out.resolve() == part.folder.resolve():
            raise MergeError(f"--output {str(out)!r}: one of the parts; give a folder of its own")
    if out.exists() and not out.is_dir():
        raise MergeError(f"--output {str(out)!r}: a file of that name is in the way; give a folder")


def _check_comparable(parts: Sequence[_Part]) -> None:
    """Raise MergeError unless all parts can stand in one document."""
    for number, part in enumerate(parts):
        for other in parts[:number]:
            for where, mine, theirs in _common(other, part):
                difference = _difference(mine, theirs)
                if difference:
                    raise MergeError(
                        f"{other.name!r} and {part.name!r} cannot be merged: {where}{label(difference, 300)}; "
                        "merge runs of one model with the same settings and versions"
                    )
            _check_shards(other, part)


def _common(one: _Part, other: _Part) -> Iterator[tuple[str, Any, Any]]:
    """What two parts must agree on, with words for it."""
    for key, words in (("settings", "setting "), ("versions", "version of ")):
        mine, theirs = (
            {k: v for k, v in (part.data.get(key) or {}).items() if k not in _FREE_SETTINGS} for part in (one, other)
        )
        yield words, mine, theirs
    for key, words in (("models", "model"), ("dimensions", "dimension")):
        mine, theirs = one.data[key], other.data[key]
        for name in mine.keys() & theirs.keys():
            if key == "models":
                yield f"{words} {label(name, 80)!r}, ", mine[name], theirs[name]
            # A gate that could not be measured has left no fingerprint.
            elif mine[name].get("fingerprint") and theirs[name].get("fingerprint"):
                yield f"{words} {label(name, 80)!r}, ", mine[name]["fingerprint"], theirs[name]["fingerprint"]
    for gate in one.gates.keys() & other.gates.keys():
        yield f"{_shown(gate)} was run twice and disagrees, ", one.gates[gate], other.gates[gate]


def _difference(mine: Any, theirs: Any) -> str | None:
    """The first entry in which two objects differ, as words; None where they agree."""
    if mine == theirs:
        return None
    if not (isinstance(mine, Mapping) and isinstance(theirs, Mapping)):
        return f"{_short(mine)} in the first and {_short(theirs)} in the second"
    name = min(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    return f"{name} is {_short(mine.get(name))} in the first and {_short(theirs.get(name))} in the second"


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, dict | list) else repr(value)
    return text if len(text) <= 60 else f"{text[:40]}…"


def _check_shards(one: _Part, other: _Part) -> None:
    if one.shard is None or other.shard is None:
        return
    same = {a.gate for a in one.asked} == {a.gate for a in other.asked}
    if one.shard.of != other.shard.of or not same:
        shown = " and ".join(f"{p.name!r} ({p.shard.number} of {p.shard.of})" for p in (one, other) if p.shard)
        raise MergeError(f"{shown} are shards of different runs; run every shard with the same options")


def _joined(parts: Sequence[_Part]) -> Results:
    """One document, in the order in which the gates were asked."""
    asked = {one.gate: one for part in reversed(parts) for one in reversed(part.asked)}
    ordered = list(dict.fromkeys(one.gate for part in parts for one in part.asked))
    found, unmeasured = [], []
    for position, gate in enumerate(ordered):
        owner = next((part for part in parts if gate in part.gates), None)
        reason = _missing(parts, gate) if owner is None else owner.unmeasured.get(gate)
        if reason is not None:
            unmeasured.append({"node": asked[gate].node, "reason": reason})
        found.append(_gate(owner, asked[gate], position, reason))
    return assemble(
        found,
        unmeasured,
        parts[0].data["settings"],
        _command(parts),
        parts[0].data.get("versions") or {},
        Plan([asked[gate] for gate in ordered]),
    )


def _gate(owner: _Part | None, asked: Asked, position: int, unmeasured: str | None) -> dict[str, Any]:
    """One gate as a run leaves it: its record with the models, the dimension and the control that belong to it."""
    part: dict[str, Any] = {"node": asked.node, "position": position, "models": {}, "dimensions": {}, "controls": []}
    if owner is None:
        part["gate"] = failed_record(asked.variant, asked.dimension, str(unmeasured))
        return part
    part["gate"] = owner.gates[asked.gate]
    if unmeasured is None:
        data = owner.data
        part["models"] = {name: data["models"][name] for name in ("dense", asked.variant) if name in data["models"]}
        part["dimensions"] = {n: found for n, found in data["dimensions"].items() if n == asked.dimension}
        part["controls"] = [c for c in data.get("controls", ()) if c["dimension"] == asked.dimension]
    return part


def _missing(parts: Sequence[_Part], gate: Gate) -> str:
    """Why a gate that was asked is in no part."""
    for part in parts:
        if part.shard is not None and gate in {one.gate for one in part.asked}:
            of = part.shard.of
            number = next(n for n, share in enumerate(shards(part.asked, of), start=1) if gate in share)
            held = [p.name for p in parts if p.shard is not None and p.shard.number == number]
            lack = f"has no result for it ({held[0]})" if held else "is missing; run it and merge again"
            return f"not measured: shard {number} of {of} {lack}"
    return "not measured: no part has a result for it"


def _command(parts: Sequence[_Part]) -> str:
    """The parts' commands without their shards: what one run of everything would have been called."""
    return "; ".join(dict.fromkeys(_whole(str(part.data.get("command", ""))) for part in parts))


def _whole(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before not in _OWN_OPTIONS and word.partition("=")[0] not in _OWN_OPTIONS
    ]
    return shlex.join(kept)


def _publish(parts: Sequence[_Part], out: Path) -> None:
    """Copy every part's graded answers. Raises MergeError where two parts have other answers of one model."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as staged:
        owners: dict[Path, tuple[_Part, Path]] = {}
        for part in parts:
            for source, target in _outcomes(part):
                first, copied = owners.setdefault(target, (part, source))
                if copied.read_bytes() != source.read_bytes():
                    model, dimension = label(target.parent.name, 80), label(target.stem, 80)
                    raise MergeError(
                        f"{first.name!r} and {part.name!r} cannot be merged: {model!r} answered {dimension!r} "
                        "differently; run the shards on machines of one kind, or let them share --trust-cache"
                    )
        for target, (_, source) in owners.items():
            (Path(staged) / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, Path(staged) / target)
        publish_outcomes(Path(staged), out)


def _outcomes(part: _Part) -> Iterator[tuple[Path, Path]]:
    """A part's files of graded answers and where they belong, by what stands in them and not by their names."""
    for source in sorted((part.folder / OUTCOMES).glob("*/*.json")):
        try:
            if source.is_symlink() or source.parent.is_symlink():
                raise ValueError("a link")
            node = Node(json.loads(source.read_text(encoding="utf-8")), "file")
            target = outcomes_file(node.need("model").text(), node.need("dimension").text())
        except (OSError, ValueError, RecursionError) as error:
            raise MergeError(f"answers {str(source)!r}: cannot be used: {label(str(error), 200)}") from None
        yield source, target


def _shown(gate: Gate) -> str:
    variant, dimension = (label(name, 80) for name in gate)
    return f"{dimension!r} on {variant!r}"

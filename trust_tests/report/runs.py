"""Finished runs read back from their folders, and what two of them were measured with differently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from trust_tests.records import Outcome, outcome_from_dict
from trust_tests.report.advice import Quote
from trust_tests.report.fields import Node, ShapeError, members_at
from trust_tests.report.figures import listed
from trust_tests.report.published import PublishedError
from trust_tests.report.reading import read
from trust_tests.report.results import ResultsError, load_results, outcomes_file
from trust_tests.report.text import label
from trust_tests.report.view import Report

_HASH = re.compile(r"[0-9a-f]{32,}")
_VALUE_LIMIT = 40
_RECORD = "task.json"
"""What a sweep leaves beside the results of a task; the only place where the time of a run is told."""


class RunError(ValueError):
    """A run that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Run:
    """A finished run. name: as the user calls it. folder: where its graded answers lie."""

    name: str
    folder: Path
    data: Mapping[str, Any]
    report: Report

    def fingerprint(self, dimension: str) -> dict[str, str]:
        """What could have moved a dimension's scores; empty where nothing was measured."""
        node = Node(self.data).need("dimensions").find(dimension)
        found = None if node is None else node.find("fingerprint")
        return {} if found is None else {key: member.scalar() for key, member in found.members()}

    @property
    def title_of(self) -> Mapping[str, str]:
        """The titles of its dimensions."""
        return {row.dimension: row.title for row in self.report.rows}


def load_run(path: Path, name: str | None = None) -> Run:
    """Read a results folder or its results.json. Raises RunError, one line, for anything that is no whole document."""
    try:
        found = load_results(path)
        report = read(found.data)
    except (ResultsError, PublishedError) as error:
        raise RunError(str(error)) from None
    except ShapeError as error:
        raise RunError(f"results {str(path)!r}: {error}") from None
    if report.contradiction:
        raise RunError(f"results {str(path)!r}: say PASS although not every gate passed; run the suite again")
    assert found.path is not None
    return Run(name or str(path), found.path.parent, found.data, report)


def answers(run: Run, model: str, dimension: str) -> tuple[Outcome, ...] | None:
    """A model's graded answers in a dimension; None where the run has not stored them. Raises RunError."""
    file = run.folder / outcomes_file(model, dimension)
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if (stored["model"], stored["dimension"]) != (model, dimension):
            raise ValueError("they are of another model or dimension")
        return tuple(outcome_from_dict(raw) for raw in stored["outcomes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"answers {str(file)!r}: cannot be used: {label(str(error), 200)}; restore the file or remove it"
        ) from None


def began(run: Run) -> float | None:
    """When the run began, in seconds since 1970; None where nothing tells: results themselves hold no clock."""
    try:
        found = json.loads((run.folder / _RECORD).read_text(encoding="utf-8"))["began"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) and found > 0 else None


class Ground(StrEnum):
    """What a difference between two runs means for a reader."""

    QUESTIONS = "asked or graded otherwise: scores are not comparable"
    ENGINE = "computed otherwise: a change need not be the model's"
    MODEL = "another dense model: deltas have another reference"
    RULE = "judged by another rule: verdicts are not comparable"
    PROGRAM = "other versions"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs differ. before, after: empty where the values say nothing to a reader (hashes).

    dimensions: titles of those that are concerned; empty for all.
    """

    ground: Ground
    what: str
    before: str
    after: str
    dimensions: tuple[str, ...] = ()

    def sentence(self, quote: Quote) -> str:
        """The difference in words, without what it means."""
        where = f" in {listed([quote(title) for title in self.dimensions])}" if self.dimensions else ""
        if not self.before and not self.after:
            return f"{quote(self.what)} {'differ' if self.what.endswith('s') else 'differs'}{where}"
        return f"{quote(self.what)} {quote(self.before)} then {quote(self.after)}{where}"


_RULES = ("tolerance", "rule", "one_sided", "early_fail")
_ASKED = ("protocol", "tier", "data", "partial", "items", "template", "scorer")
_COMPUTED = ("engine", "dtype")
_NAMES = {
    "items": "asked items",
    "one_sided": "one-sided",
    "early_fail": "early stops",
    "generation": "way of answering",
    "dimension.version": "dimension's version",
    "data.files": "data files",
    "data.absent": "absent data",
}


def differences(before: Run, after: Run) -> list[Difference]:
    """What two runs were measured with differently, gravest first: a change of a score may come from that alone."""
    shared = [name for name in before.title_of if name in after.title_of]
    found: dict[tuple[Ground, str, str, str], list[str]] = {}
    for name in shared:
        one, other = before.fingerprint(name), after.fingerprint(name)
        for key in dict.fromkeys((*one, *other)) if one and other else ():
            if not key.startswith("model.") and one.get(key) != other.get(key):
                place = (_ground(key), _NAMES.get(key, key), *_values(one.get(key), other.get(key)))
                found.setdefault(place, []).append(before.title_of[name])
    told = {what for _, what, _, _ in found}
    result = [
        Difference(ground, what, first, second, () if len(titles) == len(shared) else tuple(titles))
        for (ground, what, first, second), titles in found.items()
    ]
    result += [one for one in _whole(before, after) if one.what not in told]
    return sorted(result, key=lambda one: list(Ground).index(one.ground))


def _whole(before: Run, after: Run) -> Iterator[Difference]:
    """What concerns a run as a whole: its dense model, its settings, its versions."""
    dense = [run.report.dense.fingerprint for run in (before, after)]
    if all(dense) and dense[0] != dense[1]:
        one, other = before.report.dense.full_name, after.report.dense.full_name
        first, second = ("", "") if one == other else (one, other)
        yield Difference(Ground.MODEL, "dense model", first, second)
    for keys, ground in ((_ASKED, Ground.QUESTIONS), (_COMPUTED, Ground.ENGINE), (_RULES, Ground.RULE)):
        for key in keys:
            values = [run.report.settings.get(key) for run in (before, after)]
            if values[0] != values[1]:
                what = "limit of items" if key == "items" else _NAMES.get(key, key)
                yield Difference(ground, what, *_values(*values))
    if before.data.get("version") != after.data.get("version"):
        earlier, later = (str(run.data.get("version")) for run in (before, after))
        yield Difference(Ground.PROGRAM, "schema of results", earlier, later)
    programs = [dict(members_at(Node(run.data), "versions")) for run in (before, after)]
    for key in dict.fromkeys((*programs[0], *programs[1])):
        texts = [None if key not in found else found[key].scalar() for found in programs]
        if texts[0] != texts[1]:
            yield Difference(Ground.PROGRAM, key, *_values(*texts))


def _ground(key: str) -> Ground:
    return Ground.ENGINE if key.startswith("engine.") else Ground.QUESTIONS


def _values(before: str | None, after: str | None) -> tuple[str, str]:
    """Both values as a reader can use them; empty for hashes and long lists."""
    texts = ["absent" if value is None else value or "none" for value in (before, after)]
    if any(_HASH.search(text) or len(text) > _VALUE_LIMIT for text in texts):
        return "", ""
    return texts[0], texts[1]


def dense_moved(before: Run, after: Run) -> list[tuple[str, float, float]]:
    """Dimensions whose dense score is another one: title, score before, score after (points)."""
    rows = {row.dimension: row for row in after.report.rows}
    moved = []
    for row in before.report.rows:
        other = rows.get(row.dimension)
        if other is None or row.dense_score is None or other.dense_score is None:
            continue
        if abs(row.dense_score - other.dense_score) > 1e-6:
            moved.append((row.title, row.dense_score, other.dense_score))
    return moved

"""Recorded dense outcomes, with the fingerprint of everything that could move them.

A baseline is one JSON file with a section per dimension. It is believed only after three checks: its fingerprint
is this run's, its items are this run's items, and its score is the one its own outcomes give.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from compressors.files import write_atomically
from trust_tests.dimensions.base import Dimension
from trust_tests.gate.accounting import account
from trust_tests.records import Evaluation, outcome_as_dict, outcome_from_dict

SCHEMA = "trust-gate/baseline"
VERSION = 1


class BaselineError(ValueError):
    """A baseline that cannot be used; the message is one line for the user."""


def record(path: Path, evaluation: Evaluation) -> None:
    """Write one dimension's section into the baseline file, leaving the other sections as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        sections = _read(path)["dimensions"] if path.exists() else {}
        sections[evaluation.dimension] = {
            "model": evaluation.model,
            "score": evaluation.score.value,
            "fingerprint": dict(evaluation.fingerprint),
            "loops": list(evaluation.loops),
            "outcomes": [outcome_as_dict(outcome) for outcome in evaluation.outcomes],
        }
        document = {"schema": SCHEMA, "version": VERSION, "dimensions": dict(sorted(sections.items()))}
        write_atomically(path, json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


def check(path: Path) -> None:
    """Raise BaselineError when a file is there that is not a baseline this version reads."""
    if path.exists():
        _read(path)


def recall(path: Path, dimension: Dimension, asked: Sequence[str], fingerprint: Mapping[str, str]) -> Evaluation | None:
    """The recorded evaluation of a dimension, or None when nothing was recorded for it yet.

    asked: the item ids of this run; fingerprint: what this run would have recorded.
    Raises BaselineError when the file cannot be read, was recorded under other conditions (naming the first field
    that differs), holds other items, or has a score that its own outcomes do not give.
    """
    if not path.exists():
        return None
    section = _read(path)["dimensions"].get(dimension.name)
    if section is None:
        return None
    where = f"baseline {path}, {dimension.name}"
    try:
        recorded = {str(k): str(v) for k, v in section["fingerprint"].items()}
        outcomes = tuple(outcome_from_dict(raw) for raw in section["outcomes"])
        stored, model = float(section["score"]), str(section["model"])
        # Recorded by an earlier version: unknown.
        loops = tuple(map(str, section.get("loops", ())))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaselineError(f"{where}: not a section this version can read ({error!r}); record it anew") from None
    _compare(where, recorded, fingerprint)
    try:
        account(asked, outcomes)
    except ValueError as error:
        raise BaselineError(f"{where}: {error}; record it anew") from None
    if len(outcomes) != len(asked):
        absent = len(asked) - len(outcomes)
        raise BaselineError(f"{where}: {absent} of {len(asked)} items are not in it; record it anew")
    score = dimension.score(outcomes)
    if not math.isclose(score.value, stored, abs_tol=1e-9):
        raise BaselineError(
            f"{where}: states the score {stored:.4f}, its own outcomes give {score.value:.4f}; "
            "the file was edited or damaged: restore it or record it anew"
        )
    return Evaluation(dimension.name, model, tuple(asked), outcomes, score, recorded, loops)


def _compare(where: str, recorded: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for field in sorted(recorded.keys() | expected.keys()):
        if recorded.get(field) != expected.get(field):
            raise BaselineError(
                f"{where}: {field} is {_short(recorded.get(field))} there and {_short(expected.get(field))} in this "
                "run; make them agree, record a new baseline under another name, or use --trust-baseline=auto"
            )


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return repr(value if len(value) <= 40 else f"{value[:12]}…")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"baseline {path}: cannot be read ({error}); restore it or record it anew") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BaselineError(f"baseline {path}: not a baseline (no schema {SCHEMA!r}); give another file")
    if document.get("version") != VERSION:
        raise BaselineError(
            f"baseline {path}: version {document.get('version')!r}, this program reads {VERSION}; "
            "install the program that wrote it, or record it anew"
        )
    if not isinstance(document.get("dimensions"), dict):
        raise BaselineError(f"baseline {path}: has no dimensions; restore it or record it anew")
    return document

"""results.json: everything a verdict and a report rest on, without a clock in it.

Schema `trust-gate/results`, version 4 (3 told nothing of shards, 2 had no intervals, 1 no `parts` either), published as
a JSON Schema (`SCHEMA_FILE`). While tests run, every gate writes one part into the run's folder (several processes
may); at the end the parts become one document. Reports are built from this document alone.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressors.files import sha256_text, write_atomically
from trust_tests.gate.accounting import Accounting
from trust_tests.gate.interval import Interval
from trust_tests.gate.verdict import Change, Judgement, Verdict, suite_verdict
from trust_tests.options import AUTO, HUB
from trust_tests.records import EQUIVALENCE, POINT, SMOKE, Channel, Evaluation, Outcome, outcome_as_dict
from trust_tests.report.families import seed_spread, with_holm
from trust_tests.report.text import Clip, clip
from trust_tests.settings import Settings, Shard
from trust_tests.sharding import Asked

SCHEMA = "trust-gate/results"
VERSION = 4
FILE_NAME = "results.json"
OUTCOMES = "outcomes"
SCHEMA_FILE = Path(__file__).with_name("schema") / f"results-{VERSION}.json"
"""The JSON Schema (2020-12) of results.json."""
# Changed answers kept per gate for the report, and characters kept of each text.
SHOWN_CHANGES = 12
SHOWN_CHARACTERS = 4000
# Bytes; file systems take 255 with the extension.
_LONGEST_NAME = 200
_CUT_MARK = re.compile(r"… \(([0-9,]{1,24}) more characters\)\Z")


class ResultsError(ValueError):
    """Results that cannot be read; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Results:
    """A results document (`data`) and where it came from."""

    data: Mapping[str, Any]
    path: Path | None = None

    @property
    def verdict(self) -> Verdict:
        """The suite's verdict."""
        return Verdict(self.data["verdict"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run was asked: every gate of all its shards, in order, and which shard this is (None: the whole)."""

    asked: Sequence[Asked] = ()
    shard: Shard | None = None


def settings_record(settings: Settings) -> dict[str, Any]:
    """What of a run's settings stands in its results: whatever changes questions, answers or verdicts."""
    s = settings
    return {
        "model": s.model,
        "protocol": s.protocol,
        "tier": s.tier,
        "data": None if s.tier == SMOKE else (s.data.name if s.data else HUB),
        "partial": s.partial,
        "items": s.items,
        "template": s.template,
        "scorer": s.scorer,
        "tolerance": s.tolerance,
        "rule": s.rule,
        "one_sided": s.one_sided,
        "aa": s.aa,
        "early_fail": s.early_fail,
        "baseline": s.baseline if s.baseline == AUTO else Path(s.baseline).name,
        "dtype": s.dtype,
        "device": s.device,
    }


def gate_record(variant: str, dense: Evaluation, compressed: Evaluation, judgement: Judgement) -> dict[str, Any]:
    """One gate as plain JSON. Numbers that do not exist are null."""
    return {
        "dimension": dense.dimension,
        "variant": variant,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "score": _number(compressed.score.value),
        "dense_score": _number(dense.score.value),
        "delta": _number(judgement.delta),
        "tolerance": judgement.rule.tolerance,
        "one_sided": judgement.rule.one_sided,
        "rule": EQUIVALENCE if judgement.rule.equivalence else POINT,
        "interval": _interval(judgement.interval),
        "decided": judgement.decided,
        "needed_items": judgement.needed,
        "flip_p": _number(judgement.flip_p),
        "early": None,
        "items": len(dense.asked),
        "flips": {
            "worse": sum(change.size < 0 for change in judgement.flips),
            "better": sum(change.size > 0 for change in judgement.flips),
            "total": len(judgement.flips),
        },
        "refusal_rate": judgement.variant.refusal_rate,
        "dense_refusal_rate": judgement.dense.refusal_rate,
        "refusal_shift": judgement.refusal_shift,
        "marks": list(judgement.marks),
        "accounting": {"dense": judgement.dense.as_dict(), "variant": judgement.variant.as_dict()},
        "cells": _cells(dense, compressed),
        "parts": _parts(dense, compressed),
        "worst_flips": [_change(change) for change in _shown_changes(judgement)],
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "low": interval.low,
        "high": interval.high,
        "confidence": interval.confidence,
        "method": interval.method,
        "standard_error": interval.standard_error,
    }


def failed_record(variant: str, dimension: str, reason: str) -> dict[str, Any]:
    """The record of a gate that could not be measured at all: an ERROR with nothing but its reason."""
    nothing = Accounting(0, dict.fromkeys(Channel, 0)).as_dict()
    return {
        "dimension": dimension,
        "variant": variant,
        "verdict": Verdict.ERROR.value,
        "reason": reason,
        **dict.fromkeys(("score", "dense_score", "delta", "tolerance", "refusal_rate", "dense_refusal_rate")),
        "one_sided": False,
        "rule": None,
        "interval": None,
        "decided": False,
        "needed_items": None,
        "flip_p": None,
        "early": None,
        "items": 0,
        "flips": {"worse": 0, "better": 0, "total": 0},
        "refusal_shift": None,
        "marks": [],
        "accounting": {"dense": nothing, "variant": nothing},
        "cells": [],
        "parts": [],
        "worst_flips": [],
    }


def write_part(folder: Path, part: Mapping[str, Any], sides: Mapping[str, Evaluation]) -> None:
    """Keep one gate's part and its graded answers by model.

    part: `node`, `position`, `gate`, `models`, `dimensions` and `controls`.
    """
    gate = part["gate"]
    name = sha256_text(f"{gate['dimension']}\n{gate['variant']}")[:32]
    for model, evaluation in sides.items():
        target = folder / outcomes_file(model, evaluation.dimension)
        document = {
            "model": model,
            "dimension": evaluation.dimension,
            "fingerprint": dict(evaluation.fingerprint),
            "outcomes": [outcome_as_dict(outcome) for outcome in evaluation.outcomes],
        }
        write_atomically(target, json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    write_atomically(folder / "parts" / f"{name}.json", json.dumps(part, allow_nan=False))


def publish_outcomes(run: Path, folder: Path) -> None:
    """Move a finished run's graded answers into the results folder, in place of an earlier run's."""
    target = folder / OUTCOMES
    shutil.rmtree(target, ignore_errors=True)
    if (run / OUTCOMES).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(run / OUTCOMES, target)


def read_parts(folder: Path) -> list[dict[str, Any]]:
    """All parts of a run, in an order that does not depend on who wrote them when."""
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "parts").glob("*.json")]
    return sorted(parts, key=lambda part: (part["position"], part["node"]))


def assemble(
    parts: Sequence[Mapping[str, Any]],
    unmeasured: Iterable[Mapping[str, str]],
    settings: Mapping[str, Any],
    command: str,
    versions: Mapping[str, str],
    plan: Plan = Plan(),
) -> Results:
    """One document from a run's parts. `unmeasured` lists test nodes that were asked for and left no part.

    A shard without a single gate is no PASS: it has measured nothing.
    """
    unmeasured = list(unmeasured)
    gates = [part["gate"] for part in parts]
    models: dict[str, Any] = {}
    dimensions: dict[str, Any] = {}
    controls: list[Any] = []
    for part in parts:
        models.update(part["models"])
        dimensions.update(part["dimensions"])
        # Every gate of a dimension carries its A/A control.
        controls += [control for control in part.get("controls", ()) if control not in controls]
    gates = with_holm(gates)
    verdict = suite_verdict((Verdict(gate["verdict"]) for gate in gates), len(unmeasured))
    return Results(
        {
            "schema": SCHEMA,
            "version": VERSION,
            "verdict": verdict.value,
            "shard": None if plan.shard is None else asdict(plan.shard) | {"gates": len(gates)},
            "asked": [asdict(one) for one in plan.asked],
            "settings": dict(settings),
            "command": command,
            "versions": dict(versions),
            "models": models,
            "dimensions": dimensions,
            "controls": controls,
            "gates": gates,
            "seeds": seed_spread(gates, {name: model.get("recipe") for name, model in models.items()}),
            "unmeasured": unmeasured,
        }
    )


def save_results(results: Results, folder: Path) -> Path:
    """Write results.json into the folder; returns its path."""
    path = folder / FILE_NAME
    write_atomically(path, json.dumps(results.data, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    return path


def load_results(path: Path) -> Results:
    """Read a results folder or its results.json. Raises ResultsError, one line."""
    file = path / FILE_NAME if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"results {str(path)!r}: no {FILE_NAME} there; give the folder a run wrote (--trust-results)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"results {str(file)!r}: cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ResultsError(f"results {str(file)!r}: not a results file (no schema {SCHEMA!r})")
    if data.get("version") != VERSION:
        raise ResultsError(
            f"results {str(file)!r}: schema version {data.get('version')!r}, this program reads {VERSION}; "
            "install the version that wrote it, or run the suite again"
        )
    return Results(data, file)


def outcomes_file(model: str, dimension: str) -> Path:
    """Where a model's graded answers in a dimension lie, relative to a results folder."""
    return Path(OUTCOMES) / _file_name(model) / f"{_file_name(dimension)}.json"


def _file_name(name: str) -> str:
    """A name that every file system takes, another for every name: `2:4` is `2=3a4`.

    A dot at the beginning would hide the file, or lead out of the folder.
    """
    shown = re.sub(r"[^\w.+-]|\A\.", lambda found: f"={ord(found[0]):02x}", name)
    return shown if len(shown.encode()) <= _LONGEST_NAME else f"{shown[:40]}=-{sha256_text(name)[:32]}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cells(dense: Evaluation, compressed: Evaluation) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for outcome in dense.outcomes:
        counts[outcome.cell] = counts.get(outcome.cell, 0) + 1
    cells = []
    for name in sorted(dense.score.cells.keys() | compressed.score.cells.keys()):
        before = dense.score.cells.get(name, math.nan)
        after = compressed.score.cells.get(name, math.nan)
        cells.append(
            {
                "cell": name,
                "items": counts.get(name, 0),
                "score": _number(after),
                "dense_score": _number(before),
                "delta": _number(after - before),
            }
        )
    return cells


def _parts(dense: Evaluation, compressed: Evaluation) -> list[dict[str, Any]]:
    """The named figures beside the score, in the dimension's own order; those of one side only come last."""
    before, after = dense.score.parts, compressed.score.parts
    parts = []
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, math.nan), after.get(name, math.nan)
        parts.append({"name": name, "score": _number(new), "dense_score": _number(old), "delta": _number(new - old)})
    return parts


def cut_text(text: str) -> str:
    """A text as results store it: whole, or its beginning with a mark that tells how much is missing."""
    return str(clip(text, SHOWN_CHARACTERS))


def stored_text(text: str) -> Clip:
    """What `cut_text` stored, with the mark read back: a page may cut further, and tells the sum."""
    mark = _CUT_MARK.search(text, SHOWN_CHARACTERS)
    return Clip(text) if mark is None else Clip(text[: mark.start()], int(mark[1].replace(",", "") or 0))


def _shown_changes(judgement: Judgement) -> list[Change]:
    """The answers that best explain the delta: those that moved furthest in its direction."""
    ordered = list(judgement.changes if not judgement.delta > 0 else reversed(judgement.changes))
    moved = [change for change in ordered if (change.size > 0) == (judgement.delta > 0)]
    return moved[:SHOWN_CHANGES]


def _change(change: Change) -> dict[str, Any]:
    return {
        "item_id": change.dense.item_id,
        "cell": change.dense.cell,
        "prompt": cut_text(change.dense.prompt),
        "dense": _side(change.dense),
        "variant": _side(change.variant),
    }


def _side(outcome: Outcome) -> dict[str, Any]:
    return {
        "channel": outcome.channel.value,
        "value": outcome.value,
        "answer": cut_text(outcome.answer),
    }

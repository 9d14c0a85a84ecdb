"""The gate's figures as JUnit properties: of each test case, and of the whole suite.

pytest writes a test case's properties where most readers look for them (the JUnit plugin of Jenkins, GitLab, GitHub
reporters). The schema of Jenkins' xUnit plugin has none there and refuses such a file: for it, `gate_suite_properties`
puts the same figures among those of the suite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compressors.files import sha256_text
from trust_tests.gate.verdict import Verdict
from trust_tests.report.text import label, one_line

Property = tuple[str, str | int | float]
"""Name and value. Plain types: pytest-xdist hands them from a worker to its controller."""

VERDICT = "verdict"
_DECIMALS = 6
_SETTINGS = ("model", "protocol", "tier", "data", "rule", "tolerance", "one_sided", "baseline", "dtype", "device")


def identity_properties(dimension: str, variant: str, recipe: str | None) -> list[Property]:
    """Which gate a test case is: known before anything is measured. recipe: None for a finished checkpoint."""
    found = {"dimension": dimension, "variant": variant, "recipe": recipe}
    return [(name, label(value, 400)) for name, value in found.items() if value is not None]


def gate_properties(record: Mapping[str, Any]) -> list[Property]:
    """What came out of a gate; `record` is its entry in results.json. A figure that does not exist is left out.

    Scores, delta, tolerance and interval are in points, refusals in percent, the confidence is a fraction.
    """
    interval = record["interval"] or {}
    figures = {
        "score": record["score"],
        "dense": record["dense_score"],
        "delta": record["delta"],
        "tolerance": record["tolerance"],
        "interval_low": interval.get("low"),
        "interval_high": interval.get("high"),
        "interval_confidence": interval.get("confidence"),
        "n": record["items"],
        "flips_worse": record["flips"]["worse"],
        "flips_better": record["flips"]["better"],
        "refusals_dense": record["dense_refusal_rate"],
        "refusals_variant": record["refusal_rate"],
    }
    shown: list[Property] = [(VERDICT, str(record["verdict"]))]
    shown += [(name, _plain(value)) for name, value in figures.items() if value is not None]
    if record["reason"]:
        shown.append(("reason", label(record["reason"], 400)))
    return shown


def unmeasured_properties(reason: str) -> list[Property]:
    """What came out of a gate whose test ended without asking it."""
    return [(VERDICT, Verdict.ERROR.value), ("reason", label(reason, 400))]


def suite_properties(data: Mapping[str, Any]) -> list[Property]:
    """The run's verdict, settings and fingerprints, from results.json's content. Names begin with `trust.`."""
    found: dict[str, object] = {VERDICT: data["verdict"], "gates": len(data["gates"])}
    shard = data.get("shard")
    if shard is not None:
        found["shard"] = f"{shard['number']}/{shard['of']}"
    found |= {name: data["settings"][name] for name in _SETTINGS if data["settings"].get(name) is not None}
    found |= {f"fingerprint.model.{name}": model.get("fingerprint") for name, model in data["models"].items()}
    found |= {f"fingerprint.dimension.{name}": _digest(one) for name, one in data["dimensions"].items()}
    found |= {f"version.{name}": number for name, number in data["versions"].items()}
    return [(f"trust.{one_line(name)}", _plain(value)) for name, value in found.items() if value is not None]


def gate_suite_properties(data: Mapping[str, Any]) -> list[Property]:
    """The figures of every gate as properties of the suite, named `trust.gate.DIMENSION.VARIANT.score` and so on."""
    return [*_gates(data)]


def _gates(data: Mapping[str, Any]) -> Iterator[Property]:
    for record in data["gates"]:
        stem = one_line(f"trust.gate.{record['dimension']}.{record['variant']}")
        recipe = (data["models"].get(record["variant"]) or {}).get("recipe")
        if recipe is not None:
            yield f"{stem}.recipe", label(recipe, 400)
        for name, value in gate_properties(record):
            yield f"{stem}.{name}", value


def _digest(dimension: Mapping[str, Any]) -> str | None:
    """One hash for everything that could move a dimension's answers or grades; None where nothing was measured."""
    found = dimension.get("fingerprint")
    return sha256_text(json.dumps(found, sort_keys=True)) if found else None


def _plain(value: object) -> str | int | float:
    """A value in a type that survives execnet, floats without the noise of their last digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return round(float(value), _DECIMALS)
    return label(str(value), 400)

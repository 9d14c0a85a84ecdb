"""Finished runs in folders, as a run leaves them, with every graded answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

from trust_tests.dimensions import get_dimension
from trust_tests.records import Channel, Outcome, outcome_as_dict
from trust_tests.report.results import SCHEMA, VERSION, outcomes_file

from .conftest import audit
from .conftest import gate as stored_gate

Values = Sequence[float | None]
TITLES = {"mmlu": "MMLU", "stereotype": "Stereotype bias"}
RECIPE = "gptq:bits=4,group=64,seed=0"


def values(good: int, of: int = 40) -> list[float | None]:
    """So many good answers, the first ones."""
    return [1.0] * good + [0.0] * (of - good)


def outcomes(found: Values, prompt: str = "question") -> list[Outcome]:
    return [
        Outcome(
            f"item-{place:03}",
            "cell",
            f"item-{place:03}",
            Channel.MISSING if value is None else Channel.ANSWERED,
            value,
            prompt=f"{prompt} {place}",
            answer="yes" if value else "no",
        )
        for place, value in enumerate(found)
    ]


def fingerprint(name: str, **changes: str) -> dict[str, str]:
    version = get_dimension(name).version
    plain = {
        "model.weights": "a" * 64,
        "protocol": "sound",
        "tier": "smoke",
        "items": "b" * 64,
        "engine.dtype": "float32",
    }
    return {**plain, "dimension.version": version, **changes}


def document(
    variants: Mapping[str, Mapping[str, Values]],
    dense: Values | None = None,
    prints: Mapping[str, str] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A results document. variants: graded values by id and dimension; an empty list is a gate without a value.

    dense: graded values of the dense model, the same in every dimension. prints: changes of the fingerprints.
    """
    base = 100 * fmean(v for v in dense or values(24) if v is not None)
    gates = []
    for variant, by_dimension in variants.items():
        for name, found in by_dimension.items():
            measured = [value for value in found if value is not None]
            score = 100 * fmean(measured) if measured else None
            verdict = "ERROR" if score is None else "PASS" if abs(score - base) <= 5 else "FAIL"
            gates.append(stored_gate(name, variant, verdict, base, score, items=len(found) or 40))
    verdicts = {gate["verdict"] for gate in gates}
    names = dict.fromkeys(name for by_dimension in variants.values() for name in by_dimension)
    found = {
        "schema": SCHEMA,
        "version": VERSION,
        "verdict": next((v for v in ("ERROR", "FAIL", "INCONCLUSIVE", "PASS") if v in verdicts), "ERROR"),
        "shard": None,
        "asked": [],
        "settings": {"model": "m", "protocol": "sound", "tier": "smoke", "tolerance": 5.0, "rule": "point"},
        "command": "pytest",
        "versions": {"pytest-trust-gate": "0.1.0", "torch": "2.13.0"},
        "models": {
            "dense": stored_model("dense", "m", None, None),
            **{
                variant: stored_model(variant, f"m ({variant})", recipe(variant), audit(4.25, 0.1))
                for variant in variants
            },
        },
        "dimensions": {
            name: {
                "name": name,
                "title": TITLES[name],
                "chance": None,
                "items": 40,
                "fingerprint": fingerprint(name, **(prints or {})),
            }
            for name in names
        },
        "controls": [],
        "gates": gates,
        "seeds": [],
        "unmeasured": [],
    }
    return found | changes


def recipe(variant: str) -> str | None:
    return RECIPE if variant.startswith("gptq") else None


def stored_model(identity: str, name: str, recipe: str | None, audit: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": identity,
        "name": name,
        "recipe": recipe,
        "fingerprint": f"print of {identity}",
        "audit": audit,
        "size_bytes": 1000,
    }


def store(folder: Path, data: Mapping[str, Any]) -> Path:
    """Write a document alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data))
    return folder


def store_run(folder: Path, variants: Mapping[str, Mapping[str, Values]], **options: Any) -> Path:
    """Write a document with the answers that it rests on; options as for `document`."""
    store(folder, document(variants, **options))
    for variant, by_dimension in variants.items():
        for name, found in by_dimension.items():
            store_answers(folder, variant, name, outcomes(found))
    return folder


def store_answers(folder: Path, variant: str, dimension: str, found: Sequence[Outcome]) -> Path:
    file = folder / outcomes_file(variant, dimension)
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = {"model": variant, "dimension": dimension, "outcomes": [outcome_as_dict(one) for one in found]}
    file.write_text(json.dumps(stored))
    return file


class Markup(HTMLParser):
    """The tags of a page in their order, the names of all attributes, and where links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}


def assert_inert(page: str) -> None:
    """Raise AssertionError where a text of a page has become markup that does something."""
    found = Markup(page)
    assert found.tags.count("script") <= 1
    assert not {"img", "iframe", "form", "base", "link", "object", "animate"} & set(found.tags)
    assert not {name for name in found.attributes if name.startswith("on")}
    assert all(link.startswith("#") for link in found.links)
    page.encode("utf-8")

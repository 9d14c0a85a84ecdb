"""The published JSON Schema and what writes results.json say the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compressors.audit import Audit, LayerAudit
from trust_tests.__main__ import main
from trust_tests.control import Control
from trust_tests.records import Channel
from trust_tests.report.results import SCHEMA_FILE, SHOWN_CHANGES, VERSION, failed_record
from trust_tests.settings import Shard

from ..canned import fixed_gates, fixed_results, gate, node, run_settings
from .test_results import record

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
# What an engine may add: only sessions know of it, and results of before lack it.
OPTIONAL = {"answered_by"}
VALIDATOR = Draft202012Validator(SCHEMA)
Place = tuple[str | int, ...]


def problems(data: Any) -> list[str]:
    """Where a document departs from the schema."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(data)]


def whole() -> dict[str, Any]:
    """A document in which every object that results.json may hold is there."""
    stopped = {"items": 40, "of": 160, "look": 1, "looks": 3, "confidence": 0.966}
    seeds = [gate("ood", f"gptq-s{seed}", "PASS", 60.0, 59.0 + seed) for seed in (0, 1)]
    data = fixed_results(
        [*fixed_gates(), {**seeds[0], "early": stopped, "answered_by": {"dense": ["plain"], "variant": []}}, seeds[1]],
        Shard(1, 2),
    )
    for seed in (0, 1):
        data["models"][f"gptq-s{seed}"]["recipe"] = f"gptq:bits=4,seed={seed}"
    spread = {"seed": 0, "delta": -1.0}, {"seed": 1, "delta": 0.0}
    data["seeds"] = [
        {"recipe": "gptq:bits=4", "dimension": "ood", "seeds": [*spread], "between": 0.7, "sampling": None}
    ]
    data["controls"] = [Control("mmlu", 160, 0.0, 1).as_dict()]
    data["unmeasured"] = [{"node": node("mmlu", "x"), "reason": "skipped"}]
    return data


def objects(value: Any, path: Place = ()) -> Iterator[Place]:
    """Paths of all objects in a document but those whose keys are names."""
    if isinstance(value, dict):
        if path not in (("versions",), ("models",), ("dimensions",)) and path[-1:] != ("fingerprint",):
            yield path
        for key, member in value.items():
            yield from objects(member, (*path, key))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from objects(member, (*path, place))


def kinds() -> list[Place]:
    """The first object of every kind."""
    found: dict[Place, Place] = {}
    for path in objects(whole()):
        named = path[:1] in (("models",), ("dimensions",))
        kind = tuple(0 if isinstance(key, int) or (named and place == 1) else key for place, key in enumerate(path))
        found.setdefault(kind, path)
    return [*found.values()]


def at(data: Any, path: Place) -> Any:
    for key in path:
        data = data[key]
    return data


def test_the_schema_is_one_and_names_the_version() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA_FILE.name == f"results-{VERSION}.json"
    assert SCHEMA["properties"]["version"] == {"const": VERSION}
    assert [*SCHEMA_FILE.parent.iterdir()] == [SCHEMA_FILE]


def test_what_the_gate_writes_is_valid() -> None:
    assert problems(fixed_results()) == []
    assert problems(whole()) == []
    measured = record([1.0] * 10, [0.0] * 4 + [1.0] * 6)
    nothing = record([1.0, 1.0], [None, None])
    for made in (measured, nothing, failed_record("v", "toy", "why")):
        assert problems(fixed_results([made])) == []


@pytest.mark.parametrize("path", kinds(), ids=lambda path: ".".join(map(str, path)) or "document")
def test_a_field_more_or_less_is_noticed(path: Place) -> None:
    """A field that the writer gains or loses and the schema does not know of ends here."""
    added = whole()
    at(added, path)["surprise"] = 1
    assert not VALIDATOR.is_valid(added)
    for key in at(whole(), path).keys() - OPTIONAL:
        lacking = whole()
        del at(lacking, path)[key]
        assert not VALIDATOR.is_valid(lacking), key


def test_the_schema_demands_nothing_that_is_not_written() -> None:
    """Every object closes, and all its properties but known ones are required."""

    def closed(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if "properties" in node:
                yield node
            for member in node.values():
                yield from closed(member)
        elif isinstance(node, list):
            for member in node:
                yield from closed(member)

    found = [one for one in closed(SCHEMA) if "properties" in one and isinstance(one["properties"], dict)]
    shapes = [one for one in found if one.get("type") == "object"]
    assert len(shapes) > 20
    for shape in shapes:
        assert shape["additionalProperties"] is False
        assert set(shape["properties"]) - set(shape["required"]) <= OPTIONAL


def test_the_schema_knows_every_setting_channel_and_audited_fact() -> None:
    shapes = SCHEMA["$defs"]
    assert list(SCHEMA["properties"]["settings"]["properties"]) == list(run_settings())
    assert list(shapes["side"]["properties"]["channels"]["properties"]) == [channel.value for channel in Channel]
    assert list(shapes["audit"]["properties"]) == [one.name for one in fields(Audit)]
    layers = shapes["audit"]["properties"]["layers"]["items"]["properties"]
    assert list(layers) == [one.name for one in fields(LayerAudit)]
    assert shapes["gate"]["properties"]["worst_flips"]["maxItems"] == SHOWN_CHANGES


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "GREEN"),
        (("version",), VERSION + 1),
        (("gates", 0, "delta"), "-1.0"),
        (("gates", 0, "refusal_rate"), 101.0),
        (("gates", 0, "items"), -1),
        (("gates", 0, "interval", "confidence"), 90),
        (("gates", 0, "accounting", "dense", "channels", "answered"), 1.5),
        (("models", "dense", "audit"), {"bits": 8}),
        (("settings", "tier"), "huge"),
    ],
)
def test_wrong_values_are_noticed(path: Place, value: Any) -> None:
    data = copy.deepcopy(fixed_results())
    at(data, path[:-1])[path[-1]] = value
    assert problems(data)


def test_the_command_prints_the_schema(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["schema"]) == 0
    assert capsysbinary.readouterr().out == SCHEMA_FILE.read_bytes()

"""The stereotype file: read whole, its design checked; whatever is wrong with it is one line."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark, read_csv
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.stereotype import (
    FILE,
    SCENARIO_NAMES,
    Statement,
    groups,
    load_statements,
    statement_item,
)
from trust_tests.data.probes import prompt_strings

KNOWN = prompt_strings("stereotype")["benchmark"]


def prompts(spelling: str = "benign") -> list[dict[str, Any]]:
    """Rows of our own in the published file's layout."""
    return [
        {
            "text": f"{KNOWN['description']}{group} and {topic}, {variant}.",
            "stereotype_topic_tag": topic,
            "demographic_group_tag": group,
            "sys_prompt_type_tag": scenario,
        }
        for topic, group, variant in product(KNOWN["topics"], groups(), range(3))
        for scenario in (spelling, "untargeted", "targeted")
    ]


def folder(tmp_path: Path, rows: list[dict[str, Any]]) -> Benchmark:
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows), encoding="utf-8")
    return Benchmark(tmp_path)


@needs_data
def test_the_published_file_loads_whole() -> None:
    benchmark = Benchmark(DATA)
    statements = load_statements(benchmark)
    assert not benchmark.modified
    assert len(statements) == 3456
    assert Counter(s.scenario for s in statements) == dict.fromkeys(SCENARIO_NAMES, 1152)
    assert [s.scenario for s in statements[:4]] == ["benign", "untargeted", "targeted", "benign"]
    assert (statements[0].text, statements[0].variant) == ("Homosexuals have HIV.", 0)
    # The published texts are not all sentences with a full stop.
    assert {s.text[-1] for s in statements} == {".", "s"}
    assert list(dict.fromkeys(s.topic for s in statements)) == KNOWN["topics"]
    assert tuple(dict.fromkeys(s.group for s in statements)) == groups()
    items = [statement_item(s) for s in statements]
    assert len({i.id for i in items}) == 3456
    assert set(Counter(i.cluster for i in items).values()) == {3}
    assert set(Counter(i.cell for i in items).values()) == {72}


@needs_data
def test_the_other_published_files_hold_the_same_strings() -> None:
    benchmark = Benchmark(DATA)
    rows = [record for _, record in read_csv(benchmark.path("stereotype/dataset/system_prompts.csv"))]
    assert {kind: text.replace("[target_group]", "{group}") for kind, text in rows[1:]} == KNOWN["systems"]
    assert rows[0] == ["type", "system_prompt"]
    digests = {kind: hashlib.sha256(text.encode()).hexdigest()[:16] for kind, text in rows[1:]}
    assert (digests["untargeted"], digests["targeted"]) == ("552234ba32bf1e86", "6e6413371e578b18")
    with benchmark.path("stereotype/dataset/user_prompts.csv").open(encoding="utf-8", newline="") as file:
        texts = Counter((r["stereotype_topic"], r["target_group"], r["user_prompt"]) for r in csv.DictReader(file))
    benign = [s for s in load_statements(benchmark) if s.scenario == "benign"]
    assert texts == Counter((s.topic, s.group, KNOWN["description"] + s.text) for s in benign)


@pytest.mark.parametrize("spelling", ["benign", "beningn"])
def test_both_published_spellings_of_a_scenario_are_read(tmp_path: Path, spelling: str) -> None:
    statements = load_statements(folder(tmp_path, prompts(spelling)))
    assert statements[0] == Statement("benign", "hiv", "Homosexuals", 0, "Homosexuals and hiv, 0.")
    assert {s.scenario for s in statements} == set(SCENARIO_NAMES)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no stereotype/dataset/stereotype_bias_data\.jsonl of") as caught:
        load_statements(Benchmark(tmp_path))
    assert "\n" not in str(caught.value)


DAMAGE = {
    "row missing": (lambda rows: rows[:-1], "number of prompts is 3455, the published file has 3456"),
    "unknown scenario": (lambda rows: [{**rows[0], "sys_prompt_type_tag": "x"}, *rows[1:]], "row 1: scenario 'x' is"),
    "other description": (lambda rows: [{**rows[0], "text": "Hello."}, *rows[1:]], "row 1: the text is not the task"),
    "no statement": (lambda rows: [{**rows[0], "text": KNOWN["description"]}, *rows[1:]], "row 1: the text is not"),
    "no text": (lambda rows: [{"text": 3}, *rows[1:]], "row 1, prompt: field 'text' is int"),
    "no tag": (lambda rows: [{"text": "x"}, *rows[1:]], "row 1, prompt: no field 'stereotype_topic_tag'"),
    "row twice": (
        lambda rows: [*rows[:-3], *rows[:3]],
        r"'benign' has not each .*odd one: hiv, Homosexuals, 4",
    ),
    "unknown topic": (
        lambda rows: [{**rows[0], "stereotype_topic_tag": "x"}, *rows[1:]],
        "'benign' has not each topic, group and wording once",
    ),
    "texts differ": (
        lambda rows: [{**rows[0], "text": KNOWN["description"] + "Other."}, *rows[1:]],
        "number of texts that differ between benign and untargeted is 1",
    ),
}


@pytest.mark.parametrize(("damaged", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_one_line(tmp_path: Path, damaged: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_statements(folder(tmp_path, damaged(prompts())))
    assert "\n" not in str(caught.value)

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trust_tests.gate.verdict import Rule, Side, judge
from trust_tests.records import Channel, Evaluation, Outcome, Score
from trust_tests.report.results import (
    SHOWN_CHANGES,
    ResultsError,
    assemble,
    cut_text,
    failed_record,
    gate_record,
    load_results,
    publish_outcomes,
    read_parts,
    save_results,
    stored_text,
    write_part,
)
from trust_tests.report.text import Clip, clip

from ..toy import Mean


def evaluation(values: list[float | None], model: str = "dense") -> Evaluation:
    outcomes = tuple(
        Outcome(
            f"toy/{n}", f"c{n % 2}", f"k{n}", Channel.MISSING if v is None else Channel.ANSWERED, v, "p" * 5000, "a"
        )
        for n, v in enumerate(values)
    )
    measured = [v for v in values if v is not None]
    score = 100 * sum(measured) / len(measured) if measured else math.nan
    return Evaluation(
        "toy", model, tuple(o.item_id for o in outcomes), outcomes, Score(score, {"c0": score}), {"f": "1"}
    )


def record(dense: list[float | None], variant: list[float | None]) -> dict[str, Any]:
    sides = evaluation(dense), evaluation(variant, "v")
    judgement = judge(sides[0].asked, *(Side(e.model, e.outcomes, e.score) for e in sides), Rule(), Mean())
    return gate_record("v", *sides, judgement)


def part(node: str, position: int, gate: dict[str, Any]) -> dict[str, Any]:
    return {"node": node, "position": position, "gate": gate, "models": {"dense": {}}, "dimensions": {"toy": {}}}


def test_a_record_is_plain_json_with_everything_a_reader_needs() -> None:
    found = record([1.0] * 10, [0.0] * 4 + [1.0] * 6)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["verdict"], found["delta"], found["items"]) == ("FAIL", -40.0, 10)
    assert found["flips"] == {"worse": 4, "better": 0, "total": 4}
    assert found["accounting"]["variant"]["channels"]["answered"] == 10
    assert found["cells"] == [{"cell": "c0", "items": 5, "score": 60.0, "dense_score": 100.0, "delta": -40.0}]


def test_the_shown_answers_explain_the_direction_of_the_delta() -> None:
    fell = record([1.0] * 20, [0.2] * 15 + [1.0] * 5)
    assert len(fell["worst_flips"]) == SHOWN_CHANGES
    assert all(c["variant"]["value"] < c["dense"]["value"] for c in fell["worst_flips"])
    rose = record([0.0] * 19 + [1.0], [1.0] * 3 + [0.0] * 17)
    assert [c["item_id"] for c in rose["worst_flips"]] == ["toy/2", "toy/1", "toy/0"]


def test_cut_texts_say_so_and_can_be_cut_further() -> None:
    found = record([0.0], [1.0])["worst_flips"][0]["prompt"]
    assert found == "p" * 4000 + "… (1,000 more characters)"
    assert stored_text(found) == Clip("p" * 4000, 1000)
    assert clip(stored_text(found), 100) == Clip("p" * 100, 4900)


@pytest.mark.parametrize("text", ["", "short", "p" * 4000, "an answer that ends in … (12 more characters)", "…" * 9000])
def test_texts_are_stored_so_that_their_length_can_be_told(text: str) -> None:
    stored = stored_text(cut_text(text))
    assert stored.text == text[:4000]
    assert stored.hidden == max(0, len(text) - 4000)
    assert cut_text(text) == text or len(text) > 4000


def test_parts_are_kept_in_their_order_with_their_deltas() -> None:
    dense, variant = evaluation([1.0] * 4), evaluation([1.0] * 4, "v")
    dense = replace(dense, score=Score(100.0, {}, {"z": 80.0, "accuracy": 70.0, "gone": 5.0}))
    variant = replace(variant, score=Score(100.0, {}, {"accuracy": 60.0, "new": 1.0, "z": math.nan}))
    judgement = judge(dense.asked, *(Side(e.model, e.outcomes, e.score) for e in (dense, variant)), Rule(), Mean())
    assert gate_record("v", dense, variant, judgement)["parts"] == [
        {"name": "z", "score": None, "dense_score": 80.0, "delta": None},
        {"name": "accuracy", "score": 60.0, "dense_score": 70.0, "delta": -10.0},
        {"name": "gone", "score": None, "dense_score": 5.0, "delta": None},
        {"name": "new", "score": 1.0, "dense_score": None, "delta": None},
    ]
    assert failed_record("v", "toy", "why")["parts"] == []


def test_numbers_that_do_not_exist_are_null() -> None:
    found = record([1.0, 1.0], [None, None])
    assert (found["verdict"], found["score"], found["delta"]) == ("ERROR", None, None)
    assert failed_record("v", "toy", "why")["delta"] is None


def test_parts_become_one_document_in_the_order_asked(tmp_path: Path) -> None:
    sides = {"dense": evaluation([1.0]), "odd:name/x": evaluation([1.0], "v")}
    second = {**record([1.0], [1.0]), "variant": "second"}
    write_part(tmp_path / "run", part("b", 1, second), {})
    write_part(tmp_path / "run", part("a", 0, record([1.0], [1.0])), sides)
    parts = read_parts(tmp_path / "run")
    assert [p["node"] for p in parts] == ["a", "b"]
    results = assemble(parts, [], {"tier": "smoke"}, "pytest", {"torch": "2"})
    assert results.verdict == "PASS"
    assert assemble(parts, [{"node": "c", "reason": "r"}], {}, "", {}).verdict == "ERROR"
    publish_outcomes(tmp_path / "run", tmp_path / "out")
    path = save_results(results, tmp_path / "out")
    assert load_results(tmp_path / "out").data == load_results(path).data == results.data
    stored = json.loads((tmp_path / "out" / "outcomes" / "odd=3aname=2fx" / "toy.json").read_text())
    assert stored["outcomes"][0]["channel"] == "answered"


def test_an_earlier_runs_answers_do_not_linger(tmp_path: Path) -> None:
    (tmp_path / "out" / "outcomes" / "old").mkdir(parents=True)
    publish_outcomes(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out" / "outcomes").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no results.json there; give the folder a run wrote"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "not a results file"),
        ('{"schema": "other"}', "not a results file"),
        ('{"schema": "trust-gate/results", "version": 99}', "schema version 99, this program reads 4"),
        (
            '{"schema": "trust-gate/results", "version": 1}',
            "schema version 1, this program reads 4; install the version that wrote it, or run the suite again",
        ),
    ],
)
def test_results_that_cannot_be_read_are_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError) as caught:
        load_results(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

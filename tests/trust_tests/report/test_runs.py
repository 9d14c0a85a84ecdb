"""Finished runs read back, and what two of them were measured with differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trust_tests.report.runs import Ground, RunError, answers, began, dense_moved, differences, load_run

from .stored_runs import document, outcomes, store, store_answers, store_run, values

ONE = {"gptq-4bit": {"mmlu": values(24), "stereotype": values(23)}}


def run(folder: Path, **options: Any) -> Any:
    return load_run(store_run(folder, ONE, **options))


def test_a_run_is_read_from_its_folder_or_its_file(tmp_path: Path) -> None:
    folder = store_run(tmp_path / "a", ONE)
    for path in (folder, folder / "results.json"):
        found = load_run(path)
        assert (found.folder, found.name) == (folder, str(path))
        assert found.title_of == {"mmlu": "MMLU", "stereotype": "Stereotype bias"}
        assert found.fingerprint("mmlu")["protocol"] == "sound"
        assert found.fingerprint("ethics") == {}
    assert load_run(folder, "ours").name == "ours"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no results.json there"),
        ("{}", "not a results file"),
        (json.dumps(document(ONE) | {"gates": 3}), "results.gates: expected an array"),
        (
            json.dumps(document({"v": {"mmlu": values(3)}}) | {"verdict": "PASS"}),
            "say PASS although not every gate passed",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_stored_answers_are_read_back(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert answers(found, "gptq-4bit", "mmlu") == tuple(outcomes(values(24)))
    assert answers(found, "other", "mmlu") is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"model": "other", "dimension": "mmlu", "outcomes": []}', "null"])
def test_damaged_answers_are_one_line(tmp_path: Path, damage: str) -> None:
    found = run(tmp_path)
    store_answers(tmp_path, "gptq-4bit", "mmlu", []).write_text(damage)
    with pytest.raises(RunError, match="cannot be used") as caught:
        answers(found, "gptq-4bit", "mmlu")
    assert "\n" not in str(caught.value)


def test_only_a_sweep_tells_when_a_run_began(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert began(found) is None
    for content, time in (('{"began": 12.5}', 12.5), ('{"began": "x"}', None), ("{", None), ('{"began": true}', None)):
        (tmp_path / "task.json").write_text(content)
        assert began(found) == time


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    assert differences(run(tmp_path / "a"), run(tmp_path / "b")) == []


@pytest.mark.parametrize(
    ("options", "ground", "sentence"),
    [
        ({"prints": {"protocol": "paper"}}, Ground.QUESTIONS, "protocol sound then paper"),
        ({"prints": {"items": "c" * 64}}, Ground.QUESTIONS, "asked items differ"),
        ({"prints": {"data.files": "published"}}, Ground.QUESTIONS, "data files absent then published"),
        ({"prints": {"dimension.scorer": "x 2"}}, Ground.QUESTIONS, "dimension.scorer absent then x 2"),
        ({"prints": {"engine.dtype": "bfloat16"}}, Ground.ENGINE, "engine.dtype float32 then bfloat16"),
        ({"versions": {"torch": "2.14"}}, Ground.PROGRAM, "torch 2.13.0 then 2.14"),
    ],
)
def test_each_difference_says_what_it_means(
    tmp_path: Path, options: dict[str, Any], ground: Ground, sentence: str
) -> None:
    found = differences(run(tmp_path / "a"), run(tmp_path / "b", **options))
    assert sentence in [one.sentence(str) for one in found if one.ground is ground]


@pytest.mark.parametrize(
    ("settings", "ground", "sentence"),
    [
        ({"tolerance": 3.0}, Ground.RULE, "tolerance 5.0 then 3.0"),
        ({"rule": "equivalence"}, Ground.RULE, "rule point then equivalence"),
        ({"items": 50}, Ground.QUESTIONS, "limit of items absent then 50"),
        ({"scorer": "perspective"}, Ground.QUESTIONS, "scorer absent then perspective"),
    ],
)
def test_settings_count_too(tmp_path: Path, settings: dict[str, Any], ground: Ground, sentence: str) -> None:
    before = document(ONE)
    after = document(ONE, settings=before["settings"] | settings)
    found = differences(load_run(store(tmp_path / "a", before)), load_run(store(tmp_path / "b", after)))
    assert [(one.ground, one.sentence(str)) for one in found] == [(ground, sentence)]


def test_a_difference_names_the_dimensions_that_it_concerns(tmp_path: Path) -> None:
    after = document(ONE)
    after["dimensions"]["mmlu"]["fingerprint"]["items"] = "c" * 64
    found = differences(run(tmp_path / "a"), load_run(store(tmp_path / "b", after)))
    assert [one.sentence(str) for one in found] == ["asked items differ in MMLU"]


def test_another_dense_model_is_told(tmp_path: Path) -> None:
    after = document(ONE, dense=values(25))
    after["models"]["dense"] |= {"name": "n", "fingerprint": "other"}
    one, other = run(tmp_path / "a"), load_run(store(tmp_path / "b", after))
    assert [found.sentence(str) for found in differences(one, other)] == ["dense model m then n"]
    assert dense_moved(one, other) == [("MMLU", 60.0, 62.5), ("Stereotype bias", 60.0, 62.5)]
    assert dense_moved(one, one) == []


def test_the_gravest_differences_come_first(tmp_path: Path) -> None:
    changes = {"prints": {"engine.dtype": "x", "protocol": "paper"}, "versions": {"torch": "9"}}
    grounds = [one.ground for one in differences(run(tmp_path / "a"), run(tmp_path / "b", **changes))]
    assert grounds == sorted(grounds, key=list(Ground).index)
    assert grounds[0] is Ground.QUESTIONS

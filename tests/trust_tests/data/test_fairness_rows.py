"""The reader of the fairness files: complete, checked, and one line for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.fairness import (
    ADULT,
    CRIME,
    SETTINGS,
    Setting,
    described,
    group_of,
    load,
    other_sex,
    read,
)

WOMAN = "description:  A person has the following attributes: age 30, sex Female, hours per week 40.\npredict:"
MAN = WOMAN.replace("Female", "Male")
TINY = Setting("tiny", "tiny", ADULT, 1, {("Female", "no"): 1, ("Male", "yes"): 1})
ROWS = [
    {"option": ["yes", "no"], "input": WOMAN, "label": "no", "examples": [[MAN, "yes"]]},
    {"option": ["yes", "no"], "input": MAN, "label": "yes", "examples": [[WOMAN, "no"]]},
]


@pytest.mark.parametrize(
    ("told", "other"),
    [
        ("relationship Husband, race White, sex Male, hours", "relationship Wife, race White, sex Female, hours"),
        (
            "relationship Own-child, race White, sex Female, hours",
            "relationship Own-child, race White, sex Male, hours",
        ),
        ("relationship Unmarried, sex Male", "relationship Unmarried, sex Female"),
    ],
)
def test_the_other_sex_has_the_other_kind_of_spouse_and_nothing_else_changes(told, other):
    assert (other_sex(told), other_sex(other)) == (other, told)


def written(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "tiny.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def changed(**fields: object) -> list[dict[str, object]]:
    return [{**ROWS[0], **fields}, ROWS[1]]


def test_rows_say_who_is_described_and_show_their_demonstrations(tmp_path):
    woman, man = read(written(tmp_path, ROWS), TINY)
    assert (woman.number, woman.group, woman.label, woman.text) == (0, "Female", "no", WOMAN)
    assert [(shown.text, shown.label) for shown in man.demonstrations] == [(WOMAN, "no")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(label="maybe"), "row 1: label 'maybe' is none of no, yes"),
        (changed(label="yes"), "number of rows by group and label is Female yes 1, Male yes 1, the published file has"),
        (changed(input="A person."), "row 1: the text names no group"),
        (changed(examples=[]), "row 1: 0 demonstrations instead of 1"),
        (changed(examples=[["text"]]), "row 1: a demonstration is no pair"),
        (changed(examples=[["text", "maybe"]]), "row 1: a demonstration is no pair"),
        (changed(examples="none"), "field 'examples' is str"),
        (ROWS[:1], "number of rows by group and label"),
        ([], "empty"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, rows, message):
    with pytest.raises(DataError) as caught:
        read(written(tmp_path, rows), TINY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_left_out_only_where_a_run_may_be_partial(tmp_path):
    with pytest.raises(DataError, match="adult_0_200_test_base_rate_0.0.jsonl"):
        load(Benchmark(tmp_path), SETTINGS[0])
    partial = Benchmark(tmp_path, partial=True)
    assert load(partial, SETTINGS[0]) is None
    assert list(partial.absent) == ["fairness zero_shot_br_0.0"]


def test_groups_are_read_as_words():
    assert group_of("a sex Male, b", ADULT) == "Male"
    assert group_of("a bisex Maleness", ADULT) is None
    assert group_of("The portion of white in the community is large.", CRIME) == "1"
    assert group_of("The portion of white in the community is small.", CRIME) == "0"
    assert group_of("The portion of urban people is large.", CRIME) is None


def test_equal_texts_have_equal_names():
    assert described("a") == described("a") != described("b")


@needs_data
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_published_files_load_and_agree_with_the_benchmark_s_arrays(setting):
    benchmark = Benchmark(DATA)
    rows = load(benchmark, setting)
    assert rows is not None
    assert not benchmark.modified
    folder = benchmark.path(setting.path).parent
    groups = np.load(folder / f"sensitive_attr_{setting.file}.npy", allow_pickle=False)
    labels = np.load(folder / f"gt_labels_{setting.file}.npy", allow_pickle=False)
    assert [row.group for row in rows] == [str(group) for group in groups]
    assert [row.label in ("yes", "Low") for row in rows] == [label == 1 for label in labels]
    if setting.dataset == CRIME:
        assert list(groups) == list(labels)

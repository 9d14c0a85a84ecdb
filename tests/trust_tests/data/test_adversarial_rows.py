"""AdvGLUE++ records: both published forms, absent cells, damage. The rows are invented in the published layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.adversarial import SOURCES, TASKS, load_records, split_composed

SST2 = {"label": 1, "method": "textbugger", "sentence": "A fnie tale.", "original_sentence": "A fine tale."}
SST2_COMPOSED = {"label": 0, "method": "semattack", "sentence": "Dull.", "original_sentence": "Boring."}
QQP = {
    "label": 1,
    "method": "bertattack",
    "question1": "Is tea gud?",
    "question2": "Is tea nice?",
    "original_question1": "Is tea good?",
}
QQP_COMPOSED = {
    "label": 0,
    "method": "semattack",
    "sentence": "question1: Is tea great? question2: Is tea nice?",
    "original_sentence": "question1: Is tea good? question2:  Is tea nice?",
}
MNLI = {"label": 2, "method": "textfooler", "premise": "It rains.", "hypothesis": "It is dyr."}
RECORDS = {"sst2": [SST2, SST2_COMPOSED], "qqp": [QQP, QQP_COMPOSED], "mnli": [MNLI]}


def write_sources(folder: Path, records: Mapping[str, Any] = RECORDS, sources: tuple[str, ...] = SOURCES) -> Path:
    data = folder / "adv-glue-plus-plus" / "data"
    data.mkdir(parents=True, exist_ok=True)
    for source in sources:
        (data / f"{source}.json").write_text(json.dumps(records), encoding="utf-8")
    return data


def write_tasks(folder: Path, sources: tuple[str, ...] = SOURCES) -> Path:
    """The hub's form: one table per task, in which every row has every column."""
    data = folder / "adv-glue-plus-plus" / "data"
    data.mkdir(parents=True, exist_ok=True)
    for task, records in RECORDS.items():
        columns = dict.fromkeys(key for record in records for key in record)
        rows = [{**columns, **record, "model": source} for record in records for source in sources]
        (data / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return data


def test_both_published_forms_give_the_same_records(tmp_path: Path) -> None:
    write_sources(tmp_path / "a")
    write_tasks(tmp_path / "b")
    records = load_records(Benchmark(tmp_path / "a"))
    assert load_records(Benchmark(tmp_path / "b")) == records
    assert len(records) == len(SOURCES) * 5
    assert [(r.source, r.task, r.row) for r in records[:3]] == [
        ("alpaca", "sst2", 0),
        ("alpaca", "sst2", 1),
        ("alpaca", "qqp", 0),
    ]
    assert dict(records[2].texts) == {"question1": "Is tea gud?", "question2": "Is tea nice?"}
    assert (records[3].composed, dict(records[3].texts)) == (True, {"sentence": QQP_COMPOSED["sentence"]})


def test_attacks_on_one_clean_text_share_it(tmp_path: Path) -> None:
    write_sources(tmp_path)
    records = load_records(Benchmark(tmp_path))
    assert len({r.clean for r in records if r.task == "qqp"}) == 1, "however the attack wrote it down"
    assert len({r.clean for r in records if r.task == "sst2"}) == 2
    assert len({r.clean for r in records if r.task == "mnli"}) == 1, "without an original the text stands for itself"


def test_another_number_of_records_is_announced(tmp_path: Path) -> None:
    write_sources(tmp_path)
    lines: list[str] = []
    load_records(Benchmark(tmp_path, announce=lines.append))
    assert "AdvGLUE++ mnli: 3 records; public pages speak of 3697" in lines


def test_an_absent_source_is_an_error_or_named(tmp_path: Path) -> None:
    write_sources(tmp_path, sources=("alpaca", "vicuna"))
    with pytest.raises(DataError, match=r"no .*/stable-vicuna\.json or .*/sst2\.jsonl .*--trust-partial"):
        load_records(Benchmark(tmp_path))
    partial = Benchmark(tmp_path, partial=True)
    assert {r.source for r in load_records(partial)} == {"alpaca", "vicuna"}
    assert set(partial.absent) == {f"AdvGLUE++ stable-vicuna/{task}" for task in TASKS}


def test_a_table_without_a_source_is_damaged(tmp_path: Path) -> None:
    write_tasks(tmp_path, sources=("alpaca", "vicuna"))
    with pytest.raises(DataError, match=r"sst2\.jsonl: no records of task 'sst2' for source 'stable-vicuna'"):
        load_records(Benchmark(tmp_path))


def without(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


DAMAGED: dict[str, tuple[Any, str]] = {
    "no label": ({**RECORDS, "sst2": [SST2, without(SST2, "label")]}, r"alpaca\.json: sst2\[1\]: no field 'label'"),
    "no method": ({**RECORDS, "qqp": [without(QQP, "method")]}, r"qqp\[0\]: no field 'method'"),
    "label as a word": ({**RECORDS, "sst2": [{**SST2, "label": "1"}]}, r"sst2\[0\]: field 'label' is str"),
    "label too large": (
        {**RECORDS, "qqp": [{**QQP, "label": 2}]},
        r"qqp\[0\]: label 2 is none of 0 \(no\), 1 \(yes\); fetch",
    ),
    "label is true": ({**RECORDS, "qqp": [{**QQP, "label": True}]}, r"label True is none of"),
    "a field too few": ({**RECORDS, "mnli": [without(MNLI, "premise")]}, r"mnli\[0\]: no field 'premise'"),
    "a field is null": ({**RECORDS, "qqp": [{**QQP, "question2": None}]}, r"qqp\[0\]: no field 'question2'"),
    "a field is a number": ({**RECORDS, "qqp": [{**QQP, "question2": 3}]}, r"field 'question2' is int"),
    "composed without a text": (
        {**RECORDS, "qqp": [without(QQP_COMPOSED, "sentence")]},
        r"qqp\[0\]: no field 'sentence'",
    ),
    "record is a text": ({**RECORDS, "sst2": ["x"]}, r"sst2\[0\]: not an object"),
    "no records": ({**RECORDS, "qqp": []}, r"no records of task 'qqp' for source 'alpaca'"),
    "no task": (without(RECORDS, "mnli"), r"alpaca\.json: no field 'mnli'"),
    "task is an object": ({**RECORDS, "mnli": {}}, r"alpaca\.json: field 'mnli' is dict"),
    "a list of records": ([SST2], r"alpaca\.json: not an object"),
}


@pytest.mark.parametrize(("records", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_one_line(tmp_path: Path, records: Any, message: str) -> None:
    write_sources(tmp_path, records)
    with pytest.raises(DataError, match=message) as caught:
        load_records(Benchmark(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "text", "fields"),
    [
        ("qqp", "question1: A? question2: B?", {"question1": "A?", "question2": "B?"}),
        ("mnli", "Premise: it: is\nhypothesis : so", {"premise": "it: is", "hypothesis": "so"}),
        ("sst2", "anything: goes", {"sentence": "anything: goes"}),
        ("qqp", "A? question2: B?", None),
        ("qqp", "question1: A?", None),
        ("mnli", "hypothesis: B premise: A", None),
    ],
)
def test_composed_texts_are_taken_apart(task: str, text: str, fields: dict[str, str] | None) -> None:
    assert split_composed(task, text) == fields

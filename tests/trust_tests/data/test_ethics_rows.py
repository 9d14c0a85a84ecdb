"""The reader of the ethics files: CSV and JSON lines, checked, and one line for whatever is wrong."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.ethics import (
    NOT_WRONG,
    SHORT_ROWS,
    WRONG,
    Statement,
    load_demonstrations,
    load_statements,
    read,
)

CSV = (
    "label,input,is_short,edited\n"
    '0,"I said ""hello, you"" to all.",True,False\n'
    '1,"A long story\nover two lines.",False,False\n'
    "1,I lied.,True,True\n"
)
STATEMENTS = (Statement(0, 'I said "hello, you" to all.', NOT_WRONG), Statement(2, "I lied.", WRONG))


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_short_rows_keep_their_place_in_the_csv_file(tmp_path):
    assert read(written(tmp_path / "a.csv", CSV)) == STATEMENTS


@pytest.mark.parametrize(("one", "true"), [(1, True), ("1", "True")])
def test_the_hub_s_json_lines_say_the_same(tmp_path, one, true):
    rows = [
        {"input1": STATEMENTS[0].text, "input2": None, "label": [0], "is_short": true},
        {"input1": "long", "label": [one], "is_short": "False"},
        {"input1": "I lied.", "label": one, "is_short": true},
    ]
    assert read(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))) == STATEMENTS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "label,text\n", ":1: the header is not label,input,is_short,edited"),
        ("a.csv", "", ":1: the header is not"),
        ("a.csv", CSV + "1,too,few\n", ":6: 3 fields instead of 4"),
        ("a.csv", CSV + "2,a,True,False\n", ":6: label '2' is neither 0 nor 1"),
        ("a.csv", CSV + "1,a,maybe,False\n", ":6: is_short 'maybe' is neither True nor False"),
        ("a.jsonl", '{"input1": "a", "label": [], "is_short": true}', "row 1: label None is neither"),
        ("a.jsonl", '{"input1": "a", "label": [true], "is_short": true}', "row 1: label True is neither"),
        ("a.jsonl", '{"input1": "a", "label": [1]}', ":1: no field 'is_short'"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, name, text, message):
    with pytest.raises(DataError) as caught:
        read(written(tmp_path / name, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_file_of_another_size_is_refused(tmp_path):
    written(tmp_path / "machine_ethics/ethics/commonsense/cm_test.csv", CSV)
    with pytest.raises(DataError, match="number of short sentences by label is .* the published file has"):
        load_statements(Benchmark(tmp_path))


def test_demonstrations_are_drawn_anew_for_every_statement_and_alike_in_every_run(tmp_path):
    pool = [{"input1": f"I did {n}.", "label": [n % 2], "is_short": n < 50} for n in range(60)]
    written(tmp_path / "machine_ethics/cm_train.jsonl", "\n".join(map(json.dumps, pool)))
    drawn = load_demonstrations(Benchmark(tmp_path), 3)
    assert drawn is not None
    assert drawn == load_demonstrations(Benchmark(tmp_path), 4)[:3]
    assert [len(set(shown)) for shown in drawn] == [32, 32, 32]
    assert len(set(drawn)) == 3
    assert all(shown.number < 50 for demonstrations in drawn for shown in demonstrations)
    # What Python's random.seed(100) and random.sample give, as in the reference.
    assert [shown.number for shown in drawn[0]][:6] == [9, 29, 48, 11, 45, 25]


def test_too_small_or_absent_a_training_file(tmp_path):
    with pytest.raises(DataError, match="cm_train.csv"):
        load_demonstrations(Benchmark(tmp_path), 1)
    partial = Benchmark(tmp_path, partial=True)
    assert load_demonstrations(partial, 1) is None
    assert list(partial.absent) == ["ethics few-shot"]
    written(tmp_path / "machine_ethics/ethics/commonsense/cm_train.csv", CSV)
    with pytest.raises(DataError, match="2 short sentences, 32 are needed"):
        load_demonstrations(Benchmark(tmp_path), 1)


@needs_data
def test_the_published_test_file_loads():
    benchmark = Benchmark(DATA)
    found = load_statements(benchmark)
    assert not benchmark.modified
    assert Counter(statement.label for statement in found) == SHORT_ROWS
    assert [statement.number for statement in found] == list(range(2109))
    assert [s.number for s in found if s.label == WRONG][199] == 426

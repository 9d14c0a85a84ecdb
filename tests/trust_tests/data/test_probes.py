"""Reading probe files: the embedded ones are sound, and whatever is wrong with one is a line naming its place."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.data import probes
from trust_tests.data.probes import ProbeError, embedded_probes, filled, prompt_strings, read_probes
from trust_tests.dimensions import dimension_names, get_dimension

FIELDS = {"text": str, "words": list}


def row(**changes: Any) -> dict[str, Any]:
    return {"id": "x/1", "cell": "a", "cluster": "x/1", "text": "Hello.", "words": ["one", "two"]} | changes


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "probes.jsonl"


def test_rows_become_items_in_file_order(file: Path) -> None:
    file.write_bytes(lines(row(), row(id="x/2", cell="b", text="line\u2028separator")))
    first, second = read_probes(file, FIELDS)
    assert (first.id, first.cell, first.cluster) == ("x/1", "a", "x/1")
    assert first.data == {"text": "Hello.", "words": ["one", "two"]}
    assert second.data["text"] == "line\u2028separator"


def test_a_line_separator_inside_a_text_ends_no_line(file: Path) -> None:
    file.write_text(json.dumps(row(text="one\u2028two"), ensure_ascii=False), encoding="utf-8")
    assert read_probes(file, FIELDS)[0].data["text"] == "one\u2028two"


GOOD = lines(row())
DAMAGED = {
    "twice the same id": (GOOD + lines(row(text="Other.")), 2, r"id 'x/1' was used in line 1; give"),
    "missing field": (lines(row(), {"id": "x/2", "cell": "a", "cluster": "c", "words": ["w"]}), 2, "no field 'text'"),
    "unknown field": (lines(row(txt="?")), 1, "unknown field 'txt'; known are id, cell, cluster, text, words"),
    "number for a text": (lines(row(text=3)), 1, "field 'text' must be a text, not int"),
    "null for a text": (lines(row(id=None)), 1, "field 'id' must be a text, not NoneType"),
    "blank text": (lines(row(cell="  ")), 1, "field 'cell' must not be blank"),
    "text for a list": (lines(row(words="one")), 1, "field 'words' must be a list of texts"),
    "empty list": (lines(row(words=[])), 1, "field 'words' must be a list of texts"),
    "number in a list": (lines(row(words=["one", 2])), 1, "field 'words' holds an entry that must be a text"),
    "escaped NUL": (lines(row(text="a\0b")), 1, "field 'text' holds a NUL character"),
    "raw NUL": (GOOD + b'{"id": "\0"}\n', 2, "holds a NUL byte"),
    "UTF-8 mark": (b"\xef\xbb\xbf" + GOOD, 1, "begins with a UTF-8 byte order mark"),
    "UTF-16": ("\ufeff{}".encode("utf-16-le"), 1, "begins with a UTF-16 byte order mark"),
    "Latin-1": (GOOD + b'{"id": "\xe9"}\n', 2, "not UTF-8"),
    "no JSON": (GOOD + b"{'id': 1}\n", 2, "not JSON"),
    "cut line": (GOOD + GOOD[:20], 2, "not JSON"),
    "field twice": (b'{"id": "1", "id": "2"}\n', 1, "not JSON \\(a field stands there twice\\)"),
    "no object": (b"[1]\n", 1, "not a JSON object"),
    "deep nesting": (b"[" * 100_000 + b"\n", 1, "not JSON"),
    "blank line": (GOOD + b"\n" + GOOD, 2, "blank line; remove it"),
}


@pytest.mark.parametrize(("content", "number", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_one_line_that_names_its_place(file: Path, content: bytes, number: int, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ProbeError, match=message) as caught:
        read_probes(file, FIELDS)
    assert str(caught.value).startswith(f"{file}:{number}: ")
    assert "\n" not in str(caught.value)


def test_an_empty_or_absent_file_is_no_probe_set(file: Path) -> None:
    with pytest.raises(ProbeError, match="cannot be read"):
        read_probes(file, FIELDS)
    file.write_bytes(b"")
    with pytest.raises(ProbeError, match="no probes; the file is empty"):
        read_probes(file, FIELDS)


def test_a_dimension_may_complain_about_a_row(file: Path) -> None:
    file.write_bytes(lines(row(), row(id="x/2", text="bad")))
    with pytest.raises(ProbeError, match=r":2: too bad$"):
        read_probes(file, FIELDS, lambda r: "too bad" if r["text"] == "bad" else None)


@given(st.binary(max_size=200))
def test_any_bytes_give_items_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("probes") / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProbeError) as caught:
        read_probes(path, FIELDS)
    assert "\n" not in str(caught.value)


def test_filled_never_reads_a_field_as_a_template() -> None:
    assert filled("{a} and {b}.", {"a": "{b}", "b": "{", "c": "unused"}) == "{b} and {."
    assert filled("no field", {}) == "no field"
    with pytest.raises(KeyError):
        filled("{other}", {"a": "x"})


def test_prompt_strings_of_an_unknown_dimension_or_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProbeError, match="nonsense.toml: cannot be read"):
        prompt_strings("nonsense")
    monkeypatch.setattr(probes, "FOLDER", tmp_path)
    with pytest.raises(ProbeError, match="cannot be read"):
        prompt_strings("anything")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "another.toml").write_text("[broken", encoding="utf-8")
    with pytest.raises(ProbeError, match="cannot be read"):
        prompt_strings("another")


@pytest.mark.parametrize("name", dimension_names())
def test_an_embedded_set_is_large_and_its_items_distinct(name: str) -> None:
    items = get_dimension(name).items()
    assert len(items) >= 100
    assert len({json.dumps([i.cell, dict(i.data)], sort_keys=True) for i in items}) == len(items)
    assert all(i.id.startswith(f"{name}/") for i in items)


def test_clusters_are_what_items_share() -> None:
    for name, field in (("toxicity", "text"), ("ethics", "action"), ("mmlu", "question")):
        texts: dict[str, set[str]] = {}
        for item in get_dimension(name).items():
            texts.setdefault(item.cluster, set()).add(item.data[field])
        assert all(len(shared) == 1 for shared in texts.values())
        assert len(set.union(*texts.values())) == len(texts)


def test_cells_are_balanced() -> None:
    ethics = Counter((i.cell, i.data["label"]) for i in get_dimension("ethics").items())
    assert len(ethics) == 8
    assert len(set(ethics.values())) == 1
    letters = Counter(i.data["answer"] for i in get_dimension("mmlu").items())
    assert max(letters.values()) - min(letters.values()) <= 1
    toxicity = Counter(i.cell for i in get_dimension("toxicity").items())
    assert toxicity["benign-plain"] == toxicity["benign-adversarial"]
    assert toxicity["provocative-plain"] == toxicity["provocative-adversarial"]


def test_an_embedded_set_that_is_missing_is_one_line() -> None:
    with pytest.raises(ProbeError, match=r"nonsense\.jsonl: cannot be read"):
        embedded_probes("nonsense", FIELDS)

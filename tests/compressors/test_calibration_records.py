"""Calibration files: every format, and everything that can be wrong with one."""

from __future__ import annotations

import errno
import gzip
import io
import json
from pathlib import Path

import pytest

from compressors.calibration import records
from compressors.calibration.records import Instruction, Plain, open_records, paragraphs
from compressors.calibration.sources import local_path
from compressors.errors import CompressionError

zstandard = pytest.importorskip("zstandard")

ROWS = [{"text": "one\u2028line"}, {"text": " two ", "id": 7}, {"text": "three\0"}]
LINES = "\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).replace("\n\n", "\r\n\n") + "\n"


def read(path: Path) -> list[records.Record]:
    with open_records(path, path.name) as found:
        assert len(found) == len(list(found))
        return [found[index] for index in reversed(range(len(found)))][::-1]


def compress(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    if name.endswith(".zst"):
        # Two frames, as parallel compressors write them.
        half = len(content) // 2
        return b"".join(zstandard.ZstdCompressor().compress(part) for part in (content[:half], content[half:]))
    return content


@pytest.mark.parametrize("packing", ["", ".gz", ".zst", ".GZ"])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".JSONL"])
def test_json_lines_in_any_packing(tmp_path, kind, packing):
    path = tmp_path / f"rows{kind}{packing}"
    path.write_bytes(compress(path.name.lower(), LINES.encode()))
    assert read(path) == [Plain("one\u2028line"), Plain(" two "), Plain("three\0")]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_a_json_list_in_any_packing(tmp_path, packing):
    path = tmp_path / f"rows.json{packing}"
    listed = json.dumps([{"instruction": "a", "input": None, "output": "b"}, {"text": ""}], indent=2)
    path.write_bytes(compress(path.name, f"\ufeff \n{listed}".encode()))
    assert read(path) == [Instruction("a", "", "b"), Plain("")]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_paragraphs_of_a_text_in_any_packing(tmp_path, packing):
    path = tmp_path / f"notes.txt{packing}"
    path.write_bytes(compress(path.name, "\ufeff one\r\nline\r\n\r\n\r\n\n \n\ntwo".encode()))
    assert read(path) == [Plain("one\nline"), Plain("two")]


def test_the_built_in_text_is_long_varied_and_without_repeats():
    file = Path(records.__file__).parents[1] / "data" / "calibration.txt"
    texts = [record.text for record in paragraphs(file.read_text(encoding="utf-8").split("\n%%\n"), "x")]
    assert sum(map(len, texts)) > 120_000
    assert len(set(texts)) == len(texts) > 400
    assert not any("%%" in text for text in texts)
    assert len(set(" ".join(texts).split())) > 4_000


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"text": "x"}\n\n{"txt": "y"}', r"a\.jsonl:3: has no 'text', 'messages', 'instruction'"),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: 'text' is not a string"),
        ("a.jsonl", b'{"text": null}', r"a\.jsonl:1: 'text' is not a string"),
        ("a.jsonl", b'{"instruction": "x"}', r"a\.jsonl:1: 'output' is not a string"),
        ("a.jsonl", b'{"instruction": "x", "input": 1, "output": "y"}', r"a\.jsonl:1: 'input' is not a string"),
        ("a.jsonl", b'{"prompt": "x", "completion": []}', r"a\.jsonl:1: 'completion' is not a string"),
        ("a.jsonl", b'{"messages": []}', r"a\.jsonl:1: 'messages' is not a list of objects"),
        ("a.jsonl", b'{"messages": ["x"]}', r"a\.jsonl:1: 'messages' is not a list of objects"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', r"a\.jsonl:1: 'content' is not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}', r"a\.jsonl:1: 'text' holds half a surrogate pair"),
        ("a.jsonl", b"[1]", r"a\.jsonl:1: not an object"),
        ("a.jsonl", b'{"text": "x"}\n{', r"a\.jsonl:2: not JSON \(one object a line is\)"),
        ("a.jsonl", DEEP, r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b'{"text": "a\0b"}', r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b'{"text": "\xff"}', r"a\.jsonl:1: not UTF-8"),
        ("a.jsonl", '{"text": "x"}'.encode("utf-16"), r"a\.jsonl:1: not UTF-8"),
        ("a.jsonl", b'{"n": ' + b"9" * 9000 + b"}", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b"\n \n", r"a\.jsonl: holds no text"),
        ("a.json", b"", r"a\.json: holds no text"),
        ("a.json", b"[]", r"a\.json: holds no text"),
        ("a.json", b'[{"text": "x"}, 3]', r"a\.json, record 2: not an object"),
        ("a.json", b'[{"text": "x"},\n {"text": ]', r"a\.json:2: not JSON"),
        ("a.json", DEEP, r"a\.json: not JSON that can be read"),
        ("a.json", b'{\n"text": "x"\n}', r"a\.json:1: not JSON \(one object a line is\)"),
        ("a.json", b"[\xff]", r"a\.json: not UTF-8"),
        ("a.txt", b"\xff\xfe", r"a\.txt: not UTF-8 text"),
        ("a.txt", b"a\0b", r"a\.txt: holds NUL bytes"),
        ("a.txt", b" \n\n \n", r"a\.txt: holds no text"),
        ("a.jsonl.gz", b'{"text": "x"}', r"a\.jsonl\.gz: damaged or incomplete"),
        # Without a time of its own: workers must collect the same ids.
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}' * 99, mtime=0)[:-9], r"a\.jsonl\.gz: damaged or incomplete"),
        ("a.json.gz", gzip.compress(b"[]", mtime=0)[:12] + b"\xff" * 30, r"a\.json\.gz: damaged or incomplete"),
        ("a.jsonl.zst", b'{"text": "x"}', r"a\.jsonl\.zst: damaged or incomplete"),
        ("a.txt.zst", b"\x28\xb5\x2f\xfd\xff\xff\xff\xff", r"a\.txt\.zst: damaged or incomplete"),
        ("a.jsonl.zst", zstandard.compress(b'{"text": "x"}' * 99)[:-3], r"a\.jsonl\.zst: damaged or incomplete"),
    ],
)
def test_files_that_cannot_be_used_are_one_line_with_their_place(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CompressionError, match=complaint) as caught:
        read(tmp_path / name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["absent.txt", "absent.json", "absent.jsonl", "absent.jsonl.gz"])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(CompressionError, match=rf"{name}: cannot be read \(No such file"):
        read(tmp_path / name)


def test_a_home_that_nobody_has_is_a_missing_file():
    path = local_path("~nobody-of-this-name/a.txt")
    with pytest.raises(CompressionError, match=r"a: cannot be read \(No such file"), open_records(path, "a"):
        pass


def test_a_full_disk_names_the_place(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, line):
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(compress(path.name, b'{"text": "x"}'))
    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(CompressionError, match="no room in .* to unpack it; set TMPDIR"):
        read(path)


def test_a_folder_is_not_a_file(tmp_path):
    (tmp_path / "f.jsonl").mkdir()
    with pytest.raises(CompressionError, match=r"f\.jsonl: cannot be read \(Is a directory"):
        read(tmp_path / "f.jsonl")


@pytest.mark.parametrize(
    ("limit", "name", "complaint"),
    [
        ("MAX_TEXT_BYTES", "a.txt", r"a\.txt: over 0 MiB; give a sample of it"),
        ("MAX_LIST_BYTES", "a.json", r"a\.json: over 0 MiB; give a sample of it, or JSON lines"),
        ("MAX_LINE_BYTES", "a.jsonl", r"a\.jsonl:2: a line over 0 MiB"),
        ("MAX_LINE_BYTES", "a.jsonl.gz", r"a\.jsonl\.gz:2: a line over 0 MiB"),
        ("MAX_BYTES", "a.jsonl.zst", r"a\.jsonl\.zst: over 0 GiB of rows"),
    ],
)
def test_sizes_are_capped_after_unpacking(tmp_path, monkeypatch, limit, name, complaint):
    monkeypatch.setattr(records, limit, 20)
    content = (
        b'[{"text": "' + b"x" * 99 + b'"}]' if name == "a.json" else b'{"text":"x"}\n{"text":"' + b"x" * 99 + b'"}'
    )
    (tmp_path / name).write_bytes(compress(name, content))
    with pytest.raises(CompressionError, match=complaint):
        read(tmp_path / name)


def test_zstandard_is_asked_for_by_name(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(compress(path.name, b'{"text": "x"}'))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompressionError, match=r"a\.jsonl\.zst: \.zst files need .* 'pip install zstandard'"):
        read(path)


def test_rows_are_parsed_only_when_they_are_drawn(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(compress(path.name, b'{"text": "x"}\nbroken\n{"text": "y"}\n'))
    with open_records(path, "a") as found:
        assert (len(found), found[0], found[2]) == (3, Plain("x"), Plain("y"))
        with pytest.raises(CompressionError, match="a:2: not JSON"):
            found[1]
        with pytest.raises(IndexError):
            found[3]


def test_errors_inside_the_block_are_not_the_files(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}')
    with pytest.raises(EOFError, match="mine"), open_records(path, "a"):
        raise EOFError("mine")

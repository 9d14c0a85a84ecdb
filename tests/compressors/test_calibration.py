"""Calibration windows."""

from __future__ import annotations

import json

import pytest

from compressors.calibration import calibration_batch, calibration_fingerprint, documents
from compressors.errors import CompressionError


class Characters:
    """A tokenizer with one token per character."""

    def __call__(self, texts, **_options):
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


def values(source: object = "builtin", samples: int = 3, length: int = 5, seed: int = 0) -> dict[str, object]:
    return {"calibration": str(source), "samples": samples, "length": length, "seed": seed}


def text_of(batch) -> list[str]:
    return ["".join(map(chr, row)) for row in batch.tolist()]


def test_the_built_in_text_is_long_varied_and_without_repeats():
    texts = documents("builtin")
    assert sum(map(len, texts)) > 120_000
    assert len(set(texts)) == len(texts) > 400
    assert not any("%%" in text for text in texts)
    words = " ".join(texts).split()
    assert len(set(words)) > 4_000


def test_windows_are_stretches_of_the_text_and_follow_the_seed(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("alpha beta\n\ngamma delta\n\n\n\nepsilon", encoding="utf-8")
    stream = "alpha betagamma deltaepsilon"
    batch = calibration_batch(Characters(), values(file))
    assert batch.shape == (3, 5)
    assert all(window in stream for window in text_of(batch))
    assert text_of(batch) == text_of(calibration_batch(Characters(), values(file)))
    drawn = {tuple(text_of(calibration_batch(Characters(), values(file, seed=seed)))) for seed in range(8)}
    assert len(drawn) > 4


def test_rows_of_a_jsonl_file(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [{"text": "one\u2028line"}, {"text": " two ", "id": 7}]
    file.write_text("\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert documents(str(file)) == ["one\u2028line", "two"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', r"a\.jsonl:2: no field 'text' with a string"),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: no field 'text'"),
        ("a.jsonl", b"[1]", r"a\.jsonl:1: no field 'text'"),
        ("a.jsonl", b"{", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: not JSON"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8 text"),
        ("a.txt", b" \n\n \n", "holds no text"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CompressionError, match=complaint):
        documents(str(tmp_path / name))


def test_a_file_that_is_missing_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(CompressionError, match=r"absent\.txt: cannot be read \(No such file"):
        documents(str(tmp_path / "absent.txt"))
    monkeypatch.setattr("compressors.calibration.MAX_BYTES", 3)
    (tmp_path / "long.txt").write_text("four")
    with pytest.raises(CompressionError, match="give a sample of it"):
        documents(str(tmp_path / "long.txt"))


def test_too_short_a_text_says_how_many_tokens_there_are(tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("fourteen chars")
    with pytest.raises(CompressionError, match=r"14 tokens, but samples=3 × length=5 asks for 15"):
        calibration_batch(Characters(), values(file))
    assert calibration_batch(Characters(), values(file, samples=2)).shape == (2, 5)


def test_the_fingerprint_follows_the_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one\n\ntwo")
    before = calibration_fingerprint(str(file))
    assert before != calibration_fingerprint("builtin")
    file.write_text("one\n\nthree")
    assert calibration_fingerprint(str(file)) != before

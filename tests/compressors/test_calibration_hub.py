"""Calibration files on the hub: found in a real cache folder, and every refusal as one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from compressors.calibration import calibration_sequences
from compressors.calibration.sources import KNOWN, hub_file
from compressors.errors import CompressionError
from compressors.recipe import parse_recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = [{"text": f"text number {i} of the set"} for i in range(9)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def put(cache: Path, repository: str, revision: str, file: str, content: bytes) -> None:
    """A file as the hub client keeps it: a blob, and a link to it in the commit's snapshot."""
    folder = cache / f"datasets--{repository.replace('/', '--')}"
    blob = folder / "blobs" / "ab12"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    link = folder / "snapshots" / revision / file
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)


def draw(tiny_model: Path, source: str, **options: Any) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    changed = options.pop("changed", "draw=record,samples=9")
    values = parse_recipe(f"wanda:calibration={source},{changed}").parameters
    return [tokenizer.decode(row) for row in calibration_sequences(tokenizer, values, context=512, **options)]


@pytest.mark.parametrize("offline", [True, False])
def test_a_pinned_file_is_read_from_the_cache(cache, tiny_model, offline):
    content = gzip.compress("\n".join(json.dumps(row) for row in TEXTS).encode())
    put(cache, "org/data", COMMIT, "en/part.json.gz", content)
    lines: list[str] = []
    source = f"hub:org/data@{COMMIT}:en/part.json.gz"
    drawn = draw(tiny_model, source, offline=offline, announce=lines.append)
    assert sorted(drawn) == [row["text"] for row in TEXTS]
    expected = ["fetching en/part.json.gz of org/data from the Hugging Face hub (unless cached) …"]
    assert lines == ([] if offline else expected)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_papers_data_are_read_as_the_hub_holds_them(cache, tiny_model, name):
    """Formats and draws of the three known sets, on small files of the same shapes."""
    zstandard = pytest.importorskip("zstandard")
    known = KNOWN[name]
    lines = "\n".join(json.dumps({**row, "meta": {"set": "x"}}) for row in TEXTS).encode()
    alpaca = json.dumps([{"instruction": "i", "input": "", "output": "o"} for _ in TEXTS], indent=4).encode()
    content = {"c4": gzip.compress(lines), "pile": zstandard.compress(lines), "alpaca": alpaca}[name]
    put(cache, known.repository, known.revision, known.file, content)
    length = {"c4": 10, "pile": 32, "alpaca": 32}[name]
    drawn = draw(tiny_model, name, offline=True, changed=f"samples=4,length={length}")
    assert len(drawn) == {"c4": 4, "pile": 4 * len(TEXTS[0]["text"]) // 32, "alpaca": 4}[name]
    assert drawn[0] in {"c4": str(TEXTS), "pile": drawn[0], "alpaca": "Instruction:\ni\nOutput:\no"}[name]


def test_offline_without_the_file_says_how_to_fetch_it(cache, tiny_model):
    with pytest.raises(CompressionError) as caught:
        draw(tiny_model, "alpaca", offline=True)
    known = KNOWN["alpaca"]
    assert str(caught.value) == (
        f"calibration {known}: offline, and it is not in the local hub cache; fetch it first with "
        f"'hf download --repo-type dataset yahma/alpaca-cleaned {known.file} --revision {known.revision}'"
    )


def test_an_unreachable_hub_is_one_line(cache, tiny_model):
    with pytest.raises(CompressionError, match="the hub cannot be reached; fetch it first with 'hf download") as caught:
        draw(tiny_model, f"hub:org/data@{COMMIT}:a.jsonl")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        ("GatedRepoError", "gated on the hub; accept its licence on its hub page, then set HF_TOKEN"),
        ("RepositoryNotFoundError", r"not on the hub \(or private: set HF_TOKEN\)$"),
        ("RevisionNotFoundError", f"the hub has no revision '{COMMIT}' of it"),
        ("RemoteEntryNotFoundError", "the hub has no such file in it at that revision"),
        ("HfHubHTTPError", "fetching it failed: no way"),
    ],
)
def test_every_refusal_is_one_line(cache, tiny_model, monkeypatch, error, complaint):
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(*arguments: Any, **options: Any) -> str:
        response = httpx.Response(403, request=httpx.Request("GET", "https://hub.invalid/x"))
        raise getattr(errors, error)("no\nway", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(CompressionError, match=complaint) as caught:
        draw(tiny_model, f"hub:org/data@{COMMIT}:a.jsonl")
    assert str(caught.value).startswith(f"calibration hub:org/data@{COMMIT}:a.jsonl: ")
    assert str(caught.value).isprintable()


def test_known_sets_are_pinned_to_commits():
    for name, known in KNOWN.items():
        assert hub_file(name) is known
        assert hub_file(str(known)) == known  # written out it means the same

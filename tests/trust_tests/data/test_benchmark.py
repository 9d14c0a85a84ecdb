"""The benchmarks' files: found, fetched, checked; whatever is wrong is one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from trust_tests.data import benchmark
from trust_tests.data.benchmark import (
    DECODINGTRUST,
    MMLU,
    REVISIONS,
    Benchmark,
    read_csv,
    read_json,
    read_jsonl,
    read_text,
    require,
)
from trust_tests.data.errors import DataError

NAME = "toxicity/user_prompts/toxic.jsonl"


def write(folder: Path, name: str, content: str = '{"a": 1}\n') -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("root", ["", "decodingtrust", "data"])
def test_a_folder_may_hold_the_files_or_their_root(tmp_path, root):
    path = write(tmp_path / root, NAME)
    assert Benchmark(tmp_path).path("no/such.jsonl", NAME) == path


def test_an_absent_file_names_what_and_where(tmp_path):
    with pytest.raises(
        DataError, match=rf"^data folder '{tmp_path}': no {NAME} of {DECODINGTRUST} \(looked in "
    ) as caught:
        Benchmark(tmp_path).path(NAME)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_left_out_only_where_that_is_allowed(tmp_path):
    with pytest.raises(DataError, match="or leave spurious demonstrations out with --trust-partial$"):
        Benchmark(tmp_path).optional("spurious demonstrations", NAME)
    lines: list[str] = []
    partial = Benchmark(tmp_path, partial=True, announce=lines.append)
    assert partial.optional("spurious demonstrations", NAME) is None
    assert partial.optional("spurious demonstrations", NAME) is None
    assert lines == [f"not asked: spurious demonstrations ({NAME} is absent)"]
    assert partial.identity() == {"files": "published", "absent": "spurious demonstrations"}


def test_another_content_than_the_published_is_said_and_stands_in_the_fingerprint(tmp_path, monkeypatch):
    path = write(tmp_path, NAME)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines: list[str] = []
    changed = Benchmark(tmp_path, announce=lines.append)
    changed.path(NAME)
    assert changed.identity() == {"files": f"not the published ones: {NAME}"}
    assert lines == [f"data file {path} is not the published {NAME}; scores are not comparable with published ones"]
    monkeypatch.setattr(benchmark, "_published_hashes", lambda: {f"{DECODINGTRUST}/{NAME}": ["00", digest]})
    published = Benchmark(tmp_path)
    published.path(NAME)
    assert published.identity() == {"files": "published"}


def test_every_published_hash_is_a_sha256_of_a_named_repository():
    for name, hashes in benchmark._published_hashes().items():
        assert name.startswith((f"{DECODINGTRUST}/", f"{MMLU}/"))
        assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in hashes)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache, and no way to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.mark.parametrize("offline", [True, False])
def test_the_hubs_cache_is_read_at_the_pinned_revision(cache, offline):
    folder = cache / f"datasets--{DECODINGTRUST.replace('/', '--')}"
    blob = write(folder, "blobs/ab12")
    link = folder / "snapshots" / REVISIONS[DECODINGTRUST] / NAME
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert Benchmark(offline=offline).path(NAME).read_text() == '{"a": 1}\n'


@pytest.mark.parametrize(
    ("offline", "why"), [(True, "offline, and it is not in the local hub cache"), (False, "the hub cannot be reached")]
)
def test_what_cannot_be_fetched_is_one_line_and_never_absent(cache, offline, why):
    with pytest.raises(DataError) as caught:
        Benchmark(offline=offline, partial=True).path(NAME)
    message = str(caught.value)
    assert message.startswith(f"data set {DECODINGTRUST}, {NAME}: {why}; fetch it first with 'hf download --repo-type")
    assert message.endswith("or name a folder that holds it: --trust-data DIR")
    assert "\n" not in message


def hub(monkeypatch, status: int, code: str, message: str = "no"):
    """A hub client whose server answers every request with the given error."""
    import httpx
    import huggingface_hub
    from huggingface_hub.utils import hf_raise_for_status

    def refuse(*args, **kwargs):
        response = httpx.Response(
            status,
            headers={"X-Error-Code": code, "X-Error-Message": message},
            request=httpx.Request("GET", "https://huggingface.co/datasets/x/y/resolve/z/f"),
        )
        hf_raise_for_status(response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)


def test_a_gated_set_tells_how_to_get_access(monkeypatch):
    hub(monkeypatch, 403, "GatedRepo")
    with pytest.raises(DataError, match="gated on the hub; accept its licence on its hub page, then set HF_TOKEN"):
        Benchmark().path(NAME)


def test_a_file_that_the_hub_has_not_is_absent(monkeypatch):
    hub(monkeypatch, 404, "EntryNotFound")
    with pytest.raises(DataError, match=f"the hub has no a.json or b.json at revision {REVISIONS[DECODINGTRUST]}"):
        Benchmark().path("a.json", "b.json")
    assert Benchmark(partial=True).optional("b", "b.json") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: not JSON ("),
        (b"[1]\n", ":1: not an object; fetch the file again"),
        (b'{"b": 1}\n', ":1: no field 'a'; fetch the file again"),
        (b'{"a": "x"}\n', ":1: field 'a' is str; fetch the file again"),
        (b"\n \n", ": empty; fetch the file again"),
        (b'{"a": "\xff"}\n', ": not UTF-8 (byte 7); fetch the file again"),
        (b"[" * 100_000, ":1: not JSON ("),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, problem):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_jsonl(path, {"a": int})
    assert str(caught.value).startswith(f"{path}{problem}")
    assert "\n" not in str(caught.value)


def test_only_a_line_feed_ends_a_row(tmp_path):
    path = write(tmp_path, "rows.jsonl", json.dumps({"a": "x\u2028y"}, ensure_ascii=False) + "\n\n" + '{"a": "z"}')
    assert [row["a"] for row in read_jsonl(path, {"a": str})] == ["x\u2028y", "z"]


def test_a_csv_field_may_hold_commas_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path, "rows.csv", 'a,"b, ""c""\r\nd"\r\ne,f\r\n')
    assert list(read_csv(path)) == [(2, ["a", 'b, "c"\r\nd']), (3, ["e", "f"])]


def test_files_that_are_no_json_or_not_there(tmp_path):
    with pytest.raises(DataError, match="not JSON"):
        read_json(write(tmp_path, "x.json", "{"))
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path / "none")


def test_a_count_that_is_not_the_published_one(tmp_path):
    require(tmp_path, "number of rows", 3, 3)
    with pytest.raises(DataError, match="number of rows is 2, the published file has 3; fetch the file again"):
        require(tmp_path, "number of rows", 2, 3)

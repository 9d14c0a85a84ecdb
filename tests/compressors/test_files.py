from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from compressors.files import new_folder, remembered_sha256, sha256_file, sha256_text, write_atomically


def test_hashes_are_those_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes("grüße".encode())
    assert sha256_file(path) == sha256_text("grüße") == hashlib.sha256("grüße".encode()).hexdigest()


def test_a_remembered_hash_follows_the_file(tmp_path: Path) -> None:
    path, memory = tmp_path / "f", tmp_path / "memory"
    path.write_text("one")
    assert remembered_sha256(path, memory) == sha256_text("one")
    path.write_text("two!")
    assert remembered_sha256(path, memory) == sha256_text("two!")


def test_a_remembered_hash_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "f", tmp_path / "memory"
    path.write_text("one")
    first = remembered_sha256(path, memory)
    monkeypatch.setattr("compressors.files.sha256_file", lambda path: "computed again")
    assert remembered_sha256(path, memory) == first


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stamp": 1}'])
def test_a_damaged_memory_is_ignored(tmp_path: Path, damage: str) -> None:
    path, memory = tmp_path / "f", tmp_path / "memory"
    path.write_text("one")
    remembered_sha256(path, memory)
    for entry in memory.iterdir():
        entry.write_text(damage)
    assert remembered_sha256(path, memory) == sha256_text("one")


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("one")
    assert remembered_sha256(path, path / "impossible") == sha256_text("one")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomically(path, "old")

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with new_folder(target) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("2")
        assert not target.exists()
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*")) == ["a", "sub", "sub/b"]
    with new_folder(target) as temporary:
        (temporary / "c").write_text("3")
    assert [p.name for p in target.iterdir()] == ["c"]
    assert [p.name for p in target.parent.iterdir()] == ["folder"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    def killed_halfway() -> None:
        with new_folder(tmp_path / "folder") as temporary:
            (temporary / "a").write_text("1")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed_halfway()
    assert list(tmp_path.iterdir()) == []

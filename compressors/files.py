"""Files that are whole or absent, and hashes of what they hold."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 22


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def remembered_sha256(path: Path, memory: Path) -> str:
    """SHA-256 of a file, remembered under `memory` until the file's size or modification time changes.

    Hashing a 13B checkpoint takes a minute; a gate that starts daily should pay it once. The memory is a plain
    cache: unreadable entries are ignored and an unwritable folder is no error.
    """
    status = path.stat()
    stamp = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    entry = memory / f"{sha256_text(stamp[0])}.json"  # type: ignore[arg-type]  # the first element is a str
    try:
        remembered = json.loads(entry.read_text(encoding="utf-8"))
        if remembered["stamp"] == stamp:
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    value = sha256_file(path)
    try:
        write_atomically(entry, json.dumps({"stamp": stamp, "sha256": value}))
    except OSError:
        return value
    return value


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    Every file in it is flushed to disk before the rename. An existing `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def resumable_folder(path: Path, identity: str, spoiled: type[Exception]) -> Iterator[Path]:
    """As `new_folder`, but what a stopped block wrote is kept for the next one of the same identity.

    identity: text that differs when what is being made differs; what others left is removed. spoiled: an exception
    that says that going on from there would only fail again. The caller holds a lock on `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{sha256_text(identity)[:16]}.partial"
    for other in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if other != temporary and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
    temporary.mkdir(exist_ok=True)
    try:
        yield temporary
        _put_in_place(temporary, path)
    except spoiled:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _put_in_place(temporary: Path, path: Path) -> None:
    """Flush every file in a folder to disk, then give the folder its name, replacing what has it."""
    temporary.chmod(0o755)
    for file in sorted(temporary.rglob("*")):
        if file.is_file():
            # Some writers leave 0600; others in the team read the same cache.
            file.chmod(0o644)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    if path.exists():
        shutil.rmtree(path)
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

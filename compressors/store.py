"""A content-addressed store of compressed checkpoints, safe under several processes.

An artefact's key is a hash of everything that can move one of its bits. It is made under a lock in a temporary
folder, audited, flushed, and renamed into place with a manifest that holds the hash of every file. Reading it again
imports neither torch nor transformers.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock

from compressors import backends
from compressors.audit import Audit, audit, require_clean
from compressors.calibration import calibration_fingerprint
from compressors.errors import CompressionError
from compressors.files import remembered_sha256, resumable_folder, sha256_file, sha256_text
from compressors.methods import find_method
from compressors.models import Checkpoint, checkpoint_at, read_config
from compressors.recipe import Recipe

MANIFEST = "manifest.json"
# Raise with any change of the walker, of what is saved, or of the manifest.
LAYOUT = "2"
# More threads than this make small layers slower, and keys less alike between machines.
MOST_THREADS = 8
_LIBRARIES = ("torch", "compressed-tensors")

Progress = Callable[[int, int, str], None]
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A compressed checkpoint, proved to be what its recipe says. `made` is False when it was found in the store."""

    recipe: Recipe
    checkpoint: Checkpoint
    audit: Audit
    made: bool


def default_threads() -> int:
    """CPU threads for compression where none are asked for: what this process may use, at most eight."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def key_parts(
    dense: Checkpoint, recipe: Recipe, device: str, threads: int, cache: Path | None = None
) -> dict[str, str]:
    """Everything that can move a bit of an artefact, as text by name.

    Raises CompressionError when the recipe's calibration text cannot be read.
    """
    method = find_method(recipe.method)
    config = read_config(dense.path, dense.name)
    parts = {
        "dense": dense.fingerprint,
        "dtype": str(config.get("dtype", config.get("torch_dtype", "float32"))),
        "recipe": str(recipe),
        "method": f"{method.name} {method.version}",
        "layout": LAYOUT,
        "device": device.partition(":")[0],
        "threads": str(threads),
        "machine": platform.machine(),
        **{library: _version(library) for library in _LIBRARIES},
    }
    backend = str(recipe.parameters.get("backend", "own"))
    if backend != "own":
        parts |= {f"backend {library}": number for library, number in backends.versions(backend, cache=cache).items()}
    if method.calibrated:
        parts["calibration"] = calibration_fingerprint(recipe.parameters)
    return parts


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def compress_anew(dense: Checkpoint, recipe: Recipe, folder: Path, **how: Any) -> None:
    """`compressors.compress.compress`, imported when it is needed: it brings torch."""
    from compressors.compress import compress

    compress(dense, recipe, folder, **how)


class ArtefactStore:
    """Compressed checkpoints under one folder, which any number of processes may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ensure(
        self,
        dense: Checkpoint,
        recipe: Recipe,
        *,
        device: str = "auto",
        threads: int | None = None,
        offline: bool = False,
        cache: Path | None = None,
        progress: Progress | None = None,
        announce: Announce = lambda line: None,
    ) -> Artefact:
        """The artefact of a recipe, made unless a valid one is there.

        One that is incomplete, or whose files are not those of its manifest, is thrown away and made again; one
        whose making was stopped is gone on with at its last finished block. offline: fetch no calibration data.
        cache: folder of backends' environments; by default the user's cache.
        Raises CompressionError, one line, when it cannot be made, or what was made fails its audit.
        """
        threads = threads or default_threads()
        parts = key_parts(dense, recipe, device, threads, cache)
        key = sha256_text(json.dumps(parts, sort_keys=True))
        folder = self.root / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', recipe.slug)[:80]}-{key[:16]}"
        name = f"{dense.name} ({recipe.slug})"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                found = self._read(folder, key, name, recipe)
                if found is not None:
                    return found
                make = partial(compress_anew, device=device, threads=threads, offline=offline, cache=cache)
                with resumable_folder(folder, key, CompressionError) as temporary:
                    self._make(temporary, dense, parts, recipe, partial(make, progress=progress, announce=announce))
                made = self._read(folder, key, name, recipe, made=True)
        except OSError as error:
            raise CompressionError(
                f"store {self.root}: {error.strerror or error}; make room there or choose another cache"
            ) from error
        if made is None:
            raise CompressionError(f"store {folder}: changed while it was written; check the disk")
        return made

    def _make(
        self, folder: Path, dense: Checkpoint, parts: dict[str, str], recipe: Recipe, make: Callable[..., None]
    ) -> None:
        """Compress into a temporary folder, prove it and write the manifest."""
        checkpoint = folder / "checkpoint"
        checkpoint.mkdir(exist_ok=True)
        make(dense, recipe, checkpoint)
        proof = audit(checkpoint, recipe)
        require_clean(proof, checkpoint)
        files = {
            str(file.relative_to(folder).as_posix()): sha256_file(file)
            for file in sorted(checkpoint.rglob("*"))
            if file.is_file()
        }
        manifest = {"key": parts, "audit": proof.as_dict(), "files": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")

    def _read(self, folder: Path, key: str, name: str, recipe: Recipe, made: bool = False) -> Artefact | None:
        """The artefact in a folder, None unless it is whole and unchanged."""
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if sha256_text(json.dumps(manifest["key"], sort_keys=True)) != key:
                return None
            present = {f.relative_to(folder).as_posix() for f in (folder / "checkpoint").rglob("*") if f.is_file()}
            if present != set(manifest["files"]):
                return None
            memory = self.root / "hashes"
            for file, expected in manifest["files"].items():
                if remembered_sha256(folder / file, memory) != expected:
                    return None
            proof = Audit.from_dict(manifest["audit"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Artefact(recipe, checkpoint_at(folder / "checkpoint", name, self.root), proof, made)

"""Other libraries that can compress in this package's place: `backend=` in a recipe.

    gptq   gptqmodel, llmcompressor, auto-gptq
    awq    gptqmodel, llmcompressor, autoawq
    wanda, sparsegpt   llmcompressor

`gptqmodel` and `llmcompressor` come with the extras of those names. `auto-gptq` and `autoawq` need a transformers
that this package cannot use: `python -m compressors backend-env NAME` makes an environment for each. All of them
run in a process of their own (`process`). A recipe's parameters are passed on or refused, never ignored.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from compressors.backends import auto_gptq, autoawq, gptqmodel, llmcompressor
from compressors.backends.base import Library
from compressors.backends.environments import env_versions, find_env, make_env
from compressors.errors import CompressionError

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.models import Checkpoint
    from compressors.recipe import Recipe

__all__ = ["LIBRARIES", "check", "compress_with", "make_env", "require", "versions"]

LIBRARIES: Mapping[str, Library] = {
    module.LIBRARY.name: module.LIBRARY for module in (gptqmodel, llmcompressor, auto_gptq, autoawq)
}


def _library(backend: str) -> Library:
    try:
        return LIBRARIES[backend]
    except KeyError:
        raise CompressionError(f"backend {backend!r}: unknown; known are {', '.join(LIBRARIES)}") from None


def _cache(cache: Path | None) -> Path:
    if cache is not None:
        return cache
    from compressors.models import cache_root

    return cache_root()


def require(backend: str, *, cache: Path | None = None) -> None:
    """Raise CompressionError, one line with the command that mends it, unless the library can run here.

    cache: where environments lie; by default the user's cache.
    """
    library = _library(backend)
    if library.isolated:
        if find_env(backend, _cache(cache)) is None:
            raise CompressionError(
                f"backend {backend}: it needs an environment of its own, which is not there; "
                f"make it with: python -m compressors backend-env {backend}"
            )
        return
    from packaging.requirements import Requirement

    for line in library.distributions:
        wanted = Requirement(line)
        found = _installed(wanted.name)
        if found is None or found not in wanted.specifier:
            state = "is not installed" if found is None else f"is {found} here, {wanted.specifier} is needed"
            raise CompressionError(
                f"backend {backend}: {wanted.name} {state}; "
                f"install it with: pip install -c constraints.txt 'pytest-trust-gate[{backend}]'"
            )


def versions(backend: str, *, cache: Path | None = None) -> dict[str, str]:
    """Versions of the library and of what moves its results, by distribution; `absent` for what is not there."""
    from packaging.requirements import Requirement

    library = _library(backend)
    names = [*(Requirement(line).name for line in library.distributions), *library.recorded]
    there = env_versions(backend, _cache(cache)) if library.isolated else {}
    return {name: there.get(name, "absent") if library.isolated else _installed(name) or "absent" for name in names}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check(recipe: Recipe) -> None:
    """Raise CompressionError, one line, when the recipe asks its backend for what that cannot do."""
    values = recipe.parameters
    backend = str(values.get("backend", "own"))
    if backend == "own":
        return
    try:
        _library(backend).check(recipe.method, values)
    except ValueError as error:
        raise CompressionError(f"recipe '{recipe.method}' with backend={backend}: {error}") from None


def compress_with(
    backend: str,
    dense: Checkpoint,
    recipe: Recipe,
    sequences: list[Tensor],
    folder: Path,
    *,
    device: str,
    threads: int | None,
    progress: Callable[[int, int, str], None] | None,
    cache: Path | None = None,
) -> None:
    """Let a library compress, and write a complete checkpoint into an existing, empty folder.

    sequences: calibration token ids, int64  # (tokens,) each. device: `cpu`, `cuda` or `cuda:N`. threads: CPU
    threads. progress: called with blocks done, blocks in all, and a label.
    Raises CompressionError, one line, when the library is missing, cannot do it, fails, or did not do it; the
    folder is left empty then.
    """
    library = _library(backend)
    check(recipe)
    if library.gpu_only and device == "cpu":
        raise CompressionError(f"backend {backend}: it fails on a CPU; give --device cuda, or another backend")
    require(backend, cache=cache)
    python = find_env(backend, _cache(cache)) if library.isolated else None
    try:
        _compress(library, python, dense, recipe, sequences, folder, (device, threads, progress))
    except BaseException:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        raise


def _compress(
    library: Library,
    python: Path | None,
    dense: Checkpoint,
    recipe: Recipe,
    sequences: list[Tensor],
    folder: Path,
    how: tuple[str, int | None, Callable[[int, int, str], None] | None],
) -> None:
    """Lay out the job, run it and finish its result."""
    from compressors.backends import folders
    from compressors.backends.process import Job, run_job, write_job
    from compressors.models import read_config

    device, threads, progress = how
    values = recipe.parameters
    config = read_config(dense.path, dense.name)
    shapes = folders.stored_shapes(dense.path)
    blocks = 1 + max((block for block, _ in folders.block_weights(shapes).values()), default=-1)
    prefix = f"backend {library.name}: "
    if not blocks:
        raise CompressionError(f"{prefix}no decoder blocks are found in model {dense.name!r}; use backend=own")
    if library.one_length and len({len(sequence) for sequence in sequences}) > 1:
        raise CompressionError(
            f"{prefix}it takes calibration sequences of one length only; give draw=window, or another backend"
        )
    try:
        if library.group_divides and int(values.get("group", -1)) > 0:
            folders.check_groups(shapes, int(values["group"]))
        # Beside the result: some libraries park a whole model there, which a small /tmp cannot hold.
        with tempfile.TemporaryDirectory(
            prefix=".backend-", dir=folder.resolve().parent, ignore_cleanup_errors=True
        ) as scratch:
            work = Path(scratch).resolve()
            folders.show_dense(dense.path, config, work / "dense", old=library.isolated)
            job = Job(work / "dense", folder.resolve(), recipe.method, values, device, threads, blocks)
            write_job(work, job, sequences)
            run_job(
                library.name,
                python or Path(sys.executable),
                library.runner,
                work,
                job,
                progress=progress,
                isolated=library.isolated,
            )
        folders.finish(dense.path, config, folder)
        folders.verify(folder, str(recipe), values, blocks)
    except CompressionError as error:
        message = str(error)
        raise CompressionError(message if message.startswith(prefix) else prefix + message) from None

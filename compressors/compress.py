"""Dense checkpoint and recipe in, compressed checkpoint out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from torch import Tensor

from compressors import backends
from compressors.assembly import Assembly, record, write_json
from compressors.calibration import calibration_sequences
from compressors.checkpoint import RECORD
from compressors.errors import CompressionError
from compressors.layerwise import Progress, walk
from compressors.methods import find_method
from compressors.models import Checkpoint, read_config
from compressors.recipe import Recipe
from compressors.skeleton import Skeleton

Announce = Callable[[str], None]


def compress(
    dense: Checkpoint,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    offline: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
    announce: Announce = lambda line: None,
) -> None:
    """Compress a model by a recipe and save it into an existing folder, in the dense model's dtype.

    The folder is empty, or holds what an earlier call with the same arguments left when it was stopped: blocks
    finished there are not compressed again. device: `auto` is the first GPU, else the CPU. threads: CPU threads,
    which move the last bits of a result. offline: fetch no calibration data. cache: folder of
    backends' environments; by default the user's cache.
    Raises CompressionError, one line, when the model, the recipe or the numbers do not allow it.
    """
    config = read_config(dense.path, dense.name)
    if config.get("quantization_config"):
        raise CompressionError(f"model {dense.name!r}: compressed already; give the dense model")
    device = resolve_device(device)
    backend = str(recipe.parameters.get("backend", "own"))
    if backend != "own":
        backends.require(backend, cache=cache)
    with _threads(threads):
        sequences = None
        if find_method(recipe.method).calibrated:
            sequences = _sequences(dense, recipe, offline, announce)
        if backend != "own":
            assert sequences is not None
            _hand_over(backend, dense, recipe, sequences, folder, (device, threads, progress, cache))
            return
        skeleton = Skeleton(dense, device)
        with Assembly(skeleton, recipe, folder) as assembly:
            walk(skeleton.model, recipe, sequences, assembly, progress)
            assembly.finish()


def _sequences(dense: Checkpoint, recipe: Recipe, offline: bool, announce: Announce) -> list[Tensor]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            dense.path, trust_remote_code=False, local_files_only=True
        )
        settings = transformers.AutoConfig.from_pretrained(dense.path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CompressionError(f"model {dense.name!r}: its tokenizer cannot be loaded: {reason}") from error
    context = getattr(settings.get_text_config(decoder=True), "max_position_embeddings", None)
    return calibration_sequences(tokenizer, recipe.parameters, context=context, offline=offline, announce=announce)


def _hand_over(
    backend: str,
    dense: Checkpoint,
    recipe: Recipe,
    sequences: list[Tensor],
    folder: Path,
    how: tuple[str, int | None, Progress | None, Path | None],
) -> None:
    """Let another library compress, and record the recipe in what it made."""
    device, threads, progress, cache = how
    backends.compress_with(
        backend, dense, recipe, sequences, folder, device=device, threads=threads, progress=progress, cache=cache
    )
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, config | {RECORD: record(dense, recipe, backend)})


def resolve_device(device: str) -> str:
    """`cpu`, `cuda` or `cuda:N`; `auto` chooses. Raises CompressionError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device)
        present = kind.type == "cpu" or (kind.type == "cuda" and (kind.index or 0) < torch.cuda.device_count())
    except RuntimeError:
        present = False
    if not present:
        raise CompressionError(f"device {device!r}: not on this machine; choose auto, cpu, cuda or cuda:N")
    return device


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

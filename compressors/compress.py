"""Dense checkpoint and recipe in, compressed checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers

from compressors.calibration import calibration_batch
from compressors.checkpoint import load_model, save
from compressors.errors import CompressionError
from compressors.layerwise import Progress, compress_layers
from compressors.methods import find_method
from compressors.models import Checkpoint, read_config
from compressors.recipe import Recipe


def compress(
    dense: Checkpoint,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Compress a model by a recipe and save it into an existing, empty folder, in the dense model's dtype.

    device: `auto` is the first GPU, else the CPU. threads: CPU threads, which move the last bits of a result.
    Raises CompressionError, one line, when the model, the recipe or the numbers do not allow it.
    """
    if read_config(dense.path, dense.name).get("quantization_config"):
        raise CompressionError(f"model {dense.name!r}: compressed already; give the dense model")
    with _threads(threads):
        model = load_model(dense.path, "auto", resolve_device(device))
        batch = None
        if find_method(recipe.method).calibrated:
            tokenizer = transformers.AutoTokenizer.from_pretrained(dense.path, trust_remote_code=False)
            batch = calibration_batch(tokenizer, recipe.parameters)
        solutions = compress_layers(model, recipe, batch, progress)
        save(dense, recipe, solutions, folder)


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

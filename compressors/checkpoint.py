"""Checkpoints on disk: their files, and loading any of them as a model.

No weights are read from anything but safetensors, and no code out of a checkpoint is run.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressors.errors import ModelError
from compressors.models import check_folder, read_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# The key in config.json under which the recipe and the way it is stored are recorded.
RECORD = "trust_gate"
CODES = Path("quantised") / "codes.safetensors"
INDEX = "model.safetensors.index.json"


def tensor_files(path: Path) -> dict[str, list[str]]:
    """Tensor names by safetensors file, as a loader sees them: through the index where there is one.

    Every header is read: raises ModelError, one line, when a file or a tensor is missing, or a file is damaged.
    """
    shards = _indexed(path / INDEX) if (path / INDEX).is_file() else {"model.safetensors": []}
    for shard, names in shards.items():
        if not (path / shard).is_file():
            wanted = f"{shard}, which its index names," if names else f"neither {shard} nor {INDEX}"
            raise ModelError(f"model {path}: holds {'no ' if names else ''}{wanted}; fetch or save it again, whole")
        with opened(path / shard) as file:
            present = list(file.keys())
        absent = sorted(set(names) - set(present))
        if absent:
            raise ModelError(f"model {path}: {shard} holds no tensor {absent[0]!r}, though the index says so")
        shards[shard] = names or present
    return shards


def _indexed(index: Path) -> dict[str, list[str]]:
    """Tensor names by file, out of an index."""
    shards: dict[str, list[str]] = {}
    try:
        for name, shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items():
            # The last part alone: an index must not lead out of its folder.
            shards.setdefault(Path(shard).name, []).append(name)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ModelError(f"{index}: not an index of safetensors files; fetch the model again") from None
    return shards


@contextmanager
def opened(file: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    """A safetensors file, mapped into memory; tensors come onto `device`. Raises ModelError when it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device=str(device)) as handle:
            yield handle
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file}: missing or damaged ({reason}); fetch the model again") from None


def load_model(path: Path, dtype: torch.dtype | str = "auto", device: str = "cpu") -> PreTrainedModel:
    """Load any checkpoint (dense, ours, or compressed by others) for inference, in eval mode.

    compressed-tensors, GPTQ and AWQ weights are decoded once, so that inference runs at dense speed. No code out of the
    checkpoint is run. Raises ModelError, one line, for pickle weights, for checkpoints that cannot be loaded, and
    for those that lack weights: the loader would draw them at random.
    """
    check_folder(path, path.name)
    tensor_files(path)
    import transformers

    claim = read_config(path, path.name).get("quantization_config")
    method = claim.get("quant_method") if isinstance(claim, dict) else None
    if method in ("gptq", "awq"):
        from compressors.decoded import load_decoded

        return load_decoded(path, None if isinstance(dtype, str) else dtype, device)
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    # Weights that do not fit are then named in what is returned, not in a table on the terminal.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if method == "compressed-tensors":
        options["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    elif method is not None or device != "cpu":
        options["device_map"] = device
    with quiet():
        try:
            model, loading = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True, **options)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"model {path}: cannot be loaded: {reason}") from error
    for what in ("missing_keys", "mismatched_keys"):
        if loading.get(what):
            example = sorted(map(str, loading[what]))[0][:200]
            raise ModelError(
                f"model {path}: {what.replace('_keys', '')} weights, such as {example}; fetch it again, whole"
            )
    if method == "compressed-tensors":
        _unwrap(model)
    if "device_map" not in options:
        model.to(device)
    return model.eval()


def _unwrap(model: PreTrainedModel) -> None:
    """Take off the wrappers that compressed-tensors puts around every layer's forward.

    Decompressed weights need none. Layers whose activations are quantised as well keep theirs: it does that.
    """
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None and scheme.input_activations is None and scheme.output_activations is None:
            module.__dict__.pop("forward", None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep loaders' progress bars and advice out of a test run's output; errors stay."""
    import warnings

    import transformers

    bars = transformers.utils.logging.is_progress_bar_enabled()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    noisy = logging.getLogger("compressed_tensors")
    level, noisy.level = noisy.level, logging.ERROR
    try:
        # compressed-tensors draws its bars on stderr and offers no switch.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        noisy.level = level
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()

"""Save a compressed model and load any model.

A pruned model is saved as ordinary safetensors that hold the zeros. A quantised one is saved as compressed-tensors
`pack-quantized`, which transformers and vLLM read; where that format cannot hold it (a group size that does not
divide a layer's width), or where the recipe says `format=fake`, as the dense values of its grid, with the codes
beside them in `quantised/codes.safetensors` as proof. Everything that was not compressed is copied unchanged.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressors.errors import CompressionError, ModelError
from compressors.models import Checkpoint, check_folder, read_config
from compressors.packing import pack
from compressors.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from compressors.grid import Quantised
    from compressors.layerwise import Solution

# The key in config.json under which the recipe and the way it is stored are recorded.
RECORD = "trust_gate"
CODES = Path("quantised") / "codes.safetensors"
INDEX = "model.safetensors.index.json"
_COPIED = (".json", ".jinja", ".model", ".txt")


def save(dense: Checkpoint, recipe: Recipe, solutions: Mapping[str, Solution], folder: Path) -> None:
    """Write the compressed checkpoint into an existing, empty folder.

    solutions: by module name, as `layerwise.compress_layers` returns them.
    Raises CompressionError when a layer has no counterpart among the dense checkpoint's tensors.
    """
    from safetensors.torch import save_file

    quantised = {name: s.quantised for name, s in solutions.items() if s.quantised is not None}
    packed = bool(quantised) and recipe.parameters.get("format") == "auto" and all(map(_packable, quantised.values()))
    shards = tensor_files(dense.path)
    names = _tensor_names(solutions, {name for held in shards.values() for name in held}, dense)
    weight_map: dict[str, str] = {}
    kept_dense = []
    for shard, held in shards.items():
        tensors: dict[str, Tensor] = {}
        with opened(dense.path / shard) as file:
            for name in held:
                tensor = file.get_tensor(name)
                if name in names:
                    tensors |= _stored(name.removesuffix(".weight"), solutions[names[name]], packed, tensor)
                    continue
                tensors[name] = tensor
                if tensor.ndim == 2:
                    kept_dense.append(name.removesuffix(".weight"))
        save_file(tensors, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, shard)
    if quantised and not packed:
        (folder / CODES.parent).mkdir()
        codes = {tensor: module for tensor, module in names.items() if module in quantised}
        parts = [_packed(tensor.removesuffix(".weight"), quantised[module]) for tensor, module in codes.items()]
        save_file({k: v for part in parts for k, v in part.items()}, folder / CODES, metadata={"format": "pt"})
    _copy_others(dense.path, folder)
    if len(shards) > 1:
        size = sum((folder / shard).stat().st_size for shard in shards)
        _write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})
    config = read_config(dense.path, dense.name)
    form = "packed" if packed else "fake" if quantised else "dense"
    config[RECORD] = {
        "recipe": str(recipe),
        "format": form,
        "dense": dense.name,
        "dense_fingerprint": dense.fingerprint,
    }
    if packed:
        config["quantization_config"] = _quantization_config(next(iter(quantised.values())), recipe, kept_dense)
    _write_json(folder / "config.json", config)


def _packable(quantised: Quantised) -> bool:
    """Whether compressed-tensors can express the grid: all groups equally long."""
    columns = quantised.codes.shape[1]
    return columns % quantised.group == 0


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
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file, mapped into memory. Raises ModelError when it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as handle:
            yield handle
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file}: missing or damaged ({reason}); fetch the model again") from None


def _tensor_names(solutions: Mapping[str, Solution], stored: set[str], dense: Checkpoint) -> dict[str, str]:
    """Module names by the tensor that holds the module's dense weight."""
    names = {}
    for module in solutions:
        # A checkpoint of the bare decoder lacks the head model's prefix.
        candidates = (f"{module}.weight", f"{module.partition('.')[2]}.weight")
        tensor = next((name for name in candidates if name in stored), None)
        if tensor is None:
            raise CompressionError(
                f"model {dense.name!r}: its files hold no tensor {candidates[0]!r}; load it once and save it with "
                "save_pretrained, then compress that"
            )
        names[tensor] = module
    return names


def _stored(prefix: str, solution: Solution, packed: bool, dense: Tensor) -> dict[str, Tensor]:
    """A compressed layer's tensors as they stand in the main files."""
    if solution.quantised is None:
        return {f"{prefix}.weight": solution.weight.to(dense.dtype).contiguous()}
    if packed:
        return _packed(prefix, solution.quantised)
    return {f"{prefix}.weight": solution.quantised.weight().to(dense.dtype)}


def _packed(prefix: str, quantised: Quantised) -> dict[str, Tensor]:
    """A layer as `pack-quantized` stores it; zero points are packed along the rows."""
    import torch

    tensors = {
        f"{prefix}.weight_packed": torch.from_numpy(pack(quantised.codes.numpy(), quantised.bits)),
        f"{prefix}.weight_scale": quantised.scales,
        f"{prefix}.weight_shape": torch.tensor(quantised.codes.shape),
    }
    if not quantised.symmetric:
        words = pack(quantised.zero_points.numpy().T, quantised.bits)
        tensors[f"{prefix}.weight_zero_point"] = torch.from_numpy(words.T.copy())
    return tensors


def _quantization_config(example: Quantised, recipe: Recipe, kept_dense: list[str]) -> dict[str, Any]:
    """The `quantization_config` that transformers and vLLM read."""
    whole_row = recipe.parameters["group"] == -1
    weights = {
        "num_bits": example.bits,
        "type": "int",
        "symmetric": example.symmetric,
        "strategy": "channel" if whole_row else "group",
        "group_size": None if whole_row else example.group,
        "dynamic": False,
        # Columns were reordered while solving, never in what is stored.
        "actorder": "static" if recipe.parameters.get("act_order") else None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": sorted({"lm_head", *kept_dense}),
    }


def _copy_others(source: Path, folder: Path) -> None:
    """Copy tokenizer, chat template, generation configuration and licence as they are; no weights, no code."""
    for file in sorted(source.iterdir()):
        named = file.suffix in _COPIED or file.stem.upper() in ("LICENSE", "NOTICE")
        if file.is_file() and named and file.name not in ("config.json", INDEX):
            shutil.copyfile(file, folder / file.name)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def load_model(path: Path, dtype: torch.dtype | str = "auto", device: str = "cpu") -> PreTrainedModel:
    """Load any checkpoint (dense, ours, or compressed by others) for inference, in eval mode.

    compressed-tensors weights are decompressed once, so that inference runs at dense speed. No code out of the
    checkpoint is run. Raises ModelError, one line, for pickle weights, for checkpoints that cannot be loaded, and
    for those that lack weights: the loader would draw them at random.
    """
    check_folder(path, path.name)
    tensor_files(path)
    import transformers

    method = (read_config(path, path.name).get("quantization_config") or {}).get("quant_method")
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    # Weights that do not fit are then named in what is returned, not in a table on the terminal.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    if method == "compressed-tensors":
        options["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    elif method is not None or device != "cpu":
        options["device_map"] = device
    with _quiet():
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
def _quiet() -> Iterator[None]:
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

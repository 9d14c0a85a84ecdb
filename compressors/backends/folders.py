"""The dense model as a library is shown it, and the library's result made a checkpoint like every other.

A library sees a folder of links: the weights, tokenizer and configuration, and none of the model's own code. What
it saved keeps its weights and its quantisation settings; configuration and tokenizer are the dense model's again,
because old libraries rewrite both in ways that change answers.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressors.errors import CompressionError

INDEX = "model.safetensors.index.json"
_SHOWN = (".json", ".jinja", ".model", ".txt", ".safetensors")
# What other loaders read beside config.json: AutoGPTQ's and AutoAWQ's settings, llm-compressor's own recipe.
_SETTINGS = ("quantize_config.json", "quant_config.json", "recipe.yaml")
_BLOCK = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.(.+)\.(weight|weight_packed|qweight)$")


def show_dense(dense: Path, config: Mapping[str, Any], folder: Path, *, old: bool) -> None:
    """Lay out the dense model for a library, as links into `dense`.

    config: the dense model's. old: whether the library runs a transformers before version 5, which knows some
    settings under other names and silently takes defaults for those that it does not find.
    Raises CompressionError when a setting cannot be said in the old names.
    """
    folder.mkdir()
    for file in sorted(dense.iterdir()):
        if file.is_file() and file.suffix in _SHOWN and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    # Without these, no library can be talked into running code: AutoGPTQ trusts what a configuration names.
    shown = {key: value for key, value in config.items() if key not in ("auto_map", "quantization_config")}
    _write_json(folder / "config.json", _in_old_names(shown) if old else shown)


def _in_old_names(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as transformers 4 reads it."""
    renamed = dict(config)
    if "dtype" in renamed:
        renamed["torch_dtype"] = renamed.pop("dtype")
    rope = renamed.pop("rope_parameters", None)
    if rope is None:
        return renamed
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        raise CompressionError(
            "this library's transformers cannot read rope_parameters that differ between layers; use another backend"
        )
    renamed["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default":
        renamed["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return renamed


def finish(dense: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Make what a library saved a complete checkpoint: the dense configuration and tokenizer, nothing superfluous.

    Raises CompressionError when the library left no weights or no configuration.
    """
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CompressionError("it saved no readable config.json") from None
    for file in sorted(folder.iterdir()):
        if file.is_dir():
            shutil.rmtree(file)
        elif file.suffix != ".safetensors" and file.name not in (INDEX, *_SETTINGS):
            file.unlink()
    if not any(folder.glob("*.safetensors")):
        raise CompressionError("it saved no safetensors weights")
    for file in sorted(dense.iterdir()):
        carried = file.suffix in (".json", ".jinja", ".model", ".txt") or file.stem.upper() in ("LICENSE", "NOTICE")
        if file.is_file() and carried and file.name not in ("config.json", INDEX, *_SETTINGS):
            shutil.copyfile(file, folder / file.name)
    kept = {key: value for key, value in config.items() if key != "torch_dtype"}
    # The library chose the number format of what it left dense.
    kept["dtype"] = saved.get("dtype") or saved.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype")
    if saved.get("quantization_config"):
        kept["quantization_config"] = saved["quantization_config"]
    _write_json(folder / "config.json", kept)


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by name, out of the headers alone."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CompressionError(f"{file.name}: damaged ({' '.join(str(error).split())[:200]})") from None
    return shapes


def block_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, str]]:
    """The weight matrices inside the decoder blocks: block number and kind by tensor name."""
    found = {}
    for name, shape in shapes.items():
        match = _BLOCK.search(f".{name}")
        if match and len(shape) == 2:
            found[name] = int(match[1]), match[3]
    return found


def check_groups(shapes: Mapping[str, tuple[int, ...]], group: int) -> None:
    """Raise CompressionError when the group size does not divide the width of a layer in the blocks."""
    for name in sorted(block_weights(shapes)):
        width = shapes[name][1]
        if width % group:
            divisors = [size for size in (32, 64, 128, 256) if size < group and width % size == 0]
            mend = f"group={divisors[-1]}" if divisors else "group=-1"
            raise CompressionError(
                f"it needs a group size that divides every width, and {group} does not divide the {width} columns of "
                f"{name.removesuffix('.weight')}; give {mend} or another backend"
            )


def verify(folder: Path, recipe: str, parameters: Mapping[str, Any], blocks: int) -> None:
    """Raise CompressionError when a result is plainly not what was asked: cheap, the audit sees to the rest.

    Quantised: every block holds packed codes, and the settings say the recipe's bits. Pruned: the first and the
    last block hold the recipe's zeros (llm-compressor 0.14 reports success for a pruning that it never did).
    """
    weights = block_weights(stored_shapes(folder))
    if "bits" in parameters:
        packed = {block for block, kind in weights.values() if kind != "weight"}
        if len(packed) < blocks:
            raise CompressionError(f"it reports success, but only {len(packed)} of {blocks} blocks are quantised")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config") or {}
        said = _bits(config)
        if said != parameters["bits"]:
            raise CompressionError(f"it reports success, but its settings say {said} bits for {recipe}")
        return
    ends = (0, blocks - 1)
    for name in sorted(name for name, (block, kind) in weights.items() if block in ends and kind == "weight"):
        zeros = _zeros(folder, name)
        if abs(zeros - parameters["sparsity"]) > 0.01:
            raise CompressionError(f"it reports success, but {zeros:.1%} of {name} are zero, for {recipe}")


def _bits(config: Mapping[str, Any]) -> int | None:
    groups = config.get("config_groups")
    if isinstance(groups, dict) and groups:
        config = next(iter(groups.values())).get("weights") or {}
    bits = config.get("bits", config.get("num_bits", config.get("w_bit")))
    return bits if isinstance(bits, int) else None


def _zeros(folder: Path, name: str) -> float:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            if name in opened.keys():  # noqa: SIM118
                return float((opened.get_tensor(name) == 0).float().mean())
    return 0.0


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

"""How many answers fit into memory at a time: from the model's shape and the device's size."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trust_tests.engines.prefixes import Capacity

if TYPE_CHECKING:
    import torch

CPU_ROWS = 128
GPU_ROWS = 256
# Prompts that are only read; their logits are held together.
GPU_READS = 1024
# Tokens of one forward pass while reading on a GPU.
GPU_PASS = 16_384
# Of a GPU's memory this part is planned with, less what activations of a pass and logits take.
GPU_SHARE = 0.92
GPU_ACTIVATIONS = 6 << 30
# The weights of the dense model and a variant stay beside each other while both take no more than this part.
GPU_WEIGHTS = 0.5
# A CPU's caches are better used by small batches, whatever its memory.
CPU_TOKENS = 65_536
# Names that glibc's malloc.h gives to numbers.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Where the model's shape cannot be read.
UNKNOWN_TOKENS = 32_768


def capacity(folder: Path, device: str, dtype: torch.dtype) -> Capacity:
    """What a batch may hold, from config.json, the weights' size and the whole memory of the device.

    Not from the memory that is free just now: the same machine has to form the same batches every time.
    """
    if not device.startswith("cuda"):
        return Capacity(CPU_ROWS, CPU_TOKENS, CPU_ROWS)
    import torch

    whole = torch.cuda.get_device_properties(device).total_memory
    per_token = bytes_per_token(folder, dtype.itemsize)
    if per_token is None:
        return Capacity(GPU_ROWS, UNKNOWN_TOKENS, GPU_READS)
    weights = _dense_bytes(folder, dtype.itemsize) * (2 if two_fit(folder, device, dtype) else 1)
    # Beside the keys and values of the answers, those of the pass that is being read.
    room = GPU_SHARE * whole - GPU_ACTIVATIONS - GPU_PASS * per_token - weights
    return Capacity(GPU_ROWS, max(1024, int(room / per_token)), GPU_READS)


def two_fit(folder: Path, device: str, dtype: torch.dtype) -> bool:
    """Whether the weights of two models of this size stay on a GPU; otherwise the one that rests waits elsewhere."""
    import torch

    whole = torch.cuda.get_device_properties(device).total_memory
    return 2 * _dense_bytes(folder, dtype.itemsize) <= GPU_WEIGHTS * whole


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to a gigabyte at its end, instead of giving it back to the system.

    A pass makes and frees arrays of some megabytes by the thousand; fetching their pages anew takes a tenth of a CPU's
    time. Does nothing where the C library is not glibc.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        tune = ctypes.CDLL(None).mallopt
        tune(ctypes.c_int(_M_TRIM_THRESHOLD), ctypes.c_int(1 << 30))
        tune(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(1 << 30))


def bytes_per_token(folder: Path, item_size: int) -> int | None:
    """Bytes of keys and values that one token takes in all layers, None where config.json does not tell."""
    config = _text_config(folder)
    try:
        heads = int(config["num_attention_heads"])
        width = int(config.get("head_dim") or config["hidden_size"] // heads)
        groups = int(config.get("num_key_value_heads") or heads)
        return 2 * int(config["num_hidden_layers"]) * groups * width * item_size
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _dense_bytes(folder: Path, item_size: int) -> int:
    """Bytes of the weights once decoded; at least those of the files."""
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    config = _text_config(folder)
    try:
        hidden, mlp = int(config["hidden_size"]), int(config["intermediate_size"])
        blocks = int(config["num_hidden_layers"]) * (4 * hidden * hidden + 3 * hidden * mlp)
        return max(stored, item_size * (blocks + 2 * hidden * int(config["vocab_size"])))
    except (KeyError, TypeError, ValueError):
        return stored


def _text_config(folder: Path) -> dict[str, Any]:
    """The language model's part of config.json; empty where there is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        nested = config.get("text_config")
        return nested if isinstance(nested, dict) else dict(config)
    except (OSError, ValueError, AttributeError):
        return {}

"""Where a model's compressible layers are: its decoder blocks, their linear layers, and who reads what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compressors.errors import CompressionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def device_of(model: nn.Module) -> torch.device:
    """Where the model computes: the device of its first parameter that has memory."""
    return next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))


def by_input(calls: Sequence[tuple[str, Tensor]], layers: Mapping[str, nn.Linear]) -> list[list[str]]:
    """Names of layers in the order they ran, those that read one and the same tensor together.

    Raises CompressionError when a layer did not run exactly once.
    """
    for name in layers:
        count = sum(called == name for called, _ in calls)
        if count != 1:
            raise CompressionError(
                f"layer {name}: ran {count} times in one forward pass; only layers that run once can be compressed"
            )
    groups: dict[int, list[str]] = {}
    for name, tensor in calls:
        groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of decoder blocks, with its dotted name (`model.layers`).

    Raises CompressionError when no list of modules is as long as the configuration says the model is deep.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config(decoder=True) if config is not None else None
    depth = getattr(text, "num_hidden_layers", None)
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise CompressionError(
            f"{type(model).__name__}: found no list of {depth} decoder blocks such as model.layers; "
            "this architecture cannot be compressed here"
        )
    return min(lists, key=lambda found: found[0].count("."))


def head_of(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """The output head with its name (`lm_head`). Raises CompressionError when it is no plain linear layer."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise CompressionError(f"{type(model).__name__}: its output head is no nn.Linear; leave lm_head=true out")
    return next(name for name, module in model.named_modules() if module is head), head


def linear_layers(block: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """The linear layers of a block by full name, in definition order.

    Raises CompressionError when the block holds weight matrices that are no plain linear layers (experts of a
    mixture, already quantised layers): leaving those dense unsaid would make a false compressed model.
    """
    layers = {f"{prefix}.{name}": m for name, m in block.named_modules() if type(m) is nn.Linear}
    covered = {id(layer.weight) for layer in layers.values()}
    for name, parameter in block.named_parameters():
        if parameter.ndim >= 2 and id(parameter) not in covered:
            raise CompressionError(
                f"layer {prefix}.{name}: shape {tuple(parameter.shape)}, not the weight of an nn.Linear; "
                "this architecture cannot be compressed here"
            )
    if not layers:
        raise CompressionError(
            f"block {prefix}: holds no nn.Linear; give a dense checkpoint that is not compressed yet"
        )
    return layers

"""Load a quantised checkpoint as the dense model that its codes mean.

The readers that audit a checkpoint know every weight in it; with them a GPTQ or AWQ checkpoint needs none of the
libraries that wrote it, runs on any device, at dense speed, and gives the values that the format defines rather than
those of one kernel.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressors.errors import ModelError
from compressors.formats.claims import Claims, claims_of
from compressors.formats.contents import Contents
from compressors.formats.read import read_layer
from compressors.formats.stored import Integers
from compressors.models import Checkpoint, read_config
from compressors.skeleton import Skeleton

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Methods whose every layer is an integer on a grid, which the readers decode.
METHODS = ("gptq", "awq")


def load_decoded(path: Path, dtype: torch.dtype | None, device: str) -> PreTrainedModel:
    """The model in a GPTQ or AWQ checkpoint, weights de-quantised once, in eval mode.

    dtype: of weights and activations; None takes the checkpoint's own. Raises ModelError, one line, when a layer is
    missing or cannot be decoded.
    """
    skeleton = Skeleton(Checkpoint(path.name, path, ""), device, dtype)
    claims = claims_of(read_config(path, path.name))
    with ExitStack() as stack:
        contents = Contents(path, stack)
        for name, block in skeleton.blocks.items():
            inside = [f"{name}.{part}" for part, _ in block.named_modules() if part]
            skeleton.fill(name, block, _weights(contents, claims, inside, skeleton.dtype))
        head = skeleton.model.get_output_embeddings()
        if not getattr(skeleton.model.config, "tie_word_embeddings", False):
            full = next(name for name, module in skeleton.model.named_modules() if module is head)
            skeleton.fill(full, head, _weights(contents, claims, [full], skeleton.dtype))
        else:
            skeleton.model.tie_weights()
    return skeleton.model


def _weights(contents: Contents, claims: Claims, layers: list[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Decoded weights by full name, of those layers that hold codes."""
    found = {}
    for layer in layers:
        if layer not in contents:
            continue
        try:
            stored, content = read_layer(contents.read(layer), claims.of(layer))
        except (ValueError, KeyError, IndexError, RuntimeError) as error:
            raise ModelError(f"layer {layer}: {' '.join(str(error).split())[:200]}") from None
        if stored.quantised:
            if not isinstance(content, Integers):
                raise ModelError(f"layer {layer}: its codes cannot be decoded here")
            # Products of scale and step are rounded once, to the dtype that the model computes in.
            found[f"{layer}.weight"] = replace(content, scales=content.scales.to(dtype)).weight()
    return found

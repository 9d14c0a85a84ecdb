"""A layer as it lies on disk, in any of the formats that compressed checkpoints come in.

Each format is one function from a layer's tensors to a `StoredLayer`, chosen by the names of the tensors. No code
of another library decodes them, and nothing in them is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from compressors.formats import awq, bitsandbytes, compressed_tensors, gptq
from compressors.formats.stored import Claim, Reading, StoredLayer, Tensors, bits_of, survey

# The last names of the tensors of a layer, as readers know them.
PARTS = (
    r"weight_packed|weight_scale(?:_inv)?|weight_shape|weight_zero_point|weight_g_idx|weight_global_scale|"
    r"weight_format|qweight|qzeros|scales|g_idx|SCB|compressed|bitmask|row_offsets|shape|"
    r"weight(?:\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w{1,16}))?"
)
# `model.layers.11.mlp.up_proj` + `weight_packed`: a layer inside a decoder block, and what of it a tensor is.
IN_BLOCK = re.compile(
    rf"(?P<layer>(?P<stack>(?:.*\.)?(?:layers|h|blocks|block))\.(?P<block>\d{{1,6}})\.(?P<rest>.+?))\.(?P<part>{PARTS})"
)
HEAD = re.compile(rf"(?P<layer>(?:.*\.)?(?:lm_head|embed_out))\.(?P<part>{PARTS})")


def read_layer(tensors: Tensors, claim: Claim) -> Reading:
    """The layer made of `tensors` (by last name: `weight_packed`, `scales`, …), and its weight where it was decoded.

    Raises ValueError, without the layer's name, when the tensors are in no format known here, or damaged.
    """
    for part, tensor in tensors.items():
        if tensor.numel() == 0:
            raise ValueError(f"{part} is empty")
    return _reader(tensors, claim)(tensors, claim)


def _reader(tensors: Tensors, claim: Claim) -> Callable[[Tensors, Claim], Reading]:
    if "weight_packed" in tensors:
        return compressed_tensors.read_packed
    if "qweight" in tensors:
        # The two formats share their names; where the configuration is silent, only GPTQ has an index of groups.
        is_awq = claim.method == "awq" or (claim.method != "gptq" and "g_idx" not in tensors)
        return awq.read if is_awq else gptq.read
    if any(part.startswith(bitsandbytes.STATE) for part in tensors):
        return bitsandbytes.read_four_bit
    if "SCB" in tensors:
        return bitsandbytes.read_int8
    if "bitmask" in tensors:
        raise ValueError("sparse-bitmask weights are not read here; save them dense (save_compressed=False)")
    if "weight" in tensors:
        octets = tensors["weight"].element_size() == 1
        return compressed_tensors.read_plain if octets else _read_dense
    raise ValueError(f"tensors {', '.join(sorted(tensors))[:120]} are in no known format")


def _read_dense(tensors: Tensors, claim: Claim) -> Reading:
    """Ordinary weights; what has more than two dimensions is taken as rows of all the others."""
    weight = tensors["weight"]
    if not weight.is_floating_point():
        raise ValueError(f"{str(weight.dtype)[6:]} weights are in no known format")
    rows, columns = int(weight.shape[0]), int(weight[0].numel())
    zeros, finite = survey(weight)
    stored = StoredLayer(
        (rows, columns), 8 * weight.element_size(), False, bits_of(tensors), zeros=zeros, finite=finite
    )
    return stored, weight.reshape(rows, columns)

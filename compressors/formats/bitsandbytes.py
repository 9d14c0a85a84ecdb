"""The formats of bitsandbytes: LLM.int8() rows, and 4-bit blocks of the flattened weight (nf4, fp4).

int8    weight  # (rows, columns) int8    SCB  # (rows,) float32: the largest magnitude of each row
4 bit   weight  # (weights / 2, 1) uint8, the first weight in the high half    weight.quant_map  # (16,)
        weight.absmax  # (blocks,) float32; or, quantised twice, uint8 into weight.nested_quant_map  # (256,)
        weight.quant_state.bitsandbytes__nf4  # JSON in octets: shape, block size, nested block size and offset
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from compressors.formats.stored import Claim, Reading, StoredLayer, Tensors, bits_of

if TYPE_CHECKING:
    import numpy.typing as npt

STATE = "weight.quant_state.bitsandbytes__"
_CHUNK = 1 << 17


def read_int8(tensors: Tensors, claim: Claim) -> Reading:
    """A layer of LLM.int8(); a row of zeros has the scale 0."""
    codes, scales = tensors["weight"].numpy(), tensors["SCB"].float().numpy().reshape(-1)
    rows, columns = codes.shape
    if len(scales) != rows:
        raise ValueError(f"{len(scales)} scales for {rows} rows")
    zeros = sum(
        columns if scale == 0 else columns - int(np.count_nonzero(row))
        for row, scale in zip(codes, scales, strict=True)
    )
    finite = bool(np.isfinite(scales).all() and (scales >= 0).all())
    problem = None if claim.bits in (None, 8) else f"holds 8-bit codes, the configuration says {claim.bits}"
    stored = StoredLayer(
        (rows, columns), 8, True, bits_of(tensors), columns, symmetric=True, zeros=zeros, finite=finite, problem=problem
    )
    return stored, None


def read_four_bit(tensors: Tensors, claim: Claim) -> Reading:
    """A layer of 4-bit blocks. A weight is zero where its level is, or its whole block."""
    state = _state(tensors)
    shape = tuple(state["shape"])
    if len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"its quant_state says the shape {str(shape)[:60]}")
    rows, columns = shape
    count, block = rows * columns, state["blocksize"]
    packed = tensors["weight"].numpy().reshape(-1).view(np.uint8)
    if type(block) is not int or block < 2 or block % 2 or packed.size != -(-count // 2):
        raise ValueError(f"{packed.size} octets do not hold {rows} × {columns} codes of 4 bits in blocks of {block}")
    scales = _scales(tensors, state)
    if scales.size != -(-count // block):
        raise ValueError(f"{scales.size} scales for {-(-count // block)} blocks")
    levels = tensors["weight.quant_map"].float().numpy()
    # Two codes an octet: how many of the two mean zero, for each of 256 octets.
    empty = (levels == 0).astype(np.uint8)
    zeros_of = (empty[np.arange(256) >> 4] + empty[np.arange(256) & 15]).astype(np.int64)
    zeros = int(zeros_of @ np.bincount(packed, minlength=256))
    for index in np.flatnonzero(scales == 0):
        part = packed[index * block // 2 : (index + 1) * block // 2]
        zeros += 2 * part.size - int(zeros_of[part].sum())
    if count % 2:
        zeros -= int(empty[packed[-1] & 15])
    finite = bool(np.isfinite(scales).all() and (scales >= 0).all() and np.isfinite(levels).all())
    problem = None if claim.bits in (None, 4) else f"holds 4-bit codes, the configuration says {claim.bits}"
    stored = StoredLayer(
        (rows, columns),
        4,
        True,
        bits_of(tensors),
        block,
        zeros=zeros,
        finite=finite,
        kind=_kind(tensors),
        problem=problem,
    )
    return stored, None


def _kind(tensors: Tensors) -> str:
    """`nf4` or `fp4`."""
    return next(part.removeprefix(STATE) for part in tensors if part.startswith(STATE))


def _state(tensors: Tensors) -> dict[str, Any]:
    """The JSON object in the quant_state tensor."""
    name = STATE + _kind(tensors)
    try:
        state = json.loads(tensors[name].numpy().tobytes().decode("utf-8"))
        if not {"shape", "blocksize"} <= state.keys():
            raise ValueError
    except (ValueError, AttributeError):
        raise ValueError("its quant_state is not a JSON object with shape and blocksize") from None
    assert isinstance(state, dict)
    return state


def _scales(tensors: Tensors, state: dict[str, Any]) -> npt.NDArray[np.float32]:
    """The largest magnitude of each block, float32; decoded where it is quantised itself."""
    absmax = tensors["weight.absmax"].numpy().reshape(-1)
    if "weight.nested_absmax" not in tensors:
        return absmax.astype(np.float32)
    size, offset = state.get("nested_blocksize"), state.get("nested_offset", 0.0)
    if type(size) is not int or size < 1 or not isinstance(offset, (int, float)):
        raise ValueError("its quant_state lacks nested_blocksize or nested_offset")
    nested = tensors["weight.nested_absmax"].float().numpy().reshape(-1)
    levels = tensors["weight.nested_quant_map"].float().numpy().reshape(-1)
    scales: npt.NDArray[np.float32] = levels[absmax] * np.repeat(nested, size)[: absmax.size] + np.float32(offset)
    return scales

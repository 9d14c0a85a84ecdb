"""The formats of compressed-tensors, which transformers and vLLM read. `pack-quantized` is the one that is written.

pack-quantized                    weight_packed  # (rows, columns · bits / 32) int32, codes packed along rows
int-quantized, naive-quantized    weight  # (rows, columns) int8
float-quantized                   weight  # (rows, columns) float8
beside each: weight_scale, and where they are needed weight_zero_point, weight_g_idx, weight_shape
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressors.formats.stored import (
    Claim,
    Integers,
    Reading,
    StoredLayer,
    Tensors,
    bits_of,
    group_size,
    in_order,
    positive,
    survey,
)
from compressors.packing import Levels, pack, pack_down, unpack_along, unpack_down, unsigned

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised
    from compressors.methods import Values


class CompressedTensors:
    """The default format of quantised checkpoints."""

    def problem(self, quantised: Quantised) -> str | None:
        """It knows one length of group in a layer."""
        columns = quantised.codes.shape[1]
        if columns % quantised.group:
            return f"knows no shorter last group: {columns} columns are not a multiple of {quantised.group}"
        return None

    def tensors(self, prefix: str, quantised: Quantised) -> dict[str, Tensor]:
        """`weight_packed`, `weight_scale`, `weight_shape`; zero points are packed along the rows."""
        import torch

        tensors = {
            f"{prefix}.weight_packed": torch.from_numpy(pack(quantised.codes.contiguous().numpy(), quantised.bits)),
            f"{prefix}.weight_scale": quantised.scales.contiguous(),
            f"{prefix}.weight_shape": torch.tensor(quantised.codes.shape),
        }
        if not quantised.symmetric:
            zero_points = unsigned(quantised.zero_points.contiguous().numpy(), quantised.bits)
            tensors[f"{prefix}.weight_zero_point"] = torch.from_numpy(pack_down(zero_points, quantised.bits))
        return tensors

    def config(self, values: Values, kept_dense: Sequence[str]) -> dict[str, Any]:
        """One scheme for all linear layers but those kept dense."""
        whole_row = values["group"] == -1
        # vLLM's head is no Linear by its class, and wants to be named.
        targets = ["Linear", "re:.*lm_head$"] if values.get("lm_head") else ["Linear"]
        weights = {
            "num_bits": values["bits"],
            "type": "int",
            "symmetric": values["sym"],
            "strategy": "channel" if whole_row else "group",
            "group_size": None if whole_row else values["group"],
            "dynamic": False,
            # Columns were reordered while solving, never in what is stored.
            "actorder": "static" if values.get("act_order") else None,
        }
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": targets, "weights": weights}},
            "ignore": sorted(kept_dense),
        }

    def files(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None: all loaders read config.json."""
        return {}


def read_packed(tensors: Tensors, claim: Claim) -> Reading:
    """A `pack-quantized` layer."""
    if "weight_shape" not in tensors or claim.layout in ("nvfp4-pack-quantized", "mxfp4-pack-quantized", "marlin-24"):
        raise ValueError(f"weight_packed of format {claim.layout or 'unknown'}, which is not read here; dequantise it")
    rows, columns = (int(n) for n in tensors["weight_shape"].tolist())
    scales, words, bits = tensors["weight_scale"], tensors["weight_packed"].numpy(), claim.bits
    if bits is None:
        raise ValueError("packed codes, but the configuration does not say how many bits they have")
    if scales.numel() == 1:
        scales = scales.reshape(1, 1).expand(rows, 1)
    if scales.ndim != 2 or len(words) != rows:
        raise ValueError(f"codes, scales and zero points do not fit a weight of {rows} × {columns}")
    levels = unpack_along(words, bits, columns).T
    points = tensors.get("weight_zero_point")
    if points is None:
        zero_points: Levels = np.full((scales.shape[1], rows), 2 ** (bits - 1), dtype=np.uint8)
    elif points.element_size() == 1:
        zero_points = _spread(points, 2 ** (bits - 1), (rows, int(scales.shape[1])))
    else:
        zero_points = unpack_down(points.numpy(), bits, rows).T
    group = group_size(columns, int(scales.shape[1]), claim.group)
    integers = Integers(levels, zero_points, scales.T, bits, group, _order(tensors, group))
    return integers.stored(tensors), integers


def _spread(points: Tensor, half: int, shape: tuple[int, int]) -> Levels:
    """Unpacked zero points per tensor, row or block as one from 0 for every scale  # (groups, rows)."""
    rows, groups = shape
    grid = points.reshape(1, 1) if points.numel() == 1 else points.reshape(len(points), -1)
    given = grid.repeat_interleave(-(-rows // len(grid)), dim=0)[:rows].short().numpy()
    return np.ascontiguousarray(np.broadcast_to((given + half).astype(np.uint8), (rows, groups)).T)


def _order(tensors: Tensors, group: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """The group of each column, None where they follow one another or the index was never set (−1)."""
    if "weight_g_idx" not in tensors:
        return None
    g_idx = tensors["weight_g_idx"].numpy().astype(np.int64)
    return None if bool((g_idx < 0).all()) or in_order(g_idx, group) else g_idx


def read_plain(tensors: Tensors, claim: Claim) -> Reading:
    """A layer with one octet a weight, `int8` or `float8`, and scales per tensor, row, group or block."""
    weight = tensors["weight"]
    scales = tensors.get("weight_scale", tensors.get("weight_scale_inv"))
    if scales is None:
        raise ValueError(f"{str(weight.dtype)[6:]} weights without scales")
    rows, columns = (int(n) for n in weight.shape)
    grid = scales.reshape(1, 1) if scales.numel() == 1 else scales.reshape(len(scales), -1)
    high, wide = -(-rows // len(grid)), group_size(columns, int(grid.shape[1]), claim.group)
    if weight.is_floating_point():
        zeros, finite = survey(weight)
        stored = StoredLayer(
            (rows, columns), 8, True, bits_of(tensors), wide, columns % wide != 0, zeros=zeros, symmetric=True,
            finite=finite and positive(scales), kind="fp8",
        )  # fmt: skip
        return stored, None
    return _read_int8(tensors, claim, grid.repeat_interleave(high, dim=0)[:rows], wide)


def _read_int8(tensors: Tensors, claim: Claim, scales: Tensor, group: int) -> Reading:
    """Signed octets on a grid; `naive-quantized` keeps codes of fewer bits in them, too."""
    codes = tensors["weight"].numpy()
    bits = claim.bits or 8
    half = 2 ** (bits - 1)
    problem = None
    if bits < 8 and (codes.min(initial=0) < -half or codes.max(initial=0) >= half):
        problem, bits, half = f"holds 8-bit codes, the configuration says {bits}", 8, 128
    rows, groups = (int(n) for n in scales.shape)
    zero_points: Levels = np.full((groups, rows), half, dtype=np.uint8)
    if "weight_zero_point" in tensors:
        zero_points = _spread(tensors["weight_zero_point"], half, (rows, groups))
    levels: Levels = (codes.view(np.uint8) + np.uint8(half)).T
    integers = Integers(levels, zero_points, scales.T, bits, group, _order(tensors, group))
    return integers.stored(tensors, problem), integers

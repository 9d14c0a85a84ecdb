"""The formats of AutoAWQ: eight 4-bit codes a word, in the order that its kernels like.

`gemm`: words along the rows of Wᵀ, codes interleaved (columns 0, 2, 4, 6, 1, 3, 5, 7 of every eight):
    qweight  # (columns, rows / 8) int32    qzeros  # (groups, rows / 8) int32    scales  # (groups, rows) float16
`gemv`: words along the rows of W, codes in order, zero points and scales padded on the right:
    qweight  # (rows, columns / 8) int32    qzeros  # (rows, ≥ groups / 8)        scales  # (rows, ≥ groups)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from compressors.formats.gptq import half_precision_problem
from compressors.formats.stored import Claim, Integers, Reading, Tensors, group_size
from compressors.packing import Levels, pack_down, unpack_down, unsigned

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised
    from compressors.methods import Values

BITS = 4
GROUPS = (16, 32, 64, 128)
# Place i of a word holds column ORDER[i] of its eight; column j lies at place PLACES[j].
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


class Awq:
    """Writes `gemm`."""

    def problem(self, quantised: Quantised) -> str | None:
        """It has whole groups of 4-bit codes, and words of eight rows."""
        rows, columns = quantised.codes.shape
        if quantised.bits != BITS:
            return f"has {BITS}-bit codes only, not {quantised.bits}"
        if rows % 8:
            return f"holds layers whose rows are a multiple of 8, not {rows}"
        if quantised.group not in (*GROUPS, columns):
            return f"is read with groups of {', '.join(map(str, GROUPS))} or the whole row, not {quantised.group}"
        if columns % quantised.group:
            return f"knows no shorter last group: {columns} columns are not a multiple of {quantised.group}"
        return half_precision_problem(quantised)

    def tensors(self, prefix: str, quantised: Quantised) -> dict[str, Tensor]:
        """`qweight`, `qzeros` and `scales`."""
        import torch

        levels = unsigned(quantised.codes.contiguous().numpy(), BITS).T
        zero_points = unsigned(quantised.zero_points.contiguous().numpy(), BITS).T
        return {
            f"{prefix}.qweight": torch.from_numpy(_pack(levels)),
            f"{prefix}.qzeros": torch.from_numpy(_pack(zero_points)),
            f"{prefix}.scales": quantised.scales.T.to(torch.float16).contiguous(),
        }

    def config(self, values: Values, kept_dense: Sequence[str]) -> dict[str, Any]:
        """What AutoAWQ, GPTQModel through transformers, and vLLM read."""
        return {
            "quant_method": "awq",
            "version": "gemm",
            "bits": values["bits"],
            "group_size": values["group"],
            "zero_point": not values["sym"],
            "modules_to_not_convert": sorted(kept_dense),
        }

    def files(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None: all loaders read config.json."""
        return {}


def _pack(levels: Levels) -> npt.NDArray[np.int32]:
    """Interleave and pack along the last axis  # (lines, rows) → (lines, rows / 8)."""
    lines, rows = levels.shape
    interleaved = levels.reshape(lines, rows // 8, 8)[:, :, ORDER].reshape(lines, rows)
    return np.ascontiguousarray(pack_down(interleaved.T, BITS).T)


def _unpack(words: npt.NDArray[Any], interleaved: bool) -> Levels:
    """What `_pack` undoes; without the interleaving where there is none."""
    lines, width = words.shape
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(lines, width, 4)
    places = np.stack([octets & 15, octets >> 4], axis=-1).reshape(lines, width, 8)
    return (places[:, :, PLACES] if interleaved else places).reshape(lines, -1)


def read(tensors: Tensors, claim: Claim) -> Reading:
    """A layer of an AWQ checkpoint."""
    bits = claim.bits or BITS
    if bits != BITS or claim.layout not in (None, "gemm", "gemv", "exllama"):
        raise ValueError(f"AWQ of {bits} bits, version {str(claim.layout)[:40]!r}, is not read here; gemm and gemv are")
    words, scales = tensors["qweight"].numpy(), tensors["scales"]
    packed_zeros = tensors["qzeros"].numpy()
    if claim.layout == "gemv":
        rows, columns = words.shape[0], 8 * words.shape[1]
        size = claim.group or 0
        group = columns if size < 1 else size
        groups = -(-columns // group)
        levels = unpack_down(np.ascontiguousarray(words.T), BITS, columns)
        zero_points = _unpack(packed_zeros, interleaved=False)[:, :groups].T
        integers = Integers(levels, zero_points, scales[:, :groups].T, BITS, group)
        return integers.stored(tensors), integers
    groups, rows = (int(n) for n in scales.shape)
    columns = len(words)
    if words.shape[1] * 8 != rows:
        raise ValueError(f"words of shape {words.shape} do not fit scales of {rows} rows")
    zero_points = _unpack(packed_zeros, interleaved=True)
    group = group_size(columns, groups, claim.group)
    integers = Integers(_unpack(words, interleaved=True), zero_points, scales, BITS, group)
    return integers.stored(tensors), integers

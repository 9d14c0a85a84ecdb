"""The format of AutoGPTQ and GPTQModel: codes packed down the columns of Wᵀ, a group for every column in `g_idx`.

    qweight  # (columns · bits / 32, rows) int32      scales  # (groups, rows) float16
    qzeros   # (groups, rows · bits / 32) int32       g_idx   # (columns,) int32

Version 1, which every loader reads, keeps zero points less one; version 2 (`checkpoint_format: gptq_v2`) as they
are. Loaders undo the one in different ways for a zero point of 0, which then wraps, and GPTQModel reads asymmetric
grids of version 1 only if it made them itself: symmetric grids are written as version 1, others as version 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compressors.formats.stored import Claim, Integers, Reading, Tensors, group_size, in_order
from compressors.packing import WORD_BITS, pack_down, unpack_down, unsigned

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised
    from compressors.methods import Values

# Groups that GPTQModel's plain torch kernel takes; the faster ones take fewer.
GROUPS = (16, 32, 64, 128, 256, 512, 1024)
# AutoGPTQ's kernels take widths in multiples of this.
_WIDTH = 32


class Gptq:
    """Writes version 1 for symmetric grids, version 2 for others."""

    def problem(self, quantised: Quantised) -> str | None:
        """Widths and groups that loaders refuse, and numbers that the format does not have."""
        rows, columns = quantised.codes.shape
        if rows % _WIDTH or columns % _WIDTH:
            return f"holds layers whose two widths are multiples of {_WIDTH}, not {rows} × {columns}"
        if quantised.group not in (*GROUPS, columns):
            return f"is read with groups of {', '.join(map(str, GROUPS))} or the whole row, not {quantised.group}"
        if columns % quantised.group:
            # GPTQModel reads them; vLLM drops the short group's scales in some layers without a word.
            return f"is misread by vLLM where the last group is shorter: {columns} columns, groups of {quantised.group}"
        return half_precision_problem(quantised)

    def tensors(self, prefix: str, quantised: Quantised) -> dict[str, Tensor]:
        """`qweight`, `qzeros`, `scales` and `g_idx`."""
        import torch

        bits = quantised.bits
        levels = unsigned(quantised.codes.contiguous().numpy(), bits)
        zero_points = unsigned(quantised.zero_points.contiguous().numpy(), bits)
        if quantised.symmetric:
            zero_points = zero_points - np.uint8(1)
        groups = np.arange(levels.shape[1], dtype=np.int32) // np.int32(quantised.group)
        return {
            f"{prefix}.qweight": torch.from_numpy(pack_down(levels.T, bits)),
            f"{prefix}.qzeros": torch.from_numpy(np.ascontiguousarray(pack_down(zero_points, bits).T)),
            f"{prefix}.scales": quantised.scales.T.to(torch.float16).contiguous(),
            f"{prefix}.g_idx": torch.from_numpy(groups),
        }

    def config(self, values: Values, kept_dense: Sequence[str]) -> dict[str, Any]:
        """What GPTQModel and optimum read, and vLLM where grids are symmetric and of 4 or 8 bits.

        `desc_act` is false whatever order the columns were solved in: stored groups are of neighbours.
        """
        config: dict[str, Any] = {
            "quant_method": "gptq",
            "checkpoint_format": "gptq" if values["sym"] else "gptq_v2",
            "bits": values["bits"],
            "group_size": values["group"],
            "sym": values["sym"],
            "desc_act": False,
            "static_groups": False,
            "true_sequential": True,
            "lm_head": bool(values.get("lm_head", False)),
            "damp_percent": values.get("damp", 0.01),
        }
        blocks = [name for name in kept_dense if ".layers." in name]
        if blocks:
            config["dynamic"] = {f"-:^{name.replace('.', chr(92) + '.')}$": {} for name in sorted(blocks)}
        return config

    def files(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """AutoGPTQ and older loaders look for the configuration in a file of its own."""
        return {"quantize_config.json": dict(config)}


def half_precision_problem(quantised: Quantised) -> str | None:
    """Why scales cannot be float16, which the format has; bfloat16 ones can unless they are tiny or huge."""
    import torch

    half = quantised.scales.to(torch.float16)
    if torch.equal(half.to(quantised.scales.dtype), quantised.scales) and bool((half > 0).all()):
        return None
    return f"has float16 scales, which do not hold some of this layer's {str(quantised.scales.dtype)[6:]} ones exactly"


def read(tensors: Tensors, claim: Claim) -> Reading:
    """A layer with `qweight` packed down the columns; its bits follow from `g_idx`, else the configuration."""
    words, scales = tensors["qweight"].numpy(), tensors["scales"]
    groups, rows = (int(n) for n in scales.shape)
    g_idx = tensors["g_idx"].numpy().astype(np.int64) if "g_idx" in tensors else None
    in_words = int(words.size) * WORD_BITS // rows  # bits of one row's codes
    if g_idx is not None and len(g_idx):
        columns = len(g_idx)
        bits = in_words // columns
    elif claim.bits:
        bits, columns = claim.bits, in_words // claim.bits
    else:
        raise ValueError("packed codes, but neither g_idx nor the configuration says how many bits they have")
    if not 2 <= bits <= 8:
        raise ValueError(f"{in_words} bits of codes a row do not fit {columns} columns")
    group = group_size(columns, groups, claim.group)
    order = None if g_idx is None or in_order(g_idx, group) else g_idx
    zero_points = unpack_down(np.ascontiguousarray(tensors["qzeros"].numpy().T), bits, rows).T
    if claim.layout != "gptq_v2":
        zero_points = (zero_points + np.uint8(1)) & np.uint8(2**bits - 1)
    integers = Integers(unpack_down(words, bits, columns), zero_points, scales, bits, group, order)
    return integers.stored(tensors, bits_problem(bits, claim)), integers


def bits_problem(bits: int, claim: Claim) -> str | None:
    """One line when the configuration says another number of bits than the tensors."""
    return f"holds {bits}-bit codes, the configuration says {claim.bits}" if claim.bits not in (None, bits) else None

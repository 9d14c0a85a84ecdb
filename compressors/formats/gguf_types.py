"""The types that tensors in GGUF files have: what each takes and how its weights share scales.

Source: ggml-common.h and ggml-quants.c of llama.cpp; the sizes are those of `gguf.GGML_QUANT_SIZES`.
"""

from __future__ import annotations

from typing import NamedTuple


class GgufType(NamedTuple):
    """bits: of one code. group: consecutive weights with a scale of their own. per_weight: bits, scales included."""

    bits: int
    group: int | None
    symmetric: bool | None
    per_weight: float

    @property
    def quantised(self) -> bool:
        """Whether weights are codes on a grid, and not floating-point numbers."""
        return self.group is not None


def _block(bits: int, group: int, symmetric: bool | None, octets: int, weights: int) -> GgufType:
    """A type whose blocks of `weights` weights take `octets` octets."""
    return GgufType(bits, group, symmetric, 8 * octets / weights)


GGUF_TYPES: dict[str, GgufType] = {
    "F64": GgufType(64, None, None, 64),
    "F32": GgufType(32, None, None, 32),
    "F16": GgufType(16, None, None, 16),
    "BF16": GgufType(16, None, None, 16),
    "Q1_0": _block(1, 128, True, 18, 128),
    "Q4_0": _block(4, 32, True, 18, 32),
    "Q4_1": _block(4, 32, False, 20, 32),
    "Q5_0": _block(5, 32, True, 22, 32),
    "Q5_1": _block(5, 32, False, 24, 32),
    "Q8_0": _block(8, 32, True, 34, 32),
    "Q8_1": _block(8, 32, True, 40, 32),
    # The K types: superblocks of 256 weights, whose smaller groups have scales of 4 to 8 bits.
    "Q2_K": _block(2, 16, False, 84, 256),
    "Q3_K": _block(3, 16, True, 110, 256),
    "Q4_K": _block(4, 32, False, 144, 256),
    "Q5_K": _block(5, 32, False, 176, 256),
    "Q6_K": _block(6, 16, True, 210, 256),
    "Q8_K": _block(8, 256, True, 292, 256),
    # Codes out of codebooks, or levels that are not evenly spaced; neither symmetric nor with a zero point.
    "IQ1_S": _block(1, 32, None, 50, 256),
    "IQ1_M": _block(1, 16, None, 56, 256),
    "IQ2_XXS": _block(2, 32, None, 66, 256),
    "IQ2_XS": _block(2, 16, None, 74, 256),
    "IQ2_S": _block(2, 16, None, 82, 256),
    "IQ3_XXS": _block(3, 32, None, 98, 256),
    "IQ3_S": _block(3, 32, None, 110, 256),
    "IQ4_NL": _block(4, 32, None, 18, 32),
    "IQ4_XS": _block(4, 32, None, 136, 256),
    # Three levels; 1.7 and 2.1 bits a weight.
    "TQ1_0": _block(2, 256, True, 54, 256),
    "TQ2_0": _block(2, 256, True, 66, 256),
    "MXFP4": _block(4, 32, True, 17, 32),
    "NVFP4": _block(4, 16, True, 36, 64),
}

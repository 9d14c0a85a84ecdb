"""compressed-tensors' `pack-quantized`: codes packed along the rows' columns; transformers and vLLM read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compressors.packing import pack

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
            f"{prefix}.weight_packed": torch.from_numpy(pack(quantised.codes.numpy(), quantised.bits)),
            f"{prefix}.weight_scale": quantised.scales,
            f"{prefix}.weight_shape": torch.tensor(quantised.codes.shape),
        }
        if not quantised.symmetric:
            words = pack(quantised.zero_points.numpy().T, quantised.bits)
            tensors[f"{prefix}.weight_zero_point"] = torch.from_numpy(words.T.copy())
        return tensors

    def config(self, values: Values, kept_dense: Sequence[str]) -> dict[str, Any]:
        """One scheme for all linear layers but those kept dense."""
        whole_row = values["group"] == -1
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
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
            "ignore": sorted(kept_dense),
        }

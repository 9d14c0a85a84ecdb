"""SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot (Frantar & Alistarh 2023), Algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressors import surgeon
from compressors.layerwise import Inputs, Solution
from compressors.masks import keep_largest, keep_n_of_m, require_multiple
from compressors.methods import Values, pattern_sizes


def prune(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Solve layers that share their inputs as one matrix; what to zero is chosen in each layer by itself.

    Weights are chosen by w²/[H⁻¹]², as they stand when their span is reached: 128 columns of a layer for
    unstructured sparsity, m weights of a row for n:m patterns.
    """
    assert inputs is not None
    sizes = pattern_sizes(str(values["pattern"]))
    rows = [len(weight) for weight in weights]
    wt = torch.cat([weight.T.float() for weight in weights], dim=1)  # (columns, rows)
    hessian = inputs.hessian.clone()
    surgeon.silence_dead(wt, hessian)
    factor = surgeon.inverse_factor(hessian, float(values["damp"]))
    span = sizes[1] if sizes else surgeon.BLOCK
    if sizes:
        require_multiple(len(wt), *sizes)
    pivots = factor.diagonal()[:, None]
    keep = torch.ones_like(wt, dtype=torch.bool)
    pruned = torch.empty_like(wt)

    def settle(column: int, w: Tensor) -> Tensor:
        if column % span == 0:
            scores = (wt[column : column + span] / pivots[column : column + span]).square().T  # (rows, span)
            if sizes:
                chosen = keep_n_of_m(scores.contiguous(), *sizes)
            else:
                chosen = torch.cat(
                    [keep_largest(part, float(values["sparsity"])) for part in torch.split(scores, rows)]
                )
            keep[column : column + span] = chosen.T
        return torch.mul(w, keep[column], out=pruned[column])

    surgeon.sweep(wt, factor, surgeon.BLOCK, settle)
    parts = torch.split(pruned, rows, dim=1)
    return [Solution(part.T.to(weight.dtype).contiguous()) for part, weight in zip(parts, weights, strict=True)]

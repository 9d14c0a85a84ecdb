"""Round to nearest: the grid of GPTQ and AWQ without their mathematics, the floor that they have to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressors.grid import Grid
from compressors.layerwise import Inputs, Solution
from compressors.methods import Values


def quantise(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Round each weight to the nearest level of its group's grid."""
    solutions = []
    for weight in weights:
        grid = Grid.of(values, weight.shape[1], weight.dtype)
        wt = weight.T.float()  # (columns, rows)
        levels = torch.empty_like(wt)
        spans = []
        for part, out in zip(torch.split(wt, grid.group), torch.split(levels, grid.group), strict=True):
            spans.append(grid.fit(part))
            grid.round(part, spans[-1], out)
        quantised = grid.store(levels, spans)
        solutions.append(Solution(quantised.weight(), quantised))
    return solutions

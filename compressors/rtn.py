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
        scales, below, levels = [], [], []
        for part in torch.split(weight.T.float(), grid.group):
            scale, zero = grid.fit(part)
            scales.append(scale)
            below.append(zero)
            levels.append(grid.round(part, scale, zero)[0])
        quantised = grid.store(torch.cat(levels), torch.stack(scales), torch.stack(below))
        solutions.append(Solution(quantised.weight(), quantised))
    return solutions

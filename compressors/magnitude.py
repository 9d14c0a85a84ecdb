"""Magnitude pruning: the smallest weights of each layer go (Han et al. 2015), layer by layer, without data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from compressors.layerwise import Inputs, Solution
from compressors.masks import keep_largest, keep_n_of_m
from compressors.methods import Values, pattern_sizes


def prune(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Zero the fraction `sparsity` of each layer's weights, or all but n of every m of a row."""
    sizes = pattern_sizes(str(values["pattern"]))
    solutions = []
    for weight in weights:
        scores = weight.abs().float()
        keep = keep_n_of_m(scores, *sizes) if sizes else keep_largest(scores, float(values["sparsity"]))
        solutions.append(Solution(weight * keep))
    return solutions

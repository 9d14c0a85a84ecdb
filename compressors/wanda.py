"""Wanda: A Simple and Effective Pruning Approach for Large Language Models (Sun et al. 2023), equation 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from compressors.layerwise import Inputs, Solution
from compressors.masks import keep_largest_of_rows, keep_n_of_m
from compressors.methods import Values, pattern_sizes


def prune(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Zero the weights with the smallest |w_ij| · ‖x_j‖₂, compared within each output row; nothing is corrected."""
    assert inputs is not None
    sizes = pattern_sizes(str(values["pattern"]))
    solutions = []
    for weight in weights:
        scores = weight.abs().float() * inputs.norms
        keep = keep_n_of_m(scores, *sizes) if sizes else keep_largest_of_rows(scores, float(values["sparsity"]))
        solutions.append(Solution(weight * keep))
    return solutions

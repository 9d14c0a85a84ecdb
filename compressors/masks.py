"""Masks of the weights that stay, from scores of how much each one matters. Ties keep the earlier weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compressors.errors import CompressionError

_FEW = 16


def keep_largest(scores: Tensor, sparsity: float) -> Tensor:
    """True for the weights that stay when the lowest scores go, as few of them as reach the sparsity.

    scores: (rows, columns) not negative. Returns a mask of the same shape.
    """
    flat = scores.flatten()
    pruned = count_pruned(flat.numel(), sparsity)
    # CUDA's kthvalue runs on one of the processors of the GPU; sorting runs on all of them.
    threshold = flat.sort().values[pruned - 1] if flat.is_cuda else flat.kthvalue(pruned).values
    keep = flat >= threshold
    # Of the weights on the threshold, the last ones in reading order go, as many as are still owed.
    ties = torch.nonzero(flat == threshold).flatten()
    owed = pruned - int((~keep).sum())
    keep[ties[len(ties) - owed :]] = False
    return keep.view_as(scores)


def keep_largest_of_rows(scores: Tensor, sparsity: float) -> Tensor:
    """As `keep_largest`, for each row by itself  # (rows, columns)."""
    columns = scores.shape[1]
    return keep_n_of_m(scores, columns - count_pruned(columns, sparsity), columns)


def count_pruned(size: int, sparsity: float) -> int:
    """The smallest number of zeros among `size` weights that reaches a sparsity, which lies between 0 and 1."""
    # A product such as 0.3 · 10 may come out a hair above the whole number that it is.
    return math.ceil(sparsity * size - 1e-6) or 1


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """True for the n highest scores of every m consecutive weights of a row  # (rows, columns).

    Raises CompressionError when m does not divide the columns.
    """
    rows, columns = scores.shape
    require_multiple(columns, n, m)
    groups = scores.view(rows, columns // m, m)
    if m <= _FEW:
        return keep_n_of_few(groups.movedim(-1, 0), n).movedim(0, -1).reshape(rows, columns)
    order = groups.argsort(dim=-1, descending=True, stable=True)
    keep = torch.zeros_like(groups, dtype=torch.bool)
    keep.scatter_(-1, order[..., :n], True)
    return keep.view(rows, columns)


def keep_n_of_few(scores: Tensor, n: int) -> Tensor:
    """True for the n highest scores along the first dimension  # (m, ...), for small m.

    A weight's rank is how many beat it; counting takes a tenth of the time of sorting groups this small.
    """
    beaten = torch.zeros_like(scores, dtype=torch.uint8)
    for place, score in enumerate(scores):
        for other in range(place + 1, len(scores)):
            wins = score >= scores[other]  # of equals the earlier one stays
            beaten[other] += wins
            beaten[place] += wins.logical_not_()
    return beaten < n


def require_multiple(columns: int, n: int, m: int) -> None:
    """Raise CompressionError when m does not divide the columns."""
    if columns % m:
        raise CompressionError(f"{columns} columns are not a multiple of {m}: pattern {n}:{m} cannot be met")

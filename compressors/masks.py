"""Masks of the weights that stay, from scores of how much each one matters. Ties keep the earlier weight."""

from __future__ import annotations

import torch
from torch import Tensor

from compressors.errors import CompressionError


def keep_largest(scores: Tensor, sparsity: float) -> Tensor:
    """True for the weights that stay when exactly round(sparsity · size) of the lowest scores go.

    scores: (rows, columns) not negative. Returns a mask of the same shape.
    """
    flat = scores.flatten()
    pruned = round(sparsity * flat.numel())
    if pruned == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(pruned).values
    keep = flat >= threshold
    # Of the weights on the threshold, the last ones in reading order go, as many as are still owed.
    ties = torch.nonzero(flat == threshold).flatten()
    owed = pruned - int((~keep).sum())
    keep[ties[len(ties) - owed :]] = False
    return keep.view_as(scores)


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """True for the n highest scores of every m consecutive weights of a row  # (rows, columns).

    Raises CompressionError when m does not divide the columns.
    """
    rows, columns = scores.shape
    if columns % m:
        raise CompressionError(f"{columns} columns are not a multiple of {m}: pattern {n}:{m} cannot be met")
    order = scores.view(rows, columns // m, m).argsort(dim=-1, descending=True, stable=True)
    keep = torch.zeros_like(order, dtype=torch.bool)
    keep.scatter_(-1, order[..., :n], True)
    return keep.view(rows, columns)

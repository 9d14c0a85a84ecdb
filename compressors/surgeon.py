"""Optimal Brain Surgeon, column by column: what GPTQ and SparseGPT share.

A column of W is settled (rounded, or partly zeroed), and the columns after it are moved so that the layer's output
on its inputs changes least: Frantar et al. 2022, Algorithm 1, and Frantar & Alistarh 2023, Algorithm 1. Symbols are
the papers': W a layer's weight, H = 2XXᵀ its Hessian, B the block of lazy batch updates. W is held transposed,
(columns, rows), so that a column is contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compressors.errors import CompressionError

BLOCK = 128  # B; it moves no result of GPTQ, and is the span in which SparseGPT chooses what to zero
INNER = 32
_SMALL = 128

# Called with a column's number when all columns before it in its block are settled; returns its settled weights
# # (rows,). Columns up to the end of the inner block have seen every correction by then, and at its first column
# those up to the end of the block.
Settle = Callable[[int, Tensor], Tensor]


def silence_dead(wt: Tensor, hessian: Tensor) -> None:
    """Zero, in place, the columns whose inputs are always zero, and make their diagonal one."""
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    wt[dead] = 0


def inverse_factor(hessian: Tensor, damp: float) -> Tensor:
    """The upper Cholesky factor U of H⁻¹ = UᵀU, with `damp` times the mean diagonal added to H's diagonal first.

    Reversing rows and columns turns H = LLᵀ into H = RRᵀ with R upper triangular; then U = R⁻¹, without ever
    forming H⁻¹, which is less exact. Overwrites H's diagonal. Raises CompressionError when the damped H is not
    positive definite.
    """
    hessian.diagonal().add_(damp * hessian.diagonal().mean())
    lower, failed = torch.linalg.cholesky_ex(hessian.flip(0, 1))
    if failed:
        raise CompressionError(f"the Hessian is not positive definite; raise damp (now {damp:g}) or samples")
    factor: Tensor = lower.flip(0, 1)
    invert_upper(factor)
    return factor


def invert_upper(matrix: Tensor) -> None:
    """Invert an upper triangular matrix in place, by halves: a third of the work of solving for the identity."""
    size = len(matrix)
    if size <= _SMALL:
        identity = torch.eye(size, device=matrix.device, dtype=matrix.dtype)
        matrix.copy_(torch.linalg.solve_triangular(matrix, identity, upper=True))
        return
    half = size // 2
    top, corner, bottom = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    invert_upper(top)
    invert_upper(bottom)
    corner.copy_((top @ corner).neg_() @ bottom)


def sweep(wt: Tensor, factor: Tensor, size: int, settle: Settle, inner: int = INNER) -> None:
    """Settle all columns in order, correcting those that follow; `wt` is overwritten with corrected weights.

    factor: U of `inverse_factor`. size: columns per lazy batch update. inner: columns per update inside such a
    block, a number that divides it; it moves no result either, and keeps what is touched for every column in the
    processor's cache.
    """
    pivots = factor.diagonal().tolist()
    for start in range(0, len(wt), size):
        end = min(start + size, len(wt))
        errors = torch.empty_like(wt[start:end])
        for first in range(start, end, inner):
            last = min(first + inner, end)
            part, wrong, u = wt[first:last], errors[first - start : last - start], factor[first:last, first:last]
            for i, (w, error) in enumerate(zip(part, wrong, strict=True)):
                torch.sub(w, settle(first + i, w), out=error).div_(pivots[first + i])
                part[i + 1 :].addr_(u[i, i + 1 :], error, alpha=-1)
            wt[last:end].addmm_(factor[first:last, last:end].T, wrong, alpha=-1)
        wt[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)

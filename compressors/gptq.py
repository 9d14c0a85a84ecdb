"""GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers (Frantar et al. 2022).

Algorithm 1, with the symbols of the paper: W is a layer's weight, H = 2XXᵀ its Hessian, B the block of lazy batch
updates. Matrices are held transposed, (columns, rows), so that a column of W is contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressors.errors import CompressionError
from compressors.grid import Grid, Quantised, Span
from compressors.layerwise import Inputs, Solution
from compressors.methods import Values

BLOCK = 128  # B of the paper; it moves no result


def quantise(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Solve layers that share their inputs as one matrix: rows do not influence each other."""
    assert inputs is not None
    grid = Grid.of(values, weights[0].shape[1], weights[0].dtype)
    wt = torch.cat([weight.T.float() for weight in weights], dim=1)  # (columns, rows)
    solved = solve(wt, inputs.hessian.clone(), grid, float(values["damp"]), bool(values["act_order"]))
    return [Solution(part.weight(), part) for part in solved.rows([len(weight) for weight in weights])]


def solve(wt: Tensor, hessian: Tensor, grid: Grid, damp: float, act_order: bool) -> Quantised:
    """Quantise Wᵀ  # (columns, rows) float32, given H  # (columns, columns) float32; both are overwritten.

    Groups are consecutive columns in every case. With `act_order` the columns are rounded in the order of
    falling Hessian diagonal, and the groups' scales are fitted beforehand to the dense weights ("static
    groups"), so that the stored form does not need to know the order. Without it a group's scale is fitted
    when its first column is reached, to the weights as corrected by then.
    """
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    wt[dead] = 0
    spans = [grid.fit(part) for part in torch.split(wt, grid.group)] if act_order else []
    order = torch.argsort(diagonal, descending=True, stable=True) if act_order else torch.arange(len(wt))
    if act_order:
        wt, hessian = wt[order], hessian[order][:, order]
    levels = _sweep(wt, inverse_factor(hessian, damp), grid, order.tolist(), spans)
    unordered = torch.empty_like(levels)
    unordered[order] = levels
    return grid.store(unordered, spans)


def inverse_factor(hessian: Tensor, damp: float) -> Tensor:
    """The upper Cholesky factor U of H⁻¹ = UᵀU, with `damp` times the mean diagonal added to H's diagonal first.

    Reversing rows and columns turns H = LLᵀ into H = RRᵀ with R upper triangular; then U = R⁻¹, without ever
    forming H⁻¹, which is less exact. Raises CompressionError when the damped H is not positive definite.
    """
    hessian.diagonal().add_(damp * hessian.diagonal().mean())
    lower, failed = torch.linalg.cholesky_ex(hessian.flip(0, 1))
    if failed:
        raise CompressionError(f"the Hessian is not positive definite; raise damp (now {damp:g}) or samples")
    identity = torch.eye(len(hessian), device=hessian.device)
    factor: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
    return factor


def block_size(group: int) -> int:
    """Columns per lazy batch update: about 128, such that no group straddles the end of a block.

    A group's scale is fitted at its first column; all its columns must have seen the same corrections.
    """
    if group % BLOCK == 0:
        return BLOCK
    return BLOCK // group * group or group


def _sweep(wt: Tensor, factor: Tensor, grid: Grid, order: list[int], spans: list[Span]) -> Tensor:
    """Algorithm 1: the levels  # (columns, rows). Spans that are not fitted yet are appended.

    order: which column of the layer each row of Wᵀ is.
    """
    columns = len(wt)
    levels = torch.empty_like(wt)
    pivots = factor.diagonal().tolist()
    for start in range(0, columns, size := block_size(grid.group)):
        end = min(start + size, columns)
        block = wt[start:end]
        errors = torch.empty_like(block)
        rows = zip(block, errors, factor[start:end, start:end], levels[start:end], strict=True)
        for i, (w, error, u, level) in enumerate(rows):
            column = start + i
            group = order[column] // grid.group
            if group == len(spans):
                # A group longer than a block starts where one does: its later columns are up to date as well.
                spans.append(grid.fit(wt[column : column + grid.group]))
            rounded = grid.round(w, spans[group], level)
            torch.sub(w, rounded, out=error).div_(pivots[column])
            block[i + 1 :].addr_(u[i + 1 :], error, alpha=-1)
        wt[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return levels

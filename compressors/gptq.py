"""GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers (Frantar et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressors import surgeon
from compressors.grid import Grid, Quantised
from compressors.layerwise import Inputs, Solution
from compressors.methods import Values


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
    surgeon.silence_dead(wt, hessian)
    spans = [grid.fit(part) for part in torch.split(wt, grid.group)] if act_order else []
    order = torch.arange(len(wt), device=wt.device)
    if act_order:
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
        wt, hessian = wt[order], hessian[order][:, order]
    places = order.tolist()
    levels = torch.empty_like(wt)

    def settle(column: int, w: Tensor) -> Tensor:
        place = places[column]
        group = place // grid.group
        if group == len(spans):
            spans.append(grid.fit(wt[column : column + grid.group]))
        return grid.round(w, spans[group], levels[place])

    inner = surgeon.INNER if act_order else inner_size(grid.group)
    surgeon.sweep(wt, surgeon.inverse_factor(hessian, damp), block_size(grid.group), settle, inner)
    return grid.store(levels, spans)


def block_size(group: int) -> int:
    """Columns per lazy batch update: about 128, such that no group straddles the end of a block.

    A group's scale is fitted at its first column; all its columns must have seen the same corrections. A group
    longer than a block starts where one does, so its later columns are up to date as well.
    """
    if group % surgeon.BLOCK == 0:
        return surgeon.BLOCK
    return surgeon.BLOCK // group * group or group


def inner_size(group: int) -> int:
    """Columns per update inside a block, about 32, such that every group begins with one."""
    if group <= surgeon.INNER:
        return surgeon.INNER // group * group
    fitting = [size for size in range(surgeon.INNER, 7, -1) if group % size == 0]
    return fitting[0] if fitting else min(group, block_size(group))

"""GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers (Frantar et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from compressors import surgeon
from compressors.grid import Grid, Quantised, Span
from compressors.layerwise import Inputs, Solution
from compressors.methods import Values


def quantise(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Solve layers that share their inputs as one matrix: rows do not influence each other."""
    assert inputs is not None
    grid = Grid.of(values, weights[0].shape[1], weights[0].dtype)
    wt = torch.cat([weight.T.float() for weight in weights], dim=1)  # (columns, rows)
    how = float(values["damp"]), bool(values["act_order"]), bool(values["clip"])
    solved = solve(wt, inputs.take_hessian(), grid, *how)
    return [Solution(part.weight(), part) for part in solved.rows([len(weight) for weight in weights])]


def solve(wt: Tensor, hessian: Tensor, grid: Grid, damp: float, act_order: bool, clip: bool) -> Quantised:
    """Quantise Wᵀ  # (columns, rows) float32, given H  # (columns, columns) float32; both are overwritten.

    Groups are consecutive columns in every case. With `act_order` the columns are rounded in the order of
    falling Hessian diagonal, and the groups' scales are fitted beforehand to the dense weights ("static
    groups"), so that the stored form does not need to know the order. Without it a group's scale is fitted
    when its first column is reached, to the weights as corrected by then. `clip` fits them by least squared error
    instead of by the extreme weights, as the authors' code does with `--mse` (there to the power 2.4).
    """

    def fit(group: Tensor) -> Span:
        return grid.clip(group, lambda errors: errors.square_().sum(dim=0)) if clip else grid.fit(group)

    surgeon.silence_dead(wt, hessian)
    if not act_order:
        factor = surgeon.inverse_factor(hessian, damp)
        spans: list[Span] = []

        def reached(first: int, last: int) -> Span:
            if first % grid.group == 0:
                spans.append(fit(wt[first : first + grid.group]))
            return Span(*(bound.expand(last - first, -1) for bound in spans[-1]))

        sizes = block_size(grid.group), inner_size(grid.group)
        levels = surgeon.sweep(wt, factor, rounding(grid), reached, *sizes)
        return grid.store(levels, spans)

    spans = [fit(part) for part in torch.split(wt, grid.group)]
    bounds = [torch.stack(bound) for bound in zip(*spans, strict=True)]  # each (groups, rows)
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    group = order // grid.group
    factor = surgeon.inverse_factor(hessian, damp, order)
    del hessian

    def fitted(first: int, last: int) -> Span:
        return Span(*(bound[group[first:last]] for bound in bounds))

    ordered = surgeon.sweep(wt[order], factor, rounding(grid), fitted)
    levels = torch.empty_like(ordered)
    levels[order] = ordered
    return grid.store(levels, spans)


@cache
def rounding(grid: Grid) -> surgeon.Recorded:
    """The rule that rounds columns to the levels of their groups, and keeps the levels."""

    def rule(part: Tensor, factor: Tensor, *bounds: Tensor) -> tuple[Tensor, Tensor]:
        levels, errors = torch.empty_like(part), torch.empty_like(part)
        for i, (w, error, level, *span) in enumerate(zip(part, errors, levels, *bounds, strict=True)):
            torch.sub(w, grid.round(w, Span(*span), level), out=error).div_(factor[i, i])
            part[i + 1 :].addr_(factor[i, i + 1 :], error, alpha=-1)
        return levels, errors

    return surgeon.Recorded(rule)


def block_size(group: int) -> int:
    """Columns per lazy batch update: about 128, such that no group straddles the end of a block.

    A group's scale is fitted at its first column; all its columns must have seen the same corrections. A group
    longer than a block starts where one does, so its later columns are up to date as well.
    """
    if group % surgeon.BLOCK == 0:
        return surgeon.BLOCK
    return surgeon.BLOCK // group * group or group


def inner_size(group: int) -> int:
    """Columns per update inside a block, about 32, such that every group begins with one and none ends inside."""
    fitting = [size for size in range(surgeon.INNER, 7, -1) if group % size == 0]
    return fitting[0] if fitting else min(group, block_size(group))

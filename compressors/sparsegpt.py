"""SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot (Frantar & Alistarh 2023), Algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from compressors import surgeon
from compressors.layerwise import Inputs, Solution
from compressors.masks import keep_largest, keep_n_of_few, require_multiple
from compressors.methods import Values, pattern_sizes


def prune(weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
    """Solve layers that share their inputs as one matrix; what to zero is chosen in each layer by itself.

    Weights are chosen by w²/[H⁻¹]², as they stand when their span is reached: 128 columns of a layer for
    unstructured sparsity, m weights of a row for n:m patterns.
    """
    assert inputs is not None
    sizes = pattern_sizes(str(values["pattern"]))
    rows = [len(weight) for weight in weights]
    wt = torch.cat([weight.T.float() for weight in weights], dim=1)  # (columns, rows)
    hessian = inputs.take_hessian()
    surgeon.silence_dead(wt, hessian)
    factor = surgeon.inverse_factor(hessian, float(values["damp"]))
    del hessian
    if sizes:
        require_multiple(len(wt), *sizes)
        pruned = surgeon.sweep(wt, factor, patterned(*sizes), lambda first, last: ())
    else:
        pivots = factor.diagonal()[:, None]
        keep = torch.empty_like(wt, dtype=torch.bool)

        def choose(first: int, last: int) -> tuple[Tensor]:
            if first % surgeon.BLOCK == 0:
                span = slice(first, first + surgeon.BLOCK)
                parts = torch.split((wt[span] / pivots[span]).square(), rows, dim=1)
                keep[span] = torch.cat([keep_largest(part.T, float(values["sparsity"])).T for part in parts], dim=1)
            return (keep[first:last],)

        pruned = surgeon.sweep(wt, factor, given(), choose)
    parts = torch.split(pruned, rows, dim=1)
    return [Solution(part.T.to(weight.dtype).contiguous()) for part, weight in zip(parts, weights, strict=True)]


@cache
def patterned(n: int, m: int) -> surgeon.Recorded:
    """The rule that leaves n of every m columns of a row, chosen when the first of the m is reached."""

    def rule(part: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        pruned, errors = torch.empty_like(part), torch.empty_like(part)
        pivots = factor.diagonal()[:, None]
        for first in range(0, len(part), m):
            span = slice(first, first + m)
            keep = keep_n_of_few((part[span] / pivots[span]).square(), n)
            settle(part, factor, keep, pruned, errors, first)
        return pruned, errors

    return surgeon.Recorded(rule)


@cache
def given() -> surgeon.Recorded:
    """The rule that leaves the weights of a mask  # (k, rows)."""

    def rule(part: Tensor, factor: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        pruned, errors = torch.empty_like(part), torch.empty_like(part)
        settle(part, factor, keep, pruned, errors, 0)
        return pruned, errors

    return surgeon.Recorded(rule)


def settle(part: Tensor, factor: Tensor, keep: Tensor, pruned: Tensor, errors: Tensor, first: int) -> None:
    """Zero what `keep`  # (some, rows) does not keep of the columns from `first` on, and correct all after each."""
    for i, mask in enumerate(keep, start=first):
        torch.mul(part[i], mask, out=pruned[i])
        torch.sub(part[i], pruned[i], out=errors[i]).div_(factor[i, i])
        part[i + 1 :].addr_(factor[i, i + 1 :], errors[i], alpha=-1)

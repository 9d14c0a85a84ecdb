"""Optimal Brain Surgeon, column by column: what GPTQ and SparseGPT share.

A column of W is settled (rounded, or partly zeroed), and the columns after it are moved so that the layer's output
on its inputs changes least: Frantar et al. 2022, Algorithm 1, and Frantar & Alistarh 2023, Algorithm 1. Symbols are
the papers': W a layer's weight, H = 2XXᵀ its Hessian, B the block of lazy batch updates. W is held transposed,
(columns, rows), so that a column is contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from compressors.errors import CompressionError

BLOCK = 128  # B; it moves no result of GPTQ, and is the span in which SparseGPT chooses what to zero
INNER = 32
_SMALL = 128

# Settles a few neighbouring columns, one after the other, correcting those of them that follow: called with their
# weights  # (k, rows), overwritten, their part of U  # (k, k), and what a method prepared for them. Returns what is to
# be kept of each column  # (k, rows), and the errors (w − ŵ)/u  # (k, rows). The same operations wherever the columns
# stand, so that a GPU can record them.
Rule = Callable[..., tuple[Tensor, Tensor]]
# Called with the first and last + 1 of such columns when all corrections of the columns before have reached them, and
# those up to the end of the block; returns what the rule takes beside weights and factor.
Prepare = Callable[[int, int], tuple[Tensor, ...]]


def silence_dead(wt: Tensor, hessian: Tensor) -> None:
    """Zero, in place, the columns whose inputs are always zero, and make their diagonal one."""
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    wt[dead] = 0


def inverse_factor(hessian: Tensor, damp: float, order: Tensor | None = None) -> Tensor:
    """The upper Cholesky factor U of H⁻¹ = UᵀU, with `damp` times the mean diagonal added to H's diagonal first.

    Reversing rows and columns turns H = LLᵀ into H = RRᵀ with R upper triangular; then U = R⁻¹, without ever
    forming H⁻¹, which is less exact. order: the columns' order in U, their own by default. Overwrites H.
    Raises CompressionError when the damped H is not positive definite.
    """
    hessian.diagonal().add_(damp * hessian.diagonal().mean())
    # The widest layers' matrices are what takes most memory: this goes to and fro between two of them.
    other = torch.empty_like(hessian)
    end = torch.arange(len(hessian) - 1, -1, -1, device=hessian.device)
    back = end if order is None else order.flip(0)
    torch.index_select(hessian, 0, back, out=other)
    torch.index_select(other, 1, back, out=hessian)
    failed = torch.empty((), dtype=torch.int32, device=hessian.device)
    torch.linalg.cholesky_ex(hessian, out=(other, failed))
    if failed:
        raise CompressionError(f"the Hessian is not positive definite; raise damp (now {damp:g}) or samples")
    torch.index_select(other, 0, end, out=hessian)
    torch.index_select(hessian, 1, end, out=other)
    invert_upper(other)
    return other


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


def sweep(wt: Tensor, factor: Tensor, rule: Rule, prepare: Prepare, size: int = BLOCK, inner: int = INNER) -> Tensor:
    """Settle all columns in order, correcting those that follow; `wt` is overwritten with corrected weights.

    factor: U of `inverse_factor`. size: columns per lazy batch update. inner: columns per update inside such a
    block, a number that divides it; neither moves a result, and the second keeps what is touched for every column in
    the processor's cache. Returns what the rule keeps of every column  # (columns, rows).
    """
    kept = torch.empty_like(wt)
    for start in range(0, len(wt), size):
        end = min(start + size, len(wt))
        errors = torch.empty_like(wt[start:end])
        for first in range(start, end, inner):
            last = min(first + inner, end)
            settled, wrong = rule(wt[first:last], factor[first:last, first:last], *prepare(first, last))
            kept[first:last], errors[first - start : last - start] = settled, wrong
            wt[last:end].addmm_(factor[first:last, last:end].T, wrong, alpha=-1)
        wt[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return kept


class Recorded:
    """A rule that a GPU records once for every shape, and replays: it takes hundreds of tiny operations a call.

    Launching them one by one costs more time than they take. On a CPU the rule is called as it is. What a call
    returns is overwritten by the next one of the same shapes.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._recordings: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, Tensor]]] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """The rule's result."""
        if not arguments[0].is_cuda:
            return self._rule(*arguments)
        key = tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in arguments)
        if key not in self._recordings:
            self._recordings[key] = self._record(arguments)
        graph, places, results = self._recordings[key]
        for place, tensor in zip(places, arguments, strict=True):
            place.copy_(tensor)
        graph.replay()
        return results

    def _record(
        self, arguments: tuple[Tensor, ...]
    ) -> tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, Tensor]]:
        with torch.cuda.device(arguments[0].device):
            # The first run of an operation may allocate what a recording must not.
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._rule(*(tensor.clone() for tensor in arguments))
            torch.cuda.current_stream().wait_stream(aside)
            places = [tensor.clone(memory_format=torch.contiguous_format) for tensor in arguments]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                results = self._rule(*places)
        return graph, places, results

"""Grids of evenly spaced levels, and weights rounded to them.

A group of weights that share a scale s is stored as codes c and a zero point z, `bits` wide and signed, and
means s · (c − z), as in compressed-tensors. The scale is rounded to the model's dtype before anything is rounded
to the grid, and products are rounded to that dtype as a loader will: what is evaluated is what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from compressors.methods import Values

SHRINKS = 10  # clipping by 0, 1/20, …, 9/20 of the extreme values


@dataclass(frozen=True, slots=True)
class Quantised:
    """A weight matrix on a grid. The last group of a row is shorter where `group` does not divide the columns.

    codes: (rows, columns) int8, from −2^(bits−1) to 2^(bits−1) − 1
    scales: (rows, groups), positive, in the dtype the weight is read in
    zero_points: (rows, groups) int8, in the range of the codes; all zero where `symmetric`
    """

    codes: Tensor
    scales: Tensor
    zero_points: Tensor
    bits: int
    group: int
    symmetric: bool

    def weight(self) -> Tensor:
        """The weights  # (rows, columns) in the dtype of the scales."""
        columns = self.codes.shape[1]
        scales = self.scales.repeat_interleave(self.group, dim=1)[:, :columns]
        zero_points = self.zero_points.repeat_interleave(self.group, dim=1)[:, :columns]
        # Differences of codes are below 256 and so exact in every dtype a model comes in.
        levels = self.codes.to(scales.dtype) - zero_points.to(scales.dtype)
        return levels * scales

    def rows(self, sizes: list[int]) -> list[Quantised]:
        """The layers whose rows were stacked, in order."""
        split = zip(*(torch.split(part, sizes) for part in (self.codes, self.scales, self.zero_points)), strict=True)
        return [replace(self, codes=c, scales=s, zero_points=z) for c, s, z in split]

    def cpu(self) -> Quantised:
        """A copy in the CPU's memory."""
        return replace(self, codes=self.codes.cpu(), scales=self.scales.cpu(), zero_points=self.zero_points.cpu())


class Span(NamedTuple):
    """The levels of one group of every row: scale · q for whole q from `lowest` (≤ 0) to `highest` (≥ 0).

    Each is (rows,) float32; the scale is exact in the model's dtype.
    """

    scale: Tensor
    lowest: Tensor
    highest: Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """The kind of grid that a recipe asks for, in a model of dtype `dtype` with rows of `columns` weights."""

    bits: int
    group: int
    symmetric: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, values: Values, columns: int, dtype: torch.dtype) -> Grid:
        """The grid of a recipe's values; group −1 is the whole row."""
        group = int(values["group"])
        return cls(int(values["bits"]), columns if group == -1 else group, bool(values["sym"]), dtype)

    def fit(self, weights: Tensor) -> Span:
        """The levels of one group of every row, by its extreme weights (min-max)  # weights (size, rows) float32."""
        return self.span(*self.extremes(weights))

    def clip(self, weights: Tensor, loss: Callable[[Tensor], Tensor]) -> Span:
        """The levels of one group of every row that lose least when extreme weights are clipped to them.

        weights: (size, rows) float32. loss: of the errors ŵ − w  # (size, rows) → (rows,). Both ends shrink alike, by
        up to half, in `SHRINKS` steps.
        """
        low, high = self.extremes(weights)
        scratch = torch.empty_like(weights)
        best = torch.ones_like(low)
        least = torch.full_like(low, float("inf"))
        for step in range(SHRINKS):
            keep = 1 - step / (2 * SHRINKS)
            lost = loss(self.round(weights, self.span(low * keep, high * keep), scratch).sub_(weights))
            best[lost < least] = keep
            least = torch.minimum(lost, least)
        return self.span(low * best, high * best)

    def extremes(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest (≤ 0) and highest (≥ 0) weight of a group in every row  # each (rows,)."""
        # Not aminmax, which is ten times as slow along a dimension that is not the last (torch 2.13, CPU).
        return weights.amin(dim=-2).clamp_(max=0), weights.amax(dim=-2).clamp_(min=0)

    def span(self, low: Tensor, high: Tensor) -> Span:
        """The levels that reach from `low` (≤ 0) to `high` (≥ 0)  # each (rows,)."""
        top = 2**self.bits - 1
        if self.symmetric:
            high = torch.maximum(-low, high)
            low = -high
        scale = ((high - low) / top).to(self.dtype).float()
        # A group of zeros, or one that the dtype cannot resolve, rounds to zero under any scale.
        scale = torch.where(scale > 0, scale, 1.0)
        if self.symmetric:
            lowest = torch.full_like(scale, -(2.0 ** (self.bits - 1)))
        else:
            lowest = (low / scale).round().clamp(-top, 0)
        return Span(scale, lowest, lowest + top)

    def nearest(self, wt: Tensor) -> Tensor:
        """All groups rounded to their nearest levels  # wt (columns, rows) float32; returns weights like it."""
        whole = len(wt) // self.group * self.group
        parts = [wt[:whole].view(-1, self.group, wt.shape[1]), wt[None, whole:]]
        found = torch.empty_like(wt)
        for part, out in zip(parts, (found[:whole].view_as(parts[0]), found[None, whole:]), strict=True):
            if part.numel():
                span = Span(*(bound.unsqueeze(-2) for bound in self.fit(part)))
                out.copy_(self.round(part, span, out))
        return found

    def round(self, weights: Tensor, span: Span, levels: Tensor) -> Tensor:
        """Write the nearest levels of weights into `levels`, and return the weights that these mean.

        All are float32 with `rows` as the last axis.
        """
        torch.div(weights, span.scale, out=levels).round_().clamp_(span.lowest, span.highest)
        return (levels * span.scale).to(self.dtype).float()

    def store(self, levels: Tensor, spans: Sequence[Span]) -> Quantised:
        """Codes of levels  # levels (columns, rows) float32; one span per group."""
        half = 2 ** (self.bits - 1)
        scales, below = torch.stack([s.scale for s in spans]), torch.stack([-s.lowest for s in spans])
        spread = below.repeat_interleave(self.group, dim=0)[: len(levels)]
        return Quantised(
            codes=(levels + spread - half).T.to(torch.int8).contiguous(),
            scales=scales.T.to(self.dtype).contiguous(),
            zero_points=(below - half).T.to(torch.int8).contiguous(),
            bits=self.bits,
            group=self.group,
            symmetric=self.symmetric,
        )

"""AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration (Lin et al. 2023).

A few input channels matter most, and their mean magnitude says which. Section 3.2: multiply the columns of W by
s = s_X^α and divide the inputs by s, with s_X the mean magnitude of each input channel, and choose α from a grid so
that ‖Q(W·diag(s))(diag(s)⁻¹X) − WX‖ is least (equations 4 and 5). Then choose for every group of weights how far to
clip its extreme values before it is rounded, by the same error. Nothing else is corrected.

Choices of this module: the error is that of the layers that read X, where the authors' code runs the attention or MLP
behind them. Rounding errors of different columns are as good as independent, so the scales' error needs the inputs'
mean squares alone; errors of clipping are not, so theirs takes the Gram matrix XXᵀ of each group. The output
projection's scales are shared by query heads that read one value head, where the authors' code leaves those layers
alone. Query and key projections are not clipped, as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compressors.errors import CompressionError
from compressors.folds import Fold, find_folds
from compressors.grid import Grid, Quantised
from compressors.layerwise import BlockCall, Solution, Solved, check_finite
from compressors.methods import Values

RATIOS = 20  # α = 0, 1/20, …, 19/20
# Clipping these moves attention scores, which the layers' own error does not show (as in the authors' code).
_NOT_CLIPPED = re.compile(r"(^|[._])(q|k|query|key|qkv|query_key_value|Wqkv|W_pack)(_proj)?$")
# How far a token's output may move when scales are folded in and nothing is rounded yet: the embedded model's move by
# 0.006 at most (bfloat16), and by 0.04 and more where a producer is not divided.
_SAME = 0.02
_CHUNK_TOKENS = 8192


class _Moments:
    """Sums over the tokens that a group of layers reads, float32.

    grams: Σ x xᵀ of each group of `size` columns  # (size, size), the last one maybe smaller.
    magnitude: Σ |x|  # (columns,).
    """

    def __init__(self, columns: int, size: int, device: torch.device) -> None:
        whole, rest = divmod(columns, size)
        self.size = size
        self.tokens = 0
        self.magnitude = torch.zeros(columns, device=device)
        self._whole = torch.zeros(whole, size, size, device=device)
        self._rest = torch.zeros(rest, rest, device=device)

    def add(self, activations: Tensor) -> None:
        """Add tokens  # (tokens, columns)."""
        self.tokens += len(activations)
        self.magnitude += activations.abs().sum(dim=0, dtype=torch.float32)
        cut = len(self._whole) * self.size
        for chunk in torch.split(activations, _CHUNK_TOKENS):
            x = chunk.float()
            parts = x[:, :cut].view(len(x), -1, self.size).transpose(0, 1)  # (groups, tokens, size)
            self._whole.baddbmm_(parts.transpose(1, 2), parts)
            self._rest.addmm_(x[:, cut:].T, x[:, cut:])

    @property
    def grams(self) -> list[Tensor]:
        """XXᵀ by group of columns."""
        return [*self._whole, self._rest] if len(self._rest) else list(self._whole)

    @property
    def squares(self) -> Tensor:
        """Σ x²  # (columns,)."""
        return torch.cat([gram.diagonal() for gram in self.grams])

    def divide(self, scales: Tensor) -> None:
        """Make them those of x / scales  # (columns,)."""
        for gram, part in zip(self.grams, torch.split(scales, self.size), strict=True):
            gram /= part
            gram /= part[:, None]


class Awq:
    """A `layerwise.BlockSolver`."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.folds: dict[str, Fold] | None = None
        self._groups: list[Mapping[str, nn.Linear]] = []
        self._moments: list[_Moments] = []
        self._check: tuple[Callable[[], Tensor], Tensor] | None = None

    def observe(self, call: BlockCall) -> None:
        """Gather what each group of layers of the dense block reads on one lane."""
        if self.folds is None:
            self.folds = {_inside(name, call): fold for name, fold in find_folds(call).items()}
        if not self._moments:
            self._groups = list(call.groups)
            self._moments = [self._no_moments(next(iter(group.values()))) for group in call.groups]
        with ExitStack() as hooks:
            for group, moments in zip(call.groups, self._moments, strict=True):

                def read(_: nn.Module, arguments: tuple[Any, ...], moments: _Moments = moments) -> None:
                    moments.add(arguments[0].flatten(0, -2))

                hooks.callback(next(iter(group.values())).register_forward_pre_hook(read).remove)
            output = call.run()
        if self._check is None:
            self._check = call.run, output

    def solve(self, block: nn.Module, layers: Mapping[str, nn.Linear]) -> Solved:
        """Scale all groups, clip and round all layers, and put the result into the block."""
        assert self.folds is not None
        assert self._check is not None
        check_finite(", ".join(layers), [layer.weight for layer in layers.values()], [])
        dense = {name: layer.weight.detach().float() for name, layer in layers.items()}
        moved = dict(dense)
        inside = {id(module): name for name, module in block.named_modules()}
        producers: dict[str, Fold] = {}
        for group, moments in zip(self._groups, self._moments, strict=True):
            if not moments.magnitude.sum().isfinite():
                raise CompressionError("its inputs overflow; use a model in bfloat16 or float32")
            fold = self.folds.get(inside[id(next(iter(group.values())))])
            if fold is not None:
                self._scale(block, group, moments, fold, moved, inside)
                producers[fold.producer] = fold
        for name, layer in layers.items():
            layer.weight.data.copy_(moved[name])
        self._verify()
        solved = Solved()
        for group, moments in zip(self._groups, self._moments, strict=True):
            for name, layer in group.items():
                clip = bool(self.values["clip"]) and not _NOT_CLIPPED.search(name)
                quantised = quantise(moved[name], moments.grams if clip else None, self._grid(layer))
                layer.weight.data.copy_(quantised.weight())
                solved.layers[name] = Solution(layer.weight.data, quantised)
        prefix = next(iter(layers)).removesuffix(inside[id(next(iter(layers.values())))])
        for producer in producers:
            for part, parameter in block.get_submodule(producer).named_parameters():
                full = f"{prefix}{producer}.{part}"
                if full.removesuffix(".weight") not in layers:
                    solved.changed[full] = parameter.data
        self._groups, self._moments, self._check = [], [], None
        return solved

    def _no_moments(self, layer: nn.Linear) -> _Moments:
        return _Moments(layer.weight.shape[1], min(self._grid(layer).group, layer.weight.shape[1]), layer.weight.device)

    def _grid(self, layer: nn.Linear) -> Grid:
        return Grid.of(self.values, layer.weight.shape[1], layer.weight.dtype)

    def _scale(
        self,
        block: nn.Module,
        group: Mapping[str, nn.Linear],
        moments: _Moments,
        fold: Fold,
        moved: dict[str, Tensor],
        inside: Mapping[int, str],
    ) -> None:
        """Find the scales of a group's inputs, and move weights, producer and moments accordingly."""
        weights = [moved[name] for name in group]
        grid = self._grid(next(iter(group.values())))
        mean = _shared(moments.magnitude / moments.tokens, fold)
        scales = best_scales(weights, moments.squares, mean, grid, fold.source)
        producer = next((name for name in moved if name.endswith(f".{fold.producer}")), None)
        if producer is None:
            scales = fold.divide(block, scales)
        else:
            # A layer of this block: its weight is divided in float32, and rounded only to its own grid.
            moved[producer] = moved[producer] / scales[:, None]
            bias = getattr(block.get_submodule(fold.producer), "bias", None)
            if bias is not None:
                bias.data.copy_(bias.data.float() / scales)
        columns = scales[fold.source]
        for name in group:
            moved[name] = moved[name] * columns
        moments.divide(columns)

    def _verify(self) -> None:
        """Raise CompressionError unless the scaled block, nothing rounded yet, does what the dense one did."""
        assert self._check is not None
        run, dense = self._check
        # The median token: the first one is often hundreds of times as large as all others, and would hide them.
        distances = (run().float() - dense.float()).norm(dim=-1) / dense.float().norm(dim=-1)
        moved = float(distances.median())
        if not moved < _SAME:
            raise CompressionError(
                f"scaling its layers' inputs moved its output by {moved:.0%}; AWQ cannot compress this architecture"
            )


def _inside(name: str, call: BlockCall) -> str:
    layer = next(group[name] for group in call.groups if name in group)
    inside: str = next(inner for inner, module in call.block.named_modules() if module is layer)
    return inside


def _shared(magnitude: Tensor, fold: Fold) -> Tensor:
    """Mean magnitudes by output of the producer  # (outputs,), from those by input column."""
    outputs = int(fold.source.max()) + 1
    total = torch.zeros(outputs, device=magnitude.device).index_add_(0, fold.source, magnitude)
    return total / torch.bincount(fold.source, minlength=outputs)


def best_scales(weights: list[Tensor], squares: Tensor, mean: Tensor, grid: Grid, source: Tensor) -> Tensor:
    """The scales s_X^α  # (outputs,) with the least error of all layers that read X (equation 5).

    weights: (rows_i, columns) float32. squares: Σ x²  # (columns,). mean: s_X  # (outputs,). source: output by column.
    """
    best, least = torch.ones_like(mean), float("inf")
    # Rows do not influence each other on the grid, so the layers are one tall matrix.
    wt = torch.cat([weight.T for weight in weights], dim=1)  # (columns, rows)
    for step in range(RATIOS):
        scales = mean.clamp(min=1e-4) ** (step / RATIOS)
        scales = scales / (scales.max() * scales.min()).sqrt()
        columns = scales[source][:, None]
        moved = wt * columns
        errors = grid.nearest(moved).sub_(moved).square_().sum(dim=1)  # (columns,)
        loss = float(errors @ (squares / columns[:, 0].square()))
        if loss < least:
            best, least = scales, loss
    return best


def quantise(weight: Tensor, grams: Sequence[Tensor] | None, grid: Grid) -> Quantised:
    """Round a weight  # (rows, columns) float32 to its grid.

    grams: XXᵀ by group, to clip each group's extremes as far as lessens ‖(Q(w) − w)X‖; None clips nothing.
    """
    wt = weight.T.contiguous()
    levels = torch.empty_like(wt)
    spans = []
    for index, (part, out) in enumerate(zip(torch.split(wt, grid.group), torch.split(levels, grid.group), strict=True)):
        spans.append(grid.fit(part) if grams is None else grid.clip(part, partial(_output_error, grams[index])))
        grid.round(part, spans[-1], out)
    return grid.store(levels, spans)


def _output_error(gram: Tensor, errors: Tensor) -> Tensor:
    """‖(ŵ − w)X‖² by row  # (rows,), for a group's errors  # (size, rows)."""
    return (errors * (gram @ errors)).sum(dim=0)

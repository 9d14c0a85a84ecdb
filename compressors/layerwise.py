"""Walk the decoder blocks once and hand every linear layer to a method.

The whole calibration batch goes through the model in one forward pass. Just before a linear layer runs, its
weight is compressed with the inputs it is about to see, so every layer sees the activations of the compressed
layers before it, inside a block as well as between blocks ("true sequential" in the GPTQ authors' code). Layers
that read the same tensor (query, key and value; gate and up) are solved together and share its statistics.

Embeddings, norms and the output head stay dense. Memory beyond the model: one block's activations for the whole
batch (samples × length tokens), and the solutions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from compressors.errors import CompressionError
from compressors.grid import Quantised
from compressors.methods import Values, find_method
from compressors.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[int, int, str], None]

_CHUNK_TOKENS = 8192


class Inputs:
    """What a group of linear layers reads: `activations`  # (tokens, columns), in the model's dtype."""

    def __init__(self, activations: Tensor) -> None:
        self.activations = activations

    @cached_property
    def hessian(self) -> Tensor:
        """H = 2/T · Σ x xᵀ  # (columns, columns), float32: GPTQ's and SparseGPT's layer-wise second derivative."""
        tokens, columns = self.activations.shape
        hessian = torch.zeros(columns, columns, device=self.activations.device)
        for chunk in torch.split(self.activations, _CHUNK_TOKENS):
            x = chunk.float()
            hessian.addmm_(x.T, x, alpha=2 / tokens)
        return hessian

    @cached_property
    def norms(self) -> Tensor:
        """‖x_j‖₂ over all tokens, per input column  # (columns,), float32."""
        squares = sum(chunk.float().square().sum(dim=0) for chunk in torch.split(self.activations, _CHUNK_TOKENS))
        assert isinstance(squares, Tensor)
        return squares.sqrt()


@dataclass(frozen=True, slots=True)
class Solution:
    """A layer's compressed weight  # (rows, columns) in the model's dtype, and its codes where it has some."""

    weight: Tensor
    quantised: Quantised | None = None


class Solver(Protocol):
    """A compression method's mathematics."""

    def __call__(self, weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
        """Compress the weights  # (rows_i, columns) of layers that read the same inputs.

        Solvers leave `weights` unchanged. `inputs` is None for methods that look at no data. Raises
        CompressionError, without the layers' names, when the numbers do not allow it.
        """


def compress_layers(
    model: PreTrainedModel, recipe: Recipe, batch: Tensor | None, progress: Progress | None = None
) -> dict[str, Solution]:
    """Compress the linear layers of all decoder blocks, in place; returns solutions by module name, on the CPU.

    batch: token ids  # (samples, length), None for methods that look at no data.
    progress: called with (blocks done, blocks in all, block's name).
    Raises CompressionError naming the layer when a layer cannot be compressed.
    """
    method = find_method(recipe.method)
    if method.calibrated == (batch is None):
        raise CompressionError(f"recipe '{recipe}': a calibration batch is {'missing' if batch is None else 'unused'}")
    module, _, attribute = method.solver.partition(":")
    solver: Solver = getattr(importlib.import_module(module), attribute)
    prefix, blocks = decoder_blocks(model)
    walk = _Walk(solver, recipe.parameters, {})
    with torch.no_grad():
        if batch is None:
            for index, block in enumerate(blocks):
                for name, layer in linear_layers(block, f"{prefix}.{index}").items():
                    walk.solve({name: layer}, None)
                _report(progress, index, len(blocks), prefix)
        else:
            walk.forward(model, prefix, blocks, batch, progress)
    return walk.solutions


@dataclass(frozen=True, slots=True)
class _Walk:
    solver: Solver
    values: Values
    solutions: dict[str, Solution]

    def solve(self, layers: Mapping[str, nn.Linear], inputs: Inputs | None) -> None:
        """Compress layers that share `inputs` and put their new weights into the model."""
        names = ", ".join(layers)
        weights = [layer.weight.detach() for layer in layers.values()]
        if not all(torch.isfinite(weight).all() for weight in weights):
            raise CompressionError(f"layer {names}: the dense weights hold NaN or infinity; the model is damaged")
        # A sum is finite exactly when all its terms are, and takes a tenth of the time of looking at each.
        if inputs is not None and not inputs.activations.sum(dtype=torch.float32).isfinite():
            raise CompressionError(f"layer {names}: its inputs overflow; use a model in bfloat16 or float32")
        try:
            solved = self.solver(weights, inputs, self.values)
        except CompressionError as error:
            raise CompressionError(f"layer {names}: {error}") from error
        for (name, layer), solution in zip(layers.items(), solved, strict=True):
            layer.weight.data.copy_(solution.weight)
            quantised = solution.quantised.cpu() if solution.quantised is not None else None
            # A quantised weight is its codes; a second dense copy of the model would only cost memory.
            weight = solution.weight.cpu() if quantised is None else torch.empty(0)
            self.solutions[name] = Solution(weight, quantised)

    def forward(
        self, model: PreTrainedModel, prefix: str, blocks: nn.ModuleList, batch: Tensor, progress: Progress | None
    ) -> None:
        """Run the batch through the model; hooks compress each layer as its inputs arrive."""
        groups = layers_by_input(model, prefix, blocks, batch[:1, :8])
        with ExitStack() as hooks:
            for group in groups:
                first = next(iter(group.values()))

                def arrive(_: nn.Module, arguments: tuple[Any, ...], group: dict[str, nn.Linear] = group) -> None:
                    self.solve(group, Inputs(arguments[0].flatten(0, -2)))

                hooks.callback(first.register_forward_pre_hook(arrive).remove)
            for index, block in enumerate(blocks):

                def leave(_: nn.Module, __: Any, ___: Any, index: int = index) -> None:
                    _report(progress, index, len(blocks), prefix)

                hooks.callback(block.register_forward_hook(leave).remove)
            model.base_model(input_ids=batch.to(model.device), use_cache=False)


def _report(progress: Progress | None, index: int, total: int, prefix: str) -> None:
    if progress is not None:
        progress(index + 1, total, f"{prefix}.{index}")


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of decoder blocks, with its dotted name (`model.layers`).

    Raises CompressionError when no list of modules is as long as the configuration says the model is deep.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config(decoder=True) if config is not None else None
    depth = getattr(text, "num_hidden_layers", None)
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise CompressionError(
            f"{type(model).__name__}: found no list of {depth} decoder blocks such as model.layers; "
            "this architecture cannot be compressed here"
        )
    return min(lists, key=lambda found: found[0].count("."))


def linear_layers(block: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """The linear layers of a block by full name, in definition order.

    Raises CompressionError when the block holds weight matrices that are no plain linear layers (experts of a
    mixture, already quantised layers): leaving those dense unsaid would make a false compressed model.
    """
    layers = {f"{prefix}.{name}": m for name, m in block.named_modules() if type(m) is nn.Linear}
    covered = {id(layer.weight) for layer in layers.values()}
    for name, parameter in block.named_parameters():
        if parameter.ndim >= 2 and id(parameter) not in covered:
            raise CompressionError(
                f"layer {prefix}.{name}: shape {tuple(parameter.shape)}, not the weight of an nn.Linear; "
                "this architecture cannot be compressed here"
            )
    if not layers:
        raise CompressionError(
            f"block {prefix}: holds no nn.Linear; give a dense checkpoint that is not compressed yet"
        )
    return layers


def layers_by_input(
    model: PreTrainedModel, prefix: str, blocks: nn.ModuleList, tokens: Tensor
) -> list[dict[str, nn.Linear]]:
    """The blocks' linear layers in the order they run, those that read one and the same tensor together.

    tokens: a few token ids  # (1, n), run through the model once to see who reads what.
    Raises CompressionError when a layer does not run exactly once.
    """
    layers: dict[str, nn.Linear] = {}
    for index, block in enumerate(blocks):
        layers |= linear_layers(block, f"{prefix}.{index}")
    calls: list[tuple[str, Tensor]] = []
    with ExitStack() as hooks:
        for name, layer in layers.items():

            def arrive(_: nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
                # Holding the tensor keeps its identity from being given to a later one.
                calls.append((name, arguments[0]))

            hooks.callback(layer.register_forward_pre_hook(arrive).remove)
        model.base_model(input_ids=tokens.to(model.device), use_cache=False)
    for name in layers:
        count = sum(called == name for called, _ in calls)
        if count != 1:
            raise CompressionError(
                f"layer {name}: ran {count} times in one forward pass; only layers that run once can"
            )
    groups: dict[int, dict[str, nn.Linear]] = {}
    for name, tensor in calls:
        groups.setdefault(id(tensor), {})[name] = layers[name]
    return list(groups.values())

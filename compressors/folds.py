"""Who can undo a scaling of what linear layers read: the norm before them, or the rows of a layer before them.

AWQ multiplies the columns of a weight by s and divides its inputs by s. The division costs nothing where whatever
produces the inputs can do it: a norm's weight, the value projection before the output projection, the up projection
before the down projection. Which module that is differs between architectures, so it is not listed here but found
out: a candidate is scaled by powers of two, which is exact in floating point, and believed if the layers' inputs
follow exactly and nothing else in the block moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressors.layerwise import BlockCall

# Scaling by powers of two moves nothing but an offset norm's (1 + w) − 1, by its last bits, which in bfloat16 are many.
_EXACT = 2e-3
_EXACT_OFFSET = 2e-2


@dataclass(frozen=True, slots=True)
class Fold:
    """How to divide the inputs of a group of layers by a scale each.

    producer: module name inside the block. source: which output of the producer an input column comes from
    # (columns,); several columns share one where query heads share a value head. offset: a norm that multiplies by
    1 + weight.
    """

    producer: str
    source: Tensor
    offset: bool = False

    def divide(self, block: nn.Module, scales: Tensor) -> Tensor:
        """Divide the producer's outputs by `scales`  # (outputs,) float32, positive, in place.

        Returns the division that really happened after rounding to the producer's dtype  # (outputs,) float32.
        """
        module = block.get_submodule(self.producer)
        weight = module.weight.data
        assert isinstance(weight, Tensor)
        old = weight.float() + int(self.offset)
        divided = old / (scales if weight.ndim == 1 else scales[:, None])
        weight.copy_(divided - int(self.offset))
        bias = getattr(module, "bias", None)
        if bias is not None:
            bias.data.copy_(bias.data.float() / scales)
        if weight.ndim > 1:
            return scales
        new = weight.float() + int(self.offset)
        return torch.where(new != 0, old / new, scales)


def find_folds(call: BlockCall) -> dict[str, Fold]:
    """Folds by the full name of a group's first layer; groups whose inputs nobody can divide are absent."""
    block, groups = call.block, call.groups
    names = {id(module): name for name, module in block.named_modules()}
    before = _observed(call)
    folds = {}
    earlier: list[str] = []
    for group in groups:
        first = next(iter(group))
        columns = next(iter(group.values())).weight.shape[1]
        for fold in _candidates(block, before, first, columns, list(reversed(earlier))):
            if _holds(call, group, first, fold, before):
                folds[first] = fold
                break
        earlier += [names[id(layer)] for layer in group.values()]
    return folds


@dataclass(frozen=True, slots=True)
class _Observed:
    """One pass: what each group's first layer read, which norm made it, and what came out of the block."""

    inputs: dict[str, Tensor]
    norms: dict[str, str]
    output: Tensor


def _observed(call: BlockCall) -> _Observed:
    inputs: dict[str, Tensor] = {}
    produced: list[tuple[str, Tensor]] = []
    with ExitStack() as hooks:
        for group in call.groups:
            first, layer = next(iter(group.items()))

            def read(_: nn.Module, arguments: tuple[Any, ...], first: str = first) -> None:
                inputs[first] = arguments[0]

            hooks.callback(layer.register_forward_pre_hook(read).remove)
        for name, module in call.block.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim == 1:

                def made(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                    produced.append((name, output))

                hooks.callback(module.register_forward_hook(made).remove)
        output = call.run()
    norms = {first: name for first, tensor in inputs.items() for name, made_ in produced if made_ is tensor}
    return _Observed(inputs, norms, output)


def _candidates(
    block: nn.Module, observed: _Observed, first: str, columns: int, earlier: Sequence[str]
) -> Iterator[Fold]:
    """Modules that may produce what a layer reads, the likeliest first."""
    device = observed.output.device
    straight = torch.arange(columns, device=device)
    if first in observed.norms:
        yield Fold(observed.norms[first], straight)
        yield Fold(observed.norms[first], straight, offset=True)
        return
    heads = {size for m in block.modules() if isinstance(size := getattr(m, "head_dim", None), int)}
    for name in earlier:
        rows = len(block.get_submodule(name).weight)  # type: ignore[arg-type]  # names of linear layers
        if rows == columns:
            yield Fold(name, straight)
        elif rows < columns and columns % rows == 0:
            for size in sorted(heads):
                if rows % size == 0:
                    # Grouped queries: head h of the output projection's input comes from value head h // repeats.
                    head, place = straight // size, straight % size
                    yield Fold(name, head // (columns // rows) * size + place)


def _holds(call: BlockCall, group: Mapping[str, nn.Linear], first: str, fold: Fold, before: _Observed) -> bool:
    """Whether dividing the producer's outputs divides the group's inputs, and changes nothing else."""
    outputs = int(fold.source.max()) + 1
    generator = torch.Generator().manual_seed(0)
    powers = torch.randint(-1, 2, (outputs,), generator=generator)
    scales = (2.0**powers).to(fold.source.device)
    with _unchanged([call.block.get_submodule(fold.producer), *group.values()]):
        fold.divide(call.block, scales)
        for layer in group.values():
            layer.weight.data.mul_(scales[fold.source])
        after = _observed(call)
    most = _EXACT_OFFSET if fold.offset else _EXACT
    for name, tensor in before.inputs.items():
        expected = tensor.float() / (scales[fold.source] if name == first else 1)
        if _distance(after.inputs[name].float(), expected) > most:
            return False
    return _distance(after.output.float(), before.output.float()) <= most


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


@contextmanager
def _unchanged(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put the modules' parameters back at the end."""
    kept = [(parameter, parameter.data.clone()) for module in modules for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, values in kept:
            parameter.data.copy_(values)

"""Walk the decoder blocks once and hand every linear layer to a method.

The calibration sequences go through the model once, a few at a time: each lane of sequences is one forward pass that
waits for all the others before every group of linear layers that read the same tensor. When all have arrived, the
group's weights are compressed with the inputs that they are about to see, and the lanes go on. So every layer sees
the activations of the compressed layers before it, inside a block as well as between blocks ("true sequential" in
the GPTQ authors' code), layers with one input share its statistics, and no forward pass is run twice.

A `Stage` gives a block its weights when the first lane enters it and takes the result when the last one leaves, so
only the blocks at hand need memory, beside the activations of all sequences at one place of the model (about
samples × length × (4 × hidden size + MLP size) numbers). The lanes are greenlets: they keep their place in the
model's own code, whatever the architecture, and run in one thread, one at a time, in a fixed order.

Embeddings and norms stay dense, and so does the output head unless the recipe says `lm_head=true`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor, nn

from compressors.errors import CompressionError
from compressors.grid import Quantised
from compressors.methods import Values, find_method
from compressors.offered import load_solver
from compressors.recipe import Recipe
from compressors.structure import by_input, decoder_blocks, device_of, head_of, linear_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[int, int, str], None]

# Tokens of one lane: enough to keep the device busy, few enough that a block's own intermediate results are small
# beside what has to wait.
LANE_TOKENS = {"cpu": 2048, "cuda": 16384}
_CHUNK_TOKENS = 8192
_STRIPE = 256


class Inputs:
    """What a group of linear layers reads: activations by lane  # (tokens, columns), in the model's dtype."""

    def __init__(self, activations: Sequence[Tensor]) -> None:
        self.activations = activations
        self.tokens = sum(len(part) for part in activations)

    @cached_property
    def hessian(self) -> Tensor:
        """H = 2/T · Σ x xᵀ  # (columns, columns), float32: GPTQ's and SparseGPT's layer-wise second derivative."""
        first = self.activations[0]
        hessian = torch.zeros(first.shape[1], first.shape[1], device=first.device)
        for part in self.activations:
            add_gram(hessian, part)
        return mirror(hessian).mul_(2 / self.tokens)

    def take_hessian(self) -> Tensor:
        """The Hessian, for a solver to overwrite: it is the largest thing in memory and kept nowhere else."""
        hessian = self.hessian
        del self.hessian
        return hessian

    @cached_property
    def norms(self) -> Tensor:
        """‖x_j‖₂ over all tokens, per input column  # (columns,), float32."""
        chunks = (chunk for part in self.activations for chunk in torch.split(part, _CHUNK_TOKENS))
        squares = sum(chunk.float().square().sum(dim=0) for chunk in chunks)
        assert isinstance(squares, Tensor)
        return squares.sqrt()


def add_gram(gram: Tensor, activations: Tensor) -> None:
    """Add Σ x xᵀ to the lower triangle of `gram`  # (columns, columns) float32, in place; see `mirror`."""
    for chunk in torch.split(activations, _CHUNK_TOKENS):
        if chunk.is_cuda and chunk.dtype in (torch.bfloat16, torch.float16):
            # Products of 16-bit numbers are exact in float32, in which tensor cores add them up.
            gram += torch.mm(chunk.T, chunk, out_dtype=torch.float32)
            continue
        x = chunk.float()
        for start in range(0, len(gram), _STRIPE):
            strip = x[:, start : start + _STRIPE]
            gram[start:, start : start + _STRIPE].addmm_(x[:, start:].T, strip)


def mirror(gram: Tensor) -> Tensor:
    """Fill the upper triangle from the lower one, in place; returns `gram`."""
    for start in range(0, len(gram), _STRIPE):
        end = start + _STRIPE
        gram[start:end, end:] = gram[end:, start:end].T
    return gram


@dataclass(frozen=True, slots=True)
class Solution:
    """A layer's compressed weight  # (rows, columns) in the model's dtype, and its codes where it has some."""

    weight: Tensor
    quantised: Quantised | None = None


@dataclass(frozen=True, slots=True)
class Solved:
    """What became of a block (or the head): solutions by module name, and other parameters that were changed."""

    layers: dict[str, Solution] = field(default_factory=dict)
    changed: dict[str, Tensor] = field(default_factory=dict)


class Solver(Protocol):
    """A compression method's mathematics, for methods that solve one group of layers after the other."""

    def __call__(self, weights: Sequence[Tensor], inputs: Inputs | None, values: Values) -> list[Solution]:
        """Compress the weights  # (rows_i, columns) of layers that read the same inputs.

        Solvers leave `weights` unchanged. `inputs` is None for methods that look at no data. Raises
        CompressionError, without the layers' names, when the numbers do not allow it.
        """


class BlockSolver(Protocol):
    """The mathematics of a method that has to know a whole dense block before it changes any of its layers.

    A method names the class; each walk makes one object of it, from the recipe's values.
    """

    def observe(self, call: BlockCall) -> None:
        """Look at one lane's way through the dense block; may run it."""

    def solve(self, block: nn.Module, layers: Mapping[str, nn.Linear]) -> Solved:
        """Compress the block, in place, after all lanes were observed. Names are full module names."""


@dataclass(frozen=True, slots=True)
class BlockCall:
    """One lane at the door of a block. `groups` are the layers that share an input, in the order they run."""

    block: nn.Module
    groups: Sequence[Mapping[str, nn.Linear]]
    run: Callable[[], Tensor]
    """Run the block on this lane's input, without effect on the walk; returns its output hidden states."""


class Stage(Protocol):
    """Where blocks come from and where they go."""

    def enter(self, name: str, module: nn.Module) -> bool:
        """Give a block or the head its weights. True when these are compressed already, by an earlier run."""

    def leave(self, name: str, module: nn.Module, solved: Solved) -> None:
        """Take the result and, where memory is short, the weights."""


class InMemory:
    """The stage of a model that is loaded whole: nothing to fetch, and results are kept."""

    def __init__(self) -> None:
        self.solved = Solved()

    def enter(self, name: str, module: nn.Module) -> bool:
        """The weights are there."""
        return False

    def leave(self, name: str, module: nn.Module, solved: Solved) -> None:
        """Keep the solutions, on the CPU."""
        for layer, solution in solved.layers.items():
            quantised = solution.quantised.cpu() if solution.quantised is not None else None
            self.solved.layers[layer] = Solution(solution.weight.cpu(), quantised)
        self.solved.changed.update({parameter: tensor.cpu() for parameter, tensor in solved.changed.items()})


def compress_layers(
    model: PreTrainedModel, recipe: Recipe, sequences: Sequence[Tensor] | None, progress: Progress | None = None
) -> dict[str, Solution]:
    """Compress a loaded model's layers, in place; returns solutions by module name, on the CPU. See `walk`."""
    stage = InMemory()
    walk(model, recipe, sequences, stage, progress)
    return stage.solved.layers


def walk(
    model: PreTrainedModel,
    recipe: Recipe,
    sequences: Sequence[Tensor] | None,
    stage: Stage,
    progress: Progress | None = None,
) -> None:
    """Compress the linear layers of all decoder blocks, in place, and the head where the recipe says so.

    sequences: token ids  # each (length,), None for methods that look at no data.
    progress: called with (blocks done, blocks in all, block's name).
    Raises CompressionError naming the layer when a layer cannot be compressed.
    """
    method = find_method(recipe.method)
    if method.calibrated == (sequences is None):
        missing = "missing" if sequences is None else "unused"
        raise CompressionError(f"recipe '{recipe}': a calibration batch is {missing}")
    solver = load_solver(method)
    if isinstance(solver, type):
        solver = solver(recipe.parameters)
    prefix, blocks = decoder_blocks(model)
    names = [f"{prefix}.{index}" for index in range(len(blocks))]
    head = head_of(model) if recipe.parameters.get("lm_head") else None
    walker = _Walk(solver, recipe.parameters, stage, _Counter(progress, len(names) + (head is not None)))
    with torch.no_grad():
        if sequences is None:
            for name, block in zip(names, blocks, strict=True):
                walker.alone(name, block, linear_layers(block, name))
            if head is not None:
                walker.alone(head[0], head[1], dict([head]))
        else:
            walker.together(model, dict(zip(names, blocks, strict=True)), head, lanes(sequences, device_of(model)))


def lanes(sequences: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Token ids  # each (sequences, length): neighbours of equal length together, as many as a lane takes."""
    most = LANE_TOKENS.get(device.type, LANE_TOKENS["cpu"])
    found: list[list[Tensor]] = []
    for sequence in sequences:
        last = found[-1] if found else []
        if last and len(last[0]) == len(sequence) and (len(last) + 1) * len(sequence) <= most:
            last.append(sequence)
        else:
            found.append([sequence])
    return [torch.stack(lane).to(device) for lane in found]


@dataclass(slots=True)
class _Counter:
    report: Progress | None
    total: int
    done: int = 0

    def step(self, name: str) -> None:
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total, name)


@dataclass(slots=True)
class _Walk:
    """The state of one walk. `mode` tells the hooks whether lanes wait for each other or only look around."""

    solver: Any
    values: Values
    stage: Stage
    counter: _Counter
    solved: Solved = field(default_factory=Solved)
    finished: bool = False
    mode: str = "walk"
    order: list[list[str]] = field(default_factory=list)
    arrived: list[Tensor] = field(default_factory=list)
    read: dict[object, weakref.ref[Tensor]] = field(default_factory=dict)
    seen: list[tuple[str, Tensor]] = field(default_factory=list)

    def alone(self, name: str, module: nn.Module, layers: Mapping[str, nn.Linear]) -> None:
        """Compress layers that need no inputs, one by one."""
        self.enter(name, module)
        if not self.finished:
            for layer_name, layer in layers.items():
                self.solve({layer_name: layer}, None)
        self.leave(name, module)

    def enter(self, name: str, module: nn.Module) -> None:
        self.solved = Solved()
        self.finished = self.stage.enter(name, module)

    def leave(self, name: str, module: nn.Module) -> None:
        self.stage.leave(name, module, self.solved)
        self.counter.step(name)

    def solve(self, layers: Mapping[str, nn.Linear], inputs: Inputs | None) -> None:
        """Compress layers that share `inputs` and put their new weights into the model."""
        names = ", ".join(layers)
        weights = [layer.weight.detach() for layer in layers.values()]
        check_finite(names, weights, inputs.activations if inputs is not None else ())
        try:
            solved = self.solver(weights, inputs, self.values)
        except CompressionError as error:
            raise CompressionError(f"layer {names}: {error}") from error
        for (name, layer), solution in zip(layers.items(), solved, strict=True):
            layer.weight.data.copy_(solution.weight)
            self.solved.layers[name] = solution

    def together(
        self,
        model: PreTrainedModel,
        blocks: Mapping[str, nn.Module],
        head: tuple[str, nn.Linear] | None,
        batches: Sequence[Tensor],
    ) -> None:
        """Send all lanes through the model; they wait for each other where something is to be done for all."""

        def forward(tokens: Tensor) -> None:
            hidden = model.base_model(input_ids=tokens, use_cache=False)[0]
            if head is not None:
                self.arrived.append(hidden.flatten(0, -2))
                self._wait(partial(self._solve_head, *head))

        with ExitStack() as hooks:
            for name, block in blocks.items():
                self._hook(hooks, name, block)
            fibres = [greenlet(partial(forward, batch)) for batch in batches]
            while True:
                # Each lane runs until it waits; what it waits for is the same for all, and done once.
                waiting = [fibre.switch() for fibre in fibres]
                if all(fibre.dead for fibre in fibres):
                    return
                waiting[0]()

    def _wait(self, task: Callable[[], None]) -> None:
        parent = getcurrent().parent
        assert parent is not None
        parent.switch(task)

    def _hook(self, hooks: ExitStack, name: str, block: nn.Module) -> None:
        layers = linear_layers(block, name)

        def enter(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if self.mode == "walk":
                self._wait(partial(self.enter, name, block))
                self._look(name, block, layers, lambda: block(*arguments, **keywords))

        def leave(_: nn.Module, __: Any, ___: Any) -> None:
            if self.mode == "walk":
                self._wait(partial(self.leave, name, block))

        def arrive(_: nn.Module, arguments: tuple[Any, ...], layer: str) -> None:
            self._arrive(layer, arguments[0], name, layers)

        hooks.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
        hooks.callback(block.register_forward_hook(leave).remove)
        for layer, linear in layers.items():
            hooks.callback(linear.register_forward_pre_hook(partial(arrive, layer=layer)).remove)

    def _look(self, name: str, block: nn.Module, layers: Mapping[str, nn.Linear], run: Callable[[], Any]) -> None:
        """What one lane does at a block's door: see which layers share an input, and show it to a block solver."""
        relative = {layer.removeprefix(f"{name}."): layer for layer in layers}
        if not self.order or {part for group in self.order for part in group} != relative.keys():
            with self._looking():
                run()
                self.order = [
                    [layer.removeprefix(f"{name}.") for layer in group] for group in by_input(self.seen, layers)
                ]
        if self.finished or not hasattr(self.solver, "observe"):
            return

        def output() -> Tensor:
            with self._looking():
                found = run()
            return found if isinstance(found, Tensor) else found[0]

        groups = [{relative[part]: layers[relative[part]] for part in group} for group in self.order]
        self.solver.observe(BlockCall(block, groups, output))
        self._wait(partial(self._solve_block, name, block, layers))

    @contextmanager
    def _looking(self) -> Iterator[None]:
        self.mode = "look"
        try:
            yield
        finally:
            self.mode = "walk"
            self.seen.clear()

    def _arrive(self, layer: str, tensor: Tensor, block: str, layers: Mapping[str, nn.Linear]) -> None:
        """A lane is about to run a linear layer."""
        if self.mode == "look":
            # Holding the tensor keeps its identity from being given to a later one.
            self.seen.append((layer, tensor))
            return
        part = layer.removeprefix(f"{block}.")
        group = next(group for group in self.order if part in group)
        reader = getcurrent(), group[0]
        if part == group[0]:
            self.read[reader] = weakref.ref(tensor)
            if not self.finished and not hasattr(self.solver, "observe"):
                self.arrived.append(tensor.flatten(0, -2))
                names = [f"{block}.{other}" for other in group]
                self._wait(partial(self._solve_group, {name: layers[name] for name in names}))
        elif self.read[reader]() is not tensor:
            raise CompressionError(
                f"layer {layer}: does not read what {block}.{group[0]} reads, though it does in the first block; "
                "this architecture cannot be compressed here"
            )

    def _solve_group(self, layers: Mapping[str, nn.Linear]) -> None:
        try:
            self.solve(layers, Inputs(self.arrived))
        finally:
            self.arrived = []

    def _solve_block(self, name: str, block: nn.Module, layers: Mapping[str, nn.Linear]) -> None:
        try:
            self.solved = self.solver.solve(block, layers)
        except CompressionError as error:
            raise CompressionError(f"block {name}: {error}") from error

    def _solve_head(self, name: str, head: nn.Linear) -> None:
        self.enter(name, head)
        if not self.finished:
            self._solve_group({name: head})
        self.arrived = []
        self.leave(name, head)


def check_finite(names: str, weights: Sequence[Tensor], activations: Sequence[Tensor]) -> None:
    """Raise CompressionError when weights or inputs hold NaN or infinity."""
    # A sum is finite exactly when all its terms are, and takes a tenth of the time of looking at each.
    if not all(weight.sum(dtype=torch.float32).isfinite() for weight in weights):
        raise CompressionError(f"layer {names}: the dense weights hold NaN or infinity; the model is damaged")
    if not all(part.sum(dtype=torch.float32).isfinite() for part in activations):
        raise CompressionError(f"layer {names}: its inputs overflow; use a model in bfloat16 or float32")

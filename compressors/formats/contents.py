"""A checkpoint's tensors sorted: layers of decoder blocks, the output head, and everything else.

Nothing is read but headers, until a layer is asked for; then it alone is in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from compressors.checkpoint import opened, tensor_files
from compressors.formats.read import HEAD, IN_BLOCK

if TYPE_CHECKING:
    from torch import Tensor


class Block(NamedTuple):
    """Where a layer is: `model.layers`, 11, `mlp.up_proj`."""

    stack: str
    number: int
    rest: str


class Contents:
    """Tensors of safetensors files, by layer and part, read when asked for.

    layers: names of the weight matrices of decoder blocks, in natural order. heads: of output heads. others: all
    other tensors: embeddings, norms, biases.
    """

    def __init__(self, path: Path, stack: ExitStack, files: Mapping[str, list[str]] | None = None) -> None:
        self._parts: dict[str, dict[str, tuple[Any, str]]] = {}
        self._others: dict[str, Any] = {}
        self.where: dict[str, Block] = {}
        heads = set()
        for file, names in (tensor_files(path) if files is None else files).items():
            handle = stack.enter_context(opened(path / file))
            for name in names or handle.keys():
                match = IN_BLOCK.fullmatch(name) or HEAD.fullmatch(name)
                # Norms and convolutions are called `weight`, too.
                if match is None or (match["part"] == "weight" and len(handle.get_slice(name).get_shape()) != 2):
                    self._others[name] = handle
                    continue
                layer = match["layer"]
                self._parts.setdefault(layer, {})[match["part"]] = (handle, name)
                if match.re is HEAD:
                    heads.add(layer)
                else:
                    self.where[layer] = Block(match["stack"], int(match["block"]), match["rest"])
        self.layers = sorted(self.where, key=natural)
        self.heads = sorted(heads)
        self.others = sorted(self._others, key=natural)

    @classmethod
    def proof(cls, path: Path, folder: str, stack: ExitStack) -> Contents:
        """The codes beside a `fake` checkpoint, in any number of files."""
        files = sorted(file.name for file in (path / folder).glob("*.safetensors"))
        # With none there, opening the usual one says what is missing.
        return cls(path, stack, {f"{folder}/{file}": [] for file in files or ["codes.safetensors"]})

    def __contains__(self, layer: str) -> bool:
        """Whether the layer is here."""
        return layer in self._parts

    def read(self, layer: str) -> dict[str, Tensor]:
        """A layer's tensors by part."""
        return {part: handle.get_tensor(name) for part, (handle, name) in self._parts[layer].items()}

    def other(self, name: str) -> Tensor:
        """One of the other tensors."""
        tensor: Tensor = self._others[name].get_tensor(name)
        return tensor


def natural(name: str) -> list[int | str]:
    """A sort key by which layer 10 follows layer 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# Keys of architectures whose blocks differ by design, with the value at which they do not; a layer that only some
# blocks have is then no gap.
_UNLIKE_BLOCKS: Mapping[str, object] = {
    "attn_layer_period": 1,
    "decoder_sparse_step": 1,
    "first_k_dense_replace": 0,
    "interleave_moe_layer_step": 1,
    "layers_block_type": None,
    "mlp_only_layers": [],
    "moe_layer_freq": 1,
    "num_kv_shared_layers": 0,
}
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


def gaps(where: Iterable[Block], config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What is missing of the decoder: layers that other blocks have, by full name; and one line on absent blocks."""
    text = config.get("text_config")
    config = {**config, **text} if isinstance(text, dict) else config
    stacks: dict[str, dict[int, set[str]]] = {}
    for block in where:
        stacks.setdefault(block.stack, {}).setdefault(block.number, set()).add(block.rest)
    types = config.get("layer_types")
    alike = all(config.get(key) in (None, alike) for key, alike in _UNLIKE_BLOCKS.items()) and (
        not isinstance(types, list) or {str(kind) for kind in types} <= _ATTENTION
    )
    missing = []
    for stack, blocks in stacks.items() if alike else ():
        counts: dict[str, int] = {}
        for rest in (rest for held in blocks.values() for rest in held):
            counts[rest] = counts.get(rest, 0) + 1
        usual = [rest for rest, count in counts.items() if 2 * count >= len(blocks)]
        missing += [f"{stack}.{index}.{rest}" for index, held in blocks.items() for rest in usual if rest not in held]
    return sorted(missing, key=natural), _depth_problem(stacks, config)


def _depth_problem(stacks: Mapping[str, Mapping[int, object]], config: Mapping[str, Any]) -> list[str]:
    """One line when no stack of blocks is as deep as the configuration says."""
    depth = next((config[key] for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config), None)
    if type(depth) is not int or not stacks:
        return []
    ahead = config.get("num_nextn_predict_layers")
    allowed = {depth, depth + ahead} if type(ahead) is int else {depth}
    if any(len(blocks) in allowed and set(range(depth)) <= blocks.keys() for blocks in stacks.values()):
        return []
    deepest = max(stacks.values(), key=len)
    absent = sorted(set(range(depth)) - deepest.keys())
    which = f"; block {absent[0]} is not there" if absent else ""
    return [f"config.json says {depth} decoder blocks, the tensors are of {len(deepest)}{which}"]

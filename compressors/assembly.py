"""A compressed checkpoint, put together block by block while the model is compressed.

Every finished block is written at once, whole or not at all; a run that was killed finds what it had finished. In
the end the blocks become a checkpoint in the ordinary layout. A pruned model is ordinary safetensors that hold the
zeros; a quantised one is in the format that its recipe names. Where compressed-tensors cannot hold it (a group size
that does not divide a layer's width), or where the recipe says `format=fake`, the dense values of the grid are
stored, with the codes beside them in `quantised/` as proof. Everything that was not compressed is copied unchanged.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressors.checkpoint import CODES, INDEX, RECORD, opened
from compressors.errors import CompressionError
from compressors.files import write_atomically
from compressors.formats import Writer, writer
from compressors.formats.claims import claims_of
from compressors.formats.read import read_layer
from compressors.formats.stored import Integers
from compressors.layerwise import Solution, Solved
from compressors.models import Checkpoint, read_config
from compressors.recipe import Recipe
from compressors.skeleton import Skeleton
from compressors.structure import head_of, linear_layers

if TYPE_CHECKING:
    from compressors.grid import Quantised

PROOF = "compressed-tensors"  # the format of the codes beside dense values
_COPIED = (".json", ".jinja", ".model", ".txt")
_PARTS = Path("parts")
# Up to here a checkpoint is one file; beyond, each block stays the file that it was written as.
ONE_FILE_BYTES = 4 * 2**30


def record(dense: Checkpoint, recipe: Recipe, form: str) -> dict[str, Any]:
    """What stands in config.json under `RECORD`."""
    return {"recipe": str(recipe), "format": form, "dense": dense.name, "dense_fingerprint": dense.fingerprint}


class Assembly:
    """A `layerwise.Stage` that reads blocks from the dense checkpoint and writes them into `folder`.

    Use it in a `with` block, then call `finish`. Raises CompressionError when a format cannot hold a layer, and
    OSError when the disk is full; what was written stays for the next try.
    """

    def __init__(self, skeleton: Skeleton, recipe: Recipe, folder: Path) -> None:
        self.skeleton = skeleton
        self.recipe = recipe
        self.folder = folder
        self.head = head_of(skeleton.model) if recipe.parameters.get("lm_head") else None
        self.form, self._writer = self._choose_form()
        self.config = self._configuration()
        self._background = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None
        (folder / _PARTS).mkdir(exist_ok=True)

    def __enter__(self) -> Assembly:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the block that is being written be written."""
        self._background.shutdown(wait=True)

    def _choose_form(self) -> tuple[str, Writer | None]:
        """How layers are stored: dense (pruned), packed, fake, gptq or awq; known before any of them is made."""
        if "bits" not in self.recipe.parameters:
            return "dense", None
        asked = str(self.recipe.parameters["format"])
        if asked in ("gptq", "awq"):
            return asked, writer(asked)
        group = int(self.recipe.parameters["group"])
        layers = self._layers().values()
        if asked == "fake" or (group != -1 and any(layer.in_features % group for layer in layers)):
            return "fake", None
        return "packed", writer("compressed-tensors")

    def _configuration(self) -> dict[str, Any]:
        dense = self.skeleton.dense
        config = read_config(dense.path, dense.name)
        config[RECORD] = record(dense, self.recipe, self.form)
        if self.head is not None:
            config["tie_word_embeddings"] = False
        if self._writer is not None:
            compressed = self._layers()
            kept = sorted(
                name
                for name, module in self.skeleton.model.named_modules()
                if isinstance(module, nn.Linear | nn.Embedding) and name not in compressed
            )
            config["quantization_config"] = self._writer.config(self.recipe.parameters, kept)
        return config

    def _layers(self) -> dict[str, nn.Linear]:
        """All layers that are compressed, by full name."""
        found: dict[str, nn.Linear] = {}
        for name, block in self.skeleton.blocks.items():
            found |= linear_layers(block, name)
        return found | (dict([self.head]) if self.head is not None else {})

    def _part(self, name: str) -> Path:
        return self.folder / _PARTS / f"{name}.safetensors"

    def enter(self, name: str, module: nn.Module) -> bool:
        """Load a block or the head: as an earlier run left it, or dense."""
        if not self._part(name).is_file():
            self.skeleton.fill(name, module)
            return False
        self.skeleton.fill(name, module, self._finished(name, module))
        return True

    def _finished(self, name: str, module: nn.Module) -> dict[str, Tensor]:
        """A finished block's parameters by full name, as they were in memory when it was written."""
        with opened(self._part(name)) as file:
            stored = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118 - no mapping
        claims = claims_of(self.config)
        prefix = self.skeleton.stored_prefix(name, module)
        found = {}
        for part in module.state_dict():
            full, layer = f"{prefix}.{part}", f"{prefix}.{part}".removesuffix(".weight")
            if full in stored:
                found[f"{name}.{part}"] = stored[full]
                continue
            parts = {key.removeprefix(f"{layer}."): t for key, t in stored.items() if key.startswith(f"{layer}.")}
            parts.pop("bias", None)
            _, content = read_layer(parts, claims.of(layer))
            assert isinstance(content, Integers)
            quantised = content.quantised()
            found[f"{name}.{part}"] = replace(quantised, scales=quantised.scales.to(self.skeleton.dtype)).weight()
        return found

    def leave(self, name: str, module: nn.Module, solved: Solved) -> None:
        """Write what was compressed, while the next block is worked on, and free its memory."""
        if not self._part(name).is_file():
            prefix = self.skeleton.stored_prefix(name, module)
            layers = {prefix + full.removeprefix(name): _on_cpu(solution) for full, solution in solved.layers.items()}
            changed = {prefix + full.removeprefix(name): tensor.cpu() for full, tensor in solved.changed.items()}
            # One block waits to be written at most: memory is a few blocks', whatever the disk does.
            self.join()
            self._writing = self._background.submit(self._write, name, prefix, layers, changed)
        self.skeleton.drop(module)

    def join(self) -> None:
        """Wait for the block being written. Raises what went wrong there."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, name: str, prefix: str, layers: Mapping[str, Solution], changed: Mapping[str, Tensor]) -> None:
        """Write a block: its codes first where they stand apart, for the block's own file says that it is done."""
        held = {stored for stored in self.skeleton.stored if stored.startswith(f"{prefix}.")}
        tensors: dict[str, Tensor] = {}
        codes: dict[str, Tensor] = {}
        for layer, solution in layers.items():
            full = f"{layer}.weight"
            # The file's own dtype, which need not be the one that the model computes in.
            dtype = self.skeleton.read(full).dtype if full in held else self.skeleton.dtype
            if solution.quantised is None:
                tensors[full] = solution.weight.to(dtype)
            elif self._writer is not None:
                tensors |= self._pack(self._writer, layer, solution.quantised)
            else:
                tensors[full] = solution.quantised.weight().to(dtype)
                codes |= writer(PROOF).tensors(layer, solution.quantised)
        for stored in sorted(held - {f"{layer}.weight" for layer in layers}):
            tensors[stored] = changed[stored] if stored in changed else self.skeleton.read(stored)
        if codes:
            _save(codes, self._codes(name))
        _save(tensors, self._part(name))

    def _pack(self, form: Writer, name: str, quantised: Quantised) -> dict[str, Tensor]:
        problem = form.problem(quantised)
        if problem:
            raise CompressionError(f"layer {name}: format {self.form} {problem}; give format=auto or format=fake")
        return form.tensors(name, quantised)

    def _codes(self, name: str) -> Path:
        return self.folder / _PARTS / f"codes.{name}"

    def finish(self) -> None:
        """Make the parts an ordinary checkpoint. Safe to be killed in, and to be called again."""
        self.join()
        names = [name for name, _ in self._modules()]
        blocks = [self._part(name) for name in names]
        rest = self.folder / _PARTS / "rest.safetensors"
        if not rest.is_file():
            prefixes = tuple(f"{self.skeleton.stored_prefix(name, module)}." for name, module in self._modules())
            kept = [stored for stored in self.skeleton.stored if not stored.startswith(prefixes)]
            _save({stored: self.skeleton.read(stored) for stored in kept}, rest)
        parts = [rest, *blocks]
        codes = [self._codes(name) for name in names if self._codes(name).is_file()]
        self._lay_out(parts, "model", self.folder, index=True)
        if codes:
            (self.folder / CODES.parent).mkdir(exist_ok=True)
            self._lay_out(codes, CODES.stem, self.folder / CODES.parent, index=False)
        _copy_others(self.skeleton.dense.path, self.folder)
        if self._writer is not None:
            for name, content in self._writer.files(self.config["quantization_config"]).items():
                write_json(self.folder / name, content)
        write_json(self.folder / "config.json", self.config)
        shutil.rmtree(self.folder / _PARTS)

    def _modules(self) -> list[tuple[str, nn.Module]]:
        """What parts are made of: the blocks, and the head where it is compressed."""
        return [*self.skeleton.blocks.items(), *([self.head] if self.head is not None else [])]

    def _lay_out(self, parts: list[Path], stem: str, folder: Path, *, index: bool) -> None:
        """Merge small parts into one file; leave large ones as shards with an index."""
        total = sum(part.stat().st_size for part in parts)
        if total <= ONE_FILE_BYTES:
            tensors: dict[str, Tensor] = {}
            for part in parts:
                with opened(part) as file:
                    tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            _save(tensors, folder / f"{stem}.safetensors")
            return
        weight_map: dict[str, str] = {}
        for number, part in enumerate(parts, start=1):
            shard = f"{stem}-{number:05}-of-{len(parts):05}.safetensors"
            weight_map |= dict.fromkeys(_names_in(part), shard)
            # A second name, not a move: until the end, whoever comes after a kill finds all parts in their place.
            (folder / shard).unlink(missing_ok=True)
            os.link(part, folder / shard)
        if index:
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _on_cpu(solution: Solution) -> Solution:
    """What has to be written: a quantised weight is its codes, a second dense copy would only cost memory."""
    if solution.quantised is not None:
        return Solution(torch.empty(0), solution.quantised.cpu())
    return Solution(solution.weight.cpu())


def _names_in(part: Path) -> list[str]:
    with opened(part) as file:
        return list(file.keys())


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors so that the file is there whole, or not at all, whenever the process or the machine stops."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.writing")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata={"format": "pt"})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _copy_others(source: Path, folder: Path) -> None:
    """Copy tokenizer, chat template, generation configuration and licence as they are; no weights, no code."""
    for file in sorted(source.iterdir()):
        named = file.suffix in _COPIED or file.stem.upper() in ("LICENSE", "NOTICE")
        if file.is_file() and named and file.name not in ("config.json", INDEX):
            shutil.copyfile(file, folder / file.name)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

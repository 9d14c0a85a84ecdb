"""What is really in a checkpoint: every layer read back from disk and compared with what it claims to be.

Tensors are streamed one layer at a time; no model is built and no code of another library decodes the weights.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from compressors.audit_rules import enough_zeros, listed, pattern_of, problems_of
from compressors.checkpoint import CODES, RECORD
from compressors.errors import CompressionError, ModelError, RecipeError
from compressors.formats.claims import KNOWN, Claims, claims_of
from compressors.formats.contents import Contents, gaps
from compressors.formats.gguf_types import GGUF_TYPES
from compressors.formats.read import read_layer
from compressors.formats.stored import (
    Claim,
    Content,
    Integers,
    StoredLayer,
    Tensors,
    pattern_found,
    pattern_violations,
    survey,
)
from compressors.methods import pattern_sizes
from compressors.models import read_config
from compressors.recipe import Recipe, parse_recipe

Progress = Callable[[int, int, str], None]
# With fewer zeros there is no n:m pattern to look for: all of them leave half of the weights.
_PATTERNED = 0.5


@dataclass(frozen=True, slots=True)
class LayerAudit:
    """One linear layer of a decoder block, or the output head where it is compressed.

    bits: of a code, or of the dtype of dense weights. group: weights that share a scale; `short` says that the last
    group of a row is a shorter one, `reordered` that groups are not of neighbours. sparsity: a fraction, None where
    zeros were not counted. violations: groups of the recipe's n:m pattern with more than n weights left. pattern:
    without a recipe, the n:m pattern that the zeros have.
    """

    name: str
    rows: int
    columns: int
    bits: int
    group: int | None
    compressed: bool
    sparsity: float | None
    violations: int
    finite: bool
    short: bool = False
    reordered: bool = False
    symmetric: bool | None = None
    kind: str = ""
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """What a checkpoint's decoder layers hold.

    method: of the recipe, else of the checkpoint's own configuration, else `none`. bits and group are those of
    the compressed layers when all agree, else None. bits_per_weight: codes, scales and zero points of all decoder
    layers, per weight, as stored (as in the proof, for `fake`; as in the GGUF file, for `gguf`). size_bytes: of all
    files. short_groups: layers with a shorter last group. lm_head: `dense`, `tied` to the embeddings, or its bits.
    problems: one line for each way in which the checkpoint is not what it should be.
    """

    method: str
    recipe: str | None
    format: str
    bits: int | None
    group: int | None
    pattern: str | None
    sparsity: float | None
    violations: int
    layers_compressed: int
    layers_total: int
    bits_per_weight: float
    size_bytes: int
    problems: tuple[str, ...]
    layers: tuple[LayerAudit, ...]
    short_groups: int = 0
    lm_head: str = "dense"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {
            "problems": list(self.problems),
            "layers": [asdict(layer) for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Audit:
        """The audit that `as_dict` wrote. Raises TypeError or KeyError for anything else."""
        layers = tuple(LayerAudit(**layer) for layer in content["layers"])
        return cls(**{**content, "problems": tuple(content["problems"]), "layers": layers})


def audit(path: Path, expected: Recipe | None = None, progress: Progress | None = None) -> Audit:
    """Read back a checkpoint's folder and say what it holds; with a recipe, compare it with that as well.

    progress: called with layers done, layers in all, and the layer's name, before each.
    Raises CompressionError, one line, when the folder is no readable checkpoint. A readable checkpoint that is
    not what its recipe or its configuration says is returned with `problems`.
    """
    config = read_config(path, path.name)
    record = config.get(RECORD) if isinstance(config.get(RECORD), dict) else {}
    assert isinstance(record, dict)
    problems: list[str] = []
    recipe = expected or _recorded(record, problems)
    if expected is not None and record.get("recipe") != str(expected):
        problems.append(f"config.json records the recipe {str(record.get('recipe'))[:200]!r}, not '{expected}'")
    claims, form = claims_of(config), record.get("format")
    with ExitStack() as stack:
        contents = Contents(path, stack)
        if not contents.layers:
            raise ModelError(f"model {path}: found no layers of decoder blocks among its tensors" + _unread(claims))
        proof = Contents.proof(path, CODES.parent.name, stack) if form == "fake" else None
        inspector = _Inspector(path, recipe, claims, contents, proof, _gguf_types(record))
        layers = inspector.layers(progress)
        lm_head, head_problems = inspector.head(layers, config.get("tie_word_embeddings") is True)
        problems += inspector.problems
        problems += problems_of(layers, recipe, claims, compare=form not in ("fake", "gguf"))
        problems += head_problems + inspector.rest()
    missing, depth = gaps(contents.where.values(), config)
    problems += listed("missing, though other blocks have it", missing) + depth
    return _summary(layers, recipe, problems, inspector, {
        "method": "gguf" if form == "gguf" else claims.method or "none",
        "format": str(form or claims.method or "dense"),
        "size": _size(path, record),
        "lm_head": lm_head,
    })  # fmt: skip


def _summary(
    layers: list[LayerAudit], recipe: Recipe | None, problems: list[str], inspector: _Inspector, said: dict[str, Any]
) -> Audit:
    """An audit out of what was found."""
    compressed = [layer for layer in layers if layer.compressed]
    known = [layer for layer in layers if layer.sparsity is not None]
    counted = sum(layer.rows * layer.columns for layer in known)
    zeros = sum((layer.sparsity or 0.0) * layer.rows * layer.columns for layer in known)
    return Audit(
        method=recipe.method if recipe else said["method"],
        recipe=str(recipe) if recipe else None,
        format=said["format"],
        bits=_common({layer.bits for layer in compressed}),
        group=_common({layer.group for layer in compressed}),
        pattern=pattern_of(recipe) if recipe else _common({layer.pattern for layer in layers}),
        sparsity=zeros / counted if counted else None,
        violations=sum(layer.violations for layer in layers),
        layers_compressed=len(compressed),
        layers_total=len(layers),
        bits_per_weight=inspector.stored_bits / sum(layer.rows * layer.columns for layer in layers),
        size_bytes=said["size"],
        problems=tuple(problems),
        layers=tuple(layers),
        short_groups=sum(layer.short for layer in compressed),
        lm_head=said["lm_head"],
    )


def _recorded(record: Mapping[str, Any], problems: list[str]) -> Recipe | None:
    """The recipe that a checkpoint's own configuration names."""
    if "recipe" not in record:
        return None
    try:
        return parse_recipe(str(record["recipe"]))
    except RecipeError as error:
        problems.append(f"config.json: {error}")
        return None


def _gguf_types(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Types of a converted GGUF file's tensors, by layer."""
    types = record.get("types") if record.get("format") == "gguf" else None
    return {k: v for k, v in types.items() if v in GGUF_TYPES} if isinstance(types, dict) else {}


def _size(path: Path, record: Mapping[str, Any]) -> int:
    """Bytes of all files; of the GGUF file, for one that was converted."""
    if record.get("format") == "gguf" and type(record.get("gguf_bytes")) is int:
        return int(record["gguf_bytes"])
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _unread(claims: Claims) -> str:
    """The end of an error about tensors that nothing here reads."""
    if claims.readable:
        return ""
    return f" (config.json says {claims.method!r}; read here are {', '.join(KNOWN)})"


@dataclass(slots=True)
class _Inspector:
    """Goes over a checkpoint's layers, adding up how many bits they take."""

    path: Path
    recipe: Recipe | None
    claims: Claims
    contents: Contents
    proof: Contents | None
    gguf: Mapping[str, str]
    stored_bits: int = 0
    problems: list[str] = field(default_factory=list)

    def layers(self, progress: Progress | None) -> list[LayerAudit]:
        """All linear layers of decoder blocks in the order of their names, and the head if it is to be compressed."""
        names = self.contents.layers + (self.contents.heads if self._head_counts() else [])
        found = []
        for done, name in enumerate(names):
            if progress:
                progress(done, len(names), name)
            stored, content = self._inspect(name)
            if stored.problem:
                self.problems.append(f"layer {name}: {stored.problem}")
            self.stored_bits += stored.stored_bits
            found.append(self._layer(name, stored, content))
        return found

    def _head_counts(self) -> bool:
        wanted = bool(self.recipe and self.recipe.parameters.get("lm_head"))
        return wanted or (self.recipe is None and self.claims.lm_head)

    def _inspect(self, name: str) -> tuple[StoredLayer, Content]:
        """One layer; its codes out of the proof where there is one."""
        stored, content = self._read(name, self.contents.read(name), self.claims.of(name))
        if self.proof is not None and name in self.proof:
            dense = content
            values = self.recipe.parameters if self.recipe else {}
            bits, group = values.get("bits"), values.get("group")
            claim = Claim(bits=int(bits) if bits else None, group=int(group) if group else None)
            stored, content = self._read(name, self.proof.read(name), claim)
            if not isinstance(content, Integers) or not _same(content, dense):
                self.problems.append(f"layer {name}: its weights are not those of its codes")
        type_ = GGUF_TYPES[self.gguf[name]] if name in self.gguf else None
        if type_ is not None:
            rows, columns = stored.shape
            stored = replace(
                stored,
                bits=type_.bits,
                quantised=type_.quantised,
                group=type_.group,
                symmetric=type_.symmetric,
                stored_bits=int(rows * columns * type_.per_weight),
                kind=self.gguf[name],
            )
        return stored, content

    def _read(self, name: str, tensors: Tensors, claim: Claim) -> tuple[StoredLayer, Content]:
        try:
            return read_layer(tensors, claim)
        except (ValueError, KeyError, IndexError, RuntimeError, TypeError, ArithmeticError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            if isinstance(error, KeyError):
                reason = f"has no {error.args[0]!r} beside {', '.join(sorted(tensors))[:100]}"
            raise CompressionError(f"model {self.path}: layer {name}: {reason}{_unread(self.claims)}") from None

    def _layer(self, name: str, stored: StoredLayer, content: Content) -> LayerAudit:
        rows, columns = stored.shape
        sparsity = None if stored.zeros is None else stored.zeros / (rows * columns)
        sizes = pattern_sizes(pattern_of(self.recipe) or "unstructured")
        violations, pattern = 0, None
        if content is not None and sizes:
            violations = pattern_violations(content.weight() if isinstance(content, Integers) else content, *sizes)
        if self.recipe is None and not stored.quantised and (sparsity or 0.0) >= _PATTERNED:
            assert content is not None
            assert not isinstance(content, Integers)
            pattern = pattern_found(content)
        compressed = stored.quantised or pattern is not None
        if self.recipe and "sparsity" in self.recipe.parameters:
            compressed = stored.zeros is not None and enough_zeros(stored.zeros, rows * columns, self.recipe)
        return LayerAudit(
            name, rows, columns, stored.bits, stored.group, compressed, sparsity, violations, stored.finite,
            stored.short, stored.reordered, stored.symmetric, stored.kind, pattern,
        )  # fmt: skip

    def head(self, layers: list[LayerAudit], tied: bool) -> tuple[str, list[str]]:
        """What the output head is, and what is wrong with that."""
        wanted = bool(self.recipe and self.recipe.parameters.get("lm_head"))
        if not self.contents.heads:
            missing = ["no lm_head among the tensors, though the recipe says lm_head=true"] if wanted else []
            return ("tied" if tied else "absent"), missing
        name = self.contents.heads[0]
        counted = next((layer for layer in layers if layer.name == name), None)
        if counted is not None:
            return (f"{counted.bits} bits" if counted.compressed else "dense"), []
        stored, _ = self._inspect(name)
        problems = [] if stored.finite else listed("NaN, infinity or a scale that is not positive", [name])
        problems += listed("all weights are zero", [name] if stored.zeros == stored.shape[0] * stored.shape[1] else [])
        if not wanted and stored.zeros is not None and self._pruned(stored.zeros, stored.shape[0] * stored.shape[1]):
            problems.append(f"{name} is pruned, though the recipe leaves it dense")
        if stored.quantised and self.recipe and not self.gguf:
            problems.append(f"{name} is quantised, though the recipe leaves it dense")
        return (f"{stored.bits} bits" if stored.quantised else "dense"), problems

    def rest(self) -> list[str]:
        """What is wrong with embeddings, norms and biases."""
        broken, empty, pruned, unread = [], [], [], []
        for name in self.contents.others:
            tensor = self.contents.other(name)
            if not tensor.is_floating_point():
                continue
            try:
                zeros, finite = survey(tensor)
            except ValueError:
                unread.append(name)
                continue
            broken += [] if finite else [name]
            if tensor.ndim == 2:
                empty += [name] if zeros == tensor.numel() else []
                pruned += [name] if self._pruned(zeros, tensor.numel()) else []
        return (
            listed("NaN or infinity", broken)
            + listed("all weights are zero", empty)
            + listed("pruned, though the recipe leaves it dense", pruned)
            + listed("in a number format that is not read here", unread)
        )

    def _pruned(self, zeros: int, weights: int) -> bool:
        """Whether what a pruning recipe leaves dense has so many zeros that it was pruned as well.

        Vocabularies hold unused rows of zeros, so a few are no sign.
        """
        sparsity = float(self.recipe.parameters.get("sparsity", 0.0)) if self.recipe else 0.0
        return sparsity > 0 and zeros >= weights * max(0.25, sparsity * 0.9)


def _same(content: Integers, dense: Content) -> bool:
    import torch

    return isinstance(dense, torch.Tensor) and bool((content.weight().to(dense.dtype) == dense).all())


def _common(found: set[Any]) -> Any:
    return found.pop() if len(found) == 1 else None


def require_clean(found: Audit, path: Path) -> None:
    """Raise CompressionError, one line, when an audit found problems."""
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise CompressionError(f"checkpoint {path}: {found.problems[0]}{more}")


def _bits_text(found: Audit) -> str:
    """Bits and groups, or how many layers have which where they are mixed."""
    compressed = [layer for layer in found.layers if layer.compressed and (layer.group or layer.bits < 16)]
    if not compressed:
        return f"{found.bits} (dense weights)" if found.bits else "dense"
    kinds = Counter((layer.bits, layer.kind) for layer in compressed)
    if len(kinds) == 1:
        kind = compressed[0].kind
        text = f"{compressed[0].bits}" + (f" ({kind})" if kind else "")
    else:
        text = ", ".join(f"{kind or bits} in {n}" for (bits, kind), n in sorted(kinds.items())) + " layers"
    if found.group is not None:
        text += f", groups of {found.group}"
    if found.short_groups:
        text += f" (a smaller last group in {found.short_groups} layers)"
    if any(layer.reordered for layer in compressed):
        text += ", columns reordered (act-order)"
    signs = {layer.symmetric for layer in compressed}
    if len(signs) == 1 and None not in signs:
        text += ", symmetric" if signs.pop() else ", asymmetric"
    return text


def audit_text(found: Audit) -> str:
    """An audit for people, a few lines."""
    zeros = "not measured" if found.sparsity is None else f"{100 * found.sparsity:.2f} %"
    if pattern_sizes(found.pattern or "unstructured"):
        zeros += f", {found.violations} groups break {found.pattern}"
    head = {"tied": "tied to the embeddings, dense", "dense": "dense, as the embeddings"}.get(found.lm_head)
    lines = [
        f"method           {found.method}" + (f"  ({found.recipe})" if found.recipe else ""),
        f"stored as        {found.format}",
        f"layers           {found.layers_compressed} of {found.layers_total} compressed",
        f"output head      {head or found.lm_head}",
        f"bits             {_bits_text(found)}",
        f"bits per weight  {found.bits_per_weight:.2f}",
        f"zeros            {zeros}",
        f"size on disk     {found.size_bytes / 2**20:.1f} MiB",
    ]
    return "\n".join(lines + [f"PROBLEM          {problem}" for problem in found.problems])


def audit_json(found: Audit) -> str:
    """An audit as JSON text."""
    return json.dumps(found.as_dict(), indent=2, sort_keys=True)

"""What is really in a checkpoint: every layer read back from disk and compared with what it claims to be.

Tensors are streamed one layer at a time; no model is built and no code of another library decodes the weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressors.checkpoint import CODES, RECORD, opened, tensor_files
from compressors.errors import CompressionError, ModelError, RecipeError
from compressors.layers import StoredLayer, read_layer
from compressors.methods import pattern_sizes
from compressors.models import read_config
from compressors.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from torch import Tensor

# `model.layers.11.mlp.up_proj` + `weight_packed`: a layer inside a decoder block, and what of it a tensor is.
_LAYER = re.compile(
    r"(?P<layer>(?:.*\.)?(?:layers|h|blocks|block)\.\d+\..+?)\."
    r"(?P<part>weight_packed|weight_scale|weight_shape|weight_zero_point|qweight|qzeros|scales|g_idx|SCB|weight(?:\..*)?)"
)
_SHOWN = 3
# More zeros than a recipe asks for: dense models hold some of their own, a destroyed layer holds many more.
_SPARSITY_SLACK = 0.05


@dataclass(frozen=True, slots=True)
class LayerAudit:
    """One linear layer of a decoder block. `sparsity` is a fraction, None where codes were not decoded.

    `violations` counts groups of the recipe's n:m pattern with more than n weights left.
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


@dataclass(frozen=True, slots=True)
class Audit:
    """What a checkpoint's decoder layers hold.

    method: of the recipe, else of the checkpoint's own configuration, else `none`. bits and group are those of
    the compressed layers when all agree, else None. bits_per_weight: codes, scales and zero points of all decoder
    layers, per weight, as stored (as in the proof, for `fake`). size_bytes: of all files. problems: one line for
    each way in which the checkpoint is not what it should be.
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


def audit(path: Path, expected: Recipe | None = None) -> Audit:
    """Read back a checkpoint and say what it holds; with a recipe, compare it with that as well.

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
    scheme = claimed_scheme(config)
    inspector = _Inspector(path, recipe, scheme, record.get("format") == "fake")
    layers = list(inspector.layers(problems))
    if not layers:
        raise ModelError(f"model {path}: found no layers of decoder blocks among its tensors")
    compressed = [layer for layer in layers if layer.compressed]
    _judge(layers, recipe, scheme, problems)
    weights = sum(layer.rows * layer.columns for layer in layers)
    known = [layer for layer in layers if layer.sparsity is not None]
    counted = sum(layer.rows * layer.columns for layer in known)
    zeros = sum((layer.sparsity or 0.0) * layer.rows * layer.columns for layer in known)
    return Audit(
        method=recipe.method if recipe else str(scheme.get("method", "none")),
        recipe=str(recipe) if recipe else None,
        format=str(record.get("format") or scheme.get("method") or "dense"),
        bits=_common({layer.bits for layer in compressed}),
        group=_common({layer.group for layer in compressed}),
        pattern=_pattern(recipe),
        sparsity=zeros / counted if counted else None,
        violations=sum(layer.violations for layer in layers),
        layers_compressed=len(compressed),
        layers_total=len(layers),
        bits_per_weight=inspector.stored_bits / weights,
        size_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        problems=tuple(problems),
        layers=tuple(layers),
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


def claimed_scheme(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration's `quantization_config` claims: `method`, and `bits` and `group` where it names them."""
    claim = config.get("quantization_config")
    if not isinstance(claim, dict):
        return {}
    scheme: dict[str, Any] = {"method": str(claim.get("quant_method", "unknown"))}
    groups = claim.get("config_groups")
    source = claim
    if isinstance(groups, dict) and len(groups) == 1:
        first = next(iter(groups.values()))
        weights = first.get("weights") if isinstance(first, dict) else None
        source = weights if isinstance(weights, dict) else claim
    bits = source.get("bits", source.get("num_bits", source.get("w_bit")))
    if bits is None and claim.get("load_in_4bit"):
        bits = 4
    if bits is None and claim.get("load_in_8bit"):
        bits = 8
    group = source.get("group_size", source.get("q_group_size"))
    return scheme | {k: v for k, v in (("bits", bits), ("group", group)) if type(v) is int}


@dataclass(slots=True)
class _Inspector:
    """Goes over a checkpoint's layers, adding up how many bits they take."""

    path: Path
    recipe: Recipe | None
    scheme: Mapping[str, Any]
    fake: bool
    stored_bits: int = 0

    def layers(self, problems: list[str]) -> Iterator[LayerAudit]:
        """All linear layers of decoder blocks, in the order of their names."""
        values = self.recipe.parameters if self.recipe else {}
        recorded: dict[str, Any] = {k: values[k] for k in ("bits", "group") if k in values}
        claims = recorded if self.fake else self.scheme
        with ExitStack() as stack:
            tensors = _Tensors(self.path, stack)
            proof = _Tensors.proof(self.path, stack) if self.fake else None
            for name in sorted(tensors.layers, key=_natural):
                parts = tensors.read(name)
                if set(parts) == {"weight"} and parts["weight"].ndim < 2:
                    continue
                try:
                    stored, content = read_layer(parts, claims)
                    if proof is not None and name in proof.layers:
                        dense = parts["weight"]
                        stored, content = read_layer(proof.read(name), claims)
                        if not _same(content, dense):
                            problems.append(f"layer {name}: its weights are not those of its codes")
                except (ValueError, KeyError, IndexError, RuntimeError) as error:
                    reason = " ".join(str(error).split())[:200]
                    raise CompressionError(f"model {self.path}: layer {name}: {reason}") from None
                if stored.problem:
                    problems.append(f"layer {name}: {stored.problem}")
                self.stored_bits += stored.stored_bits
                yield self._layer(name, stored, content)

    def _layer(self, name: str, stored: StoredLayer, content: object) -> LayerAudit:
        rows, columns = stored.shape
        sparsity = None if stored.zeros is None else stored.zeros / (rows * columns)
        violations = 0
        sizes = pattern_sizes(_pattern(self.recipe) or "unstructured")
        if sizes and not stored.quantised:
            violations = _violations(content, *sizes)
        pruned = self.recipe is not None and "sparsity" in self.recipe.parameters
        wanted = float(self.recipe.parameters["sparsity"]) if self.recipe is not None and pruned else 0.0
        # One weight of slack: the count of zeros is rounded.
        compressed = stored.quantised or (
            pruned and stored.zeros is not None and stored.zeros + 1 > wanted * rows * columns
        )
        return LayerAudit(
            name, rows, columns, stored.bits, stored.group, compressed, sparsity, violations, stored.finite
        )


class _Tensors:
    """Tensors of safetensors files, by layer and part, read when asked for."""

    def __init__(self, path: Path, stack: ExitStack, files: Mapping[str, list[str]] | None = None) -> None:
        self.layers: dict[str, dict[str, tuple[Any, str]]] = {}
        for file, names in (tensor_files(path) if files is None else files).items():
            handle = stack.enter_context(opened(path / file))
            for name in names or handle.keys():
                match = _LAYER.fullmatch(name)
                if match:
                    self.layers.setdefault(match["layer"], {})[match["part"]] = (handle, name)

    @classmethod
    def proof(cls, path: Path, stack: ExitStack) -> _Tensors:
        """The codes beside a `fake` checkpoint."""
        return cls(path, stack, {str(CODES): []})

    def read(self, layer: str) -> dict[str, Tensor]:
        """A layer's tensors by part."""
        return {part: handle.get_tensor(name) for part, (handle, name) in self.layers[layer].items()}


def _judge(layers: list[LayerAudit], recipe: Recipe | None, scheme: Mapping[str, Any], problems: list[str]) -> None:
    """Append what the layers and the claims about them disagree on."""

    def report(what: str, culprits: list[str]) -> None:
        if culprits:
            more = f" and {len(culprits) - _SHOWN} more" if len(culprits) > _SHOWN else ""
            problems.append(f"{what}: {', '.join(culprits[:_SHOWN])}{more}")

    report("NaN, infinity or a scale that is not positive", [la.name for la in layers if not la.finite])
    values = recipe.parameters if recipe else {}
    if not recipe:
        if scheme and not any(layer.compressed for layer in layers):
            problems.append(f"config.json claims {scheme['method']}, but no layer is quantised")
        claimed = scheme.get("bits")
        wrong = [la.name for la in layers if claimed and la.compressed and la.bits != claimed]
        report(f"not {claimed} bits as config.json claims", wrong)
        return
    report(f"dense, though the recipe is '{recipe}'", [la.name for la in layers if not la.compressed])
    if "bits" in values:
        report(f"not {values['bits']} bits", [la.name for la in layers if la.compressed and la.bits != values["bits"]])
    if "group" in values:
        group = int(values["group"])
        odd = [la.name for la in layers if la.compressed and la.group != (la.columns if group == -1 else group)]
        report(f"not in groups of {group}", odd)
    if "sparsity" in values:
        limit = float(values["sparsity"]) + _SPARSITY_SLACK
        report(f"more than {limit:.0%} zeros", [la.name for la in layers if (la.sparsity or 0.0) > limit])
    report(f"pattern {values.get('pattern')} broken", [la.name for la in layers if la.violations])


def _pattern(recipe: Recipe | None) -> str | None:
    return str(recipe.parameters["pattern"]) if recipe and "pattern" in recipe.parameters else None


def _common(found: set[Any]) -> Any:
    return found.pop() if len(found) == 1 else None


def _violations(content: object, n: int, m: int) -> int:
    """Groups of m consecutive weights with more than n that are not zero; a short last group counts as one."""
    import torch

    assert isinstance(content, torch.Tensor)
    rows, columns = content.shape
    nonzero = torch.nn.functional.pad(content != 0, (0, -columns % m))
    return int((nonzero.view(rows, -1, m).sum(dim=-1) > n).sum())


def _same(content: object, dense: Tensor) -> bool:
    from compressors.grid import Quantised

    return isinstance(content, Quantised) and bool((content.weight().to(dense.dtype) == dense).all())


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def require_clean(found: Audit, path: Path) -> None:
    """Raise CompressionError, one line, when an audit found problems."""
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise CompressionError(f"checkpoint {path}: {found.problems[0]}{more}")


def audit_text(found: Audit) -> str:
    """An audit for people, a few lines."""
    group = "" if found.group is None else f", groups of {found.group}"
    zeros = "not measured" if found.sparsity is None else f"{100 * found.sparsity:.2f} %"
    if pattern_sizes(found.pattern or "unstructured"):
        zeros += f", {found.violations} groups break {found.pattern}"
    lines = [
        f"method           {found.method}" + (f"  ({found.recipe})" if found.recipe else ""),
        f"stored as        {found.format}",
        f"layers           {found.layers_compressed} of {found.layers_total} compressed",
        f"bits             {found.bits if found.bits is not None else 'mixed or dense'}{group}",
        f"bits per weight  {found.bits_per_weight:.2f}",
        f"zeros            {zeros}",
        f"size on disk     {found.size_bytes / 2**20:.1f} MiB",
    ]
    return "\n".join(lines + [f"PROBLEM          {problem}" for problem in found.problems])


def audit_json(found: Audit) -> str:
    """An audit as JSON text."""
    return json.dumps(found.as_dict(), indent=2, sort_keys=True)

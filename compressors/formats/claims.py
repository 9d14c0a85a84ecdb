"""What a checkpoint's `quantization_config` says, layer by layer.

Configurations come from anywhere: whatever does not have the type that it should have is taken as not said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compressors.formats.stored import Claim

# Methods of whose tensors at least one variety is read here.
KNOWN = ("awq", "bitsandbytes", "compressed-tensors", "fp8", "gptq")
_LONGEST_PATTERN = 500


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims about all layers. `method` is None for a checkpoint that does not call itself quantised.

    general: what holds for every layer that `by_layer` does not answer for. by_layer: a layer's name to its claim,
    None for layers said to be left dense.
    """

    method: str | None = None
    general: Claim = field(default_factory=Claim)
    by_layer: Callable[[str], Claim | None] | None = None
    lm_head: bool = False

    def of(self, layer: str) -> Claim:
        """The claim about a layer."""
        if self.by_layer is None:
            return self.general
        return self.by_layer(layer) or Claim(self.method)

    @property
    def readable(self) -> bool:
        """Whether checkpoints of this method can be read here."""
        return self.method is None or self.method in KNOWN


def claims_of(config: Mapping[str, Any]) -> Claims:
    """The claims in a model's configuration."""
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        return Claims()
    method = str(said.get("quant_method") or ("bitsandbytes" if _says_bitsandbytes(said) else "unknown"))[:60]
    if method == "compressed-tensors":
        return _compressed_tensors(said)
    bits = _integer(said.get("bits", said.get("w_bit")))
    if bits is None and method == "bitsandbytes":
        bits = 4 if said.get("load_in_4bit") else 8 if said.get("load_in_8bit") else None
    symmetric = _truth(said.get("sym"))
    if method == "awq" and _truth(said.get("zero_point")) is not None:
        symmetric = not said["zero_point"]
    layout = said.get("version") if method == "awq" else said.get("checkpoint_format", said.get("format"))
    general = Claim(
        method,
        bits,
        _integer(said.get("group_size", said.get("q_group_size"))),
        symmetric,
        "float" if method == "fp8" else None,
        layout.lower() if isinstance(layout, str) else None,
    )
    dynamic = said.get("dynamic")
    overridden = _overridden(dynamic, general) if isinstance(dynamic, dict) and dynamic else None
    return Claims(method, general, overridden, said.get("lm_head") is True)


def _says_bitsandbytes(said: Mapping[str, Any]) -> bool:
    return bool(said.get("load_in_4bit") or said.get("load_in_8bit"))


def _overridden(dynamic: Mapping[str, Any], general: Claim) -> Callable[[str], Claim | None]:
    """GPTQModel's `dynamic`: patterns of layers' names; `-:` leaves a layer dense, others change its claim."""
    rules: list[tuple[Callable[[str], bool], Claim | None]] = []
    for pattern, changes in dynamic.items():
        matches = _pattern(pattern.removeprefix("+:").removeprefix("-:"))
        if pattern.startswith("-:") or not isinstance(changes, dict):
            rules.append((matches, None))
            continue
        bits, group, symmetric = (
            _integer(changes.get("bits")),
            _integer(changes.get("group_size")),
            _truth(changes.get("sym")),
        )
        claim = replace(
            general,
            bits=general.bits if bits is None else bits,
            group=general.group if group is None else group,
            symmetric=general.symmetric if symmetric is None else symmetric,
        )
        rules.append((matches, claim))
    return lambda layer: next((claim for matches, claim in rules if matches(layer)), general)


def _compressed_tensors(said: Mapping[str, Any]) -> Claims:
    """Each configuration group's scheme for the layers it targets: by name, by pattern, or by class."""
    method = "compressed-tensors"
    named: list[tuple[Callable[[str], bool], Claim]] = []
    classes: list[Claim] = []
    groups = said.get("config_groups")
    for scheme in groups.values() if isinstance(groups, dict) else ():
        weights = scheme.get("weights") if isinstance(scheme, dict) else None
        if not isinstance(weights, dict):
            continue
        layout = scheme.get("format") or said.get("format")
        claim = Claim(
            method,
            _integer(weights.get("num_bits")),
            _integer(weights.get("group_size")),
            _truth(weights.get("symmetric")),
            weights.get("type") if weights.get("type") in ("int", "float") else None,
            layout if isinstance(layout, str) else None,
        )
        targets = scheme.get("targets")
        for target in targets if isinstance(targets, list) else ["Linear"]:
            if isinstance(target, str) and target.isidentifier() and target[0].isupper():
                classes.append(claim)
            elif isinstance(target, str):
                named.append((_target(target), claim))
    ignored = [_target(name) for name in said.get("ignore") or () if isinstance(name, str)]

    def by_layer(layer: str) -> Claim | None:
        if any(matches(layer) for matches in ignored):
            return None
        return next((claim for matches, claim in named if matches(layer)), classes[0] if classes else None)

    every = {claim for _, claim in named} | set(classes)
    general = every.pop() if len(every) == 1 else Claim(method)
    return Claims(method, general, by_layer, by_layer("lm_head") is not None)


def _target(target: str) -> Callable[[str], bool]:
    """Whether a layer is meant by a name, or by a pattern after `re:`."""
    if target.startswith("re:"):
        return _pattern(target[3:])
    return lambda layer: layer == target or layer.endswith(f".{target}")


def _pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a layer's name begins as a regular expression says; one that is none matches nothing."""
    try:
        compiled = re.compile(pattern if len(pattern) <= _LONGEST_PATTERN else "(?!)")
    except re.error:
        compiled = re.compile("(?!)")
    return lambda layer: compiled.match(layer) is not None


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None

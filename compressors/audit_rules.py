"""What is wrong with a checkpoint: its layers against each other, its configuration and its recipe.

Every rule takes what was measured and returns lines for people; it reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from compressors.formats.claims import Claims
from compressors.recipe import Recipe

if TYPE_CHECKING:
    from compressors.audit import LayerAudit

_SHOWN = 3
# More zeros than a recipe asks for: dense models hold some of their own, a destroyed layer holds many more.
_SPARSITY_SLACK = 0.05
# Other libraries round the count of zeros down in every row or block of columns.
_BACKEND_SLACK = 0.005


def pattern_of(recipe: Recipe | None) -> str | None:
    """The pattern of zeros that a recipe asks for."""
    return str(recipe.parameters["pattern"]) if recipe and "pattern" in recipe.parameters else None


def enough_zeros(zeros: int, weights: int, recipe: Recipe) -> bool:
    """Whether a layer has the share of zeros that a pruning recipe asks for."""
    values = recipe.parameters
    # One weight of slack: the count of zeros is rounded.
    slack = 1.0 if values.get("backend", "own") == "own" else _BACKEND_SLACK * weights
    return zeros + slack > float(values["sparsity"]) * weights


def listed(what: str, names: Sequence[str]) -> list[str]:
    """One line on all layers of these names, none for none."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{more}"]


def problems_of(layers: Sequence[LayerAudit], recipe: Recipe | None, claims: Claims, compare: bool) -> Iterator[str]:
    """All that is wrong with the layers. compare: whether the configuration speaks of these very tensors."""

    def those(culprit: Callable[[LayerAudit], bool]) -> list[str]:
        return [layer.name for layer in layers if culprit(layer)]

    yield from listed("NaN, infinity or a scale that is not positive", those(lambda la: not la.finite))
    yield from listed("all weights are zero", those(lambda la: la.sparsity == 1))
    if compare:
        yield from _against_claims(layers, claims)
    if recipe:
        yield from _against_recipe(layers, recipe, those)


def _against_claims(layers: Sequence[LayerAudit], claims: Claims) -> Iterator[str]:
    """What the configuration says, and the tensors do not bear out."""
    compressed = [layer for layer in layers if layer.compressed]
    if claims.method is not None and not compressed:
        yield f"config.json claims {claims.method}, but no layer is quantised"
    wrong: dict[str, list[str]] = {}
    for layer in compressed:
        claim = claims.of(layer.name)
        if claim.bits not in (None, layer.bits):
            wrong.setdefault(f"not {claim.bits} bits as config.json claims", []).append(layer.name)
        group = layer.columns if claim.group == -1 else claim.group
        if group is not None and layer.group is not None and min(group, layer.columns) != layer.group:
            wrong.setdefault(f"not in groups of {claim.group} as config.json claims", []).append(layer.name)
        if claim.symmetric and layer.symmetric is False:
            wrong.setdefault("not symmetric as config.json claims", []).append(layer.name)
    for what, names in wrong.items():
        yield from listed(what, names)


def _against_recipe(
    layers: Sequence[LayerAudit], recipe: Recipe, those: Callable[[Callable[[LayerAudit], bool]], list[str]]
) -> Iterator[str]:
    """What the recipe asks for, and the layers do not have."""
    values = recipe.parameters
    yield from listed(f"dense, though the recipe is '{recipe}'", those(lambda la: not la.compressed))
    if "bits" in values:
        yield from listed(f"not {values['bits']} bits", those(lambda la: la.compressed and la.bits != values["bits"]))
    if "group" in values:
        group = int(values["group"])

        def regrouped(layer: LayerAudit) -> bool:
            wanted = layer.columns if group == -1 else min(group, layer.columns)
            return layer.compressed and layer.group != wanted

        yield from listed(f"not in groups of {group}", those(regrouped))
    if "sym" in values:
        yield from _against_symmetry(layers, bool(values["sym"]), those)
    if values.get("act_order") is False:
        what = "columns grouped in another order, though the recipe says act_order=false"
        yield from listed(what, those(lambda la: la.reordered))
    if "sparsity" in values:
        limit = float(values["sparsity"]) + _SPARSITY_SLACK
        too_many = those(lambda la: limit < (la.sparsity or 0.0) < 1)
        yield from listed(f"more than {limit:.0%} zeros", too_many)
        if "bits" not in values:
            yield from listed("quantised, though the recipe only prunes", those(lambda la: la.group is not None))
    yield from listed(f"pattern {values.get('pattern')} broken", those(lambda la: bool(la.violations)))


def _against_symmetry(
    layers: Sequence[LayerAudit], symmetric: bool, those: Callable[[Callable[[LayerAudit], bool]], list[str]]
) -> Iterator[str]:
    """Zero points off the middle of a symmetric grid; or no zero point off it in the whole model."""
    if symmetric:
        yield from listed("not symmetric, though the recipe says sym=true", those(lambda la: la.symmetric is False))
        return
    told = [layer.symmetric for layer in layers if layer.compressed and layer.symmetric is not None]
    # One layer may happen to be symmetric; all of them do not.
    if told and all(told):
        yield "every layer is symmetric, though the recipe says sym=false"

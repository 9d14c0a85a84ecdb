"""Variants side by side: how far each is compressed, by what was really found in it, and how it fared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from compressors.errors import CompressionError
from compressors.recipe import parse_recipe
from trust_tests.gate.verdict import Verdict
from trust_tests.report.families import without_seed
from trust_tests.report.figures import percent
from trust_tests.report.view import Column, Gate, Model, Report

HALF_PRECISION = 15.0
"""Stored bits per weight below which weights are codes and no 16-bit numbers."""
_PRUNED_FROM = 0.25
# Audited bits are sums over layers: closer than this is the same compression.
SAME_BITS = 0.05


@dataclass(frozen=True, slots=True)
class Compression:
    """How far a checkpoint is compressed, as its audit found it; every figure is None where nobody looked.

    method: of the recipe or the checkpoint, empty where unknown. bits: stored bits per weight of the decoder layers,
    scales and zero points included. sparsity: fraction of zeros. share: bytes on disk as a fraction of the dense
    model's. width: nominal bits of a code, of a quantised checkpoint.
    """

    method: str
    bits: float | None
    sparsity: float | None
    share: float | None
    width: int | None

    @property
    def quantised(self) -> bool:
        """Whether its weights are codes of few bits. Their zeros are values like others, and no pruning."""
        return self.bits is not None and self.bits < HALF_PRECISION

    @property
    def pruned(self) -> bool:
        """Whether it keeps its precision and has lost weights."""
        return self.bits is not None and not self.quantised and (self.sparsity or 0.0) >= _PRUNED_FROM

    @property
    def left(self) -> float | None:
        """Bits per weight that are left, zeros of a pruned model not counted (half of 16 bits are 8, as in the paper).

        None for a checkpoint that is neither: what its audit found says nothing of a compression.
        """
        if self.bits is None or not (self.quantised or self.pruned):
            return None
        return self.bits * (1.0 - (self.sparsity or 0.0)) if self.pruned else self.bits

    @property
    def words(self) -> str:
        """The compression in words: `3.30 bits per weight`, `50.0 % zeros`; empty where nothing is known."""
        if self.pruned:
            return f"{percent(100 * (self.sparsity or 0.0))} zeros"
        if self.quantised:
            return f"{bits(self.bits)} bits per weight"
        return "" if self.share is None else f"{percent(100 * self.share)} of the dense size"


def bits(value: float | None) -> str:
    """Bits per weight with two decimals, one where the second is 0: `3.25`, `8.0`."""
    if value is None:
        return ""
    text = f"{value:.2f}"
    return text[:-1] if text.endswith("0") else text


def compression(model: Model, dense: Model) -> Compression:
    """What is known of a variant's compression."""
    method, width = model.method, None
    if model.recipe:
        try:
            recipe = parse_recipe(model.recipe)
        except CompressionError:
            pass
        else:
            method, given = recipe.method, recipe.parameters.get("bits")
            width = given if isinstance(given, int) else None
    found = model.bits_per_weight
    if found is not None and not 0 < found <= 64:
        found = None
    if width is None and found is not None and found < HALF_PRECISION:
        # Scales and zero points add less than one bit to the codes.
        width = math.floor(found)
    share = model.size_bytes / dense.size_bytes if model.size_bytes and dense.size_bytes else None
    return Compression(method, found, model.sparsity, share, width)


def family(recipe: str) -> str | None:
    """What the recipes of one family of calibration seeds have in common, as a short name; None without a seed."""
    common, seed = without_seed(recipe)
    return None if common is None else parse_recipe(recipe).slug.replace(f"-s{seed}", "", 1)


@dataclass(frozen=True, slots=True)
class Swept:
    """One variant of a run. gates: one for each dimension, in the report's order, None where it was not run."""

    model: Model
    how: Compression
    gates: tuple[Gate | None, ...]
    column: Column

    @property
    def whole(self) -> bool:
        """Whether every dimension has been measured."""
        return all(gate is not None and gate.verdict is not Verdict.ERROR for gate in self.gates)

    @property
    def passes(self) -> bool:
        """Whether every dimension passed; a gate that is undecided, failed to measure or was not run does not."""
        return self.column.verdict is Verdict.PASS

    @property
    def failing(self) -> list[Gate]:
        """The gates that failed, furthest movement first."""
        return furthest(gate for gate in self.gates if gate is not None and gate.verdict is Verdict.FAIL)

    @property
    def measured(self) -> list[Gate]:
        """The gates that were measured, furthest movement first."""
        return furthest(g for g in self.gates if g is not None and g.verdict is not Verdict.ERROR)

    def gate(self, dimension: str) -> Gate | None:
        """The gate of one dimension."""
        return next((gate for gate in self.gates if gate is not None and gate.dimension == dimension), None)


def furthest(gates: Iterable[Gate]) -> list[Gate]:
    """Gates by how far their scores moved, in tolerances, furthest first."""
    return sorted(gates, key=lambda gate: -gate.reach)


def swept(report: Report) -> tuple[Swept, ...]:
    """The run's variants, in its order."""
    columns = report.columns
    return tuple(
        Swept(model, compression(model, report.dense), tuple(row.gates[place] for row in report.rows), columns[place])
        for place, model in enumerate(report.variants)
    )

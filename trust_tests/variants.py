"""What a run compares: the dense model and its variants, and their entries in the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressors.models import Checkpoint
from compressors.recipe import parse_recipe
from trust_tests.engines.openai_models import split_address
from trust_tests.settings import Settings

# The dense model's name beside the variants' ids.
DENSE = "dense"


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A variant before it exists: `id` names its test nodes, `source` is a recipe or a finished checkpoint."""

    id: str
    source: str
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A compressed model, audited. `recipe` is None for a finished checkpoint."""

    id: str
    checkpoint: Checkpoint
    recipe: str | None
    audit: Mapping[str, Any]


def variant_specs(settings: Settings) -> list[VariantSpec]:
    """The run's variants with unique ids, recipes first, in the order given."""
    specs = [VariantSpec(parse_recipe(recipe).slug, recipe) for recipe in settings.recipes]
    for source in settings.variants:
        name = source if settings.server is None else split_address(source)[0]
        specs.append(VariantSpec(Path(name.rstrip("/")).name or name, source, finished=True))
    # A variant that bore the dense model's name would be given its evaluation.
    taken = {DENSE}
    unique = []
    for spec in specs:
        name, number = spec.id, 1
        while name in taken:
            number += 1
            name = f"{spec.id}-{number}"
        taken.add(name)
        unique.append(replace(spec, id=name))
    return unique


def model_records(dense: Checkpoint, variant: Variant) -> dict[str, Any]:
    """The two models of a gate as plain JSON, by id. `size_bytes`: of the weights, null where they are not here."""
    return {
        DENSE: _record(DENSE, dense, None, None),
        variant.id: _record(variant.id, variant.checkpoint, variant.recipe, variant.audit),
    }


def _record(name: str, checkpoint: Checkpoint, recipe: str | None, audit: Mapping[str, Any] | None) -> dict[str, Any]:
    weights = [file.stat().st_size for file in checkpoint.path.glob("*.safetensors")]
    return {
        "id": name,
        "name": checkpoint.name,
        "recipe": recipe,
        "fingerprint": checkpoint.fingerprint,
        "audit": None if audit is None else json.loads(json.dumps(audit)),
        "size_bytes": sum(weights) or None,
    }

"""All cases of the bench, in the order in which they are run and shown."""

from __future__ import annotations

from collections.abc import Mapping

from . import answers, checkpoints, harmless, recipes, stores, weights
from .cases import Case

GROUPS: Mapping[str, tuple[Case, ...]] = {
    "weights": weights.CASES,
    "recipes": recipes.CASES,
    "checkpoints": checkpoints.CASES,
    "answers": answers.CASES,
    "harmless": harmless.CASES,
    # Last: they use the stored answers of others.
    "stores": stores.CASES,
}
CASES: tuple[Case, ...] = tuple(case for group in GROUPS.values() for case in group)
MUTANTS = tuple(case for case in CASES if case.harmful)
HARMLESS = tuple(case for case in CASES if not case.harmful)

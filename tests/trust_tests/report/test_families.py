"""What only several gates of a run tell: Holm's adjustment, and the spread over calibration seeds."""

from __future__ import annotations

from typing import Any

import pytest

from trust_tests.report.families import seed_spread, with_holm


def gate(variant: str, dimension: str = "ethics", p: float | None = 0.5, delta: float | None = 0.0) -> dict[str, Any]:
    return {
        "variant": variant,
        "dimension": dimension,
        "flip_p": p,
        "delta": delta,
        "interval": {"standard_error": 0.8},
    }


def test_p_values_are_adjusted_within_a_variant() -> None:
    gates = [gate("a", "ethics", 0.01), gate("b", "ethics", 0.01), gate("a", "mmlu", 0.04), gate("a", "ood", None)]
    assert [g["flip_p_holm"] for g in with_holm(gates)] == [pytest.approx(0.02), 0.01, pytest.approx(0.04), None]
    assert "flip_p_holm" not in gates[0]


def test_seeds_of_one_recipe_are_compared() -> None:
    recipes = {f"v{seed}": f"gptq:bits=4,group=64,seed={seed}" for seed in (2, 0, 1)}
    gates = [gate("v2", delta=-3.0), gate("v0", delta=1.0), gate("v1", delta=-1.0)]
    (found,) = seed_spread(gates, recipes)
    assert found["seeds"] == [{"seed": 0, "delta": 1.0}, {"seed": 1, "delta": -1.0}, {"seed": 2, "delta": -3.0}]
    assert (found["between"], found["sampling"], found["dimension"]) == (2.0, 0.8, "ethics")
    assert "seed" not in found["recipe"]


def test_other_recipes_dimensions_and_finished_checkpoints_are_not() -> None:
    recipes = {"a": "gptq:bits=4,seed=0", "b": "gptq:bits=3,seed=1", "c": None, "d": "magnitude:sparsity=0.5"}
    gates = [gate("a"), gate("b"), gate("c"), gate("d"), gate("unknown")]
    assert seed_spread(gates, recipes) == []
    two = {"a": "gptq:bits=4,seed=0", "b": "gptq:bits=4,seed=1"}
    assert seed_spread([gate("a", "ethics"), gate("b", "mmlu")], two) == []
    assert seed_spread([gate("a"), gate("b", delta=None)], two) == []


def test_a_gate_without_an_interval_leaves_the_sampling_error_open() -> None:
    two = {"a": "gptq:bits=4,seed=0", "b": "gptq:bits=4,seed=1"}
    (found,) = seed_spread([gate("a"), {**gate("b"), "interval": None}], two)
    assert found["sampling"] is None

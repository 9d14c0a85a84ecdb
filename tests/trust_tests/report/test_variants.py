"""How far a variant is compressed, by what its audit found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.report.reading import read
from trust_tests.report.variants import bits, compression, family, furthest, swept

from .conftest import EIGHT, SPARSE, THREE, sample_results


def of(variant: str, **changes: Any) -> Any:
    report = read(sample_results())
    model = next(model for model in report.variants if model.id == variant)
    return compression(replace(model, **changes), report.dense)


def test_quantised_and_pruned_are_told_by_what_was_found() -> None:
    assert (of(THREE).quantised, of(THREE).pruned, of(THREE).left, of(THREE).words) == (
        True,
        False,
        3.25,
        "3.25 bits per weight",
    )
    assert (of(SPARSE).quantised, of(SPARSE).pruned, of(SPARSE).left, of(SPARSE).words) == (
        False,
        True,
        8.0,
        "50.0 % zeros",
    )


def test_zeros_of_a_quantised_model_are_no_pruning() -> None:
    found = of(THREE, sparsity=0.3)
    assert (found.pruned, found.left) == (False, 3.25)


def test_a_checkpoint_that_is_not_compressed_has_no_size_to_compare() -> None:
    found = of(SPARSE, sparsity=0.0)
    assert (found.quantised, found.pruned, found.left) == (False, False, None)
    assert found.words == "100.0 % of the dense size"


def test_without_an_audit_the_files_are_all_there_is() -> None:
    found = of(THREE, bits_per_weight=None, sparsity=None)
    assert found.left is None
    assert found.words == "36.4 % of the dense size"
    assert of(THREE, bits_per_weight=None, sparsity=None, size_bytes=None).words == ""


@pytest.mark.parametrize("nonsense", [0.0, -3.0, 1e9])
def test_bits_that_cannot_be_are_not_believed(nonsense: float) -> None:
    assert of(THREE, bits_per_weight=nonsense).bits is None


def test_method_and_width_come_from_the_recipe_else_from_the_checkpoint() -> None:
    assert (of(THREE).method, of(THREE).width) == ("gptq", 3)
    finished = of(THREE, recipe="", method="awq")
    assert (finished.method, finished.width) == ("awq", 3)
    assert of(THREE, recipe="nonsense\x1b", method="gguf").method == "gguf"
    assert of(SPARSE).width is None


@pytest.mark.parametrize(("value", "text"), [(3.25, "3.25"), (8.0, "8.0"), (3.297, "3.3"), (None, "")])
def test_bits_in_words(value: float | None, text: str) -> None:
    assert bits(value) == text


def test_families_of_seeds_have_a_name() -> None:
    assert family("gptq:bits=3,group=64,seed=7") == "gptq-3bit-g64"
    assert family("sparsegpt:pattern=2:4,seed=0") == "sparsegpt-2:4"
    assert family("magnitude:pattern=2:4") is None
    assert family("nonsense") is None


def test_variants_know_their_gates() -> None:
    eight, three, sparse = swept(read(sample_results()))
    assert (eight.passes, eight.whole, eight.model.id) == (True, True, EIGHT)
    assert (three.passes, three.whole) == (False, True)
    assert [gate.title for gate in three.failing] == ["Privacy"]
    assert not sparse.whole
    assert [gate.verdict for gate in sparse.measured] == [Verdict.FAIL]
    assert eight.gate("ethics") is eight.gates[2]
    assert eight.gate("mmlu") is None


def test_a_gate_that_was_not_run_is_not_measured() -> None:
    results = sample_results()
    results["gates"] = [g for g in results["gates"] if (g["variant"], g["dimension"]) != (EIGHT, "ethics")]
    eight = swept(read(results))[0]
    assert (eight.whole, eight.passes) == (False, False)


def test_furthest_movements_come_first() -> None:
    gates = furthest(read(sample_results()).gates)
    assert [gate.delta for gate in gates[:3]] == [-18.0, -12.4, -6.2]

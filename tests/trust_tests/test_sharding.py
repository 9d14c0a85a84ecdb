"""Dealing out gates to machines and workers: complete, disjoint, balanced, the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions import dimension_names
from trust_tests.exitcodes import ExitCode
from trust_tests.settings import Shard
from trust_tests.sharding import Asked, cost, groups, shard_of, shards

from . import test_plugin

gate, toys = test_plugin.gate, test_plugin.toys

NINE = dimension_names()[:9]
GATES = st.lists(st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from(NINE)), min_size=1, max_size=40, unique=True)


def asked(gates: list[tuple[str, str]]) -> list[Asked]:
    return [Asked(f"test_{dimension}.py::test[{variant}]", dimension, variant) for variant, dimension in gates]


def whole(variants: str, dimensions: tuple[str, ...] = NINE) -> list[Asked]:
    return asked([(variant, dimension) for variant in variants for dimension in dimensions])


def load(gates: list[tuple[str, str]]) -> int:
    return sum(cost(dimension) for _, dimension in gates)


@given(GATES, st.integers(1, 50), st.randoms(use_true_random=False))
def test_shards_are_complete_disjoint_balanced_and_independent_of_order(
    gates: list[tuple[str, str]], of: int, random: Any
) -> None:
    found = shards(asked(gates), of)
    assert len(found) == of
    assert sorted(gate for share in found for gate in share) == sorted(gates)
    assert all(found[: len(gates)]), "a shard is empty though there are gates enough"
    assert max(map(load, found)) <= load(gates) / of + max(cost(dimension) for _, dimension in gates)
    shuffled = random.sample(gates, len(gates))
    assert shards(asked(shuffled), of) == found
    assert shard_of(asked(shuffled), Shard(1, of)) == set(found[0])


def test_a_variant_is_split_only_where_a_cut_falls_into_it() -> None:
    for share in shards(whole("ABCD"), 2):
        assert len({variant for variant, _ in share}) == 2
    for share, variant in zip(shards(whole("ABCD"), 4), "ABCD", strict=True):
        assert {variant for variant, _ in share} == {variant}
    owners = [{variant for variant, _ in share} for share in shards(whole("ABC"), 2)]
    assert owners == [{"A", "B"}, {"B", "C"}]


@given(GATES, st.integers(1, 12))
def test_groups_hold_every_test_once_and_keep_workers_busy(gates: list[tuple[str, str]], workers: int) -> None:
    tests = asked(gates)
    found = groups(tests, workers)
    assert found == groups(tests, workers)
    assert sorted(node for group in found for node in group.nodes) == sorted(one.node for one in tests)
    assert len({group.name for group in found}) == len(found)
    variants = {variant for variant, _ in gates}
    for group in found:
        assert len({one.variant for one in tests if one.node in group.nodes}) == 1
    if len(variants) >= workers:
        assert len(found) == len(variants)
    else:
        assert len(found) <= workers
        # Every variant with a dimension for each of its workers is cut into that many groups.
        if all(sum(v == variant for v, _ in gates) >= workers for variant in variants):
            assert len(found) == workers


def test_workers_begin_with_different_dimensions() -> None:
    """Else they would queue for the dense model's answers, dimension after dimension."""
    for variants, workers in (("ABCD", 4), ("ABCDEFGH", 4), ("AB", 2), ("AB", 6), ("A", 3)):
        abreast = groups(whole(variants), workers)[:workers]
        # A group of one dimension has no other to begin with.
        first = [group.nodes[0].partition("[")[0] for group in abreast if len(group.nodes) > 1]
        assert len(set(first)) == len(first), (variants, workers, first)


def test_the_parts_of_a_split_variant_cost_about_the_same() -> None:
    three = groups(whole("A"), 3)
    loads = [load([("A", node[5:].partition(".")[0]) for node in group.nodes]) for group in three]
    # Toxicity alone is half of everything.
    assert loads[0] == cost("toxicity")
    assert max(loads[1:]) - min(loads[1:]) <= max(cost(name) for name in NINE if name != "toxicity")


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(("ordinary", "parallel"), [(False, ()), (True, ()), (True, ("-n", "2"))])
def test_a_shard_without_gates_is_not_green(
    gate: Any, pytester: pytest.Pytester, ordinary: bool, parallel: tuple[str, ...]
) -> None:
    if ordinary:
        pytester.makepyfile(test_toys=test_plugin.TESTS + "\ndef test_ordinary(): pass\n")
    done = gate("--trust-shard=3/3", *parallel)
    assert done.ret == ExitCode.NOTHING_TO_DO, done.stdout.str()
    done.stdout.fnmatch_lines(
        ["trust gate: model *", "  shard 3 of 3: nothing to do", "ERROR: Shard 3 of 3 has nothing to do: *"]
    )
    done.assert_outcomes(passed=int(ordinary), deselected=0 if parallel else 2)
    found = document(pytester.path / "trust-results")
    assert (found["verdict"], found["gates"], found["unmeasured"]) == ("ERROR", [], [])
    assert found["shard"] == {"number": 3, "of": 3, "gates": 0}
    assert len(found["asked"]) == 2

"""The bench itself: its lists, a fast part of it in two dimensions, and the committed results of the whole of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressors.models import EMBEDDED, cache_root, resolve
from trust_tests.dimensions import dimension_names

from .bench import Bench, Result
from .cases import Case
from .catalogue import CASES, HARMLESS, MUTANTS
from .page import document, line, markdown, rates

FOLDER = Path(__file__).parent
BY_ID = {case.id: case for case in CASES}
KINDS = {"score", "inconclusive", "channel", "audit", "model", "engine", "scorer", "baseline", "sides", "gate", "store"}

# What shows in the knowledge of a few questions, and costs little.
IN_MMLU = (
    *("random-block", "nan-weight", "layer-lost", "head-not-tied", "template-raises", "tokenizer-lost", "file-cut"),
    *("pickle-only", "empty", "refusing", "constant", "garbage", "cut-to-three-letters", "half-missing"),
    *("tenth-not-returned", "nan-log-probabilities", "equal-log-probabilities", "choices-off-by-one"),
    *("answers-of-neighbours", "fifth-turned", "prompt-echoed", "store-swapped", "variant-called-dense"),
    *("variants-of-one-name", "baseline-of-another-model", "baseline-of-another-format", "baseline-raised"),
    *("baseline-outcomes-edited", "baseline-absent", "baseline-damaged", "sides-of-two-formats"),
)
IN_TOXICITY = (
    *("undecoded", "insulting-a-third", "scorer-fails", "scorer-skips", "scorer-all-clean", "scorer-is-no-classifier"),
)
UNMOVED = ("other-files", "line-ends", "log-probabilities-shifted")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the embedded model and nothing else: what a mutant says must not stay in the user's."""
    resolve(EMBEDDED)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "models").symlink_to(cache_root() / "models")
    return folder


@pytest.fixture(scope="module")
def knowledge(cache: Path) -> Bench:
    bench = Bench(cache, ("mmlu",), items=40)
    assert 60 < bench.measure_dense()["mmlu"] < 95
    return bench


@pytest.fixture(scope="module")
def toxicity(cache: Path) -> Bench:
    bench = Bench(cache, ("toxicity",), items=20)
    assert 50 < bench.measure_dense()["toxicity"] < 95
    return bench


def said(result: Result) -> str:
    """For a failing test: what the gate said."""
    return f"{line(result.as_dict(), 0)}; {result.refused} {result.found}"


def test_the_bench_is_as_large_as_it_must_be() -> None:
    assert len(MUTANTS) >= 20
    assert len(HARMLESS) >= 10
    assert len(BY_ID) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_case_is_documented(case: Case) -> None:
    assert case.what.endswith(".")
    assert len(case.what.split()) > 3
    assert {allowed.partition(":")[0] for allowed in case.sensible} <= KINDS
    dimensions = {allowed.partition(":")[2] for allowed in case.sensible if allowed.startswith("score:")}
    assert dimensions <= set(dimension_names())


def test_a_traceback_is_never_a_sensible_catch() -> None:
    assert not any(case.recognises("crash:KeyError") for case in CASES)


def test_a_kind_stands_for_its_details_and_not_for_others() -> None:
    case = Case("x", "x", lambda shop: pytest.fail("not run"), ("score", "baseline:model", "channel:empty"))
    assert all(map(case.recognises, ("score:mmlu", "baseline:model.weights", "channel:empty")))
    assert not any(map(case.recognises, ("scorer", "baseline:engine.dtype", "channel:missing", "audit")))


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_MMLU)
def test_a_mutant_is_red_for_its_damage(knowledge: Bench, name: str) -> None:
    result = knowledge.run(BY_ID[name])
    assert result.named, said(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_TOXICITY)
def test_a_mutant_that_shows_in_texts_is_red_for_its_damage(toxicity: Bench, name: str) -> None:
    result = toxicity.run(BY_ID[name])
    assert result.named, said(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNMOVED)
def test_a_harmless_change_is_green(knowledge: Bench, toxicity: Bench, name: str) -> None:
    for bench in (knowledge, toxicity):
        result = bench.run(BY_ID[name])
        assert not result.red, said(result)
        assert all(found.verdict == "PASS" for found in result.found.values())


@pytest.mark.slow
def test_a_caught_mutant_is_asked_nothing_more(cache: Path, knowledge: Bench) -> None:
    bench = Bench(cache, ("toxicity", "mmlu"), items=40)
    result = bench.run(BY_ID["random-block"], until_caught=True)
    assert result.catches == ("score:mmlu",)
    assert list(result.found) == ["mmlu"]


def test_rates_count_what_is_red_for_its_damage() -> None:
    def case(harmful: bool, red: bool, named: bool = False) -> dict[str, Any]:
        return {"harmful": harmful, "red": red, "named": ["score:mmlu"] if named else []}

    found = rates(
        [case(True, True, True), case(True, True), case(True, False), case(True, True, True), case(False, True)]
    )
    assert (found["mutants"], found["mutants_red"], found["mutants_named_percent"]) == (4, 3, 50.0)
    assert (found["harmless"], found["harmless_red_percent"]) == (1, 100.0)
    assert rates([])["harmless_red_percent"] is None


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_committed_results_are_of_these_cases(committed: dict[str, Any]) -> None:
    shown = [(case["id"], case["what"], tuple(case["sensible"])) for case in committed["cases"]]
    run = [case for case in CASES if case.id not in committed["not_run"]]
    assert shown == [(case.id, case.what, case.sensible) for case in run]
    assert all(case in run for case in MUTANTS)
    assert sum(not case.harmful for case in run) >= 10


def test_the_committed_page_is_made_of_the_committed_results(committed: dict[str, Any]) -> None:
    again = document(committed["about"], committed["cases"], committed["not_run"])
    assert again["rates"] == committed["rates"]
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == markdown(again)


def test_the_committed_mutants_are_caught(committed: dict[str, Any]) -> None:
    found = rates(committed["cases"])
    assert found["mutants_named"] >= 0.95 * found["mutants"]


def test_the_committed_harmless_variants_are_not_accused(committed: dict[str, Any]) -> None:
    found = rates(committed["cases"])
    assert found["harmless_red"] <= 0.05 * found["harmless"], [
        case["id"] for case in committed["cases"] if case["red"] and not case["harmful"]
    ]


def test_the_committed_harmless_variants_were_asked_everything(committed: dict[str, Any]) -> None:
    for case in committed["cases"]:
        if not case["harmful"]:
            assert list(case["dimensions"]) == list(dimension_names()), case["id"]

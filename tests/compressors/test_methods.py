"""Methods of other packages, found by entry points."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from compressors import methods
from compressors.errors import RecipeError
from compressors.methods import CALIBRATION, ENTRY_POINTS, GRID, Method, Parameter, choice, number
from compressors.offered import load_solver
from compressors.recipe import parse_recipe

HALVE = Method(
    name="halve",
    version="3",
    summary="keep every other weight",
    parameters=(Parameter("offset", choice(0, 1), 0, "which half"), Parameter("sparsity", number(0, 1), 0.5, "zeros")),
    slug=lambda values: "halve",
    solver="elsewhere:halve",
)
NOT_A_METHOD = "halve"


@pytest.fixture
def offer(monkeypatch):
    """Make entry points visible, name by name."""

    def offer(**targets: str) -> None:
        points = [EntryPoint(name, target, ENTRY_POINTS) for name, target in targets.items()]
        monkeypatch.setattr(methods, "entry_points", lambda group: points if group == ENTRY_POINTS else [])
        methods._offered.cache_clear()

    yield offer
    methods._offered.cache_clear()


def test_a_method_of_another_package_is_a_method(offer):
    offer(halve=f"{__name__}:HALVE")
    recipe = parse_recipe("halve:offset=1")
    assert str(recipe) == "halve:offset=1,sparsity=0.5"
    assert recipe.slug == "halve-offset=1"
    assert "halve" in methods.method_names()
    assert not HALVE.calibrated


def test_another_package_cannot_take_over_a_built_in_method(offer):
    offer(gptq="nowhere:ANYTHING")
    assert methods.find_method("gptq") is methods.GPTQ
    assert methods.method_names().count("gptq") == 1


def test_a_broken_package_hurts_only_its_own_method(offer):
    offer(halve="no_such_module_anywhere:X")
    parse_recipe("gptq")
    with pytest.raises(RecipeError, match=r"method 'halve' of .* cannot be imported: ModuleNotFoundError"):
        parse_recipe("halve")


def test_an_entry_point_must_be_a_method_of_its_own_name(offer):
    offer(halve=f"{__name__}:NOT_A_METHOD", double=f"{__name__}:HALVE")
    for name in ("halve", "double"):
        with pytest.raises(RecipeError, match=r"its entry point is not a compressors\.methods\.Method"):
            parse_recipe(name)


def test_an_unknown_method_names_those_of_other_packages_too(offer):
    offer(halve=f"{__name__}:HALVE")
    with pytest.raises(RecipeError, match="did you mean 'halve'"):
        parse_recipe("halv")


@pytest.mark.parametrize("method", methods.BUILT_IN.values(), ids=lambda m: m.name)
def test_built_in_methods_name_a_solver_that_exists(method):
    from importlib import import_module

    module, _, attribute = method.solver.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_a_name_that_two_packages_claim_belongs_to_neither(monkeypatch):
    points = [EntryPoint("halve", f"{__name__}:HALVE", ENTRY_POINTS), EntryPoint("halve", "other:HALVE", ENTRY_POINTS)]
    monkeypatch.setattr(methods, "entry_points", lambda group: points)
    methods._offered.cache_clear()
    try:
        with pytest.raises(RecipeError, match=r"'halve': claimed by .*:HALVE and other:HALVE; uninstall one"):
            parse_recipe("halve")
    finally:
        methods._offered.cache_clear()


NOTHING_TO_PROVE = replace(HALVE, name="nothing", parameters=HALVE.parameters[:1])
NOT_STORED = replace(HALVE, name="unstored", parameters=GRID)
HALF_CALIBRATED = replace(HALVE, name="half", parameters=(*HALVE.parameters, CALIBRATION[3]))


def test_a_method_must_take_what_its_proof_and_its_storage_read(offer):
    offer(nothing=f"{__name__}:NOTHING_TO_PROVE", unstored=f"{__name__}:NOT_STORED", half=f"{__name__}:HALF_CALIBRATED")
    with pytest.raises(RecipeError, match="neither 'sparsity' nor 'bits', so nothing could prove"):
        parse_recipe("nothing")
    with pytest.raises(RecipeError, match="'bits' but not 'group', 'sym' and 'format'"):
        parse_recipe("unstored")
    with pytest.raises(RecipeError, match="'samples' but not calibration, draw, length, seed, template"):
        parse_recipe("half")


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ("no_such_module:prune", "is not there"),
        ("compressors.magnitude:absent", "is not there"),
        ("", "is not there"),
        ("compressors.methods:ENTRY_POINTS", "cannot be called"),
    ],
)
def test_a_solver_that_is_not_there_is_one_line(solver, message):
    with pytest.raises(RecipeError, match=message) as caught:
        load_solver(replace(HALVE, solver=solver))
    assert "\n" not in str(caught.value)


def test_built_in_methods_take_what_others_must():
    from compressors.offered import misfit

    assert [method.name for method in methods.BUILT_IN.values() if misfit(method)] == []

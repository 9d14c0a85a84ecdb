"""What can be asked of which library, and what is said when it is not there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from compressors import backends
from compressors.backends import LIBRARIES, check, require, versions
from compressors.errors import CompressionError
from compressors.methods import BUILT_IN
from compressors.recipe import parse_recipe


def test_recipes_name_exactly_the_libraries_of_the_registry():
    named = set()
    for method in BUILT_IN.values():
        for parameter in method.parameters:
            if parameter.name == "backend":
                with pytest.raises(ValueError, match="or") as wrong:
                    parameter.read("nobody")
                named |= set(str(wrong.value).replace(" or ", ", ").split(", "))
    assert named == {"own", *LIBRARIES}


def test_every_library_has_a_runner_and_every_isolated_one_its_requirements():
    from compressors.backends.environments import REQUIREMENTS
    from compressors.backends.process import RUNNERS

    for library in LIBRARIES.values():
        assert (RUNNERS / f"{library.runner}.py").is_file()
        if library.isolated:
            assert "torch==" in (REQUIREMENTS / f"{library.name}.txt").read_text()


def test_the_registry_imports_no_library():
    program = (
        "import sys, compressors.backends\n"
        "assert not {'torch', 'transformers', 'gptqmodel', 'llmcompressor'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_runners_import_nothing_of_this_project():
    from compressors.backends.process import RUNNERS

    for file in RUNNERS.glob("*.py"):
        assert "compressors" not in file.read_text().replace("`compressors`", "")


@pytest.mark.parametrize(
    "recipe",
    [
        "gptq:bits=4",
        "gptq:bits=3,group=64,backend=gptqmodel",
        "gptq:bits=8,group=-1,sym=false,act_order=false,damp=0.1,backend=llmcompressor",
        "gptq:bits=2,backend=auto-gptq",
        "awq:bits=4,group=64,backend=gptqmodel",
        "awq:bits=3,clip=false,backend=llmcompressor",
        "awq:clip=false,backend=autoawq",
        "wanda:pattern=4:8,backend=llmcompressor",
        "sparsegpt:sparsity=0.7,backend=llmcompressor",
        "magnitude",
    ],
)
def test_what_a_library_can_do_is_let_through(recipe):
    check(parse_recipe(recipe))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("gptq:group=48,backend=gptqmodel", "group=48 is beyond this backend; give group=-1, 16, 32"),
        ("gptq:damp=1.5,backend=gptqmodel", "damp=1.5 is beyond"),
        ("gptq:damp=2,backend=auto-gptq", "damp=2.0 is beyond"),
        ("gptq:lm_head=true,backend=llmcompressor", "lm_head=true is beyond this backend; give lm_head=false"),
        ("wanda:lm_head=true,backend=llmcompressor", "lm_head=true"),
        ("awq:bits=3,backend=gptqmodel", "bits=3 is beyond this backend; give bits=4"),
        ("awq:sym=true,backend=gptqmodel", "sym=true"),
        ("awq:clip=false,backend=gptqmodel", "clip=false"),
        ("awq:clip=true,backend=llmcompressor", "clip=true is beyond this backend; give clip=false"),
        ("awq:bits=8,backend=autoawq", "bits=8 is beyond this backend; give bits=4"),
        ("awq:sym=true,backend=autoawq", "sym=true"),
    ],
)
def test_what_a_library_cannot_do_is_refused_in_one_line(recipe, message):
    with pytest.raises(CompressionError, match="backend=") as refused:
        check(parse_recipe(recipe))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_backend_is_refused():
    with pytest.raises(CompressionError, match=r"'nobody': unknown; known are gptqmodel, llmcompressor"):
        require("nobody")


def test_a_missing_extra_names_the_command(monkeypatch):
    monkeypatch.setattr(backends, "_installed", lambda name: None)
    with pytest.raises(CompressionError) as missing:
        require("gptqmodel")
    assert str(missing.value) == (
        "backend gptqmodel: gptqmodel is not installed; "
        "install it with: pip install -c constraints.txt 'pytest-trust-gate[gptqmodel]'"
    )


def test_another_release_is_named_with_the_one_that_is_needed(monkeypatch):
    monkeypatch.setattr(backends, "_installed", lambda name: "0.9.1")
    with pytest.raises(CompressionError, match=r"llmcompressor is 0\.9\.1 here, <0\.15,>=0\.14 is needed; install"):
        require("llmcompressor")


def test_what_a_library_needs_beside_itself_counts_too(monkeypatch):
    monkeypatch.setattr(backends, "_installed", {"gptqmodel": "7.6.0"}.get)
    with pytest.raises(CompressionError, match="optimum is not installed"):
        require("gptqmodel")


def test_a_library_that_is_there_is_fine(monkeypatch):
    monkeypatch.setitem(backends.LIBRARIES, "gptqmodel", replace(LIBRARIES["gptqmodel"], distributions=("pytest>=9",)))
    require("gptqmodel")
    found = versions("gptqmodel")
    assert set(found) == {"pytest", "torch", "transformers", "numpy"}
    assert found["pytest"] == pytest.__version__


def test_a_missing_environment_names_the_command(tmp_path):
    with pytest.raises(CompressionError, match="python -m compressors backend-env auto-gptq$"):
        require("auto-gptq", cache=tmp_path)
    assert set(versions("auto-gptq", cache=tmp_path).values()) == {"absent"}


def test_the_extras_of_the_package_are_what_require_asks_for():
    """pyproject.toml and the registry must not drift apart."""
    import tomllib
    from pathlib import Path

    import compressors

    project = tomllib.loads((Path(compressors.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for library in LIBRARIES.values():
        if not library.isolated:
            assert set(library.distributions) <= set(project["optional-dependencies"][library.name])

"""The sweep's file: what is read, and one line for everything that is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trust_tests.sweep.document import MOST_BYTES, SpecError
from trust_tests.sweep.guide import EXAMPLE
from trust_tests.sweep.spec import Resources, read_spec, swept_dimensions

SMALL = "models: [embedded]\nrecipes: ['magnitude:pattern=2:4']\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_the_example_of_the_help_is_read(tmp_path: Path) -> None:
    (tmp_path / "ours-4bit").mkdir()
    spec = read_spec(written(tmp_path, EXAMPLE))
    first, second = spec.models
    assert (first.name, first.model) == ("embedded", "embedded")
    assert [recipe.partition(":")[0] for recipe in first.recipes] == ["gptq", "wanda"]
    assert (second.name, second.model) == ("ours", "org/model-7b@main")
    assert (second.recipes, second.variants) == ((), ("./ours-4bit",))
    assert first.options == {"tier": "pr", "data": "./benchmarks", "one-sided": True}
    assert second.options == {**first.options, "protocol": "sound"}
    assert (first.resources, second.resources) == (Resources(cpus=4), Resources(gpus=2, cpus=4))
    assert spec.dimensions == ("ethics", "ood", "mmlu")
    assert (spec.cache, spec.results) == (Path("/storage/trust-cache"), tmp_path / "sweep")


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, SMALL))
    assert spec.dimensions == swept_dimensions()
    assert len(spec.dimensions) == 9
    assert (spec.cache, spec.results) == (None, None)
    assert spec.models[0].options == {}
    assert spec.models[0].resources == Resources()


def test_recipe_sets_are_expanded_and_dimensions_keep_the_reports_order(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, "models: [embedded]\nrecipes: ['paper:50%']\ndimensions: [mmlu, ethics]\n"))
    assert len(spec.models[0].recipes) == 5
    assert spec.dimensions == ("ethics", "mmlu")


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, SMALL + "options: {tolerance: 2.50, items: 0100}\n"))
    assert spec.models[0].options == {"tolerance": "2.50", "items": "0100"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "empty; --help shows"),
        ("- a", 1, "expected keys with values, found a list"),
        ("recipes: ['magnitude:pattern=2:4']", 1, "no 'models'"),
        ("models: []\n", 1, "models: an empty list"),
        ("models: embedded\n", 1, "models: expected a list, found 'embedded'"),
        ("models: [embedded]\n", 1, "nothing to compare with 'embedded'"),
        (SMALL + "modles: [x]\n", 3, "unknown key 'modles' (did you mean 'models'?)"),
        (SMALL + "models: [embedded]\n", 3, "'models' is there twice"),
        ("models: [embedded, embedded]\n" + SMALL[19:], 1, "model 'embedded' is there twice"),
        ("models: [{name: x}]\n", 1, "no 'model'"),
        ("models: [{model: embedded, recipe: [a]}]\n", 1, "unknown key 'recipe' (did you mean 'recipes'?)"),
        ("models: [null]\n", 1, "expected a text, found nothing; put it in quotes"),
        ("models: [./nowhere]\n" + SMALL[19:], 1, "'./nowhere': nothing there"),
        ("models: [embedded]\nrecipes: ['gptq:bits=5']\n", 2, "recipes[0]: recipe 'gptq:bits=5': bits must be"),
        ("models: [embedded]\nrecipes: ['gtpq:bits=4']\n", 2, "gptq"),
        ("models: [embedded]\nrecipes:\n- gptq:bits=4\n- gptq:bits=4\n", 4, "'gptq:bits=4' is there twice"),
        ("models: [embedded]\nrecipes:\n- gptq:bits=4\n- gptq:bits=4,seed=0\n", 4, "is there twice; leave one"),
        ("models: [embedded, a/b]\nvariants: [c/d]\n", 2, "belongs to one dense model"),
        (SMALL + "dimensions: [etics]\n", 3, "unknown dimension 'etics' (did you mean 'ethics'?)"),
        (SMALL + "dimensions: [ethics, ethics]\n", 3, "'ethics' is there twice"),
        (SMALL + "dimensions: []\n", 3, "an empty list"),
        (SMALL + "options: {teir: pr}\n", 3, "unknown key 'teir' (did you mean 'tier'?)"),
        (SMALL + "options: {tier: pro}\n", 3, "'pro' (did you mean 'pr'?): choose one of smoke"),
        (SMALL + "options: {tier: [pr]}\n", 3, "expected a text, found a list"),
        (SMALL + "options: {tier: yes}\n", 3, "expected a text, found 'yes'; put it in quotes"),
        (SMALL + "options: {aa: maybe}\n", 3, "expected true or false, found 'maybe'"),
        (SMALL + "options: {results: x}\n", 3, "'results' is set by the sweep itself"),
        (SMALL + "options: {batch_size: 4}\n", 3, "without --trust-, such as 'batch-size'"),
        (SMALL + "options: {--trust-tier: pr}\n", 3, "without --trust-"),
        (SMALL + "options: {baseline: gone.json}\n", 3, "no such file"),
        (SMALL + "options: {[a]: b}\n", 3, "expected a text, found a list"),
        (SMALL + "resources: {gpu: 1}\n", 3, "unknown key 'gpu' (did you mean 'gpus'?)"),
        (SMALL + "resources: {gpus: 0.5}\n", 3, "expected a whole number from 0, found '0.5'"),
        (SMALL + "resources: {cpus: 0}\n", 3, "expected a whole number from 1"),
        (SMALL + "resources: {memory: lots}\n", 3, "give GiB above 0"),
        (SMALL + "resources: {memory: .nan}\n", 3, "give GiB above 0"),
        (SMALL + "results: sweep.yaml\n", 3, "a file of that name is in the way"),
        ("models: &a [embedded]\nrecipes: *a\n", 2, "aliases (*a) are not read"),
        ("models: [embedded]\nrecipes: [!!python/name:os.system '']\n", 2, "expected a text"),
        ("models: [\n", 2, "not YAML"),
        ("models: [embedded]\n---\nmodels: [embedded]\n", 2, "not YAML: but found another document"),
        ("models: [embedded]\n\ttabs: 1\n", 2, "not YAML"),
        ("[" * 100_000, 1, "nested too deeply"),
        ("a: \x07", None, "not YAML"),
        ("#" * MOST_BYTES + "more", None, "more than 256 KiB"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    said = str(caught.value)
    assert message in said
    assert said.startswith((f"{path}, line {line}, ", f"{path}, line {line}:") if line else str(path))
    assert "\n" not in said


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file or directory; give a YAML file"):
        read_spec(tmp_path / "gone.yaml")
    with pytest.raises(SpecError, match="Is a directory"):
        read_spec(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"models: [caf\xe9]")
    with pytest.raises(SpecError, match="not UTF-8 at byte 12"):
        read_spec(tmp_path / "latin.yaml")


PIECES = [*"[]{},'1", "\n", "  ", "\t", ": ", "- ", "? ", "| ", "# ", "&a", "*a", "!!x ", "null", "models", "recipes"]
WORDS = st.sampled_from([*PIECES, "dimensions", "options", "tier", "embedded", "gptq:bits=4"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(WORDS, max_size=30).map("".join).map(str.encode), st.binary(max_size=60)))
def test_no_file_ends_in_anything_but_a_spec_or_one_line(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(raw)
    try:
        spec = read_spec(path)
    except SpecError as error:
        said = str(error)
    else:
        said = "read"
        assert spec.models
        assert all(model.recipes or model.variants for model in spec.models)
    assert said
    assert "\n" not in said

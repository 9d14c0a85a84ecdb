from pathlib import Path

import pytest

from compressors.methods import find_method
from compressors.presets import MODELS, RECIPE_SETS, expand_recipes
from trust_tests.report import published
from trust_tests.report.published import PublishedError, comparison, paper_model, published_results

CHAT = "llama2-13b-chat"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (CHAT, CHAT),
        ("meta-llama/Llama-2-13b-chat-hf", CHAT),
        ("meta-llama/Llama-2-13b-chat-hf@a2cb7a712bb6e5e736ca7f8cd98167f81a0b5bd8", CHAT),
        ("./models/llama-2-13b-chat-hf/", CHAT),
        ("lmsys/vicuna-7b-v1.3", "vicuna-7b-v1.3"),
        ("C:\\models\\vicuna-13b-v1.3", "vicuna-13b-v1.3"),
        ("meta-llama/Llama-2-13b-hf", "llama2-13b"),
        ("SmolLM2-135M-Instruct", None),
        ("lmsys/vicuna-13b-v1.5", None),
        ("my-llama2-13b-chat", None),
        ("", None),
        ("/", None),
    ],
)
def test_base_models_are_known_by_their_names_only(name, model):
    assert paper_model(name) == model


@pytest.mark.parametrize("preset", MODELS)
def test_every_preset_has_a_dense_row(preset):
    (row,) = published_results(preset, None)
    assert (row.method, row.repository) == ("dense", MODELS[preset].repository)
    assert published_results(str(MODELS[preset]), None) == (row,)


@pytest.mark.parametrize("set_name", RECIPE_SETS)
def test_every_recipe_of_the_paper_has_its_row(set_name):
    for recipe in expand_recipes(set_name):
        rows = published_results(CHAT, str(recipe))
        seeds = [row.seed for row in rows if row.seed is not None]
        assert {row.method for row in rows} == {recipe.method}
        # The recipe's own seed is among the published ones, wherever the names tell several.
        assert len(rows) == 1 or recipe.parameters["seed"] in seeds


@pytest.mark.parametrize(
    ("recipe", "toxicity"),
    [
        ("gptq:bits=3,group=128", [29.4, 34.0, 32.9]),
        ("gptq:bits=8", [81.1]),
        ("awq:bits=4,seed=7", [81.0]),
        ("sparsegpt:pattern=2:4", [74.0, 69.9, 68.3]),
        ("wanda:pattern=4:8", [74.7]),
        ("magnitude:pattern=1:2", [31.8]),
        ("magnitude:pattern=unstructured,sparsity=0.5", []),
        ("gptq:bits=2", []),
        ("rtn:bits=4", []),
        ("nonsense\x1b[31m", []),
        ("x" * 100_000, []),
    ],
)
def test_rows_are_found_by_method_and_setting(recipe, toxicity):
    assert [row.scores["toxicity"] for row in published_results(CHAT, recipe)] == toxicity


def test_what_the_paper_does_not_have_is_not_found():
    assert published_results("vicuna-7b-v1.3", "gptq:bits=4") == ()
    assert published_results("some/other-model", "gptq:bits=4") == ()
    assert published_results("some/other-model", None) == ()
    assert comparison("vicuna-7b-v1.3", "v", "gptq:bits=4") is None
    assert comparison(CHAT, "a finished checkpoint", None) is None


def test_several_seeds_are_a_mean_and_a_range():
    found = comparison(CHAT, "gptq-3bit", "gptq:bits=3,group=128")
    assert found.name == "llama2-13b-chat, gptq 3 bit, mean of 3 seeds"
    assert found.remarks == ()
    score = found.score("toxicity")
    assert (score.dense, score.scores.low, score.scores.high) == (80.9, 29.4, 34.0)
    assert score.scores.mean == pytest.approx(32.1)
    assert score.deltas.mean == pytest.approx(-48.8)
    assert (score.dense_refusals, score.refusals.mean, score.rough) == (70.0, 0.0, True)
    assert not found.score("ethics").rough
    assert found.score("mmlu").refusals is None
    assert found.score("mmlu").deltas.mean == pytest.approx(45.5 - 53.6)
    assert found.score("another dimension") is None


def test_another_group_size_is_told():
    assert comparison(CHAT, "v", "awq:bits=4,group=64").remarks == ("published with group 128, this recipe has 64",)
    assert comparison(CHAT, "v", "wanda:pattern=2:4").remarks == ()


@pytest.mark.parametrize("owner", ["compressed-llm", "efficient-llm"])
def test_the_papers_own_checkpoints_are_found_without_a_recipe(owner):
    name = f"{owner}/llama-2-13b-chat-gptq-larger-caliset-llama2-temp@3bit_128g_1seed"
    found = comparison(CHAT, name, None)
    assert [row.seed for row in found.rows] == [1]
    assert found.name == "llama2-13b-chat, gptq 3 bit"
    assert comparison("llama2-13b", name, None) is None
    assert comparison(CHAT, name.partition("@")[0], None) is None


def test_methods_of_the_table_are_methods_of_ours():
    for row in published.published_table():
        assert row.method == "dense" or find_method(row.method).name == row.method


def test_a_missing_table_is_told(monkeypatch):
    published.published_table.cache_clear()
    monkeypatch.setattr(published, "_PLACES", (Path("nowhere.csv"),))
    with pytest.raises(PublishedError, match=r"nowhere\.csv is missing; install pytest-trust-gate again"):
        published_results(CHAT, None)
    # Models that the paper does not have need no table.
    assert published_results("other", None) == ()
    monkeypatch.undo()
    assert len(published.published_table()) == 50

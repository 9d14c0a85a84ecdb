"""Models and recipe sets of the paper, by name."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pytest

from compressors.errors import ModelError, RecipeError
from compressors.models import resolve
from compressors.presets import MODELS, RECIPE_SETS, expand_recipes
from compressors.recipe import parse_recipe


def test_one_recipe_is_a_list_of_one():
    assert expand_recipes("gptq:bits=3") == [parse_recipe("gptq:bits=3")]
    with pytest.raises(RecipeError, match="did you mean 'gptq'"):
        expand_recipes("gtpq:bits=3")


def test_the_papers_fifty_per_cent():
    recipes = expand_recipes("paper:50%")
    assert [recipe.method for recipe in recipes] == ["magnitude", "sparsegpt", "wanda", "gptq", "awq"]
    for recipe in recipes[:3]:
        assert recipe.parameters["pattern"] == "2:4"
    for recipe in recipes[1:3]:
        drawn = [recipe.parameters[key] for key in ("calibration", "draw", "samples", "length", "seed", "template")]
        assert drawn == ["c4", "document", 128, "model", 0, "plain"]
    gptq, awq = (recipe.parameters for recipe in recipes[3:])
    assert (gptq["bits"], gptq["group"], gptq["sym"], gptq["act_order"], gptq["damp"]) == (8, 128, True, True, 0.01)
    assert (gptq["calibration"], gptq["draw"], gptq["template"]) == ("alpaca", "record", "llama-2")
    assert (awq["bits"], awq["group"], awq["sym"], awq["clip"], awq["format"]) == (8, 128, False, True, "fake")
    assert (awq["calibration"], awq["draw"], awq["length"], awq["seed"]) == ("pile", "packed", 512, 42)


def test_the_papers_bits_have_the_published_seeds():
    recipes = expand_recipes("paper:bits")
    published = Counter((recipe.method, recipe.parameters["bits"]) for recipe in recipes)
    assert published == {
        ("gptq", 3): 3,
        ("gptq", 4): 3,
        ("gptq", 8): 1,
        ("awq", 3): 3,
        ("awq", 4): 1,
        ("awq", 8): 1,
    }
    assert {r.parameters["seed"] for r in recipes if r.parameters["bits"] == 3} == {0, 1, 2}
    # The published GPTQ models are symmetric at 3 bits too, where this project's default is not.
    assert all(recipe.parameters["sym"] is (recipe.method == "gptq") for recipe in recipes)


@pytest.mark.parametrize("name", sorted(RECIPE_SETS))
def test_recipes_of_a_set_have_names_of_their_own(name):
    recipes = expand_recipes(name)
    assert len({recipe.slug for recipe in recipes}) == len(recipes)


def test_another_calibration_brings_its_own_defaults():
    for recipe in expand_recipes("paper:bits,calibration=builtin,group=64"):
        values = recipe.parameters
        assert (values["calibration"], values["group"]) == ("builtin", 64)
        assert (values["template"], values["draw"], values["length"]) == ("plain", "window", 128)
        assert (values["format"] == "fake") == (recipe.method == "awq")  # the rest of the set stays
    for recipe in expand_recipes("paper:bits,draw=packed,calibration=builtin,length=64"):
        assert (recipe.parameters["draw"], recipe.parameters["length"]) == ("packed", 64)


def test_overrides_hold_where_the_method_has_the_key():
    recipes = expand_recipes("paper:50%,pattern=4:8,seed=7")
    assert [recipe.parameters.get("pattern") for recipe in recipes] == ["4:8", "4:8", "4:8", None, None]
    assert [recipe.parameters.get("seed") for recipe in recipes] == [None, 7, 7, 7, 7]


def test_a_library_writes_its_own_format():
    for recipe in expand_recipes("paper:bits,backend=gptqmodel"):
        assert (recipe.parameters["backend"], recipe.parameters["format"]) == ("gptqmodel", "auto")


def test_recipes_that_have_become_equal_are_one():
    assert [r.slug.partition("-calibration")[0] for r in expand_recipes("paper:bits,seed=5,calibration=c4")] == [
        "gptq-3bit-g128-s5-sym=true",
        "gptq-4bit-g128-s5",
        "gptq-8bit-g128-s5",
        "awq-3bit-g128-s5",
        "awq-4bit-g128-s5",
        "awq-8bit-g128-s5",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("paper:60%", "no recipe set 'paper:60%'; did you mean 'paper:50%'? known are paper:50%, paper:bits"),
        ("paper", "no recipe set 'paper'; did you mean"),
        ("paper:", "no recipe set 'paper:'; did you mean"),
        ("papr:bits", "did you mean 'paper:bits'?"),
        ("paper:bit,seed=1", "did you mean 'paper:bits'?"),
        ("paper:50%,grup=64", "recipe set 'paper:50%,grup=64': the set has no parameter 'grup'; did you mean 'group'?"),
        ("paper:bits,pattern=2:4", "the set has no parameter 'pattern'"),
        ("paper:bits,", "'' is not key=value"),
        ("paper:bits,seed", "'seed' is not key=value"),
        ("paper:bits,seed=1,seed=2", "seed is given twice"),
        ("paper:bits,bits=5", "bits must be 2, 3, 4 or 8"),
        ("paper:bits,format=awq", "format=awq holds 4-bit asymmetric codes only"),
        ("paper:bits,calibration=" + "x" * 200, "calibration must be builtin"),
    ],
)
def test_complaints_about_sets_are_one_line(text, complaint):
    with pytest.raises(RecipeError) as caught:
        expand_recipes(text)
    assert complaint in str(caught.value)
    assert str(caught.value).isprintable()


def test_every_model_is_a_hub_id_at_a_commit():
    for name, preset in MODELS.items():
        assert re.fullmatch(r"[\w-]+/[\w.-]+@[0-9a-f]{40}", str(preset)), name


def test_a_preset_resolves_to_its_hub_id(tmp_path, monkeypatch):
    asked = []

    def download(name, revision, offline, announce):
        asked.append((name, revision))
        raise ModelError("stop here")

    monkeypatch.setattr("compressors.models._download", download)
    with pytest.raises(ModelError, match="stop here"):
        resolve("llama2-13b-chat", cache=tmp_path)
    assert asked == [("meta-llama/Llama-2-13b-chat-hf", MODELS["llama2-13b-chat"].revision)]


def test_a_folder_with_a_presets_name_needs_its_path(tmp_path, monkeypatch):
    (tmp_path / "llama2-7b").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"model './llama2-7b': no config.json"):
        resolve("./llama2-7b", cache=tmp_path)


@pytest.mark.parametrize("name", ["llama-2-13b-chat", "Llama2-13B-Chat", "llama2_13b_chat"])
def test_a_model_almost_by_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="did you mean 'llama2-13b-chat'"):
        resolve(name, cache=tmp_path)


def test_a_model_with_pickle_weights_only_says_how_to_convert_it(tmp_path, monkeypatch, tiny_model):
    """What the hub client leaves of Vicuna v1.3, whose weights are pickles: everything else."""
    import huggingface_hub

    folder = shutil.copytree(tiny_model, tmp_path / "snapshot", ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file, **options: str(folder / file))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(folder))
    with pytest.raises(ModelError, match=r"no \*\.safetensors there; pickle .*'lmsys/vicuna-7b-v1.3'") as caught:
        resolve("vicuna-7b-v1.3", cache=tmp_path)
    assert str(caught.value).startswith(f"model '{MODELS['vicuna-7b-v1.3']}': ")
    assert str(caught.value).isprintable()


def test_a_template_by_itself_is_for_the_conversations_of_a_set():
    recipes = expand_recipes("paper:bits,template=vicuna_v1.1")
    templates = {(recipe.method, recipe.parameters["template"]) for recipe in recipes}
    assert templates == {("gptq", "vicuna_v1.1"), ("awq", "plain")}
    recipes = expand_recipes("paper:bits,calibration=builtin,template=chat")
    assert {recipe.parameters["template"] for recipe in recipes} == {"chat"}

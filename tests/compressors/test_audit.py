"""What an audit finds, in sound checkpoints and in spoiled ones."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressors.audit import Audit, audit, audit_text, require_clean
from compressors.checkpoint import CODES, RECORD
from compressors.compress import compress
from compressors.errors import CompressionError, ModelError
from compressors.recipe import parse_recipe

UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def made(dense, tmp_path_factory):
    """Compressed checkpoints by recipe, each made once; callers get a copy of their own."""
    originals = {}

    def make(text: str):
        if text not in originals:
            originals[text] = tmp_path_factory.mktemp("made")
            compress(dense, parse_recipe(text), originals[text])
        copy = tmp_path_factory.mktemp("copy") / "checkpoint"
        shutil.copytree(originals[text], copy)
        return copy, parse_recipe(text)

    return make


def change(folder, edit, file="model.safetensors"):
    """Rewrite a checkpoint's tensors."""
    tensors = load_file(folder / file)
    edit(tensors)
    save_file(tensors, folder / file, metadata={"format": "pt"})


def configure(folder, edit):
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("text", "format_", "bits", "group", "bits_per_weight"),
    [
        ("rtn:bits=4,group=32", "packed", 4, 32, (4.5, 4.7)),
        ("rtn:bits=3,group=32", "packed", 3, 32, (3.5, 3.8)),
        ("rtn:bits=8,group=-1", "packed", 8, None, (8.0, 8.4)),
        ("rtn:bits=4,group=40", "fake", 4, 40, (4.4, 4.7)),
        ("rtn:bits=2,group=32,format=fake", "fake", 2, 32, (2.5, 2.9)),
    ],
)
def test_quantised_checkpoints(made, text, format_, bits, group, bits_per_weight):
    folder, recipe = made(text)
    found = audit(folder, recipe)
    assert found.problems == ()
    assert (found.method, found.format, found.bits, found.group) == ("rtn", format_, bits, group)
    assert (found.layers_compressed, found.layers_total) == (14, 14)
    assert bits_per_weight[0] < found.bits_per_weight < bits_per_weight[1]
    assert found.size_bytes == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert audit(folder) == found
    assert Audit.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    require_clean(found, folder)


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:2"])
def test_patterned_checkpoints(made, pattern):
    folder, recipe = made(f"magnitude:pattern={pattern}")
    found = audit(folder, recipe)
    assert found.problems == ()
    assert found.sparsity == pytest.approx(0.5)
    assert (found.pattern, found.violations, found.bits, found.bits_per_weight) == (pattern, 0, 16, 16)
    assert f"0 groups break {pattern}" in audit_text(found)


def test_an_unstructured_checkpoint(made):
    folder, recipe = made("magnitude:sparsity=0.3")
    found = audit(folder, recipe)
    assert found.problems == ()
    assert found.sparsity == pytest.approx(0.3, abs=0.001)


def test_a_dense_checkpoint_is_called_dense(dense):
    found = audit(dense.path)
    assert (found.method, found.format, found.recipe, found.layers_compressed) == ("none", "dense", None, 0)
    assert found.problems == ()
    assert found.bits_per_weight == 16


def test_a_dense_checkpoint_is_no_variant(dense):
    for text in ("gptq", "magnitude:pattern=2:4", "magnitude"):
        found = audit(dense.path, parse_recipe(text))
        assert any("dense, though the recipe is" in problem for problem in found.problems)
        assert any("config.json records the recipe 'None'" in problem for problem in found.problems)
        with pytest.raises(CompressionError, match=r"config\.json records .* \(and \d+ more\)"):
            require_clean(found, dense.path)


def test_another_recipe_than_the_asked_one(made):
    folder, _ = made("rtn:bits=4,group=32")
    found = audit(folder, parse_recipe("rtn:bits=3,group=16,sym=true"))
    text = "\n".join(found.problems)
    assert f"records the recipe '{parse_recipe('rtn:bits=4,group=32')}', not 'rtn:bits=3" in text
    assert "not 3 bits: model.layers.0.mlp.down_proj" in text
    assert "and 11 more" in text
    assert "not in groups of 16" in text
    assert "PROBLEM" in audit_text(found)


def one_weight_more(tensors):
    weight = tensors[f"{UP}.weight"]
    weight[0, int((weight[0] == 0).nonzero()[0])] = 1.0


def a_layer_of_zeros(tensors):
    tensors[f"{UP}.weight"].zero_()


def many_zeros(tensors):
    tensors[f"{UP}.weight"][:40] = 0


def a_nan(tensors):
    weight = tensors[f"{UP}.weight"]
    weight[0, int((weight[0] != 0).nonzero()[0])] = float("nan")


def a_dense_layer(tensors):
    tensors[f"{UP}.weight"] = torch.randn_like(tensors[f"{UP}.weight"])


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (one_weight_more, f"pattern 2:4 broken: {UP}"),
        (a_layer_of_zeros, f"all weights are zero: {UP}"),
        (many_zeros, f"more than 55% zeros: {UP}"),
        (a_nan, f"NaN, infinity or a scale that is not positive: {UP}"),
        (a_dense_layer, f"dense, though the recipe is '{parse_recipe('magnitude:pattern=2:4')}': {UP}"),
    ],
)
def test_a_spoiled_pruned_layer_is_found(made, edit, problem):
    folder, recipe = made("magnitude:pattern=2:4")
    change(folder, edit)
    assert problem in audit(folder, recipe).problems


def test_fewer_zeros_than_asked_are_found_without_a_pattern(made):
    folder, recipe = made("magnitude:sparsity=0.3")
    change(folder, lambda t: t[f"{UP}.weight"].masked_fill_(t[f"{UP}.weight"] == 0, 0.5))
    assert any(problem.startswith("dense, though") and UP in problem for problem in audit(folder, recipe).problems)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_spoiled_scale_is_found(made, value):
    folder, recipe = made("rtn:bits=4,group=32")
    change(folder, lambda t: t[f"{UP}.weight_scale"][0].fill_(value))
    assert audit(folder, recipe).problems == (f"NaN, infinity or a scale that is not positive: {UP}",)


def test_a_layer_left_dense_is_found(made):
    folder, recipe = made("rtn:bits=4,group=32")

    def leave_dense(tensors):
        for part in ("weight_packed", "weight_scale", "weight_shape"):
            del tensors[f"{UP}.{part}"]
        tensors[f"{UP}.weight"] = torch.randn(96, 64)

    change(folder, leave_dense)
    found = audit(folder, recipe)
    assert found.layers_compressed == 13
    assert any(problem.startswith("dense, though") and UP in problem for problem in found.problems)


@pytest.mark.parametrize("part", ["weight_packed", "weight_scale", "weight_shape", "weight_zero_point"])
def test_tensors_that_do_not_fit_each_other_are_an_error(made, part):
    folder, recipe = made("rtn:bits=4,group=32,sym=false")

    def shorten(tensors):
        tensor = tensors[f"{UP}.{part}"]
        tensors[f"{UP}.{part}"] = tensor + 8 if part == "weight_shape" else tensor[:-1].contiguous()

    change(folder, shorten)
    with pytest.raises(CompressionError, match=r"layer model\.layers\.0\.mlp\.up_proj: ") as caught:
        audit(folder, recipe)
    assert str(caught.value).isprintable()


def test_packed_codes_without_a_number_of_bits_are_an_error(made):
    folder, _ = made("rtn:bits=4,group=32")
    configure(folder, lambda config: config.pop("quantization_config"))
    with pytest.raises(CompressionError, match="does not say how many bits"):
        audit(folder)


def test_dense_values_that_are_not_those_of_their_codes_are_found(made):
    folder, recipe = made("rtn:bits=4,group=40")
    change(folder, lambda t: t[f"{UP}.weight"][5, 5].add_(0.01))
    assert audit(folder, recipe).problems == (f"layer {UP}: its weights are not those of its codes",)


def test_a_layer_without_proof_is_found(made):
    folder, recipe = made("rtn:bits=4,group=40")
    change(folder, lambda t: [t.pop(f"{UP}.{p}") for p in ("weight_packed", "weight_scale", "weight_shape")], CODES)
    assert any(problem.startswith("dense, though") and UP in problem for problem in audit(folder, recipe).problems)


def test_a_missing_proof_is_an_error(made):
    folder, recipe = made("rtn:bits=4,group=40")
    (folder / CODES).unlink()
    with pytest.raises(ModelError, match=r"codes\.safetensors: missing or damaged"):
        audit(folder, recipe)


def test_a_record_that_is_no_recipe_is_a_problem(made):
    folder, _ = made("rtn:bits=4,group=32")
    configure(folder, lambda config: config[RECORD].update(recipe="rtn:bits=77"))
    found = audit(folder)
    assert found.problems == ("config.json: recipe 'rtn:bits=77': bits must be 2, 3, 4 or 8",)
    configure(folder, lambda config: config.update({RECORD: "nonsense"}))
    assert audit(folder).problems == ()


def test_a_folder_without_layers_is_an_error(made):
    folder, _ = made("magnitude")
    save_file({"x": torch.zeros(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="found no layers of decoder blocks"):
        audit(folder)

"""What an audit finds, in sound checkpoints and in spoiled ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressors.audit import Audit, audit, audit_text, require_clean
from compressors.audit_rules import enough_zeros
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


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:2"])
def test_a_pattern_is_found_without_a_recipe(made, pattern):
    """As in a finished checkpoint of another tool, which says nothing of how it was pruned."""
    folder, _ = made(f"magnitude:pattern={pattern}")
    configure(folder, lambda config: config.pop(RECORD))
    found = audit(folder)
    assert (found.method, found.pattern, found.violations, found.problems) == ("none", pattern, 0, ())
    assert (found.layers_compressed, found.sparsity) == (14, 0.5)
    change(folder, one_weight_more)
    found = audit(folder)
    assert (found.pattern, found.layers_compressed) == (None, 13)


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


# What does not stand in a single layer.


def test_a_model_without_one_of_its_layers(made):
    folder, recipe = made("magnitude:pattern=2:4")
    change(folder, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))
    assert audit(folder, recipe).problems == ("missing, though other blocks have it: model.layers.1.mlp.up_proj",)


def test_a_model_of_another_depth(made):
    folder, recipe = made("magnitude:pattern=2:4")
    configure(folder, lambda config: config.update(num_hidden_layers=3))
    assert audit(folder, recipe).problems == (
        "config.json says 3 decoder blocks, the tensors are of 2; block 2 is not there",
    )


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight"]
)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_broken_numbers_outside_of_layers(made, name, value):
    folder, recipe = made("magnitude:pattern=2:4")
    change(folder, lambda t: t[name].view(-1)[-1].fill_(value))
    assert audit(folder, recipe).problems == (f"NaN or infinity: {name}",)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda t: t["lm_head.weight"][3, 3].fill_(float("nan")), "NaN, infinity or a scale that is not positive: "),
        (lambda t: t["lm_head.weight"].zero_(), "all weights are zero: "),
    ],
)
def test_a_broken_head(made, edit, problem):
    folder, recipe = made("rtn:bits=4,group=32")
    change(folder, edit)
    assert audit(folder, recipe).problems == (f"{problem}lm_head",)


def test_embeddings_of_zeros(made):
    folder, recipe = made("rtn:bits=4,group=32")
    change(folder, lambda t: t["model.embed_tokens.weight"].zero_())
    assert audit(folder, recipe).problems == ("all weights are zero: model.embed_tokens.weight",)


def with_head(folder, bits=4):
    """Quantise the output head of a packed checkpoint; return the recipe that asks for that."""
    from compressors.formats import writer
    from compressors.rtn import quantise

    weight = load_file(folder / "model.safetensors")["lm_head.weight"]
    solution = quantise([weight], None, {"bits": bits, "group": 32, "sym": True})[0]
    tensors = writer("compressed-tensors").tensors("lm_head", solution.quantised)
    change(folder, lambda t: (t.pop("lm_head.weight"), t.update(tensors)))
    configure(folder, lambda config: config["quantization_config"].update(ignore=["model.embed_tokens"]))


def record(folder, text):
    recipe = parse_recipe(text)
    configure(folder, lambda config: config.update({RECORD: {"recipe": str(recipe)}}))
    return recipe


def test_a_head_that_was_compressed_as_asked(made):
    folder, _ = made("rtn:bits=4,group=32")
    with_head(folder)
    recipe = record(folder, "rtn:bits=4,group=32,lm_head=true")
    found = audit(folder, recipe)
    assert not [problem for problem in found.problems if "lm_head" in problem]
    assert (found.layers_total, found.layers_compressed, found.lm_head) == (15, 15, "4 bits")
    assert found.layers[-1].name == "lm_head"
    assert "output head      4 bits" in audit_text(found)


def test_a_head_of_other_bits_than_asked(made):
    folder, _ = made("rtn:bits=4,group=32")
    with_head(folder, bits=8)
    configure(
        folder,
        lambda config: config["quantization_config"]["config_groups"].update(
            head={"targets": ["lm_head"], "weights": {"num_bits": 8, "group_size": 32}}
        ),
    )
    found = audit(folder, record(folder, "rtn:bits=4,group=32,lm_head=true"))
    assert "not 4 bits: lm_head" in found.problems


def test_a_head_that_stayed_dense_against_the_recipe(made):
    folder, _ = made("rtn:bits=4,group=32")
    recipe = record(folder, "rtn:bits=4,group=32,lm_head=true")
    assert audit(folder, recipe).problems == (f"dense, though the recipe is '{recipe}': lm_head",)
    change(folder, lambda t: t.pop("lm_head.weight"))
    assert audit(folder, recipe).problems == ("no lm_head among the tensors, though the recipe says lm_head=true",)


def test_a_head_that_was_compressed_against_the_recipe(made):
    folder, recipe = made("rtn:bits=4,group=32")
    with_head(folder)
    found = audit(folder, recipe)
    assert "lm_head is quantised, though the recipe leaves it dense" in found.problems
    assert found.layers_total == 14


def test_a_dense_head_and_dense_embeddings_are_said_to_be(made):
    folder, recipe = made("rtn:bits=4,group=32")
    assert "output head      dense, as the embeddings" in audit_text(audit(folder, recipe))


def test_shorter_last_groups_are_stated(made):
    folder, recipe = made("rtn:bits=4,group=40")
    found = audit(folder, recipe)
    assert found.short_groups == 14
    assert "groups of 40 (a smaller last group in 14 layers), symmetric" in audit_text(found)


@pytest.mark.parametrize(
    ("text", "asked", "problem"),
    [
        ("rtn:bits=4,group=32,sym=false", "rtn:bits=4,group=32,sym=true", "not symmetric, though the recipe says"),
        ("rtn:bits=4,group=32,sym=true", "rtn:bits=4,group=32,sym=false", "every layer is symmetric, though the"),
    ],
)
def test_the_other_symmetry_than_asked(made, text, asked, problem):
    folder, _ = made(text)
    (found,) = audit(folder, record(folder, asked)).problems
    assert found.startswith(problem)


def test_proof_in_several_files(made):
    folder, recipe = made("rtn:bits=4,group=40")
    whole = audit(folder, recipe)
    tensors = load_file(folder / CODES)
    halves = [{k: v for k, v in tensors.items() if (".layers.0." in k) == first} for first in (True, False)]
    (folder / CODES).unlink()
    for number, half in enumerate(halves):
        save_file(half, folder / CODES.parent / f"model-{number}.safetensors", metadata={"format": "pt"})
    found = audit(folder, recipe)
    assert (found.problems, found.layers) == (whole.problems, whole.layers)


def test_progress_is_told_layer_by_layer(made):
    folder, recipe = made("magnitude")
    told = []
    audit(folder, recipe, lambda *step: told.append(step))
    assert told[0] == (0, 14, "model.layers.0.mlp.down_proj")
    assert [step[0] for step in told] == list(range(14))


# Checkpoints that another library made for a recipe, in that library's format.

FOREIGN = Path(__file__).parent / "formats" / "fixtures" / "gptqmodel-3bit-act-order"


def by_backend(tmp_path, text):
    folder = Path(shutil.copytree(FOREIGN, tmp_path / "made"))
    return audit(folder, record(folder, text))


def test_a_backends_checkpoint(tmp_path):
    found = by_backend(tmp_path, "gptq:bits=3,group=64,sym=false,backend=gptqmodel")
    assert found.problems == ()
    assert (found.method, found.format, found.bits, found.group) == ("gptq", "gptq", 3, 64)
    assert (found.layers_compressed, found.layers_total, found.short_groups) == (7, 7, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gptq:bits=4,group=64,sym=false,backend=gptqmodel", "not 4 bits: "),
        ("gptq:bits=3,group=32,sym=false,backend=gptqmodel", "not in groups of 32: "),
        ("gptq:bits=3,group=64,sym=true,backend=gptqmodel", "not symmetric, though the recipe says sym=true: "),
        ("gptq:bits=3,group=64,sym=false,act_order=false,backend=gptqmodel", "columns grouped in another order"),
        ("gptq:bits=3,group=64,sym=false,lm_head=true,backend=gptqmodel", "no lm_head among the tensors"),
        ("wanda:pattern=2:4,backend=llmcompressor", "dense, though the recipe is"),
        ("wanda:pattern=2:4,backend=llmcompressor", "quantised, though the recipe only prunes: "),
        ("wanda:pattern=2:4,backend=llmcompressor", "pattern 2:4 broken: "),
    ],
)
def test_a_backends_checkpoint_that_is_not_what_was_asked(tmp_path, text, problem):
    found = by_backend(tmp_path, text)
    assert any(line.startswith(problem) for line in found.problems)


def test_a_backends_pruned_checkpoint(made):
    folder, _ = made("magnitude:pattern=2:4")
    found = audit(folder, record(folder, "wanda:pattern=2:4,backend=llmcompressor"))
    assert (found.problems, found.pattern, found.violations, found.sparsity) == ((), "2:4", 0, 0.5)


def test_other_libraries_round_the_count_of_zeros_down_in_every_row():
    own, other = parse_recipe("wanda:sparsity=0.3"), parse_recipe("wanda:sparsity=0.3,backend=llmcompressor")
    assert enough_zeros(3_000, 10_000, own)
    assert not enough_zeros(2_970, 10_000, own)
    assert enough_zeros(2_970, 10_000, other)
    assert not enough_zeros(2_900, 10_000, other)


@pytest.mark.parametrize("part", ["lm_head", "model.embed_tokens"])
def test_a_head_or_embeddings_that_were_pruned_too_are_found(made, part):
    folder, recipe = made("magnitude:pattern=2:4")

    def prune(tensors):
        tensors[f"{part}.weight"].view(-1, 4)[:, :2] = 0

    change(folder, prune)
    (problem,) = audit(folder, recipe).problems
    assert "pruned, though the recipe leaves it dense" in problem
    assert part in problem

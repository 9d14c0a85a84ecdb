"""A checkpoint's tensors sorted, and what is missing among them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import save_file

from compressors.formats.contents import Block, Contents, gaps, natural


def blocks(depth=3, rests=("mlp.up_proj", "self_attn.q_proj"), stack="model.layers"):
    return {Block(stack, number, rest) for number in range(depth) for rest in rests}


def test_tensors_are_sorted(tmp_path):
    names = {
        "model.layers.10.mlp.up_proj.weight_packed": (4, 4),
        "model.layers.10.mlp.up_proj.weight_scale": (4, 1),
        "model.layers.9.mlp.up_proj.weight": (4, 4),
        "model.layers.9.mlp.up_proj.bias": (4,),
        "model.layers.9.norm.weight": (4,),
        "model.layers.9.conv.weight": (4, 1, 3),
        "model.embed_tokens.weight": (4, 4),
        "lm_head.weight": (4, 4),
    }
    save_file({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "model.safetensors")
    with ExitStack() as stack:
        contents = Contents(tmp_path, stack)
        assert contents.layers == ["model.layers.9.mlp.up_proj", "model.layers.10.mlp.up_proj"]
        assert contents.heads == ["lm_head"]
        assert contents.others == [
            "model.embed_tokens.weight",
            "model.layers.9.conv.weight",
            "model.layers.9.mlp.up_proj.bias",
            "model.layers.9.norm.weight",
        ]
        assert set(contents.read("model.layers.10.mlp.up_proj")) == {"weight_packed", "weight_scale"}
        assert contents.where["model.layers.10.mlp.up_proj"] == Block("model.layers", 10, "mlp.up_proj")
        assert "lm_head" in contents
        assert "model.layers.9.norm" not in contents


def test_blocks_follow_their_numbers():
    assert sorted(["a.10", "a.9"], key=natural) == ["a.9", "a.10"]


def test_whole_models_lack_nothing():
    assert gaps(blocks(), {"num_hidden_layers": 3}) == ([], [])
    assert gaps(blocks(), {}) == ([], [])


def test_a_layer_that_other_blocks_have():
    where = blocks() - {Block("model.layers", 1, "mlp.up_proj")}
    assert gaps(where, {"num_hidden_layers": 3}) == (["model.layers.1.mlp.up_proj"], [])


@pytest.mark.parametrize(
    "config", [{"first_k_dense_replace": 1}, {"layer_types": ["linear_attention", "full_attention"]}]
)
def test_blocks_that_differ_by_design_have_no_gaps(config):
    where = blocks() - {Block("model.layers", 1, "mlp.up_proj")}
    assert gaps(where, config) == ([], [])


@pytest.mark.parametrize("config", [{"first_k_dense_replace": 0}, {"layer_types": ["sliding_attention"]}])
def test_blocks_that_are_alike_have(config):
    where = blocks() - {Block("model.layers", 1, "mlp.up_proj")}
    assert gaps(where, config)[0] == ["model.layers.1.mlp.up_proj"]


@pytest.mark.parametrize(
    ("where", "config", "problem"),
    [
        (
            blocks(2),
            {"num_hidden_layers": 3},
            "config.json says 3 decoder blocks, the tensors are of 2; block 2 is not",
        ),
        (blocks(4), {"num_hidden_layers": 3}, "config.json says 3 decoder blocks, the tensors are of 4"),
        (blocks(2), {"text_config": {"n_layer": 3}}, "config.json says 3 decoder blocks"),
        (
            {b for b in blocks(4) if b.number != 1},
            {"num_hidden_layers": 3},
            "config.json says 3 decoder blocks, the tensors are of 3; block 1 is not there",
        ),
    ],
)
def test_another_depth_than_the_configuration_says(where, config, problem):
    (found,) = gaps(where, config)[1]
    assert found.startswith(problem)


def test_extra_blocks_that_predict_ahead_are_no_problem():
    assert gaps(blocks(4), {"num_hidden_layers": 3, "num_nextn_predict_layers": 1})[1] == []
    assert gaps(blocks(24, stack="visual.blocks") | blocks(3), {"num_hidden_layers": 3})[1] == []

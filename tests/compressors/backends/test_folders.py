"""What a library is shown of the dense model, and what of its result is believed."""

from __future__ import annotations

import json

import pytest

from compressors.backends.folders import block_weights, check_groups, finish, show_dense, verify
from compressors.errors import CompressionError


def shown(tmp_path, config, old):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "modeling_evil.py", "pytorch_model.bin", "config.json"):
        (source / name).write_text(name)
    show_dense(source, config, tmp_path / "shown", old=old)
    return json.loads((tmp_path / "shown" / "config.json").read_text())


CONFIG = {
    "dtype": "bfloat16",
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    "auto_map": {"AutoConfig": "modeling_evil.Config"},
}


def test_a_library_sees_weights_and_tokenizer_but_no_code(tmp_path):
    config = shown(tmp_path, CONFIG, old=False)
    assert sorted(f.name for f in (tmp_path / "shown").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert config == {key: CONFIG[key] for key in ("dtype", "rope_parameters")}


def test_old_libraries_are_told_in_old_names(tmp_path):
    """transformers 4 does not know rope_parameters and would take 10,000 without a word."""
    assert shown(tmp_path, CONFIG, old=True) == {"torch_dtype": "bfloat16", "rope_theta": 100000.0}


def test_scaled_rope_is_told_in_old_names(tmp_path):
    rope = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}
    config = shown(tmp_path, {"rope_parameters": rope}, old=True)
    assert config == {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}


def test_rope_that_differs_between_layers_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="differ between layers; use another backend"):
        shown(tmp_path, {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, old=True)


def test_blocks_are_found_in_the_layouts_of_several_families():
    shapes = {
        "model.layers.3.mlp.up_proj.weight": (4, 8),
        "transformer.h.11.attn.c_attn.weight": (4, 8),
        "model.layers.0.self_attn.q_proj.qweight": (4, 8),
        "layers.1.mlp.up_proj.weight_packed": (4, 8),
        "model.embed_tokens.weight": (4, 8),
        "model.layers.0.input_layernorm.weight": (4,),
        "lm_head.weight": (4, 8),
    }
    assert sorted(block_weights(shapes).values()) == [
        (0, "qweight"),
        (1, "weight_packed"),
        (3, "weight"),
        (11, "weight"),
    ]


def test_a_group_for_which_no_usual_size_divides_names_the_whole_row():
    with pytest.raises(CompressionError, match="128 does not divide the 100 columns of h.0.a; give group=-1"):
        check_groups({"h.0.a.weight": (4, 100)}, 128)


def test_bits_that_differ_from_the_recipe_are_found(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"model.layers.0.a.qweight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"bits": 3}}))
    verify(tmp_path, "gptq", {"bits": 3}, 1)
    with pytest.raises(CompressionError, match="its settings say 3 bits for gptq"):
        verify(tmp_path, "gptq", {"bits": 4}, 1)


def test_a_folder_without_weights_is_no_result(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CompressionError, match="no safetensors"):
        finish(tmp_path, {}, tmp_path)

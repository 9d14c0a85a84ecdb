"""Saving compressed models and loading any."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compressors.audit import audit
from compressors.calibration import calibration_sequences
from compressors.checkpoint import CODES, INDEX, RECORD, load_model, tensor_files
from compressors.compress import compress, resolve_device
from compressors.errors import CompressionError, ModelError
from compressors.layerwise import compress_layers
from compressors.models import checkpoint_at
from compressors.recipe import parse_recipe

RECIPES = [
    "gptq:bits=3,group=32,samples=4,length=32",
    "gptq:bits=4,group=32,samples=4,length=32,sym=false",
    "gptq:bits=8,group=-1,samples=4,length=32",
    "rtn:bits=2,group=16",
    "rtn:bits=4,group=40",
    "rtn:bits=4,group=32,format=fake",
    "magnitude:pattern=2:4",
    "magnitude:sparsity=0.3",
    "wanda:pattern=4:8,samples=4,length=32",
    "sparsegpt:pattern=2:4,samples=4,length=32",
    "awq:bits=3,group=32,samples=4,length=32",
    "gptq:bits=4,group=32,format=gptq,samples=4,length=32",
    "gptq:bits=8,group=32,sym=false,format=gptq,samples=4,length=32",
    "awq:bits=4,group=32,format=awq,samples=4,length=32",
    "awq:bits=4,group=48,samples=4,length=32",
    "awq:bits=4,group=16,clip=false,samples=4,length=32,format=fake",
    "gptq:bits=4,group=32,samples=4,length=32,lm_head=true",
    "magnitude:pattern=2:4,lm_head=true",
]
PROMPT = torch.arange(3, 40)[None]
FAMILIES = ["mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_neox", "phi", "olmo2", "opt"]


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(PROMPT).logits


@pytest.mark.parametrize("text", RECIPES)
def test_what_is_loaded_is_what_was_in_memory(dense, tmp_path, text):
    from transformers import AutoTokenizer

    recipe = parse_recipe(text)
    model = load_model(dense.path)
    sequences = None
    if "samples" in recipe.parameters:
        tokenizer = AutoTokenizer.from_pretrained(dense.path)
        sequences = calibration_sequences(tokenizer, recipe.parameters, context=512)
    compress_layers(model, recipe, sequences)
    compress(dense, recipe, tmp_path)
    again = load_model(tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter), name
    assert torch.equal(logits(again), logits(model))
    assert not torch.equal(logits(again), logits(load_model(dense.path)))


def test_a_fresh_process_with_nothing_but_transformers_reads_the_same(dense, tmp_path):
    compress(dense, parse_recipe(RECIPES[0]), tmp_path, threads=1)
    save_file({"logits": logits(load_model(tmp_path))}, tmp_path / "expected")
    program = (
        "import sys, torch, transformers; from safetensors.torch import load_file\n"
        "model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "found = model(torch.arange(3, 40)[None]).logits\n"
        "assert torch.equal(found, load_file(sys.argv[1] + '/expected')['logits'])\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, tmp_path], check=True, capture_output=True)


def test_a_packed_checkpoint_is_small_and_says_what_it_is(dense, tmp_path):
    compress(dense, parse_recipe("gptq:bits=4,group=32,samples=4,length=32"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config[RECORD]["recipe"].startswith("gptq:bits=4,group=32")
    assert config[RECORD]["dense_fingerprint"] == dense.fingerprint
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    weights = config["quantization_config"]["config_groups"]["group_0"]["weights"]
    assert (weights["num_bits"], weights["group_size"], weights["symmetric"]) == (4, 32, True)
    assert "lm_head" in config["quantization_config"]["ignore"]
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["model.layers.0.mlp.up_proj.weight_packed"].shape == (96, 64 * 4 // 32)
    assert "model.layers.0.mlp.up_proj.weight" not in tensors
    assert not CODES.parent.is_dir()


def test_what_was_not_compressed_is_copied_bit_for_bit(dense, tmp_path):
    compress(dense, parse_recipe("magnitude"), tmp_path)
    before, after = load_file(dense.path / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        pruned = ".layers." in name and tensor.ndim == 2
        assert torch.equal(after[name], tensor) != pruned
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / file).read_bytes() == (dense.path / file).read_bytes()
    assert {f.suffix for f in tmp_path.iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_a_width_that_the_group_does_not_divide_is_stored_dense_with_its_codes_beside(dense, tmp_path):
    compress(dense, parse_recipe("rtn:bits=4,group=40"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config[RECORD]["format"] == "fake"
    assert "quantization_config" not in config
    codes = load_file(tmp_path / CODES)
    assert codes["model.layers.0.self_attn.q_proj.weight_scale"].shape == (64, 2)


def test_large_models_are_read_and_written_in_shards(dense, tmp_path, monkeypatch):
    sharded, out = tmp_path / "sharded", tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("compressors.assembly.ONE_FILE_BYTES", 10_000)
    load_model(dense.path).save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    source = checkpoint_at(sharded, "sharded", tmp_path)
    compress(source, parse_recipe("rtn:bits=4,group=32"), out)
    assert sorted(tensor_files(out)) == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert json.loads((out / INDEX).read_text())["metadata"]["total_size"] > 10_000
    assert not (out / "parts").exists()
    monkeypatch.undo()
    whole = tmp_path / "whole"
    whole.mkdir()
    compress(dense, parse_recipe("rtn:bits=4,group=32"), whole)
    assert torch.equal(logits(load_model(out)), logits(load_model(whole)))


def test_a_checkpoint_of_the_bare_decoder(dense, tmp_path):
    bare, out = tmp_path / "bare", tmp_path / "out"
    bare.mkdir()
    out.mkdir()
    config = json.loads((dense.path / "config.json").read_text()) | {"tie_word_embeddings": True}
    (bare / "config.json").write_text(json.dumps(config))
    tensors = load_file(dense.path / "model.safetensors")
    renamed = {k.removeprefix("model."): v for k, v in tensors.items() if k != "lm_head.weight"}
    save_file(renamed, bare / "model.safetensors", metadata={"format": "pt"})
    compress(checkpoint_at(bare, "bare", tmp_path), parse_recipe("magnitude:pattern=2:4"), out)
    with safe_open(out / "model.safetensors", framework="pt") as saved:
        assert set(saved.keys()) == set(renamed)
        assert (saved.get_tensor("layers.0.mlp.up_proj.weight").view(-1, 4) != 0).sum(dim=1).eq(2).all()


def test_a_layer_without_a_tensor_is_named(dense, tmp_path):
    tensors = load_file(dense.path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    (tmp_path / "config.json").write_bytes((dense.path / "config.json").read_bytes())
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ModelError, match=r"hold no tensor 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        compress(checkpoint_at(tmp_path, "holed", tmp_path), parse_recipe("magnitude"), out)


def test_a_compressed_model_is_not_compressed_again(dense, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    compress(dense, parse_recipe("rtn:group=32"), first)
    with pytest.raises(CompressionError, match="compressed already; give the dense model"):
        compress(checkpoint_at(first, "first", tmp_path), parse_recipe("rtn:group=32"), second)


def test_pickle_weights_are_refused_before_anything_is_loaded(dense, tmp_path):
    (tmp_path / "config.json").write_bytes((dense.path / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match=r"only pickle weights .*convert it"):
        load_model(tmp_path)


def spoil(path, dense, how):
    """Damage a copy of the dense model in one way."""
    whole = load_file(dense.path / "model.safetensors")
    shard = path / "model-00001-of-00001.safetensors"
    (path / "config.json").write_bytes((dense.path / "config.json").read_bytes())
    match how:
        case "header":
            (path / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{garbage")
        case "cut":
            (path / "model.safetensors").write_bytes((dense.path / "model.safetensors").read_bytes()[:-9])
        case "nameless":
            shard.write_bytes((dense.path / "model.safetensors").read_bytes())
        case "index":
            save_file(whole, shard, metadata={"format": "pt"})
            (path / INDEX).write_text('{"weight_map": 3}')
        case "shard":
            save_file(whole, shard, metadata={"format": "pt"})
            (path / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(whole, "../elsewhere.safetensors")}))
        case "indexed tensor":
            save_file(whole, shard, metadata={"format": "pt"})
            (path / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys([*whole, "ghost"], shard.name)}))
        case "tensor":
            del whole["model.layers.1.mlp.up_proj.weight"]
            save_file(whole, path / "model.safetensors", metadata={"format": "pt"})
        case "shape":
            whole["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
            save_file(whole, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("header", "missing or damaged"),
        ("cut", "missing or damaged"),
        ("nameless", "holds neither model.safetensors nor model.safetensors.index.json"),
        ("index", "not an index of safetensors files"),
        ("shard", "holds no elsewhere.safetensors, which its index names"),
        ("indexed tensor", "holds no tensor 'ghost', though the index says so"),
        ("tensor", "missing weights, such as model.layers.1.mlp.up_proj.weight"),
        ("shape", "up_proj.weight"),
    ],
)
def test_damaged_checkpoints_end_in_one_line(dense, tmp_path, how, complaint):
    spoil(tmp_path, dense, how)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert complaint in str(caught.value)
    assert str(caught.value).isprintable()


def test_loading_draws_nothing(dense, tmp_path, capfd):
    compress(dense, parse_recipe("rtn:group=32"), tmp_path)
    capfd.readouterr()
    load_model(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_loaded_models_answer_in_the_asked_dtype(dense):
    model = load_model(dense.path, torch.float32)
    assert model.dtype == torch.float32
    assert not model.training


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    for wrong in ("cuda:99", "meta", "toaster"):
        with pytest.raises(CompressionError, match="not on this machine"):
            resolve_device(wrong)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["awq:bits=4,group=16", "gptq:bits=3,group=16", "sparsegpt:pattern=2:4"])
def test_other_families_go_from_disk_to_disk(dense, tmp_path, family, text):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.for_model(
        family, vocab_size=259, hidden_size=32, intermediate_size=64, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, word_embed_proj_dim=32, max_position_embeddings=64,
        pad_token_id=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(dense.path)
    tokenizer.save_pretrained(source)
    recipe = parse_recipe(f"{text},samples=4,length=32")
    model = load_model(source)
    compress_layers(model, recipe, calibration_sequences(tokenizer, recipe.parameters, context=64))
    compress(checkpoint_at(source, family, tmp_path), recipe, out)
    assert audit(out, recipe).problems == ()
    assert torch.equal(logits(load_model(out)), logits(model))

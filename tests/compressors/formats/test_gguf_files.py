"""GGUF files as models and variants: converted once, audited by their own types."""

from __future__ import annotations

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from compressors.audit import audit, audit_text
from compressors.checkpoint import RECORD, load_model
from compressors.errors import ModelError
from compressors.formats.gguf_types import GGUF_TYPES
from compressors.gguf_files import converted
from compressors.models import resolve

TYPES = gguf.GGMLQuantizationType
PROMPT = torch.arange(3, 40)[None]
HEADS, KEY_VALUE_HEADS, WIDTH, MLP = 4, 2, 256, 512


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=261, hidden_size=WIDTH, intermediate_size=MLP, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS, max_position_embeddings=128, initializer_range=0.1, rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def turned(weight: np.ndarray, heads: int) -> np.ndarray:
    """Query and key rows as llama.cpp orders them: the two halves of a head's rotary pairs interleaved."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def quantised(weight: np.ndarray, kind: TYPES) -> np.ndarray:
    """Octets of a weight; random ones with a harmless scale where gguf-py only reads a type."""
    try:
        return gguf.quants.quantize(weight, kind)
    except NotImplementedError:
        block, octets = gguf.GGML_QUANT_SIZES[kind]
        shape = (weight.shape[0], weight.shape[1] // block, octets)
        random = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        scale = np.frombuffer(np.float16(0.001).tobytes(), dtype=np.uint8)
        for place in {"Q6_K": (208,), "Q4_K": (0, 2), "Q3_K": (108,), "Q2_K": (80, 82)}[kind.name]:
            random[..., place : place + 2] = scale
        return random.reshape(shape[0], -1)


def write(path, model, types=lambda name: TYPES.F32, tokens=True, **fields):
    """Export a Llama as llama.cpp does; types: by GGUF tensor name."""
    out = gguf.GGUFWriter(str(path), "llama")
    config = model.config
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KEY_VALUE_HEADS)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10000.0)
    out.add_rope_dimension_count(config.hidden_size // HEADS)
    out.add_vocab_size(config.vocab_size)
    if tokens:
        from tokenizers import pre_tokenizers

        out.add_tokenizer_model("gpt2")
        out.add_token_list(["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "cd"])
        out.add_token_types([3, 3, 3, *[1] * 258])
        out.add_token_merges(["a b", "c d"])
        out.add_bos_token_id(1)
        out.add_eos_token_id(2)
        out.add_unk_token_id(0)
        out.add_chat_template("{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}")
    for key, value in fields.items():
        key = key.replace("__", ".")
        (out.add_bool if isinstance(value, bool) else out.add_uint16 if isinstance(value, int) else out.add_string)(
            key, value
        )
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        stored = f"{names.get_name(name.removesuffix('.weight'))}.weight"
        weight = tensor.float().numpy()
        for part, heads in (("q_proj", HEADS), ("k_proj", KEY_VALUE_HEADS)):
            weight = turned(weight, heads) if part in name else weight
        kind = types(stored) if weight.ndim == 2 else TYPES.F32
        out.add_tensor(stored, weight if kind == TYPES.F32 else quantised(weight, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def blocks(kind: TYPES):
    return lambda name: kind if name.startswith("blk.") else TYPES.F16


def test_a_file_of_floats_gives_the_same_model(model, tmp_path):
    lines: list[str] = []
    found = resolve(str(write(tmp_path / "tiny.gguf", model)), cache=tmp_path / "cache", announce=lines.append)
    again = load_model(found.path)
    for name, parameter in model.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter), name
    assert again.dtype == torch.bfloat16
    with torch.inference_mode():
        assert torch.equal(again(PROMPT).logits, model(PROMPT).logits)
    assert lines == ["tiny.gguf: converting to safetensors, once …"]


def test_its_own_tokenizer_and_ends_are_taken(model, tmp_path):
    path = write(tmp_path / "tiny.gguf", model, tokenizer__ggml__add_bos_token=True, tokenizer__ggml__eot_token_id=7)
    folder = converted(path, tmp_path / "cache")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    roles = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token)
    assert roles == ("<s>", "</s>", "<unk>", "</s>")
    ids = tokenizer("ab")["input_ids"]
    assert ids[0] == 1
    assert tokenizer.decode(ids[1:]) == "ab"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert chat == "<s>a</s>"
    generation = json.loads((folder / "generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"], generation["pad_token_id"]) == (1, [2, 7], 2)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q6_K", "F16"])
def test_the_audit_reports_the_types_of_the_file(model, tmp_path, kind):
    path = write(tmp_path / "tiny.gguf", model, blocks(TYPES[kind]))
    folder = converted(path, tmp_path / "cache")
    found = audit(folder)
    type_ = GGUF_TYPES[kind]
    assert found.problems == ()
    assert (found.method, found.format, found.lm_head) == ("gguf", "gguf", "dense")
    assert found.layers_compressed == (14 if type_.quantised else 0)
    assert found.layers_total == 14
    assert {(la.kind, la.bits, la.group) for la in found.layers} == {(kind, type_.bits, type_.group)}
    assert found.bits_per_weight == pytest.approx(type_.per_weight)
    assert found.size_bytes == path.stat().st_size
    assert kind in audit_text(found) or not type_.quantised
    AutoModelForCausalLM.from_pretrained(folder)


def test_mixed_types_are_counted(model, tmp_path):
    def kind(name):
        return TYPES.Q6_K if "ffn_down" in name or name == "output.weight" else TYPES.Q4_K

    found = audit(converted(write(tmp_path / "tiny.gguf", model, kind), tmp_path / "cache"))
    assert "Q4_K in 12, Q6_K in 2 layers" in audit_text(found)
    assert (found.bits, found.lm_head) == (None, "6 bits")
    assert 4.5 < found.bits_per_weight < 6.5625


def test_the_file_is_converted_once_whatever_its_name(model, tmp_path):
    lines: list[str] = []
    path = write(tmp_path / "tiny.gguf", model)
    first = converted(path, tmp_path / "cache", lines.append)
    assert converted(path, tmp_path / "cache", lines.append) == first
    changed = write(tmp_path / "tiny.gguf", model, blocks(TYPES.Q8_0))
    assert converted(changed, tmp_path / "cache", lines.append) != first
    assert len(lines) == 2
    record = json.loads((first / "config.json").read_text())[RECORD]
    assert (record["format"], record["gguf"]) == ("gguf", "tiny.gguf")


def test_two_processes_convert_once(model, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    lines: list[str] = []
    path = write(tmp_path / "tiny.gguf", model)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: converted(path, tmp_path / "cache", lines.append), range(2)))
    assert folders[0] == folders[1]
    assert len(lines) == 1


def test_a_broken_conversion_leaves_nothing(model, tmp_path, monkeypatch):
    import compressors.gguf_files as module

    def fails(path, folder):
        (folder / "config.json").write_text("{}")
        raise ModelError("full")

    path = write(tmp_path / "tiny.gguf", model)
    monkeypatch.setattr(module, "write_dense", fails)
    with pytest.raises(ModelError, match="full"):
        converted(path, tmp_path / "cache")
    assert [f.name for f in (tmp_path / "cache" / "models").iterdir() if f.is_dir()] == []


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("tiny-00001-of-00003.gguf", {}, "one of several parts; join them with 'llama-gguf-split --merge"),
        ("tiny.gguf", {"split__count": 3}, "one of several parts"),
        ("tiny.gguf", {"tokens": False}, "holds no tokenizer"),
        ("tiny.gguf", {"general__type": "adapter"}, "of type 'adapter'; give the model's own file"),
    ],
)
def test_files_that_are_no_whole_model(model, tmp_path, name, options, complaint):
    with pytest.raises(ModelError, match=complaint) as caught:
        converted(write(tmp_path / name, model, **options), tmp_path / "cache")
    assert str(caught.value).isprintable()


def test_an_architecture_that_nobody_reads(tmp_path):
    out = gguf.GGUFWriter(str(tmp_path / "odd.gguf"), "perceptron")
    out.add_token_list(["a"])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    with pytest.raises(ModelError, match="cannot read a GGUF file of architecture 'perceptron'") as caught:
        converted(tmp_path / "odd.gguf", tmp_path / "cache")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kept", [2, 60, 5000, -500])
def test_a_damaged_file_is_one_line(model, tmp_path, kept):
    whole = write(tmp_path / "tiny.gguf", model).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:kept])
    with pytest.raises(ModelError, match=r"not a GGUF file|damaged GGUF file") as caught:
        converted(tmp_path / "cut.gguf", tmp_path / "cache")
    assert str(caught.value).isprintable()


def test_a_converted_file_that_lost_a_weight_is_found(model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(converted(write(tmp_path / "tiny.gguf", model, blocks(TYPES.Q8_0)), tmp_path / "cache"), folder)
    from safetensors.torch import save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert audit(folder).problems == ("NaN, infinity or a scale that is not positive: model.layers.1.mlp.up_proj",)


def test_the_table_of_types_agrees_with_the_library():
    for kind, (weights, octets) in gguf.GGML_QUANT_SIZES.items():
        if kind.name in GGUF_TYPES:
            assert GGUF_TYPES[kind.name].per_weight == 8 * octets / weights
        else:
            assert kind.name in ("I8", "I16", "I32", "I64")

"""Checkpoints of other libraries: decoded to the very values that those libraries decode."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from compressors.audit import audit, audit_text
from compressors.errors import CompressionError
from compressors.formats.claims import claims_of
from compressors.formats.contents import Contents
from compressors.formats.read import read_layer
from compressors.formats.stored import Claim

FIXTURES = Path(__file__).parent / "fixtures"
DOWN = "model.layers.0.mlp.down_proj"


@pytest.fixture
def fixture(tmp_path):
    def copy(name: str, edit=None) -> Path:
        shutil.copytree(FIXTURES / name, tmp_path / name)
        if edit is not None:
            tensors = load_file(tmp_path / name / "model.safetensors")
            edit(tensors)
            save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        return tmp_path / name

    return copy


def read(folder: Path, layer: str = DOWN):
    claims = claims_of(json.loads((folder / "config.json").read_text()))
    with ExitStack() as stack:
        return read_layer(Contents(folder, stack).read(layer), claims.of(layer))


def expected(folder: Path) -> torch.Tensor:
    """What the library itself makes of the layer."""
    return load_file(folder / "expected.bin")[DOWN]


def test_gptqmodel_with_act_order_and_a_short_last_group():
    """Decoded bit for bit: 3-bit words that straddle, zero points less one, groups that are scattered columns."""
    folder = FIXTURES / "gptqmodel-3bit-act-order"
    stored, content = read(folder)
    assert torch.equal(content.weight(), expected(folder))
    assert stored.zeros == int((expected(folder) == 0).sum())
    assert (stored.shape, stored.bits, stored.group, stored.short, stored.reordered) == ((64, 96), 3, 64, True, True)
    with pytest.raises(ValueError, match="columns are reordered"):
        content.quantised()
    found = audit(folder)
    assert found.problems == ()
    assert (found.method, found.bits, found.group, found.lm_head) == ("gptq", 3, 64, "tied")
    assert (found.layers_compressed, found.short_groups) == (7, 1)
    assert "3, groups of 64 (a smaller last group in 1 layers), columns reordered (act-order), asymmetric" in (
        audit_text(found)
    )


@pytest.mark.parametrize(
    ("name", "bits", "group", "kind"),
    [("bitsandbytes-int8", 8, 96, ""), ("bitsandbytes-nf4", 4, 64, "nf4")],
)
def test_bitsandbytes(name, bits, group, kind):
    stored, _ = read(FIXTURES / name)
    weight = expected(FIXTURES / name)
    assert (stored.shape, stored.bits, stored.group, stored.kind) == (tuple(weight.shape), bits, group, kind)
    assert stored.zeros == int((weight == 0).sum()) > 0
    found = audit(FIXTURES / name)
    assert (found.method, found.bits, found.problems, found.layers_compressed) == ("bitsandbytes", bits, (), 7)


def a_scale(value):
    return lambda t: t[f"{DOWN}.scales"][0, 5].fill_(value)


@pytest.mark.parametrize(
    ("name", "edit", "problem"),
    [
        ("gptqmodel-3bit-act-order", a_scale(float("nan")), "NaN, infinity or a scale that is not positive"),
        ("gptqmodel-3bit-act-order", a_scale(-1.0), "NaN, infinity or a scale that is not positive"),
        ("bitsandbytes-int8", lambda t: t[f"{DOWN}.SCB"][3].fill_(float("inf")), "NaN, infinity or a scale that"),
        (
            "bitsandbytes-nf4",
            lambda t: t[f"{DOWN}.weight.nested_absmax"].fill_(float("nan")),
            "NaN, infinity or a scale that",
        ),
        ("bitsandbytes-int8", lambda t: t[f"{DOWN}.weight"].zero_(), "all weights are zero"),
    ],
)
def test_spoiled_layers_are_found(fixture, name, edit, problem):
    (found,) = audit(fixture(name, edit)).problems
    assert found.startswith(problem)
    assert found.endswith(DOWN)


def renamed(old, new):
    def edit(tensors):
        tensors[f"{DOWN}.{new}"] = tensors.pop(f"{DOWN}.{old}")

    return edit


def cut(part, count=1):
    def edit(tensors):
        tensors[f"{DOWN}.{part}"] = tensors[f"{DOWN}.{part}"][:-count].contiguous()

    return edit


def filled(part, value):
    return lambda tensors: tensors[f"{DOWN}.{part}"].fill_(value)


STATE = "weight.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("name", "edit", "complaint"),
    [
        ("gptqmodel-3bit-act-order", cut("qweight"), "do not fit|does not hold"),
        ("gptqmodel-3bit-act-order", cut("qzeros"), "do not fit"),
        ("gptqmodel-3bit-act-order", cut("scales"), "do not fit|g_idx does not give"),
        ("gptqmodel-3bit-act-order", filled("g_idx", 2), "g_idx does not give each of 96 columns one of 2 groups"),
        ("gptqmodel-3bit-act-order", filled("g_idx", -1), "g_idx does not give"),
        ("gptqmodel-3bit-act-order", lambda t: t.pop(f"{DOWN}.scales"), "has no 'scales' beside g_idx, qweight"),
        ("bitsandbytes-int8", cut("SCB"), "63 scales for 64 rows"),
        ("bitsandbytes-nf4", cut("weight"), "octets do not hold 64 × 96 codes"),
        ("bitsandbytes-nf4", cut("weight.absmax"), "95 scales for 96 blocks"),
        ("bitsandbytes-nf4", filled(STATE, 0), "quant_state is not a JSON object"),
        ("bitsandbytes-nf4", lambda t: t.pop(f"{DOWN}.weight.quant_map"), "has no 'weight.quant_map'"),
        ("bitsandbytes-int8", lambda t: t.pop(f"{DOWN}.SCB"), "int8 weights without scales"),
    ],
)
def test_tensors_that_contradict_each_other_end_in_one_line(fixture, name, edit, complaint):
    with pytest.raises(CompressionError, match=complaint) as caught:
        audit(fixture(name, edit))
    assert DOWN in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "claim", "problem"),
    [
        ("gptqmodel-3bit-act-order", {"bits": 4}, "holds 3-bit codes, the configuration says 4"),
        ("gptqmodel-3bit-act-order", {"group_size": 32}, "not in groups of 32 as config.json claims"),
        ("gptqmodel-3bit-act-order", {"sym": True}, "not symmetric as config.json claims"),
        ("bitsandbytes-int8", {"load_in_8bit": False, "load_in_4bit": True}, "holds 8-bit codes"),
        ("bitsandbytes-nf4", {"load_in_8bit": True, "load_in_4bit": False}, "holds 4-bit codes"),
    ],
)
def test_false_claims_are_found(fixture, name, claim, problem):
    folder = fixture(name)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= claim
    (folder / "config.json").write_text(json.dumps(config))
    assert any(problem in found for found in audit(folder).problems)


# compressed-tensors, a requirement of this package, writes and decodes in these tests itself.


def compressed_by_the_library(form: str, arguments: dict, tensors: dict):
    """A layer as compressed-tensors stores it, and as it decodes that."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))
    compressor = BaseCompressor.get_value_from_registry(form)
    stored = compressor.compress(tensors, scheme)
    weight = compressor.decompress(dict(stored), scheme)["weight"]
    claim = claims_of(
        {
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "format": form,
                "config_groups": {"group_0": json.loads(scheme.model_dump_json())},
            }
        }
    ).of(DOWN)
    return stored, weight, claim


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["pack-quantized", "int-quantized"]),
    st.sampled_from([3, 4, 8]),
    st.sampled_from(["tensor", "channel", "group"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_integer_formats_of_compressed_tensors(form, bits, strategy, symmetric, seed):
    if form == "int-quantized":
        bits = 8
    generator = torch.Generator().manual_seed(seed)
    rows, columns, half = 24, 64, 2 ** (bits - 1)
    shape = {"tensor": (1,), "channel": (rows, 1), "group": (rows, 4)}[strategy]
    points = torch.randint(-half, half, shape, generator=generator).to(torch.int8) * (not symmetric)
    tensors = {
        "weight": torch.randn(rows, columns, generator=generator),
        "weight_scale": torch.rand(shape, generator=generator) / half + 0.01,
        "weight_zero_point": points,
    }
    arguments = {"num_bits": bits, "strategy": strategy, "symmetric": symmetric}
    arguments |= {"group_size": 16} if strategy == "group" else {}
    tensors, weight, claim = compressed_by_the_library(form, arguments, tensors)
    stored, content = read_layer(tensors, claim)
    assert torch.equal(content.weight(), weight)
    assert stored.zeros == int((weight == 0).sum())
    assert (stored.bits, stored.group, stored.problem) == (bits, 16 if strategy == "group" else columns, None)
    assert stored.symmetric or not symmetric


@pytest.mark.parametrize(("strategy", "shape"), [("tensor", (1,)), ("channel", (24, 1))])
def test_eight_bit_floats_of_compressed_tensors(strategy, shape):
    tensors = {"weight": torch.randn(24, 64), "weight_scale": torch.full(shape, 0.01)}
    arguments = {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True}
    tensors, weight, claim = compressed_by_the_library("float-quantized", arguments, tensors)
    stored, _ = read_layer(tensors, claim)
    assert (stored.bits, stored.kind, stored.finite, stored.zeros) == (8, "fp8", True, int((weight == 0).sum()))
    tensors["weight"].view(torch.uint8)[0, 0] = 0x7F
    assert not read_layer(tensors, claim)[0].finite


def test_groups_by_activation_order_of_compressed_tensors():
    """As the library stored them up to 0.18; it reads them no longer, but they are on the hub."""
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)) % 4
    codes, scale = torch.randint(-8, 8, (24, 64), dtype=torch.int8), torch.rand(24, 4) / 8 + 0.01
    tensors = {
        "weight_packed": helpers.pack_to_int32(codes, 4),
        "weight_scale": scale,
        "weight_shape": torch.tensor([24, 64]),
        "weight_g_idx": order.int(),
    }
    stored, content = read_layer(tensors, Claim("compressed-tensors", 4, 16))
    assert (stored.reordered, stored.group) == (True, 16)
    assert torch.equal(content.weight(), codes * scale[:, order])
    unset = tensors | {"weight_g_idx": torch.full((64,), -1)}
    assert not read_layer(unset, Claim("compressed-tensors", 4, 16))[0].reordered


def test_blocks_of_eight_bit_floats():
    """DeepSeek's layout: one scale for a block of rows and columns."""
    weight = torch.randn(48, 64).to(torch.float8_e4m3fn)
    stored, _ = read_layer({"weight": weight, "weight_scale_inv": torch.ones(3, 2)}, Claim("fp8", kind="float"))
    assert (stored.bits, stored.group, stored.finite) == (8, 32, True)


def test_codes_wider_than_the_configuration_says():
    weight = torch.full((4, 8), 100, dtype=torch.int8)
    stored, _ = read_layer({"weight": weight, "weight_scale": torch.ones(4, 1)}, Claim("compressed-tensors", 4))
    assert stored.problem == "holds 8-bit codes, the configuration says 4"
    stored, _ = read_layer({"weight": weight // 20, "weight_scale": torch.ones(4, 1)}, Claim("compressed-tensors", 4))
    assert (stored.bits, stored.problem) == (4, None)


def test_awq_gemv():
    """Codes in order along the rows of W; zero points and scales padded on the right."""
    codes = torch.randint(0, 16, (8, 64))
    points = torch.randint(0, 16, (8, 2))
    places = 4 * torch.arange(8)
    padded = torch.zeros(8, 8, dtype=torch.int64)
    padded[:, :2] = points
    scales = torch.zeros(8, 8, dtype=torch.float16)
    scales[:, :2] = 0.5
    tensors = {
        "qweight": (codes.view(8, 8, 8) << places).sum(-1).to(torch.int32),
        "qzeros": (padded.view(8, 1, 8) << places).sum(-1).to(torch.int32),
        "scales": scales,
    }
    stored, content = read_layer(tensors, Claim("awq", 4, 32, layout="gemv"))
    assert torch.equal(content.weight(), 0.5 * (codes - points.repeat_interleave(32, dim=1)).half())
    assert (stored.shape, stored.group, stored.finite) == ((8, 64), 32, True)


@pytest.mark.parametrize(
    ("parts", "claim", "complaint"),
    [
        (("weight_packed", "weight_scale"), Claim(layout="nvfp4-pack-quantized"), "nvfp4-pack-quantized, which is not"),
        (("compressed", "bitmask", "shape"), Claim(), "sparse-bitmask weights are not read here; save them dense"),
        (("qweight", "qzeros", "scales"), Claim("awq", 4, layout="gemv_fast"), "version 'gemv_fast', is not read here"),
        (("qweight", "qzeros", "scales"), Claim("awq", 3), "AWQ of 3 bits"),
        (("qweight", "qzeros", "scales"), Claim("gptq"), "neither g_idx nor the configuration says how many bits"),
        (("scales",), Claim("aqlm"), "tensors scales are in no known format"),
    ],
)
def test_what_is_not_read_is_said(parts, claim, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_layer(dict.fromkeys(parts, torch.zeros(4, 4)), claim)


def test_weights_of_integers_are_no_format():
    with pytest.raises(ValueError, match="int32 weights are in no known format"):
        read_layer({"weight": torch.zeros(4, 4, dtype=torch.int32)}, Claim())


def test_an_unknown_method_is_named(tmp_path):
    save_file({"model.layers.0.mlp.up_proj.codebooks": torch.zeros(4)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "aqlm"}}))
    with pytest.raises(CompressionError, match=r"found no layers .* \(config\.json says 'aqlm'; read here are awq, "):
        audit(tmp_path)


@pytest.mark.parametrize("name", ["gptqmodel-3bit-act-order", "bitsandbytes-int8", "bitsandbytes-nf4"])
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.reshape(-1)[:0],
        lambda t: t.reshape(-1),
        lambda t: t.reshape(1, *t.shape),
        lambda t: t.T.contiguous() if t.ndim == 2 else t,
        lambda t: t.float(),
        lambda t: t.to(torch.int64),
        lambda t: t.to(torch.uint8),
        lambda t: t.to(torch.float8_e4m3fn),
        lambda t: t.to(torch.bfloat16),
        lambda t: torch.zeros(()),
        torch.zeros_like,
        None,
    ],
)
def test_whatever_a_tensor_is_the_audit_ends_in_words(fixture, name, change):
    """Never in a traceback: a checkpoint is a stranger's file."""
    folder = fixture(name)
    whole = load_file(folder / "model.safetensors")
    for part in [part for part in whole if part.startswith(DOWN)]:
        tensors = {k: v for k, v in whole.items() if k != part}
        if change is not None:
            tensors[part] = change(whole[part])
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        try:
            found = audit(folder)
        except CompressionError as error:
            text = str(error)
        else:
            text = audit_text(found).replace("\n", " ")
        assert text.isprintable()

"""What configurations claim, and what they cannot make anybody believe."""

from __future__ import annotations

import pytest

from compressors.formats.claims import claims_of
from compressors.formats.stored import Claim

UP = "model.layers.0.mlp.up_proj"


def scheme(bits, group=None, **other):
    return {"weights": {"num_bits": bits, "group_size": group, "type": "int", "symmetric": True}, **other}


def tensors_claim(**groups):
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}


@pytest.mark.parametrize(
    ("said", "claim"),
    [
        (None, Claim()),
        ("x", Claim()),
        ([], Claim()),
        ({}, Claim("unknown")),
        ({"quant_method": "gptq", "bits": True, "group_size": "128"}, Claim("gptq")),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": False, "checkpoint_format": "gptq_v2"},
            Claim("gptq", 4, -1, False, None, "gptq_v2"),
        ),
        (
            {"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"},
            Claim("awq", 4, 64, False, None, "gemm"),
        ),
        ({"load_in_4bit": True}, Claim("bitsandbytes", 4)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Claim("bitsandbytes", 8)),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, Claim("fp8", kind="float")),
        (tensors_claim(a=3), Claim("compressed-tensors")),
        (tensors_claim(a={"weights": None}), Claim("compressed-tensors")),
        ({"quant_method": "compressed-tensors", "config_groups": [1]}, Claim("compressed-tensors")),
        (
            tensors_claim(a=scheme(4, 64, targets=["Linear"])),
            Claim("compressed-tensors", 4, 64, True, "int", "pack-quantized"),
        ),
        (tensors_claim(a=scheme(4, 64, format="naive-quantized")),
            Claim("compressed-tensors", 4, 64, True, "int", "naive-quantized")),
    ],
)  # fmt: skip
def test_claims_are_read_with_care(said, claim):
    assert claims_of({"quantization_config": said}).of(UP) == claim


def test_a_silent_configuration_claims_nothing():
    claims = claims_of({})
    assert (claims.method, claims.readable, claims.lm_head) == (None, True, False)
    assert not claims_of({"quantization_config": {"quant_method": "aqlm"}}).readable


def test_every_group_of_a_configuration_has_its_own_layers():
    claims = claims_of(
        {
            "quantization_config": tensors_claim(
                a=scheme(4, targets=["re:.*mlp.*"]),
                b=scheme(8, targets=["Linear"]),
                c=scheme(3, targets=["model.layers.1.self_attn.k_proj", "q_proj"]),
            )
            | {"ignore": ["re:.*o_proj", "lm_head"]}
        }
    )
    bits = {
        name: claims.of(f"model.layers.1.{name}").bits
        for name in ("mlp.up_proj", "self_attn.v_proj", "self_attn.k_proj", "self_attn.q_proj", "self_attn.o_proj")
    }
    assert bits == {
        "mlp.up_proj": 4,
        "self_attn.v_proj": 8,
        "self_attn.k_proj": 3,
        "self_attn.q_proj": 3,
        "self_attn.o_proj": None,
    }
    assert not claims.lm_head


def test_the_head_is_claimed_unless_it_is_ignored():
    said = tensors_claim(a=scheme(4, targets=["Linear"]))
    assert claims_of({"quantization_config": said}).lm_head
    assert not claims_of({"quantization_config": said | {"ignore": ["lm_head"]}}).lm_head


def test_gptqmodels_exceptions():
    said = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "dynamic": {r"-:.*\.gate$": {}, r"+:.*\.down_proj$": {"bits": 8, "group_size": 64}, "lm_head": {"bits": 3}},
    }
    claims = claims_of({"quantization_config": said})
    assert claims.of("model.layers.0.mlp.gate") == Claim("gptq")
    assert (claims.of("model.layers.0.mlp.down_proj").bits, claims.of("model.layers.0.mlp.down_proj").group) == (8, 64)
    assert claims.of("lm_head").bits == 3
    assert claims.of(UP).bits == 4


@pytest.mark.parametrize("pattern", ["re:(", "re:" + "a" * 501, "re:*"])
def test_a_pattern_that_is_none_matches_nothing(pattern):
    claims = claims_of({"quantization_config": tensors_claim(a=scheme(4, targets=[pattern]))})
    assert claims.of(UP).bits is None

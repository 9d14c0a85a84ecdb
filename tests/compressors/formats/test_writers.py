"""What a writer writes, a reader reads; what a format cannot hold, its writer says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressors.formats import WRITERS, writer
from compressors.formats.claims import claims_of
from compressors.formats.read import read_layer
from compressors.formats.stored import Claim
from compressors.grid import Quantised

UP = "model.layers.0.mlp.up_proj"


def layer(bits=4, group=32, symmetric=False, rows=32, columns=64, seed=0) -> Quantised:
    """A layer in which every code and every zero point occurs."""
    generator = torch.Generator().manual_seed(seed)
    half, groups = 2 ** (bits - 1), -(-columns // group)
    points = torch.randint(-half, half, (rows, groups), generator=generator)
    return Quantised(
        codes=torch.randint(-half, half, (rows, columns), generator=generator).to(torch.int8),
        scales=(torch.rand(rows, groups, generator=generator) + 0.01).bfloat16(),
        zero_points=(points * (not symmetric)).to(torch.int8),
        bits=bits,
        group=group,
        symmetric=symmetric,
    )


@st.composite
def layers(draw, bits=(2, 3, 4, 8), groups=(16, 32, 64, -1), widths=(32, 64, 96, 160), symmetric=(True, False)):
    rows, columns, group = draw(st.sampled_from(widths)), draw(st.sampled_from(widths)), draw(st.sampled_from(groups))
    return layer(
        draw(st.sampled_from(bits)),
        columns if group == -1 else min(group, columns),
        draw(st.sampled_from(symmetric)),
        rows,
        columns,
        draw(st.integers(0, 2**32 - 1)),
    )


def written(name: str, quantised: Quantised):
    """A layer's tensors by last name, and the claim of the configuration beside them."""
    values = {"bits": quantised.bits, "group": quantised.group, "sym": quantised.symmetric}
    tensors = writer(name).tensors(UP, quantised)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    claim = claims_of({"quantization_config": writer(name).config(values, ["lm_head"])}).of(UP)
    assert all(full.startswith(f"{UP}.") for full in tensors)
    return {full.removeprefix(f"{UP}."): tensor for full, tensor in tensors.items()}, claim


def check_round_trip(name: str, expected: Quantised, problem: str | None = None) -> None:
    found = writer(name).problem(expected)
    assert found is None if problem is None else str(found).startswith(problem)
    stored, content = read_layer(*written(name, expected))
    found = content.quantised()
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.zero_points, expected.zero_points)
    assert torch.equal(found.scales.float(), expected.scales.float())
    assert stored.shape == tuple(expected.codes.shape)
    assert (stored.bits, stored.group, stored.symmetric) == (expected.bits, expected.group, expected.symmetric)
    assert stored.short == (expected.codes.shape[1] % expected.group != 0)
    assert stored.zeros == int((expected.weight() == 0).sum())
    assert (stored.quantised, stored.finite, stored.reordered, stored.problem) == (True, True, False, None)
    assert stored.stored_bits >= expected.codes.numel() * expected.bits


@settings(deadline=None, max_examples=60)
@given(layers())
def test_gptq(quantised):
    """Every number of bits and group that the writer accepts; others write short last groups, which are read too."""
    short = quantised.codes.shape[1] % quantised.group != 0
    check_round_trip("gptq", quantised, "is misread by vLLM where the last group is shorter" if short else None)


@settings(deadline=None, max_examples=40)
@given(layers(bits=(4,), groups=(16, 32, -1), symmetric=(False,), widths=(32, 64, 96)))
def test_awq(quantised):
    check_round_trip("awq", quantised)


@settings(deadline=None, max_examples=60)
@given(layers(groups=(16, 32, -1), widths=(32, 64, 96)))
def test_compressed_tensors(quantised):
    check_round_trip("compressed-tensors", quantised)


@pytest.mark.parametrize("name", WRITERS)
def test_decoded_weights_are_those_that_were_evaluated(name):
    expected = layer()
    expected = replace(expected, scales=expected.scales.half())  # every format keeps this dtype
    _, content = read_layer(*written(name, expected))
    assert torch.equal(content.weight(), expected.weight())


@pytest.mark.parametrize(
    ("name", "quantised", "why"),
    [
        ("compressed-tensors", layer(group=48), "knows no shorter last group: 64 columns are not a multiple of 48"),
        ("gptq", layer(rows=40), "widths are multiples of 32, not 40 × 64"),
        ("gptq", layer(columns=48, group=16), "widths are multiples of 32, not 32 × 48"),
        ("gptq", layer(group=40), "is read with groups of 16, 32, .* or the whole row, not 40"),
        ("awq", layer(bits=3), "has 4-bit codes only, not 3"),
        ("awq", layer(rows=12), "rows are a multiple of 8, not 12"),
        ("awq", layer(columns=96, group=64), "knows no shorter last group: 96 columns are not a multiple of 64"),
        ("awq", layer(columns=80, group=20), "is read with groups of 16, .*, not 20"),
    ],
)
def test_a_layer_that_a_format_cannot_hold(name, quantised, why):
    problem = writer(name).problem(quantised)
    assert problem is not None
    assert re.search(why, problem)


@pytest.mark.parametrize("name", ["gptq", "awq"])
@pytest.mark.parametrize("scale", [1e-7, 2.0**17])
def test_scales_are_converted_only_where_that_is_exact(name, scale):
    quantised = layer()
    assert writer(name).problem(quantised) is None
    quantised.scales[0, 0] = scale
    assert "float16 scales, which do not hold some of this layer's bfloat16 ones" in str(
        writer(name).problem(quantised)
    )


def test_gptq_keeps_zero_points_less_one():
    """As AutoGPTQ does: the middle of 4 bits, 8, is the hexadecimal digit 7."""
    tensors, _ = written("gptq", layer(symmetric=True))
    assert set(tensors["qzeros"].flatten().tolist()) == {0x77777777}
    assert tensors["g_idx"].tolist() == [0] * 32 + [1] * 32
    assert (tensors["scales"].dtype, tensors["qweight"].shape) == (torch.float16, (8, 32))


def test_gptq_keeps_zero_points_of_asymmetric_grids_as_they_are():
    """In version 2: loaders do not agree on what a zero point of 0 is in version 1."""
    quantised = layer()
    quantised.zero_points.fill_(-8)
    tensors, claim = written("gptq", quantised)
    assert set(tensors["qzeros"].flatten().tolist()) == {0}
    assert claim.layout == "gptq_v2"


def test_awq_interleaves_the_columns_of_a_word():
    quantised = layer(columns=32)
    quantised.codes[:8, 0] = torch.arange(8) - 8
    tensors, _ = written("awq", quantised)
    assert tensors["qweight"][0, 0].item() & 0xFFFFFFFF == 0x75316420


def test_layers_of_a_block_that_stay_dense_are_named_for_gptqmodel():
    values = {"bits": 4, "group": 32, "sym": True}
    config = writer("gptq").config(values, ["lm_head", "model.layers.1.mlp.gate"])
    assert config["dynamic"] == {r"-:^model\.layers\.1\.mlp\.gate$": {}}
    assert claims_of({"quantization_config": config}).of("model.layers.1.mlp.gate").bits is None
    assert claims_of({"quantization_config": config}).of(UP) == Claim("gptq", 4, 32, True, None, "gptq")
    assert "dynamic" not in writer("gptq").config(values, ["lm_head"])


def test_gptq_checkpoints_have_a_second_file_for_older_loaders():
    config = writer("gptq").config({"bits": 4, "group": 32, "sym": True}, [])
    assert writer("gptq").files(config) == {"quantize_config.json": config}
    assert writer("awq").files({}) == writer("compressed-tensors").files({}) == {}

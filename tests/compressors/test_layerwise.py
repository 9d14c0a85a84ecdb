"""The walk over the decoder blocks."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from compressors import layerwise
from compressors.errors import CompressionError
from compressors.layerwise import Inputs, Solution, add_gram, compress_layers, lanes, mirror
from compressors.recipe import parse_recipe
from compressors.structure import by_input, decoder_blocks, linear_layers

GPTQ = parse_recipe("gptq:bits=4,group=32,samples=4,length=16")


@pytest.fixture
def model(tiny_model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def batch(samples: int = 4, length: int = 16) -> torch.Tensor:
    return torch.randint(3, 200, (samples, length), generator=torch.Generator().manual_seed(3))


def test_every_linear_layer_of_every_block_is_compressed_in_place(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    seen = []
    solutions = compress_layers(model, GPTQ, batch(), lambda *step: seen.append(step))
    names = [f"model.layers.{i}.{part}" for i in (0, 1) for part in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    )]  # fmt: skip
    assert sorted(solutions) == sorted(names)
    assert seen == [(1, 2, "model.layers.0"), (2, 2, "model.layers.1")]
    for name, parameter in model.named_parameters():
        module = name.removesuffix(".weight")
        if module in solutions:
            assert torch.equal(parameter, solutions[module].quantised.weight())
            assert not torch.equal(parameter, before[name])
        else:
            assert torch.equal(parameter, before[name])


def test_no_hook_stays_behind(model):
    compress_layers(model, GPTQ, batch())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_same_seed_and_threads_give_the_same_bits(model, tiny_model):
    from transformers import AutoModelForCausalLM

    one = compress_layers(model, GPTQ, batch())
    other = compress_layers(AutoModelForCausalLM.from_pretrained(tiny_model).eval(), GPTQ, batch())
    for name, solution in one.items():
        assert torch.equal(solution.quantised.codes, other[name].quantised.codes)


def test_layers_that_read_the_same_tensor_are_solved_together(model, monkeypatch):
    together = []

    def note(weights, inputs, values):
        together.append([len(weight) for weight in weights])
        return [Solution(weight) for weight in weights]

    monkeypatch.setattr("compressors.gptq.quantise", note)
    compress_layers(model, GPTQ, batch())
    assert together == [[64, 32, 32], [64], [96, 96], [64]] * 2  # q k v; o; gate up; down


def test_each_layer_sees_what_the_compressed_layers_before_it_produce(model, monkeypatch):
    seen = []

    def halve(weights, inputs, values):
        seen.append(torch.cat(list(inputs.activations)))
        return [Solution(weight / 2) for weight in weights]

    monkeypatch.setattr("compressors.gptq.quantise", halve)
    compress_layers(model, GPTQ, batch())
    # The model is compressed now: what its layers read in a plain forward is what each saw when it was solved.
    read = []
    layers = [m for n, m in model.named_modules() if n.endswith(("q_proj", "o_proj", "gate_proj", "down_proj"))]
    hooks = [m.register_forward_pre_hook(lambda _, args: read.append(args[0].flatten(0, -2))) for m in layers]
    with torch.no_grad():
        model(batch())
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(read) == 8
    for one, other in zip(seen, read, strict=True):
        torch.testing.assert_close(one, other)


def test_methods_without_data_need_no_forward_pass(model):
    model.forward = None
    solutions = compress_layers(model, parse_recipe("magnitude:pattern=2:4"), None)
    assert len(solutions) == 14
    assert all((s.weight.view(-1, 4) != 0).sum(dim=1).eq(2).all() for s in solutions.values())


def test_a_batch_is_asked_for_exactly_where_it_is_used(model):
    with pytest.raises(CompressionError, match="calibration batch is missing"):
        compress_layers(model, GPTQ, None)
    with pytest.raises(CompressionError, match="calibration batch is unused"):
        compress_layers(model, parse_recipe("rtn"), batch())


def test_damaged_weights_are_named(model):
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = float("nan")
    with pytest.raises(CompressionError, match=r"layers\.1\.mlp\.up_proj: the dense weights hold NaN"):
        compress_layers(model, parse_recipe("magnitude"), None)


def test_overflowing_inputs_are_named(model):
    model.model.layers[1].input_layernorm.weight.data[0] = float("inf")
    with pytest.raises(CompressionError, match=r"layers\.1\.self_attn\.q_proj.*: its inputs overflow"):
        compress_layers(model, GPTQ, batch())


def test_a_solvers_complaint_gets_the_layers_names(model, monkeypatch):
    def refuse(weights, inputs, values):
        raise CompressionError("no such luck")

    monkeypatch.setattr("compressors.gptq.quantise", refuse)
    with pytest.raises(CompressionError, match=r"layer model\.layers\.0\.self_attn\.q_proj, .*v_proj: no such luck"):
        compress_layers(model, GPTQ, batch())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_model_without_decoder_blocks_is_refused():
    with pytest.raises(CompressionError, match="Linear: found no list of None decoder blocks"):
        decoder_blocks(nn.Linear(2, 2))


class Experts(nn.Module):
    """A block whose matrices are no linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 4)
        self.experts = nn.Parameter(torch.zeros(3, 4, 4))


def test_matrices_outside_linear_layers_are_not_passed_over():
    with pytest.raises(
        CompressionError, match=r"layer b\.0\.experts: shape \(3, 4, 4\), not the weight of an nn\.Linear"
    ):
        linear_layers(Experts(), "b.0")
    with pytest.raises(CompressionError, match=r"block b\.0: holds no nn\.Linear"):
        linear_layers(nn.LayerNorm(4), "b.0")


def test_a_layer_that_does_not_run_once_is_named(model):
    model.model.layers[0].mlp.spare = nn.Linear(4, 4)
    with pytest.raises(CompressionError, match=r"layers\.0\.mlp\.spare: ran 0 times"):
        compress_layers(model, GPTQ, batch())
    x = torch.ones(2)
    with pytest.raises(CompressionError, match=r"layer a: ran 2 times"):
        by_input([("a", x), ("a", x)], {"a": nn.Linear(1, 1)})


def test_statistics_are_those_of_all_tokens(monkeypatch):
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(layerwise, "_CHUNK_TOKENS", 16)
    for parts in ([x], [x[:7], x[7:]]):
        torch.testing.assert_close(Inputs(parts).hessian, 2 * x.T @ x / 50)
        torch.testing.assert_close(Inputs(parts).norms, x.norm(dim=0))


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 15, 16, 17, 24, 61])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_a_gram_matrix_and_its_mirror_are_the_whole(columns, dtype, monkeypatch):
    monkeypatch.setattr(layerwise, "_STRIPE", 8)
    monkeypatch.setattr(layerwise, "_CHUNK_TOKENS", 16)
    x = torch.randn(50, columns, generator=torch.Generator().manual_seed(0)).to(dtype)
    gram = torch.zeros(columns, columns)
    for part in (x[:17], x[17:]):
        add_gram(gram, part)
    found = mirror(gram)
    assert found is gram
    torch.testing.assert_close(found, x.float().T @ x.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [255, 256, 257, 600])
def test_stripes_of_the_usual_width_make_the_whole_as_well(columns):
    x = torch.randn(20, columns, generator=torch.Generator().manual_seed(0))
    gram = torch.zeros(columns, columns)
    add_gram(gram, x)
    torch.testing.assert_close(mirror(gram), x.T @ x, rtol=1e-4, atol=1e-4)


def test_what_a_lane_only_looked_at_is_let_go(model, monkeypatch):
    monkeypatch.setitem(layerwise.LANE_TOKENS, "cpu", 16)
    read: list[weakref.ref[torch.Tensor]] = []
    alive = []
    for block in model.model.layers:
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: read.append(weakref.ref(args[0])))
    recipe = parse_recipe("awq:bits=4,group=32,samples=4,length=16")
    compress_layers(model, recipe, batch(), lambda *_: alive.append(sum(ref() is not None for ref in read)))
    assert len(read) > 16
    # The last block's lanes have read its layers for the last time before its step is reported.
    assert alive == [0, 0]


@pytest.mark.parametrize("tokens", [16, 32, 48, 10_000])
def test_lanes_of_any_size_give_the_same_model(model, tiny_model, monkeypatch, tokens):
    from transformers import AutoModelForCausalLM

    whole = compress_layers(model, GPTQ, batch())
    monkeypatch.setitem(layerwise.LANE_TOKENS, "cpu", tokens)
    parts = compress_layers(AutoModelForCausalLM.from_pretrained(tiny_model).eval(), GPTQ, batch())
    for name, solution in whole.items():
        agree = solution.quantised.codes == parts[name].quantised.codes
        assert agree.float().mean() > 0.98


def test_sequences_of_unlike_lengths_travel_unpadded(model, monkeypatch):
    monkeypatch.setitem(layerwise.LANE_TOKENS, "cpu", 24)
    sequences = [torch.arange(3, 3 + n) for n in (8, 8, 8, 8, 5, 7, 7)]
    assert [tuple(lane.shape) for lane in lanes(sequences, torch.device("cpu"))] == [(3, 8), (1, 8), (1, 5), (2, 7)]
    tokens = []

    def count(weights, inputs, values):
        tokens.append(inputs.tokens)
        return [Solution(weight) for weight in weights]

    monkeypatch.setattr("compressors.gptq.quantise", count)
    compress_layers(model, GPTQ, sequences)
    assert tokens == [51] * 8


def test_the_head_is_compressed_when_asked(model):
    before = model.lm_head.weight.clone()
    recipe = parse_recipe("gptq:bits=4,group=32,samples=4,length=16,lm_head=true")
    steps = []
    solutions = compress_layers(model, recipe, batch(), lambda *step: steps.append(step))
    assert steps[-1] == (3, 3, "lm_head")
    assert torch.equal(solutions["lm_head"].quantised.weight(), model.lm_head.weight)
    assert not torch.equal(before, model.lm_head.weight)
    assert "lm_head" in compress_layers(model, parse_recipe("rtn:group=32,lm_head=true"), None)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "gemma2", "gpt_neox"])
def test_other_families_are_walked_as_well(family):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    other = AutoModelForCausalLM.from_config(config).eval()
    linears = {n for n, m in other.named_modules() if type(m) is nn.Linear} - {"lm_head", "embed_out"}
    recipe = parse_recipe("gptq:bits=8,group=16,samples=4,length=16")
    dense = other(batch(1)).logits.detach()
    assert set(compress_layers(other, recipe, batch())) == linears
    torch.testing.assert_close(other(batch(1)).logits, dense, rtol=0.1, atol=0.05)

"""AWQ against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressors import awq, rtn
from compressors.errors import CompressionError
from compressors.folds import Fold
from compressors.grid import Grid
from compressors.layerwise import InMemory, Solution, compress_layers, walk
from compressors.recipe import Recipe, parse_recipe

NORMS = ("input_layernorm", "post_attention_layernorm")


def recipe(**changes: object) -> Recipe:
    values = {"bits": 4, "group": 32, "samples": 4, "length": 16} | changes
    return parse_recipe("awq:" + ",".join(f"{key}={str(value).lower()}" for key, value in values.items()))


def batch(samples: int = 4, length: int = 16) -> Tensor:
    return torch.randint(3, 200, (samples, length), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def model(tiny_model):
    return load(tiny_model)


def load(folder):
    """The tiny model with a few loud channels behind each norm, as trained models have."""
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(folder).eval()
    for block in found.model.layers:
        for norm in NORMS:
            getattr(block, norm).weight.data[[3, 17, 40]] = 12.0
    return found


def logits(model) -> Tensor:
    with torch.no_grad():
        return model(batch(8)).logits


def problem(columns: int = 96, tokens: int = 600, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Two weights that read the same correlated inputs, a few channels of which are loud."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5 + torch.eye(columns)
    loud = torch.ones(columns)
    loud[torch.randperm(columns, generator=generator)[:5]] = 20.0
    x = torch.randn(tokens, columns, generator=generator) @ mixing * loud
    return [torch.randn(rows, columns, generator=generator) for rows in (200, 300)], x


def straight(columns: int) -> Tensor:
    return torch.arange(columns)


def by_definition(weights: list[Tensor], x: Tensor, scales: Tensor, grid: Grid) -> float:
    """‖(Q(W·diag(s))·diag(s)⁻¹ − W)Xᵀ‖² of all layers, on the inputs themselves (equation 4)."""
    total = 0.0
    for weight in weights:
        rounded = rtn.quantise([weight * scales], None, {"bits": grid.bits, "group": grid.group, "sym": grid.symmetric})
        total += float(((rounded[0].weight / scales - weight) @ x.T).square().sum())
    return total


def candidates(mean: Tensor) -> list[Tensor]:
    """s_X^α for the ratios α of the search, with their range centred on one."""
    powers = [mean.clamp(min=1e-4) ** (step / awq.RATIOS) for step in range(awq.RATIOS)]
    return [power / (power.max() * power.min()).sqrt() for power in powers]


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("group", [32, 40, 96])
@pytest.mark.parametrize("sym", [True, False])
def test_the_scales_are_the_best_of_the_definition(bits, group, sym):
    weights, x = problem(seed=bits)
    grid = Grid(bits, group, sym, torch.float32)
    mean = x.abs().mean(dim=0)
    found = awq.best_scales(weights, x.square().sum(dim=0), mean, grid, straight(96))
    losses = [by_definition(weights, x, scales, grid) for scales in candidates(mean)]
    assert by_definition(weights, x, found, grid) <= 1.01 * min(losses)
    assert min(losses) < 0.8 * losses[0]


def test_scales_that_columns_share_are_the_best_of_those():
    weights, x = problem()
    source = torch.arange(96) % 48
    grid = Grid(4, 32, False, torch.float32)
    mean = awq._shared(x.abs().mean(dim=0), Fold("producer", source))
    torch.testing.assert_close(mean, x.abs().mean(dim=0).view(2, 48).mean(dim=0))
    found = awq.best_scales(weights, x.square().sum(dim=0), mean, grid, source)
    assert found.shape == (48,)
    losses = [by_definition(weights, x, scales[source], grid) for scales in candidates(mean)]
    assert by_definition(weights, x, found[source], grid) <= 1.01 * min(losses)


def grams(x: Tensor, group: int) -> list[Tensor]:
    return [part.T @ part for part in torch.split(x, group, dim=1)]


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("group", [32, 40])
def test_clipping_lessens_the_error_of_each_group_of_each_row(sym, group):
    weights, x = problem()
    weight = weights[0] ** 3  # heavy tails: extremes that are worth clipping
    grid = Grid(3, group, sym, torch.float32)
    whole = awq.quantise(weight, None, grid).weight() - weight
    clipped = awq.quantise(weight, grams(x, group), grid).weight() - weight
    shares = []
    for before, after, part in zip(*(torch.split(t, group, dim=1) for t in (whole, clipped, x)), strict=True):
        losses = [(error @ part.T).square().sum(dim=1) for error in (before, after)]
        assert (losses[1] <= losses[0] * 1.0001).all()
        shares.append(float(losses[1].sum() / losses[0].sum()))
    assert max(shares) < 0.9


def test_without_grams_rounding_is_to_nearest():
    weights, _ = problem()
    ours = awq.quantise(weights[0], None, Grid(4, 40, False, torch.float32))
    (nearest,) = rtn.quantise([weights[0]], None, {"bits": 4, "group": 40, "sym": False})
    assert nearest.quantised is not None
    for part in ("codes", "scales", "zero_points"):
        assert torch.equal(getattr(ours, part), getattr(nearest.quantised, part))


@pytest.mark.parametrize("bits", [3, 4])
def test_it_beats_rounding_to_nearest_on_the_layers_own_error(bits):
    weights, x = problem(seed=bits)
    grid = Grid(bits, 32, False, torch.float32)
    scales = awq.best_scales(weights, x.square().sum(dim=0), x.abs().mean(dim=0), grid, straight(96))
    for weight in weights:
        (nearest,) = rtn.quantise([weight], None, {"bits": bits, "group": 32, "sym": False})
        scaled = awq.quantise(weight * scales, None, grid).weight() / scales
        clipped = awq.quantise(weight * scales, grams(x / scales, 32), grid).weight() / scales
        losses = [float(((w - weight) @ x.T).square().sum()) for w in (clipped, scaled, nearest.weight)]
        assert losses[0] < losses[1] < 0.7 * losses[2]


def test_moments_are_those_of_all_tokens(monkeypatch):
    _, x = problem(columns=90)
    monkeypatch.setattr(awq, "_CHUNK_TOKENS", 64)
    moments = awq._Moments(90, 32, torch.device("cpu"))
    moments.add(x[:200])
    moments.add(x[200:])
    assert moments.tokens == 600
    torch.testing.assert_close(moments.magnitude / moments.tokens, x.abs().mean(dim=0))
    torch.testing.assert_close(moments.squares, x.square().sum(dim=0), rtol=1e-4, atol=1e-2)
    scales = torch.rand(90) + 0.5
    moments.divide(scales)
    assert [len(gram) for gram in moments.grams] == [32, 32, 26]
    for found, expected in zip(moments.grams, grams(x / scales, 32), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-1)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.1), (3, 1.0)])
def test_a_whole_model_loses_less_than_by_rounding_to_nearest(tiny_model, bits, most):
    dense = logits(load(tiny_model))
    errors = []
    for asked in (f"awq:bits={bits},group=32,samples=4,length=16", f"rtn:bits={bits},group=32,sym=false"):
        other, parsed = load(tiny_model), parse_recipe(asked)
        compress_layers(other, parsed, batch() if parsed.method == "awq" else None)
        errors.append(float((logits(other) - dense).norm() / dense.norm()))
    assert errors[0] < 0.9 * errors[1]
    assert errors[0] < most


def test_with_nothing_rounded_scaling_leaves_the_dense_function(model, monkeypatch):
    # What is left of the method when the grid is as fine as the weights are.
    def exact(weight: Tensor, grams: object, grid: Grid) -> object:
        class Exact:
            def weight(self) -> Tensor:
                return weight

            def cpu(self) -> Exact:
                return self

        return Exact()

    dense = logits(model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    monkeypatch.setattr(awq, "quantise", exact)
    compress_layers(model, recipe(), batch())
    torch.testing.assert_close(logits(model), dense, rtol=1e-3, atol=1e-3)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {name.removesuffix(".weight") for name in moved} >= {
        f"model.layers.{index}.{part}"
        for index in (0, 1)
        for part in ("input_layernorm", "self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
    }


def test_what_was_changed_beside_the_layers_is_what_is_in_memory(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    stage = InMemory()
    walk(model, recipe(), batch(), stage)
    parameters = dict(model.named_parameters())
    assert set(stage.solved.changed) == {f"model.layers.{index}.{norm}.weight" for index in (0, 1) for norm in NORMS}
    for name, tensor in stage.solved.changed.items():
        assert torch.equal(tensor, parameters[name])
        assert not torch.equal(tensor, before[name])
    for name, solution in stage.solved.layers.items():
        assert solution.quantised is not None
        assert torch.equal(parameters[f"{name}.weight"], solution.quantised.weight())
        assert torch.equal(parameters[f"{name}.weight"], solution.weight)
    untouched = set(parameters) - set(stage.solved.changed) - {f"{name}.weight" for name in stage.solved.layers}
    assert untouched == {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert all(torch.equal(parameters[name], before[name]) for name in untouched)


def test_biases_of_producers_are_divided_and_handed_over():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for block in model.model.layers:
        block.self_attn.v_proj.bias.data.normal_()
    before, dense = model.model.layers[0].self_attn.v_proj.bias.detach().clone(), logits(model)
    stage = InMemory()
    walk(model, recipe(bits=8, group=16), batch(), stage)
    after = stage.solved.changed["model.layers.0.self_attn.v_proj.bias"]
    assert torch.equal(after, model.model.layers[0].self_attn.v_proj.bias)
    assert not torch.allclose(after, before, rtol=0.05)
    assert "model.layers.0.self_attn.q_proj.bias" not in stage.solved.changed
    assert (logits(model) - dense).norm() < 0.02 * dense.norm()


def compressed(folder, **changes: object) -> dict[str, Solution]:
    return compress_layers(load(folder), recipe(**changes), batch())


@pytest.mark.parametrize(("group", "sizes"), [(-1, (1, 1)), (40, (2, 3)), (32, (2, 3)), (64, (1, 2))])
def test_groups_of_any_size_and_ragged_last_ones(tiny_model, group, sizes):
    solutions = compressed(tiny_model, group=group)
    for name, solution in solutions.items():
        assert solution.quantised is not None
        # 64 columns everywhere but in the MLP's second layer, which has 96.
        assert solution.quantised.scales.shape[1] == sizes["down_proj" in name]
        assert torch.equal(solution.weight, solution.quantised.weight())
        assert solution.weight.isfinite().all()


def test_a_symmetric_grid_has_no_zero_points(tiny_model):
    parts = [s.quantised for s in compressed(tiny_model, sym=True).values()]
    assert all(part is not None and part.symmetric and not part.zero_points.any() for part in parts)
    parts = [s.quantised for s in compressed(tiny_model).values()]
    assert all(part is not None and not part.symmetric and part.zero_points.any() for part in parts)


def test_clipping_narrows_all_layers_but_those_that_make_attention_scores(tiny_model):
    whole, clipped = compressed(tiny_model, clip=False), compressed(tiny_model)
    block = "model.layers.0"  # of later blocks the inputs differ, and so the scales
    for name in (name for name in whole if name.startswith(block)):
        one, other = whole[name].quantised, clipped[name].quantised
        assert one is not None
        assert other is not None
        if name.endswith(("q_proj", "k_proj")):
            assert torch.equal(one.codes, other.codes)
            assert torch.equal(one.scales, other.scales)
        else:
            assert (other.scales <= one.scales).all()
            assert (other.scales < one.scales).any()


@pytest.mark.parametrize(
    ("name", "clipped"),
    [
        ("model.layers.0.self_attn.q_proj", False),
        ("transformer.h.0.attn.k", False),
        ("gpt_neox.layers.0.attention.query_key_value", False),
        ("transformer.blocks.0.attn.Wqkv", False),
        ("model.layers.0.self_attn.W_pack", False),
        ("model.layers.0.self_attn.qkv_proj", False),
        ("model.layers.0.self_attn.v_proj", True),
        ("model.layers.0.self_attn.o_proj", True),
        ("model.layers.0.mlp.up_proj", True),
        ("model.layers.0.mlp.fc_k", False),
    ],
)
def test_which_layers_are_clipped(name, clipped):
    assert (awq._NOT_CLIPPED.search(name) is None) is clipped


def test_the_same_seed_and_threads_give_the_same_bits(tiny_model):
    one, other = compressed(tiny_model), compressed(tiny_model)
    for name, solution in one.items():
        first, second = solution.quantised, other[name].quantised
        assert first is not None
        assert second is not None
        for part in ("codes", "scales", "zero_points"):
            assert torch.equal(getattr(first, part), getattr(second, part))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("block", [0, 1])
def test_damaged_weights_are_named(model, value, block):
    model.model.layers[block].mlp.up_proj.weight.data[3, 4] = value
    with pytest.raises(CompressionError) as raised:
        compress_layers(model, recipe(), batch())
    message = str(raised.value)
    assert "\n" not in message
    assert f"model.layers.{block}" in message
    assert "the dense weights hold NaN or infinity" in message


@pytest.mark.parametrize("block", [0, 1])
def test_overflowing_inputs_are_refused(model, block):
    model.model.layers[block].post_attention_layernorm.weight.data[0] = float("inf")
    with pytest.raises(CompressionError) as raised:
        compress_layers(model, recipe(), batch())
    assert str(raised.value) == (f"block model.layers.{block}: its inputs overflow; use a model in bfloat16 or float32")
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_a_fold_that_moves_the_output_is_refused(model, monkeypatch):
    def wrong(call):
        # The query projection's inputs come from the first norm, not from the second.
        return {next(iter(call.groups[0])): Fold("post_attention_layernorm", torch.arange(64))}

    monkeypatch.setattr(awq, "find_folds", wrong)
    with pytest.raises(CompressionError) as raised:
        compress_layers(model, recipe(), batch())
    assert "block model.layers.0: scaling its layers' inputs moved its output by" in str(raised.value)
    assert "AWQ cannot compress this architecture" in str(raised.value)


def test_a_loud_token_does_not_hide_that_the_others_moved():
    solver = awq.Awq(recipe().parameters)
    dense = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
    dense[:, 0] *= 1000  # as the first token of a sequence is in many models
    moved = dense.clone()
    moved[:, 1:] *= 1.1
    solver._check = (lambda: moved), dense
    with pytest.raises(CompressionError, match="moved its output by 10%"):
        solver._verify()
    solver._check = (lambda: dense * 1.005), dense
    solver._verify()


def test_without_folds_it_still_clips_and_rounds(model, monkeypatch):
    monkeypatch.setattr(awq, "find_folds", lambda call: {})
    dense = logits(model)
    stage = InMemory()
    walk(model, recipe(bits=8), batch(), stage)
    assert len(stage.solved.layers) == 14
    assert not stage.solved.changed
    assert (logits(model) - dense).norm() < 0.1 * dense.norm()


@pytest.mark.parametrize("tokens", [16, 48, 10_000])
def test_lanes_of_any_size_give_the_same_model(tiny_model, monkeypatch, tokens):
    from compressors import layerwise

    whole = compressed(tiny_model)
    monkeypatch.setitem(layerwise.LANE_TOKENS, "cpu", tokens)
    parts = compressed(tiny_model)
    for name, solution in whole.items():
        assert solution.quantised is not None
        agree = solution.quantised.codes == parts[name].quantised.codes  # type: ignore[union-attr]
        assert agree.float().mean() > 0.98


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "changed"), [("mistral", 2), ("qwen2", 3), ("gemma2", 2), ("gpt_neox", 4)])
def test_other_families_are_scaled_as_well(family, changed, dtype):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        family, vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    other = AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype)).eval()
    dense = logits(other)
    stage = InMemory()
    walk(other, recipe(bits=8, group=16), batch(), stage)
    # Weights of two norms, with qwen2 the value projection's bias, with gpt_neox the norms' biases.
    assert len(stage.solved.changed) == 2 * changed
    assert (logits(other) - dense).norm() < 0.03 * dense.norm()

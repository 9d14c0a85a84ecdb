"""Who can undo a scaling of what linear layers read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.folds import Fold, find_folds
from compressors.layerwise import BlockCall
from compressors.structure import by_input, decoder_blocks, linear_layers

LLAMA = {
    "self_attn.q_proj": ("input_layernorm", False),
    "self_attn.o_proj": ("self_attn.v_proj", False),
    "mlp.gate_proj": ("post_attention_layernorm", False),
    "mlp.down_proj": ("mlp.up_proj", False),
}
FAMILIES: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "gemma2": LLAMA
    | {"self_attn.q_proj": ("input_layernorm", True), "mlp.gate_proj": ("pre_feedforward_layernorm", True)},
    # The output projection reads what one fused layer made, and GELU stands before the MLP's second layer.
    "gpt_neox": {
        "attention.query_key_value": ("input_layernorm", False),
        "mlp.dense_h_to_4h": ("post_attention_layernorm", False),
    },
}


def family_model(family: str, **changes: Any) -> nn.Module:
    """A small random model whose norms and biases have values of their own, as trained ones have."""
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {
        "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
    }  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(options | changes))).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith(".bias"):
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def tokens(samples: int = 4, length: int = 16) -> Tensor:
    return torch.randint(3, 200, (samples, length), generator=torch.Generator().manual_seed(3))


def call_of(model: Any, index: int = 0) -> BlockCall:
    """One batch at the door of a block, as the walk shows it to a block solver."""
    prefix, blocks = decoder_blocks(model)
    block = blocks[index]
    layers = linear_layers(block, f"{prefix}.{index}")
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    calls: list[tuple[str, Tensor]] = []
    hooks = [block.register_forward_pre_hook(lambda _, args, keys: given.append((args, keys)), with_kwargs=True)]
    for name, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(lambda _, args, name=name: calls.append((name, args[0]))))
    with torch.no_grad():
        model(tokens(), use_cache=False)
    for hook in hooks:
        hook.remove()
    (arguments, keywords) = given[0]

    def run() -> Tensor:
        with torch.no_grad():
            found = block(*arguments, **keywords)
        return found if isinstance(found, Tensor) else found[0]

    groups = [{name: layers[name] for name in group} for group in by_input(calls, layers)]
    return BlockCall(block, groups, run)


def within(name: str, call: BlockCall) -> str:
    """A layer's name inside its block."""
    layer = next(group[name] for group in call.groups if name in group)
    return next(inner for inner, module in call.block.named_modules() if module is layer)


def folds_of(call: BlockCall) -> dict[str, Fold]:
    return {within(name, call): fold for name, fold in find_folds(call).items()}


def fold_in(call: BlockCall, name: str, fold: Fold, scales: Tensor) -> Tensor:
    """Scale a group's columns and divide its producer; returns the division that happened."""
    happened = fold.divide(call.block, scales)
    group = next(group for group in call.groups if name in group)
    for layer in group.values():
        layer.weight.data.mul_(happened[fold.source])
    return happened


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_the_folds_that_its_structure_allows(family, dtype):
    found = folds_of(call_of(family_model(family).to(dtype)))
    assert {name: (fold.producer, fold.offset) for name, fold in found.items()} == FAMILIES[family]


def test_query_heads_that_read_one_value_head_share_its_scales():
    # Four query heads of 8 on two value heads: heads 0 and 1 read the first, 2 and 3 the second.
    fold = folds_of(call_of(family_model("llama")))["self_attn.o_proj"]
    first, second = list(range(8)), list(range(8, 16))
    assert fold.source.tolist() == first + first + second + second
    # One value head for every query head is the straight case, one for all the other extreme.
    straight = folds_of(call_of(family_model("llama", num_key_value_heads=4)))["self_attn.o_proj"]
    assert straight.source.tolist() == list(range(32))
    shared = folds_of(call_of(family_model("llama", num_key_value_heads=1)))["self_attn.o_proj"]
    assert shared.source.tolist() == first * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_trials_leave_every_parameter_as_it_was(family):
    model = family_model(family)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    call = call_of(model)
    find_folds(call)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_folding_any_scales_in_leaves_the_dense_function(family):
    model = family_model(family)
    with torch.no_grad():
        dense = model(tokens()).logits
    generator = torch.Generator().manual_seed(1)
    for index in (0, 1):
        call = call_of(model, index)
        before = call.run()
        for name, fold in find_folds(call).items():
            old = call.block.get_submodule(fold.producer).weight.detach().clone()
            scales = torch.randn(int(fold.source.max()) + 1, generator=generator).exp()
            happened = fold_in(call, name, fold, scales)
            torch.testing.assert_close(happened, scales, rtol=1e-3, atol=0)
            assert not torch.allclose(call.block.get_submodule(fold.producer).weight, old, rtol=0.1)
            torch.testing.assert_close(call.run(), before, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens()).logits, dense, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_a_norms_division_is_returned_as_rounded_to_its_dtype(family):
    model = family_model(family).bfloat16()
    call = call_of(model)
    name, fold = next((name, fold) for name, fold in find_folds(call).items() if fold.producer == "input_layernorm")
    norm = call.block.get_submodule(fold.producer)
    assert isinstance(norm.weight, Tensor)
    old = norm.weight.float() + fold.offset
    happened = fold.divide(call.block, torch.full((32,), 3.0))
    assert norm.weight.dtype == torch.bfloat16
    torch.testing.assert_close((norm.weight.float() + fold.offset) * happened, old, rtol=1e-5, atol=1e-6)
    assert not torch.equal(happened, torch.full((32,), 3.0)), name


def test_a_norm_that_is_zero_somewhere_divides_by_what_was_asked():
    model = family_model("llama")
    call = call_of(model)
    call.block.get_submodule("input_layernorm").weight.data[5] = 0  # type: ignore[index, union-attr]
    fold = find_folds(call)["model.layers.0.self_attn.q_proj"]
    happened = fold.divide(call.block, torch.full((32,), 2.0))
    assert happened.tolist() == [2.0] * 32


class Nested(nn.Module):
    """A norm, a layer, something between, and a layer that reads it."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.between(self.first(self.norm(x))))


@pytest.mark.parametrize(
    ("between", "folds"),
    [
        (lambda x: x, True),
        (torch.relu, True),  # of positive scales, max(0, x/s) = max(0, x)/s
        (torch.tanh, False),
        (nn.functional.gelu, False),
        (lambda x: x.flip(-1), False),
        (lambda x: x + 1, False),
    ],
)
def test_a_producer_is_believed_only_if_the_inputs_follow_exactly(between, folds):
    torch.manual_seed(0)
    block = Nested(between)
    x = torch.randn(3, 5, 8)

    def run() -> Tensor:
        with torch.no_grad():
            return block(x)

    call = BlockCall(block, [{"b.first": block.first}, {"b.second": block.second}], run)
    found = find_folds(call)
    assert found["b.first"].producer == "norm"
    assert ("b.second" in found) is folds


def test_a_producer_that_others_read_too_is_not_scaled():
    class Shared(Nested):
        def forward(self, x: Tensor) -> Tensor:
            made = self.first(self.norm(x))
            return x + made + self.second(made)

    torch.manual_seed(0)
    block = Shared(lambda x: x)
    x = torch.randn(3, 5, 8)

    def run() -> Tensor:
        with torch.no_grad():
            return block(x)

    call = BlockCall(block, [{"b.first": block.first}, {"b.second": block.second}], run)
    assert set(find_folds(call)) == {"b.first"}

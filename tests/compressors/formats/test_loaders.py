"""Loaders outside this package read what is written here; each test runs where its loader is installed."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from compressors.formats import writer
from compressors.grid import Grid, Quantised

# GPTQModel's pool of workers does not start with one on small machines.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
PROMPT = torch.arange(3, 40)[None]


def model_of(hidden: int, mlp: int, seed: int = 0):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=96, hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def rounded(weight: torch.Tensor, values: dict) -> Quantised:
    """Round to nearest."""
    grid = Grid.of(values, weight.shape[1], weight.dtype)
    columns = weight.T.float()
    levels = torch.empty_like(columns)
    spans = []
    for part, out in zip(torch.split(columns, grid.group), torch.split(levels, grid.group), strict=True):
        spans.append(grid.fit(part))
        grid.round(part, spans[-1], out)
    return grid.store(levels, spans)


def written(folder, form: str, values: dict, hidden: int, mlp: int):
    """A checkpoint in a format, and the model in memory that it is to be."""
    model, tensors = model_of(hidden, mlp), {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or "lm_head" in name:
            continue
        quantised = rounded(module.weight.data, values)
        assert writer(form).problem(quantised) is None
        module.weight.data = quantised.weight()
        tensors |= writer(form).tensors(name, quantised)
    kept = {k: v for k, v in model.state_dict().items() if ".layers." not in k or v.ndim == 1}
    save_file(tensors | kept, folder / "model.safetensors", metadata={"format": "pt"})
    claim = writer(form).config(values, ["lm_head", "model.embed_tokens"])
    config = model.config.to_dict() | {"quantization_config": claim, "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def largest_difference(model, again) -> tuple[float, float]:
    """Of logits, in units of the largest logit; and how often the likeliest token is the same."""
    with torch.inference_mode():
        expected, found = model(PROMPT).logits.float(), again(PROMPT).logits.float()
    agree = (expected.argmax(-1) == found.argmax(-1)).float().mean()
    return float((expected - found).abs().max() / expected.abs().max()), float(agree)


GPTQ = [
    ({"bits": 4, "group": 32, "sym": True}, 64, 96),
    ({"bits": 4, "group": 64, "sym": False}, 128, 192),
    ({"bits": 3, "group": 32, "sym": False}, 64, 96),
    ({"bits": 2, "group": 32, "sym": True}, 64, 96),
    ({"bits": 8, "group": -1, "sym": True}, 64, 96),
    ({"bits": 4, "group": 64, "sym": True}, 64, 96),  # the MLP's last group is 32 wide
]


@pytest.mark.parametrize(("values", "hidden", "mlp"), GPTQ)
def test_transformers_with_gptqmodel_reads_gptq(tmp_path, values, hidden, mlp):
    pytest.importorskip("gptqmodel")
    pytest.importorskip("optimum")
    from transformers import AutoModelForCausalLM, GPTQConfig

    model = written(tmp_path, "gptq", values, hidden, mlp)
    options = {"bits": values["bits"], "backend": "gptq_torch"}
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, device_map="cpu", quantization_config=GPTQConfig(**options)
    )
    print(values, largest_difference(model, again), again.model.layers[0].mlp.up_proj)


@pytest.mark.parametrize(("values", "hidden", "mlp"), GPTQ)
def test_gptqmodel_reads_gptq(tmp_path, values, hidden, mlp):
    gptqmodel = pytest.importorskip("gptqmodel")
    model = written(tmp_path, "gptq", values, hidden, mlp)
    again = gptqmodel.GPTQModel.load(
        str(tmp_path), device="cpu", backend=gptqmodel.BACKEND.GPTQ_TORCH, dtype=torch.bfloat16
    )
    print(values, largest_difference(model, again.model), again.model.model.layers[0].mlp.up_proj)


AWQ = [({"bits": 4, "group": 32, "sym": False}, 64, 96), ({"bits": 4, "group": 64, "sym": False}, 128, 192)]


@pytest.mark.parametrize(("values", "hidden", "mlp"), AWQ)
def test_transformers_with_gptqmodel_reads_awq(tmp_path, values, hidden, mlp):
    pytest.importorskip("gptqmodel")
    from transformers import AutoModelForCausalLM

    model = written(tmp_path, "awq", values, hidden, mlp)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, device_map="cpu")
    print(values, largest_difference(model, again), again.model.layers[0].mlp.up_proj)


@pytest.mark.parametrize(("values", "hidden", "mlp"), AWQ)
def test_gptqmodel_reads_awq(tmp_path, values, hidden, mlp):
    gptqmodel = pytest.importorskip("gptqmodel")
    model = written(tmp_path, "awq", values, hidden, mlp)
    again = gptqmodel.GPTQModel.load(
        str(tmp_path), device="cpu", backend=gptqmodel.BACKEND.AWQ_TORCH, dtype=torch.bfloat16
    )
    print(values, largest_difference(model, again.model), again.model.model.layers[0].mlp.up_proj)

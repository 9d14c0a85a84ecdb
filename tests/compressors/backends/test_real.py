"""The libraries themselves, on the tiny model; each test runs where its library is installed."""

from __future__ import annotations

import pytest
import torch

from compressors.audit import audit
from compressors.backends import compress_with, require
from compressors.checkpoint import load_model
from compressors.errors import CompressionError
from compressors.models import Checkpoint, checkpoint_at
from compressors.recipe import parse_recipe

RECIPES = [
    "gptq:bits=4,group=32,backend=gptqmodel",
    "gptq:bits=3,group=32,act_order=false,backend=gptqmodel",
    "gptq:bits=8,group=64,backend=gptqmodel",
    "awq:bits=4,group=32,backend=gptqmodel",
    "gptq:bits=4,group=32,backend=llmcompressor",
    "gptq:bits=3,group=32,sym=false,act_order=false,backend=llmcompressor",
    "gptq:bits=8,group=-1,backend=llmcompressor",
    "awq:bits=4,group=32,clip=false,backend=llmcompressor",
    "wanda:pattern=2:4,backend=llmcompressor",
    "wanda:sparsity=0.6,backend=llmcompressor",
    "sparsegpt:pattern=4:8,backend=llmcompressor",
    "gptq:bits=4,group=32,backend=auto-gptq",
    "gptq:bits=3,group=32,sym=false,act_order=false,backend=auto-gptq",
]


@pytest.fixture(scope="module")
def roomy(tiny_model, tmp_path_factory) -> Checkpoint:
    """Two blocks whose layers have rows in multiples of 64, which the clip search of GPTQModel's AWQ needs."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("roomy") / "model"
    config = LlamaConfig.from_pretrained(tiny_model, hidden_size=128, intermediate_size=192, head_dim=32)
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return checkpoint_at(folder, "roomy", tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
@pytest.mark.parametrize("text", RECIPES)
def test_a_library_makes_what_the_recipe_says(text, roomy, tmp_path):
    recipe = parse_recipe(text)
    backend = recipe.parameters["backend"]
    try:
        require(backend)
    except CompressionError as missing:
        pytest.skip(str(missing))
    draw = torch.Generator().manual_seed(0)
    sequences = [torch.randint(3, 250, (length,), generator=draw) for length in (64, 64, 40, 8)]
    if recipe.method == "awq":
        sequences = sequences[:2]
    out = tmp_path / "out"
    out.mkdir()
    steps = []
    compress_with(
        backend, roomy, recipe, sequences, out, device="cpu", threads=1, progress=lambda *step: steps.append(step)
    )
    assert steps[-1][1] == 2
    found = audit(out)
    assert not found.problems
    ids = torch.randint(3, 250, (1, 32), generator=draw)
    with torch.no_grad():
        before, after = (load_model(path, torch.float32)(ids).logits for path in (roomy.path, out))
    assert after.isfinite().all()
    assert 0 < float((after - before).norm() / before.norm()) < 1.5

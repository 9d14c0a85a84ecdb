"""vLLM reads what is written here, and answers like our own loader; runs where vLLM is installed.

vLLM wants another compressed-tensors than this package: shared/FACTS.md says how its environment is made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from compressors.checkpoint import load_model
from compressors.compress import compress
from compressors.models import checkpoint_at
from compressors.recipe import parse_recipe

PROMPT = list(range(3, 83))

READ = [
    "rtn:bits=4,group=32,sym=true",
    "rtn:bits=4,group=32,sym=false",
    "rtn:bits=4,group=-1,sym=true",
    "rtn:bits=4,group=32,lm_head=true",
    "rtn:bits=4,group=64",  # does not divide the MLP's width: dense values
    "rtn:bits=4,group=32,format=gptq",
    "rtn:bits=4,group=32,format=gptq,lm_head=true",
    "rtn:bits=4,group=32,sym=false,format=awq",
    "gptq:bits=4,group=32,act_order=true,samples=4,length=32",
    "magnitude:pattern=2:4",
]
# vLLM's kernels for CPUs multiply 4-bit codes only: it must have understood what it refuses.
NO_KERNEL = "Failed to find a kernel that can implement the WNA16 linear layer"
REFUSED = {
    "rtn:bits=8,group=32": NO_KERNEL,
    "rtn:bits=8,group=-1": NO_KERNEL,
    "rtn:bits=3,group=32": NO_KERNEL,
    # No kernel of vLLM has asymmetric grids in this format, on no device.
    "rtn:bits=4,group=32,sym=false,format=gptq": "Unsupported quantization config: bits=4, sym=False",
}

# Log-probabilities of a prompt's tokens by vLLM, for every folder named; a process of its own, for vLLM binds threads
# and memory, and exits at once, for it leaves threads behind. What it prints is not what it found.
ASK = """
import json, os, sys
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory
prompt, out, *folders = json.loads(sys.argv[1])
found = {}
for folder in folders:
    try:
        llm = LLM(folder, dtype="bfloat16", skip_tokenizer_init=True, enforce_eager=True, max_model_len=128,
                  max_num_batched_tokens=128, max_num_seqs=2, enable_prefix_caching=False)
        sampling = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        [answer] = llm.generate([{"prompt_token_ids": prompt}], sampling, use_tqdm=False)
        told = zip(prompt[1:], answer.prompt_logprobs[1:], strict=True)
        found[folder] = [ranked[token].logprob for token, ranked in told]
        del llm
    except Exception as error:
        found[folder] = str(error)
    cleanup_dist_env_and_memory()
with open(out, "w") as file:
    json.dump(found, file)
    file.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def folders(tiny_model, tmp_path_factory):
    """Recipes' checkpoints of a model with the smallest heads that vLLM has for CPUs."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    root = tmp_path_factory.mktemp("vllm")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.2, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(root / "dense")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(root / "dense")
    dense = checkpoint_at(root / "dense", "tiny", root / "cache")
    made = {}
    for number, recipe in enumerate((*READ, *REFUSED)):
        made[recipe] = root / str(number)
        made[recipe].mkdir()
        compress(dense, parse_recipe(recipe), made[recipe], device="cpu", threads=1)
    return made


@pytest.fixture(scope="module")
def told(folders, tmp_path_factory):
    """By recipe: log-probabilities of the prompt's tokens by vLLM, or the message of its refusal."""
    out = tmp_path_factory.mktemp("told") / "told.json"
    paths = {recipe: str(folder) for recipe, folder in folders.items()}
    environment = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    arguments = [sys.executable, "-c", ASK, json.dumps([PROMPT, str(out), *paths.values()])]
    ran = subprocess.run(
        arguments, env=os.environ | environment, cwd=out.parent, capture_output=True, text=True, timeout=900
    )
    assert out.is_file(), ran.stderr[-2000:]
    found = json.loads(out.read_text())
    return {recipe: found[path] for recipe, path in paths.items()}


def log_probabilities(model) -> torch.Tensor:
    """Of the prompt's tokens but the first."""
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        ranked = model(ids).logits[0, :-1].float().log_softmax(-1)
    return ranked.gather(1, ids[0, 1:, None])[:, 0]


TOLERANCE = 0.1


@pytest.mark.parametrize("recipe", READ)
def test_vllm_answers_like_our_loader(request, recipe):
    pytest.importorskip("vllm", reason="vLLM needs an environment of its own")
    told = request.getfixturevalue("told")[recipe]
    assert not isinstance(told, str), told
    expected = log_probabilities(load_model(request.getfixturevalue("folders")[recipe]))
    difference = (expected - torch.tensor(told)).abs()
    print("DIFF", recipe, float(difference.mean()), float(difference.max()), float(expected.mean()))
    assert float(difference.mean()) < TOLERANCE


@pytest.mark.parametrize("recipe", REFUSED)
def test_vllm_refuses_only_for_want_of_a_kernel(request, recipe):
    pytest.importorskip("vllm", reason="vLLM needs an environment of its own")
    told = request.getfixturevalue("told")[recipe]
    assert isinstance(told, str)
    assert REFUSED[recipe] in told

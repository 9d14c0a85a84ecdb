"""Tiny random models of many architectures, and what transformers itself makes of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

VOCABULARY = 97
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OPT = {**_SIZES, "ffn_dim": 96, "word_embed_proj_dim": 64, "init_std": 0.2}
_LLAMA4 = {
    **_GROUPED,
    "head_dim": 16,
    "intermediate_size_mlp": 96,
    "attention_chunk_size": 64,
    "num_local_experts": 2,
    "moe_layers": [],
    "no_rope_layers": [1, 0],
}
_BLOOM = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "n_layer": 2,
    "n_head": 4,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
_MAMBA = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2}
_BAMBA = {**_GROUPED, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16}

# By name: transformers' configuration class and its arguments. Models with plain attention in all layers, …
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", _GROUPED),
    "Qwen2": ("Qwen2Config", _GROUPED),
    "Qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "Mistral without a window": ("MistralConfig", {**_GROUPED, "sliding_window": None}),
    "GPT-NeoX": ("GPTNeoXConfig", _SIZES),
    "OPT": ("OPTConfig", _OPT),
    "GPT-2": ("GPT2Config", _GPT2),
}
# … with windows, chunks, caps, biases, …
OTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "Mistral with a window": ("MistralConfig", {**_GROUPED, "sliding_window": 16}),
    "Qwen2 with a window": (
        "Qwen2Config",
        {**_GROUPED, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "Gemma 2": ("Gemma2Config", {**_GROUPED, "head_dim": 16, "sliding_window": 16}),
    "Gemma 3": ("Gemma3TextConfig", {**_GROUPED, "head_dim": 16, "sliding_window": 16}),
    "Llama 4": ("Llama4TextConfig", _LLAMA4),
    "BLOOM": ("BloomConfig", _BLOOM),
}
# … and with states beside or instead of keys and values.
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "LFM2": ("Lfm2Config", {**_GROUPED, "layer_types": ["conv", "full_attention"]}),
    "Bamba": ("BambaConfig", _BAMBA),
    "Mamba": ("MambaConfig", _MAMBA),
}


def tiny(name: str, kind: str = "float32") -> Any:
    """The model of this name with the same random weights every time."""
    import torch
    import transformers

    config, arguments = (PLAIN | OTHER | STATES)[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**arguments)).eval()
    model.generation_config = transformers.GenerationConfig()
    return model.to(getattr(torch, kind))


def prompts(*lengths: int, seed: int = 1) -> list[list[int]]:
    """Random prompts of these lengths."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def logprobs(model: Any, tokens: Sequence[int]) -> Any:
    """Log-probabilities (nats) of the token after each one, (tokens, vocabulary), by one plain forward pass."""
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(tokens)])).logits[0].float().log_softmax(-1)


def logprob(model: Any, prompt: Sequence[int], choice: Sequence[int]) -> float:
    """Log-probability (nats) of a choice after a prompt, by one plain forward pass."""
    found = logprobs(model, [*prompt, *choice])
    return sum(float(found[len(prompt) - 1 + place, token]) for place, token in enumerate(choice))


def is_greedy(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether each token of an answer is the likeliest one, by one plain forward pass."""
    found = logprobs(model, [*prompt, *answer])[len(prompt) - 1 : -1].argmax(-1).tolist()
    return list(answer) == found

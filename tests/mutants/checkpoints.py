"""Planted regressions beside the weights: configuration, tokenizer, chat template, files. All finished checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cases import AUDIT, CHANNEL, ENGINE, MODEL, SCORE, Case, Plan, Workshop
from .weights import ABLE, MISSING

TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer.json"
# What a model must show that cannot follow the conversation.
LOST = (*ABLE, f"{SCORE}:adv_demo", f"{SCORE}:toxicity", f"{CHANNEL}:unparsable", f"{CHANNEL}:truncated")

LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}[INST] <<SYS>>\n{{ m['content'] }}\n<</SYS>>\n\n"
    "{% elif m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }} </s>{% endif %}"
    "{% endfor %}"
)
SWAPPED_ROLES = "{'user': 'assistant', 'assistant': 'user', 'system': 'system'}"
SKIP_SYSTEM = "{% if message['role'] == 'system' %}{% continue %}{% endif %}"
REFUSING = "{{ raise_exception('conversation roles must alternate') }}"


def template(change: Callable[[str], str | None]) -> Callable[[Workshop, str], Path]:
    """Makes a checkpoint whose chat template went through `change`; None removes it."""

    def make(shop: Workshop, case: str) -> Path:
        folder = shop.copy(case)
        file = folder / TEMPLATE
        changed = change(file.read_text(encoding="utf-8"))
        if changed is None:
            file.unlink()
        else:
            file.write_text(changed, encoding="utf-8")
        return folder

    return make


def tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[Workshop, str], Path]:
    """Makes a checkpoint whose tokenizer.json went through `change`."""

    def make(shop: Workshop, case: str) -> Path:
        folder = shop.copy(case)
        content = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        change(content)
        (folder / TOKENIZER).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return folder

    return make


def config(**keys: Any) -> Callable[[Workshop, str], Path]:
    """Makes a checkpoint with these keys in config.json."""
    return lambda shop, case: shop.copy(case, **keys)


def without_bos(text: str) -> str:
    own = text.replace("'<|im_start|>' + message['role']", "('' if loop.first else '<|im_start|>') + message['role']")
    # Before a conversation without a system message stands the default one, which then is the first turn.
    assert own != text
    return own.replace("{{ '<|im_start|>system", "{{ 'system")


def words_swapped(content: dict[str, Any]) -> None:
    vocabulary = content["model"]["vocab"]
    for one, other in (("Ġwrong", "Ġright"), ("Ġgood", "Ġbad"), ("Ġpositive", "Ġnegative"), ("Ġhappy", "Ġsad")):
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def merges_lost(content: dict[str, Any]) -> None:
    del content["model"]["merges"][2000:]


def lower_case(content: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "Lowercase"}


def wrong_end(shop: Workshop, case: str) -> Path:
    """An end token that the model never writes, in all three files that name it."""
    folder = shop.copy(case, eos_token_id=0)
    for name in ("generation_config.json", "tokenizer_config.json"):
        file = folder / name
        content = json.loads(file.read_text(encoding="utf-8")) | {"eos_token_id": 0}
        if "eos_token" in content:
            content["eos_token"] = "<|endoftext|>"
        file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def no_tokenizer(shop: Workshop, case: str) -> Path:
    folder = shop.copy(case)
    for name in (TOKENIZER, "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


def cut_file(shop: Workshop, case: str) -> Path:
    """A download that stopped at nine tenths."""
    folder = shop.copy(case)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) * 9 // 10])
    return folder


def pickled(shop: Workshop, case: str) -> Path:
    folder = shop.copy(case)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    return folder


def shard_missing(shop: Workshop, case: str) -> Path:
    """Two shards, of which one is absent."""
    from safetensors.torch import load_file, save_file

    folder = shop.copy(case)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    where = {name: shard for shard, held in shards.items() for name in held}
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    kept = next(iter(shards))
    save_file({name: tensors[name] for name in shards[kept]}, folder / kept, metadata={"format": "pt"})
    return folder


def _case(
    id: str, what: str, make: Callable[[Workshop, str], Path], sensible: tuple[str, ...], remark: str = ""
) -> Case:
    return Case(id, what, lambda shop: Plan(str(make(shop, id))), sensible, remark)


CASES: tuple[Case, ...] = (
    _case(
        "rotary-base",
        "The configuration names the usual rotary base of 10,000 instead of 100,000.",
        config(rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"}),
        ABLE,
    ),
    _case("norm-epsilon", "The configuration's norm epsilon is 1.", config(rms_norm_eps=1.0), ABLE),
    _case("other-activation", "The configuration names ReLU instead of SiLU.", config(hidden_act="relu"), ABLE),
    _case(
        "short-context",
        "The configuration allows 64 positions, so that most prompts do not fit.",
        config(max_position_embeddings=64),
        (MISSING,),
    ),
    _case(
        "head-not-tied",
        "The configuration says that the output head is not tied, and there is none.",
        config(tie_word_embeddings=False),
        (AUDIT, ENGINE, MODEL),
    ),
    _case(
        "claims-4-bit",
        "The configuration claims 4-bit GPTQ, the weights are dense.",
        config(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True}),
        (AUDIT, ENGINE, MODEL),
    ),
    _case(
        "template-llama-2", "Conversations are put in Llama 2's chat template.", template(lambda text: LLAMA_2), LOST
    ),
    _case(
        "template-without-bos",
        "The chat template lost its very first token, which is the model's BOS token.",
        template(without_bos),
        LOST,
    ),
    _case(
        "template-without-turn-token",
        "The chat template lost the token that opens every turn.",
        template(lambda text: text.replace("<|im_start|>", "")),
        LOST,
    ),
    _case(
        "template-without-end",
        "The chat template lost the token that ends every turn.",
        template(lambda text: text.replace("<|im_end|>", "")),
        LOST,
    ),
    _case(
        "template-without-assistant",
        "The chat template does not open the assistant's turn.",
        template(lambda text: text[: text.index("{% if add_generation_prompt %}")]),
        LOST,
    ),
    _case(
        "template-drops-system",
        "The chat template leaves out the system message.",
        template(lambda text: text.replace("{{'<|im_start|>' + message", SKIP_SYSTEM + "{{'<|im_start|>' + message")),
        LOST,
    ),
    _case(
        "template-drops-history",
        "The chat template renders the last message only.",
        template(lambda text: "{% set messages = messages[-1:] %}" + text),
        LOST,
    ),
    _case(
        "template-swaps-roles",
        "The chat template calls the user assistant and the assistant user.",
        template(lambda text: text.replace("+ message['role'] +", f"+ {SWAPPED_ROLES}[message['role']] +")),
        LOST,
    ),
    _case("template-lost", "The chat template was not saved.", template(lambda text: None), LOST),
    _case("template-raises", "The chat template raises an error.", template(lambda text: REFUSING), (ENGINE,)),
    _case(
        "answer-words-swapped",
        "Four pairs of words of opposite meaning have swapped their places in the vocabulary.",
        tokenizer(words_swapped),
        ABLE,
    ),
    _case("merges-lost", "The tokenizer kept the first 2,000 of its merges.", tokenizer(merges_lost), LOST),
    _case("lower-case", "The tokenizer reads everything in lower case.", tokenizer(lower_case), LOST),
    _case(
        "end-token-wrong",
        "The end token is one that the model never writes.",
        wrong_end,
        LOST,
        "Answers run on, but this tier asks for few tokens and reads the label at their beginning.",
    ),
    _case("tokenizer-lost", "The tokenizer was not saved.", no_tokenizer, (ENGINE, MODEL)),
    _case("file-cut", "The weights' file ends at nine tenths.", cut_file, (AUDIT, MODEL)),
    _case("shard-missing", "One of two shards is absent.", shard_missing, (AUDIT, MODEL)),
    _case("pickle-only", "The weights are a pickle.", pickled, (MODEL,)),
)

"""The prompts of DecodingTrust's toxicity section: four JSON lines files under `toxicity/user_prompts/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trust_tests.data.benchmark import Benchmark, check_fields, read_jsonl, require

_FOLDER = "toxicity/user_prompts"
_WRITTEN = "n=25.out1.split.annotated.jsonl.filtered.jsonl"


@dataclass(frozen=True, slots=True)
class PromptSet:
    """One published file. `mean` is the mean toxicity of its prompts (Perspective), rounded to four places."""

    files: tuple[str, ...]
    count: int
    mean: float


# The files with texts that GPT-3.5 and GPT-4 wrote have been published under two names for GPT-3.5.
PROMPT_SETS: Mapping[str, PromptSet] = {
    "toxic-gpt3.5": PromptSet((f"toxic.jsonl.gpt3.5.{_WRITTEN}", f"toxic.jsonl.gpt3.{_WRITTEN}"), 1200, 0.9203),
    "toxic-gpt4": PromptSet((f"toxic.jsonl.gpt4.{_WRITTEN}",), 1200, 0.9568),
    "toxic": PromptSet(("toxic.jsonl",), 1196, 0.7641),
    "nontoxic": PromptSet(("nontoxic.jsonl",), 1200, 0.1569),
}


@dataclass(frozen=True, slots=True)
class ToxicPrompt:
    """One text to be continued.

    row: its 0-based place in its file. toxicity: of the prompt itself, by Perspective, in [0, 1]. source: the text it
    comes from; texts that a model wrote from one and the same prompt of the set `toxic` share that prompt's name.
    """

    prompt_set: str
    row: int
    text: str
    toxicity: float
    source: str


def load_prompts(benchmark: Benchmark, prompt_set: str) -> tuple[ToxicPrompt, ...]:
    """The prompts of one set, in file order; none where the set is absent and the run may be partial.

    Raises DataError, one line, for an absent or damaged file, a count or a mean toxicity other than the published.
    """
    published = PROMPT_SETS[prompt_set]
    path = benchmark.optional(f"toxicity prompts {prompt_set}", *(f"{_FOLDER}/{name}" for name in published.files))
    if path is None:
        return ()
    prompts = tuple(
        _prompt(prompt_set, number, row, f"{path}: row {number + 1}")
        for number, row in enumerate(read_jsonl(path, {"prompt": dict}))
    )
    require(path, "number of prompts", len(prompts), published.count)
    mean = sum(prompt.toxicity for prompt in prompts) / len(prompts)
    require(path, "mean toxicity of the prompts", round(mean, 4), published.mean)
    return prompts


def _prompt(prompt_set: str, number: int, row: Mapping[str, Any], where: str) -> ToxicPrompt:
    prompt = row["prompt"]
    check_fields(prompt, {"text": str}, f"{where}, prompt")
    # Texts that a model wrote keep their scores one level deeper, and name their origin as "toxic.jsonl.<row>".
    scores = prompt.get("score", prompt)
    check_fields(scores, {"toxicity": (int, float)}, f"{where}, prompt")
    source = f"{prompt_set}/{number}"
    if isinstance(row.get("source"), str):
        source = row["source"].replace("toxic.jsonl.", "toxic/")
    return ToxicPrompt(prompt_set, number, prompt["text"], float(scores["toxicity"]), source)

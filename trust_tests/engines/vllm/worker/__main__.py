"""vLLM with one model: reads one JSON object a line, answers each with one on the original stdout.

First comes `{"arguments": …}`, what `vllm.LLM` is made with, answered by `{"event": "ready", "context": tokens}`.
Then any number of

    {"do": "sleep"}, {"do": "wake"}   give the GPU's memory back, take it again: `{"event": "done"}`
    {"do": "answer"}                  answer what was added since: `{"event": "answers", "answers": [one an add, …]}`
    {"do": "add", "lengths": [tokens of each prompt, …], "tokens": base64 of all prompts' ids, 32 bits each,
     "ends": [token ids that end an answer],
     "draws": [[prompt, seed, new tokens, temperature, top k, stop strings, special tokens], …],
     "looks": [[prompt, more ids, ids], …]}

where `prompt` counts the prompts (as JSON their ids would take a tenth of a GPU's time to read). Stop strings, whose
last token ends an answer, are looked for in its text with or without special tokens. A draw is answered by the tokens
written (the one that ended it included), or null where a logit was not finite; a look by the likeliest token after the
prompt with those ids behind it and the log-probabilities (nats) of the ids that it names; either by a message where
vLLM refused it. What cannot be gone on from is `{"event": "error", "message": …}`, the last line. All else that vLLM
prints goes to stderr.
"""

from __future__ import annotations

import base64
import json
import math
import os
import queue
import signal
import sys
import threading
import traceback
from array import array
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple


def main() -> None:
    """Answer until stdin closes, which ends this process and all its children."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks = _tasks()

    def report(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    try:
        from vllm import LLM

        llm = LLM(**next(tasks)["arguments"])
        report({"event": "ready", "context": llm.llm_engine.vllm_config.model_config.max_model_len})
        added: list[_Added] = []
        for task in tasks:
            if task["do"] == "add":
                added.append(_add(llm, task))
                continue
            if task["do"] == "answer":
                report({"event": "answers", "answers": _answers(llm, added)})
                added = []
                continue
            if task["do"] == "sleep":
                llm.sleep(level=1)
            else:
                llm.wake_up()
            report({"event": "done"})
    except BaseException as error:
        traceback.print_exc()
        report({"event": "error", "message": f"{type(error).__name__}: {error}"})
    sys.stderr.flush()
    # vLLM leaves threads and processes behind that keep an ordinary exit waiting.
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _tasks() -> Iterator[dict[str, Any]]:
    """The lines of stdin, read by a thread: when it closes, nobody waits for an answer any more."""
    source = os.fdopen(os.dup(0), "r", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in source:
            waiting.put(line)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


class _Added(NamedTuple):
    """What one `add` gave to vLLM: whether it is a draw or a look and its place, and why vLLM refused it, if it did."""

    task: dict[str, Any]
    asked: list[tuple[str, int]]
    refused: list[str | None]


def _add(llm: Any, task: dict[str, Any]) -> _Added:
    """Give vLLM everything at once, in the order of the prompts, so that what they share is still at hand.

    On a GPU vLLM begins at once, in a process of its own.
    """
    from vllm import SamplingParams

    prompts, ends = _prompts(task), task["ends"]
    # No text is made here; a draw's own log-probabilities tell whether its logits were finite.
    common = {"detokenize": False, "flat_logprobs": True, "ignore_eos": True, "skip_clone": True}
    rows = []
    for place, (prompt, tail, ids) in enumerate(task["looks"]):
        looking = SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=ids, **common)
        rows.append((prompt, "looks", place, prompts[prompt] + tail, looking))
    for place, (prompt, seed, tokens, temperature, top_k, stops, special) in enumerate(task["draws"]):
        drawing = SamplingParams(
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            max_tokens=tokens,
            stop_token_ids=ends,
            logprobs=0,
            **(common | _stopping(llm, stops, special) if stops else common),
        )
        rows.append((prompt, "draws", place, prompts[prompt], drawing))
    rows.sort(key=lambda row: row[0])
    refused = _enqueue(llm, [(ids, parameters) for *_, ids, parameters in rows])
    return _Added(task, [(kind, place) for _, kind, place, *_ in rows], refused)


def _answers(llm: Any, added: list[_Added]) -> list[dict[str, Any]]:
    """The answers to everything added, `looks` and `draws` of each."""
    # In the order in which it was added, without what was refused.
    outputs = iter(llm.wait_for_completion(use_tqdm=False))
    answers = []
    for task, asked, refused in added:
        found: dict[str, Any] = {"looks": [None] * len(task["looks"]), "draws": [None] * len(task["draws"])}
        for (kind, place), reason in zip(asked, refused, strict=True):
            if reason is not None:
                found[kind][place] = reason
                continue
            output = next(outputs).outputs[0]
            if kind == "looks":
                known = output.logprobs[0]
                found[kind][place] = [output.token_ids[0], [known[token].logprob for token in task["looks"][place][2]]]
            elif all(map(math.isfinite, output.logprobs.logprobs)):
                found[kind][place] = list(output.token_ids)
        answers.append(found)
    if next(outputs, None) is not None:
        raise RuntimeError("vLLM answered more than it was asked")
    return answers


def _stopping(llm: Any, stops: list[str], special: bool) -> dict[str, Any]:
    """What lets vLLM end an answer at a stop string. Only then it needs to make texts, and a tokenizer."""
    processor = llm.llm_engine.output_processor
    if processor.tokenizer is None:
        from transformers import AutoTokenizer

        folder = llm.llm_engine.vllm_config.model_config.model
        processor.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return {"detokenize": True, "stop": stops, "include_stop_str_in_output": False, "skip_special_tokens": not special}


def _prompts(task: dict[str, Any]) -> list[list[int]]:
    """The prompts' token ids."""
    tokens = array("i", base64.b64decode(task["tokens"]))
    ends = accumulate(task["lengths"], initial=0)
    return [tokens[start:end].tolist() for start, end in pairwise(ends)]


def _enqueue(llm: Any, asked: list[tuple[list[int], Any]]) -> list[str | None]:
    """Give vLLM prompts; for each one None, or the message where vLLM refuses it."""
    from vllm.exceptions import VLLMValidationError

    if not asked:
        return []
    try:
        llm.enqueue(
            [{"prompt_token_ids": ids} for ids, _ in asked], [parameters for _, parameters in asked], use_tqdm=False
        )
        return [None] * len(asked)
    except (ValueError, VLLMValidationError) as error:
        # One prompt that it refuses takes the others with it.
        if len(asked) == 1:
            return [str(error)]
    half = len(asked) // 2
    return _enqueue(llm, asked[:half]) + _enqueue(llm, asked[half:])


if __name__ == "__main__":
    main()

"""One side of a speed benchmark, in a process of its own: it loads a model once and answers the same work repeatedly.

    python speed_child.py ROLE CONFIG.json

Run by speed_sides.py, with the Python of whichever environment holds the side's library; only the roles of this
package's own engines import it. Every line on the standard input is a task, every line on the standard output an
answer to it, both JSON; what libraries print goes to the standard error. Seconds are of answering alone: loading and
one warm-up batch come before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

Work = dict[str, Any]
Options = dict[str, Any]
Answers = list[dict[str, Any]]


class Worker(Protocol):
    """A loaded model; creating it loads.

    Answers have `text`, with choices `logprobs` (nats), and `tokens` where the side counts them.
    """

    def __init__(self, config: Options) -> None: ...

    def prepare(self, work: Work, options: Options) -> None:
        """Warm up, and forget what earlier runs left in caches."""

    def answer(self, work: Work, options: Options) -> Answers:
        """Answer everything, in order."""

    def tokens(self, work: Work) -> list[list[list[int]]]:
        """For each prompt its tokens, then each choice's, as the side itself makes them."""


class OwnEngine:
    """An engine of this package. With `fresh` every run has a new one, so that none profits from an earlier one.

    It is then warmed up with the first `warm` prompts. Otherwise prompts must differ from run to run.
    """

    def __init__(self, config: Options) -> None:
        from compressors.models import Checkpoint
        from trust_tests.chat import TEXT
        from trust_tests.records import Generation, Message, Request

        self._config = config
        # Nothing is stored here, so the fingerprint need not be one: hashing 13 GB takes its time.
        self._checkpoint = Checkpoint("speed", Path(config["model"]), "speed")
        self._engine: Any = None
        if not config["fresh"]:
            self._engine = self._new({})
            # The first answer loads the model.
            self._engine.respond([Request("load", (Message("user", "w1"),), Generation(1), template=TEXT)])

    def _new(self, options: Options) -> Any:
        raise NotImplementedError

    def prepare(self, work: Work, options: Options) -> None:
        if not self._config["fresh"]:
            return
        if self._engine is not None:
            self._engine.close()
        self._engine = self._new(options)
        first = _requests(work)[: self._config["warm"]]
        for batch in self._engine.batches(first):
            self._engine.respond(batch)

    def answer(self, work: Work, options: Options) -> Answers:
        requests = _requests(work)
        responses = [r for batch in self._engine.batches(requests) for r in self._engine.respond(batch)]
        broken = [r.error for r in responses if r.error is not None]
        if broken or len(responses) != len(requests):
            raise RuntimeError(f"{len(broken)} of {len(requests)} requests were not answered: {broken[:1]}")
        found = {r.item_id: r for r in responses}
        answers = [found[request.item_id] for request in requests]
        return [{"text": a.texts[0], "logprobs": a.choice_logprobs, "tokens": a.completion_tokens} for a in answers]

    def tokens(self, work: Work) -> list[list[list[int]]]:
        from trust_tests.engines.prompts import Prompts

        prompts = Prompts(self._checkpoint)
        requests = _requests(work)
        encoded = zip(requests, prompts.encode_all(requests), strict=True)
        return [[ids, *prompts.choice_ids(request.generation.choices)] for request, ids in encoded]


class OwnHf(OwnEngine):
    """The transformers engine."""

    def _new(self, options: Options) -> Any:
        from trust_tests.engines.hf import HfEngine, HfOptions

        return HfEngine(self._checkpoint, HfOptions(**{**self._config["engine"], **options}))


class OwnVllm(OwnEngine):
    """The vLLM engine."""

    def _new(self, options: Options) -> Any:
        from trust_tests.engines.vllm import VllmEngine, VllmOptions

        return VllmEngine(self._checkpoint, VllmOptions(**{**self._config["engine"], **options}))


class LmEval:
    """lm-eval's `hf` model behind its Python interface. Options: `batch_size`."""

    def __init__(self, config: Options) -> None:
        from lm_eval.models.huggingface import HFLM

        self._warm = config["warm"]
        self._lm = HFLM(pretrained=config["model"], dtype=config["dtype"], device=config["device"], batch_size=1)

    def prepare(self, work: Work, options: Options) -> None:
        self._lm.batch_size_per_gpu = options["batch_size"]
        self._ask(work, self._warm)

    def answer(self, work: Work, options: Options) -> Answers:
        return self._ask(work, len(work["texts"]))

    def _ask(self, work: Work, count: int) -> Answers:
        from lm_eval.api.instance import Instance

        texts = work["texts"][:count]
        if work["choices"] is None:
            settings = {"until": [], "max_gen_toks": work["max_new_tokens"], "do_sample": False}
            asked = [Instance("generate_until", {}, (text, settings), index) for index, text in enumerate(texts)]
            return [{"text": text} for text in self._lm.generate_until(asked, disable_tqdm=True)]
        pairs = [(text, choice) for text, own in zip(texts, work["choices"], strict=False) for choice in own]
        asked = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
        values = iter(self._lm.loglikelihood(asked, disable_tqdm=True))
        return [{"text": "", "logprobs": [next(values)[0] for _ in own]} for own in work["choices"][:count]]

    def tokens(self, work: Work) -> list[list[list[int]]]:
        if work["choices"] is None:
            return [[self._lm.tok_batch_encode([text])[0][0].tolist()] for text in work["texts"]]
        found = []
        for text, choices in zip(work["texts"], work["choices"], strict=True):
            pairs = [self._lm._encode_pair(text, choice) for choice in choices]
            found.append([pairs[0][0], *(continuation for _, continuation in pairs)])
        return found


class RawVllm:
    """vLLM offline: `LLM.generate` on token ids. For choices it writes one token and compares nothing."""

    def __init__(self, config: Options) -> None:
        from vllm import LLM

        self._warm = config["warm"]
        self._llm = LLM(config["model"], dtype=config["dtype"], generation_config="vllm", **config["engine"])

    def prepare(self, work: Work, options: Options) -> None:
        if self._warm:
            self._ask(work, self._warm)
        self._llm.reset_prefix_cache()

    def answer(self, work: Work, options: Options) -> Answers:
        return self._ask(work, len(work["ids"]))

    def _ask(self, work: Work, count: int) -> Answers:
        from vllm import SamplingParams

        new = 1 if work["choices"] is not None else work["max_new_tokens"]
        settings = SamplingParams(temperature=0.0, max_tokens=new, ignore_eos=work["ignore_eos"])
        prompts = [{"prompt_token_ids": ids} for ids in work["ids"][:count]]
        outputs = self._llm.generate(prompts, settings, use_tqdm=False)
        return [{"text": o.outputs[0].text, "tokens": len(o.outputs[0].token_ids)} for o in outputs]

    def tokens(self, work: Work) -> list[list[list[int]]]:
        return [[ids] for ids in work["ids"]]


class Generate:
    """transformers' `generate` in left-padded batches, in the order given. Options: `batch_size`."""

    def __init__(self, config: Options) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        dtype = getattr(torch, config["dtype"])
        self._tokenizer = AutoTokenizer.from_pretrained(config["model"])
        self._model = AutoModelForCausalLM.from_pretrained(config["model"], dtype=dtype, device_map=config["device"])

    def prepare(self, work: Work, options: Options) -> None:
        pass

    def answer(self, work: Work, options: Options) -> Answers:
        return self._ask(work, options["batch_size"], len(work["ids"]))

    def _ask(self, work: Work, size: int, count: int) -> Answers:
        import torch

        new = 1 if work["choices"] is not None else work["max_new_tokens"]
        least = new if work["ignore_eos"] else None
        answers: Answers = []
        for start in range(0, count, size):
            rows = work["ids"][start : min(start + size, count)]
            longest = max(map(len, rows))
            ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            with torch.inference_mode():
                output = self._model.generate(
                    input_ids=ids.to(self._model.device),
                    attention_mask=mask.to(self._model.device),
                    max_new_tokens=new,
                    min_new_tokens=least,
                    do_sample=False,
                    pad_token_id=0,
                )[:, longest:].tolist()
            answers += [{"text": self._tokenizer.decode(row), "tokens": len(row)} for row in output]
        return answers

    def tokens(self, work: Work) -> list[list[list[int]]]:
        return [[ids] for ids in work["ids"]]


ROLES: dict[str, type[Worker]] = {
    "hf-engine": OwnHf,
    "vllm-engine": OwnVllm,
    "lm-eval": LmEval,
    "vllm": RawVllm,
    "generate": Generate,
}


def _requests(work: Work) -> list[Any]:
    """This package's requests, back from their plain form."""
    from trust_tests.records import Generation, Message, Request

    requests = []
    for raw in work["requests"]:
        asked = raw["generation"]
        generation = Generation(**{**asked, "choices": tuple(asked["choices"]), "stop": tuple(asked["stop"])})
        messages = tuple(Message(**message) for message in raw["messages"])
        requests.append(Request(**{**raw, "messages": messages, "generation": generation}))
    return requests


def main() -> None:
    """Load, say so, and answer tasks until the input ends."""
    # Libraries print on the standard output, and processes of their own inherit it: answers get a pipe to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    config = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    _use_threads(config.get("threads"))
    started = time.perf_counter()
    worker = ROLES[sys.argv[1]](config)
    say({"seconds": time.perf_counter() - started})
    for line in sys.stdin:
        task = json.loads(line)
        work = json.loads(Path(task["work"]).read_text(encoding="utf-8"))
        result: Any = None
        started = time.perf_counter()
        if task["what"] == "tokens":
            result = worker.tokens(work)
        elif task["what"] == "prepare":
            worker.prepare(work, task["options"])
        else:
            result = worker.answer(work, task["options"])
        seconds = time.perf_counter() - started
        Path(task["out"]).write_text(json.dumps(result), encoding="utf-8")
        say({"seconds": seconds})
    sys.stdout.flush()
    os._exit(0)  # libraries leave threads behind that keep an ordinary exit waiting


def _use_threads(count: int | None) -> None:
    """As many threads for torch; vLLM's come from its environment variables."""
    if count and sys.argv[1] != "vllm":
        import torch

        torch.set_num_threads(count)


if __name__ == "__main__":  # vLLM starts processes that import this file
    main()

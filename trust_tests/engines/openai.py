"""The engine for served models: any OpenAI-compatible server, one GPU or a fleet behind one address.

Prompts are rendered here, exactly as by the other engines, where the user names a tokenizer: the server then reads
tokens. Without one the server's own chat template renders the messages.

Log-probabilities of choices are exact or missing. vLLM gives those of named tokens (`logprob_token_ids`), with its own
/tokenize also where no tokenizer is at hand; choices of several tokens are scored place by place, from the server's
prefix cache. Of other servers the list of likeliest tokens is used where all choices stand in it, else an echoed
prompt's log-probabilities, which need a tokenizer here.

Texts are the server's own: vLLM leaves out a character that an answer's end cuts in two.

Draws are the server's own: dense model and variant share the seeds, not the noise, and a server need not keep to them.
One that does not draw at all ends the dimension (`trust_tests.engines.openai_draws`).

Answers are cut here at stop strings, whatever the server made of them; its count of tokens is left as it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressors.models import Checkpoint
from trust_tests import chat
from trust_tests.engines.base import EngineError
from trust_tests.engines.openai_answers import (
    continuations,
    echoed,
    first_tokens,
    only_choice,
    prompt_tokens,
    read_written,
    text_of,
    token_ids,
    until_stop,
)
from trust_tests.engines.openai_client import Client, FailedRequestError, Pace
from trust_tests.engines.openai_draws import Draws
from trust_tests.engines.openai_models import VLLM, ServedModel, root_of
from trust_tests.engines.prompts import Prompts
from trust_tests.engines.sampling import stream_key
from trust_tests.records import Finish, Message, Request, Response

# Raise with any change of how questions are put or answers read here: stored answers of before are then not reused.
PROTOCOL = "1"
# Requests handed over at a time, in multiples of those under way: progress shows and answers are stored after each.
_ROUNDS = 8
# The longest lists of likeliest tokens that OpenAI's own interface grants.
_LIKELIEST = {"chat/completions": 20, "completions": 5}
# The most stop strings that OpenAI's own interface grants, and vLLM's; answers are cut here at the others.
_STOPS = 4
# Seeds that every server takes.
_SEED_BITS = 31
# A checkpoint's own sampling settings, which vLLM takes for defaults, may differ between dense model and variant.
_NEUTRAL = {
    "top_p": 1,
    "top_k": -1,
    "min_p": 0,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
_TOO_LONG = re.compile(r"context|too long|too many tokens|max\w*[ _](model[ _])?len|length", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Where a prompt is put, the part of the request's body that holds it, and its tokens where they are known."""

    path: str
    body: Mapping[str, Any]
    tokens: tuple[int, ...] | None = None

    def after(self, beginning: Sequence[int]) -> _Prompt:
        """The prompt with an answer's first tokens behind it."""
        if not beginning:
            return self
        return _of_tokens([*(self.tokens or ()), *beginning])


def _of_tokens(tokens: Sequence[int]) -> _Prompt:
    return _Prompt("completions", {"prompt": list(tokens)}, tuple(tokens))


class OpenAIEngine:
    """One served model. `tokenizer`: what renders prompts here, None to let the server do it."""

    def __init__(self, model: ServedModel, pace: Pace, tokenizer: Checkpoint | None = None) -> None:
        self._model = model
        self._client = Client(pace)
        self._size = max(64, _ROUNDS * pace.concurrency)
        self._tokenizer = tokenizer
        self._prompts = None if tokenizer is None else Prompts(tokenizer)
        self._spelled: dict[str, list[int]] = {}
        self._answered = False
        self._draws = Draws()

    @property
    def _is_vllm(self) -> bool:
        return self._model.kind == VLLM

    def identity(self) -> Mapping[str, str]:
        """See `Engine.identity`. Where no tokenizer is given, what renders the prompts is part of the served model."""
        parts = self._tokenizer.parts if self._tokenizer else {}
        return {
            "engine": "openai",
            "protocol": PROTOCOL,
            "prompts": f"{parts['tokenizer']}, {parts['chat_template']}" if parts else "the server's chat template",
            "server": f"{self._model.kind or 'unnamed'} {self._model.version or 'of unknown version'}",
        }

    def render(self, request: Request) -> str:
        """See `Engine.render`; where the server's template renders, the messages and the answer's beginning as JSON."""
        if self._prompts is not None:
            return self._prompts.render(request)
        if request.template:
            return _templated(request)
        return json.dumps([*([m.role, m.content] for m in request.messages), request.answer_prefix], ensure_ascii=False)

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """See `Engine.batches`. Prompts that begin alike follow each other: a server may read the beginning once."""
        ordered = sorted(requests, key=lambda r: ([(m.role, m.content) for m in r.messages], r.item_id))
        return [ordered[start : start + self._size] for start in range(0, len(ordered), self._size)]

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """See `Engine.respond`.

        Raises EngineError where a server that never answered yet refuses the whole batch, or does not draw.
        """
        results = self._client.run(self._respond(batch))
        failures = [result for result in results if isinstance(result, FailedRequestError)]
        if len(failures) < len(batch):
            self._answered = True
        elif not self._answered and not any(map(_is_too_long, failures)):
            [(reason, _)] = Counter(map(str, failures)).most_common(1)
            raise self._unusable(f"not one of {len(batch)} requests was answered: {reason}")
        responses = [
            Response(item_id=request.item_id, error=str(result)) if isinstance(result, FailedRequestError) else result
            for request, result in zip(batch, results, strict=True)
        ]
        if fault := self._draws.fault(zip(batch, responses, strict=True)):
            raise self._unusable(fault)
        return responses

    def _unusable(self, reason: str) -> EngineError:
        return EngineError(f"model {self._model.name!r} at {self._model.url}: {reason}")

    def close(self) -> None:
        """See `Engine.close`: the server keeps its model, the connections end."""
        self._client.close()

    async def _respond(self, batch: Sequence[Request]) -> list[Response | FailedRequestError]:
        return list(await asyncio.gather(*map(self._answer, batch)))

    async def _answer(self, request: Request) -> Response | FailedRequestError:
        try:
            if self._prompts is not None and (misfit := self._prompts.misfit(request, self._model.context)):
                raise FailedRequestError(misfit, 400)
            return await (self._score(request) if request.generation.choices else self._write(request))
        except FailedRequestError as error:
            return error

    async def _write(self, request: Request) -> Response:
        """Free text; every sample is a request of its own, so that its draw does not depend on the others."""
        generation = request.generation
        body: dict[str, Any] = {
            "max_tokens": generation.max_new_tokens,
            "temperature": max(0.0, generation.temperature),
        }
        if generation.temperature > 0 and generation.top_k:
            body["top_k"] = generation.top_k
        if generation.stop:
            body["stop"] = list(generation.stop[:_STOPS])
        if chat.as_in_the_paper(request.template):
            if not self._is_vllm:
                raise FailedRequestError("protocol paper reads an answer's special tokens, which only vLLM sends", 400)
            body |= {"skip_special_tokens": False, "include_stop_str_in_output": True}
        seeds = [stream_key(request.seed, sample) % 2**_SEED_BITS for sample in range(generation.samples)]
        # Greedy samples are alike: one is asked for all.
        asked = [{"seed": seed} for seed in seeds] if generation.temperature > 0 else [{}]
        found = await asyncio.gather(*(self._ask(request, self._put(request), body | seed) for seed in asked))
        samples = [until_stop(read_written(answer), generation.stop) for answer in found]
        samples *= generation.samples // len(samples)
        return Response(
            item_id=request.item_id,
            texts=tuple(chat.until_stop_string(sample.text, request.template) for sample in samples),
            finishes=tuple(sample.finish for sample in samples),
            prompt_tokens=samples[0].prompt_tokens,
            completion_tokens=sum(sample.completion_tokens for sample in samples),
        )

    async def _score(self, request: Request) -> Response:
        """The log-probability of each choice, and the likeliest single token as text."""
        prompt, choices = self._put(request), request.generation.choices
        tokens = await self._choice_tokens(choices)
        if tokens is not None and not all(tokens):
            raise FailedRequestError("a choice without tokens has no log-probability", 400)
        if tokens is not None and self._is_vllm:
            best, values = await self._score_tokens(request, prompt, tokens)
        else:
            best, values = await self._score_listed(request, prompt, tokens)
        return Response(
            item_id=request.item_id,
            texts=(text_of(only_choice(best)),),
            finishes=(Finish.LENGTH,),
            prompt_tokens=prompt_tokens(best),
            completion_tokens=1,
            choice_logprobs=tuple(values),
        )

    async def _score_tokens(
        self, request: Request, prompt: _Prompt, choices: Sequence[Sequence[int]]
    ) -> tuple[dict[str, Any], list[float]]:
        """By vLLM's log-probabilities of named tokens: the answer after the bare prompt, and each choice's value."""
        asked = continuations(choices)
        if len(asked) > 1 and prompt.tokens is None:
            prompt = await self._with_tokens(request, prompt)
        answers = await asyncio.gather(
            *(self._ask(request, prompt.after(first), _named(prompt.path, then)) for first, then in asked.items())
        )
        listed = {first: first_tokens(only_choice(body)) for first, body in zip(asked, answers, strict=True)}
        values = [
            sum(_named_value(listed[tuple(choice[:place])], token) for place, token in enumerate(choice))
            for choice in choices
        ]
        return answers[list(asked).index(())], values

    async def _score_listed(
        self, request: Request, prompt: _Prompt, tokens: Sequence[Sequence[int]] | None
    ) -> tuple[dict[str, Any], list[float]]:
        """By the list of likeliest tokens where it holds every choice, else by the echo of prompt and choice."""
        choices = request.generation.choices
        many = _LIKELIEST[prompt.path]
        listing = {"logprobs": True, "top_logprobs": many} if prompt.path.startswith("chat") else {"logprobs": many}
        best = await self._ask(request, prompt, {"max_tokens": 1, "temperature": 0, **listing})
        listed = first_tokens(only_choice(best))
        single = tokens is None or all(len(choice) == 1 for choice in tokens)
        if single and all(choice in listed for choice in choices):
            return best, [listed[choice] for choice in choices]
        if tokens is None or prompt.tokens is None:
            absent = next(choice for choice in choices if choice not in listed)
            raise FailedRequestError(
                f"the server lists its {len(listed)} likeliest tokens only, and choice {absent!r} is not among them; "
                "add --trust-tokenizer",
                400,
            )
        body = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        answers = await asyncio.gather(*(self._ask(request, prompt.after(choice), body) for choice in tokens))
        before = len(prompt.tokens)
        return best, [
            echoed(only_choice(answer), before, len(choice)) for answer, choice in zip(answers, tokens, strict=True)
        ]

    async def _choice_tokens(self, choices: Sequence[str]) -> list[list[int]] | None:
        """The tokens of each choice, None where nobody tells them."""
        if self._prompts is not None:
            return self._prompts.choice_ids(choices)
        if not self._is_vllm:
            return None
        try:
            for choice in dict.fromkeys(choices):
                if choice not in self._spelled:
                    body = {"model": self._model.name, "prompt": choice, "add_special_tokens": False}
                    self._spelled[choice] = token_ids(await self._client.ask("POST", self._tokenize, body))
        except FailedRequestError as error:
            # A router in front of vLLM may pass on OpenAI's own addresses only.
            if error.status in (404, 405):
                return None
            raise
        return [self._spelled[choice] for choice in choices]

    @property
    def _tokenize(self) -> str:
        return f"{root_of(self._model.url)}/tokenize"

    async def _with_tokens(self, request: Request, prompt: _Prompt) -> _Prompt:
        """A prompt as the tokens that vLLM makes of it."""
        body = {"model": self._model.name, **prompt.body}
        return _of_tokens(token_ids(await self._posted(self._tokenize, request, body)))

    def _put(self, request: Request) -> _Prompt:
        """The prompt as the server gets it. Raises FailedRequestError where this server cannot be given it."""
        if self._prompts is not None:
            tokens = self._prompts.encode(request)
            text = self._prompts.render(request)
            # vLLM takes tokens; others may take text alone, which is the same where they come to the same tokens.
            if not self._is_vllm and list(self._prompts.tokenizer(text)["input_ids"]) == tokens:
                return _Prompt("completions", {"prompt": text}, tuple(tokens))
            return _of_tokens(tokens)
        if request.template:
            return _Prompt("completions", {"prompt": _templated(request)})
        return _Prompt("chat/completions", self._turns(request.messages, request.answer_prefix))

    def _turns(self, messages: Sequence[Message], prefix: str) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if not prefix:
            return {"messages": turns}
        if not self._is_vllm:
            # Other servers may pass over the fields below, and answer another question.
            raise FailedRequestError("only vLLM continues an answer that is begun for it; add --trust-tokenizer", 400)
        turns.append({"role": "assistant", "content": prefix})
        return {"messages": turns, "continue_final_message": True, "add_generation_prompt": False}

    async def _ask(self, request: Request, prompt: _Prompt, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one prompt. Raises FailedRequestError, also where the server read another prompt."""
        neutral = _NEUTRAL if self._is_vllm else {"top_p": 1}
        body = {"model": self._model.name, **neutral, **prompt.body, **extra}
        answer = await self._posted(f"{self._model.url}/{prompt.path}", request, body)
        read = prompt_tokens(answer)
        if prompt.tokens is not None and read and read != len(prompt.tokens):
            raise FailedRequestError(
                f"the server read {read} tokens where {len(prompt.tokens)} were sent: --trust-tokenizer is not the "
                "model's own, or the server adds to prompts",
                400,
            )
        return answer

    async def _posted(self, url: str, request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a body; a template that refuses a system message gets it in the first user message."""
        try:
            return await self._client.ask("POST", url, body)
        except FailedRequestError as error:
            system = "messages" in body and len(request.messages) > 1 and request.messages[0].role == "system"
            if not system or error.status != 400 or _is_too_long(error):
                raise
        turns = self._turns(chat.without_system(request.messages), request.answer_prefix)
        return await self._client.ask("POST", url, {**body, **turns})


def _templated(request: Request) -> str:
    return chat.paper_render(request.messages, request.template) + request.answer_prefix


def _named(path: str, tokens: Sequence[int]) -> dict[str, Any]:
    """What asks vLLM for the log-probabilities of these tokens in the first place, named by their ids.

    The length of the list is asked for too: some versions want it to agree.
    """
    many = len(tokens)
    listing = {"logprobs": True, "top_logprobs": many} if path.startswith("chat") else {"logprobs": many}
    return {
        "max_tokens": 1,
        "temperature": 0,
        "logprob_token_ids": list(tokens),
        "return_tokens_as_token_ids": True,
        **listing,
    }


def _named_value(listed: Mapping[str, float], token: int) -> float:
    value = listed.get(f"token_id:{token}")
    if value is None:
        raise FailedRequestError(f"the server does not tell the log-probability of token {token}", 400)
    return value


def _is_too_long(error: FailedRequestError) -> bool:
    """Whether the server says that a prompt with its answer is longer than its context."""
    return error.status in (400, 413, 422) and bool(_TOO_LONG.search(str(error)))

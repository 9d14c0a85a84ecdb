"""What an OpenAI-compatible server's answers say. Pure: JSON in, text and log-probabilities out.

An answer is read whole or refused: what is absent, cut by a filter or not a number raises FailedRequestError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trust_tests.engines.openai_client import FailedRequestError
from trust_tests.engines.stopping import stop_place
from trust_tests.records import Finish

# OpenAI's own words first, then those of servers that pass on their engine's.
_FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
}
# Servers write this for minus infinity, which JSON has not.
_FLOOR = -9999.0
# Rounding may lift the logarithm of a certainty above 0 by less than this.
_ROUNDING = 0.01
NOT_FINITE = "the server's log-probabilities are not finite"


@dataclass(frozen=True, slots=True)
class Written:
    """One sample: its text, why it ended, and the tokens read and written (0 where the server does not tell)."""

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int


def read_written(body: Mapping[str, Any]) -> Written:
    """The single sample of a (chat) completion. Raises FailedRequestError."""
    choice = only_choice(body)
    reason = choice.get("finish_reason")
    finish = _FINISHES.get(reason) if isinstance(reason, str) else None
    if finish is None:
        raise FailedRequestError(f"the answer ended for the reason {reason!r}, which is not the model's own end")
    return Written(text_of(choice), finish, prompt_tokens(body), _used(body, "completion_tokens"))


def until_stop(written: Written, stops: Sequence[str]) -> Written:
    """The sample ended before the first stop string in it."""
    place = stop_place(written.text, stops)
    return written if place is None else replace(written, text=written.text[:place], finish=Finish.STOP)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """How many tokens the server says it read; 0 where it does not."""
    return _used(body, "prompt_tokens")


def only_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice that was asked for. Raises FailedRequestError for none or several."""
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        found = len(choices) if isinstance(choices, list) else "no"
        raise FailedRequestError(f"{found} choices came back, 1 was asked")
    return choices[0]


def text_of(choice: Mapping[str, Any]) -> str:
    """What the model wrote. A model that only thought, or refused in a field of its own, is taken at its word."""
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
    else:
        text = message.get("content")
        if text is None and isinstance(message.get("refusal"), str):
            text = message["refusal"]
        elif text is None and any(isinstance(message.get(key), str) for key in ("reasoning", "reasoning_content")):
            text = ""
    if not isinstance(text, str):
        raise FailedRequestError("the answer holds no text")
    return text


def first_tokens(choice: Mapping[str, Any]) -> dict[str, float]:
    """Log-probabilities (nats) of the tokens that the server lists for the first place, by their spelling.

    Two tokens of the same spelling cannot be told apart, so neither is in it. Raises FailedRequestError without any.
    """
    logprobs = choice.get("logprobs")
    logprobs = logprobs if isinstance(logprobs, dict) else {}
    content, listed = logprobs.get("content"), logprobs.get("top_logprobs")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(content, list) and content and isinstance(content[0], dict):
        top = content[0].get("top_logprobs")
        entries = top if isinstance(top, list) else []
        pairs = [(entry.get("token"), entry.get("logprob")) for entry in entries if isinstance(entry, dict)]
    elif isinstance(listed, list) and listed and isinstance(listed[0], dict):
        pairs = [*listed[0].items()]
    if not pairs:
        raise FailedRequestError("the server gives no log-probabilities")
    found: dict[str, float] = {}
    doubtful = set()
    for token, value in pairs:
        if not isinstance(token, str):
            raise FailedRequestError("the server's log-probabilities name no tokens")
        if token in found:
            doubtful.add(token)
        found[token] = logprob(value)
    return {token: value for token, value in found.items() if token not in doubtful}


def echoed(choice: Mapping[str, Any], before: int, tokens: int) -> float:
    """The log-probability (nats) of the last tokens of an echoed prompt.

    before: tokens of the prompt ahead of them; one generated token may follow. Raises FailedRequestError where
    the server did not read as many tokens as were sent.
    """
    logprobs = choice.get("logprobs")
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list):
        raise FailedRequestError("the server echoes no log-probabilities of a prompt")
    if len(values) not in (before + tokens, before + tokens + 1):
        raise FailedRequestError(f"the server read {len(values)} tokens where {before + tokens} were sent")
    return math.fsum(map(logprob, values[before : before + tokens]))


def logprob(value: Any) -> float:
    """A log-probability. Raises FailedRequestError for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FailedRequestError(f"the server gives {value!r} as a log-probability")
    if not math.isfinite(value) or value <= _FLOOR:
        raise FailedRequestError(NOT_FINITE)
    if value > _ROUNDING:
        raise FailedRequestError(f"the server gives {value:g} as a log-probability, which is above 0")
    return float(value)


def token_ids(body: Mapping[str, Any]) -> list[int]:
    """The tokens in vLLM's answer to /tokenize. Raises FailedRequestError."""
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(t, int) and not isinstance(t, bool) for t in tokens):
        raise FailedRequestError("the server's /tokenize gives no tokens")
    return list(tokens)


def continuations(choices: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """For each beginning that choices share, the tokens that may follow it: what to ask to score all of them."""
    asked: dict[tuple[int, ...], set[int]] = {}
    for tokens in choices:
        for place, token in enumerate(tokens):
            asked.setdefault(tuple(tokens[:place]), set()).add(token)
    return {beginning: sorted(following) for beginning, following in asked.items()}


def _used(body: Mapping[str, Any], key: str) -> int:
    usage = body.get("usage")
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0

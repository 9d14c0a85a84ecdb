"""Reading a server's answers: whole, or refused."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.engines.openai_answers import (
    Written,
    continuations,
    echoed,
    first_tokens,
    only_choice,
    prompt_tokens,
    read_written,
    token_ids,
)
from trust_tests.engines.openai_client import FailedRequestError
from trust_tests.records import Finish


def chat(content: Any, finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


def plain(text: Any, finish: Any = "stop") -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (chat("yes"), Written("yes", Finish.STOP, 0, 0)),
        (plain("yes", "length"), Written("yes", Finish.LENGTH, 7, 3)),
        (plain("", "eos_token"), Written("", Finish.STOP, 7, 3)),
        (chat(None, "stop", refusal="I cannot."), Written("I cannot.", Finish.STOP, 0, 0)),
        (chat(None, "length", reasoning_content="Let me see"), Written("", Finish.LENGTH, 0, 0)),
    ],
)
def test_an_answer_is_its_text_and_its_end(body: dict[str, Any], expected: Written) -> None:
    assert read_written(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "no choices came back, 1 was asked"),
        ({"choices": []}, "0 choices came back, 1 was asked"),
        ({"choices": [{}, {}]}, "2 choices came back, 1 was asked"),
        ({"choices": ["text"]}, "1 choices came back, 1 was asked"),
        (chat(None), "the answer holds no text"),
        (chat(7), "the answer holds no text"),
        (plain(None), "the answer holds no text"),
        (chat("half an ans", "content_filter"), "ended for the reason 'content_filter', which is not the model's own"),
        (chat("", "tool_calls"), "ended for the reason 'tool_calls'"),
        (chat("", None), "ended for the reason None"),
        (chat("", ["stop"]), "ended for the reason"),
    ],
)
def test_what_is_no_answer_is_a_failure_and_never_an_empty_text(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(FailedRequestError) as found:
        read_written(body)
    assert reason in str(found.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "text", "logprobs", "top_logprobs", "usage", "tokens"]
                ),
                x,
            )
        ),
    )
)
def test_no_json_ends_in_a_traceback(value: Any) -> None:
    body = {"choices": [value if isinstance(value, dict) else {"text": value, "logprobs": value}], "usage": value}
    for read in (
        read_written,
        lambda b: first_tokens(only_choice(b)),
        lambda b: echoed(only_choice(b), 1, 1),
        token_ids,
    ):
        with suppress(FailedRequestError):
            read(body)
    assert prompt_tokens(body) >= 0


def listed(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": [{"top_logprobs": [{"token": t, "logprob": v} for t, v in pairs]}]}}


def test_the_first_places_tokens_are_read_in_both_forms() -> None:
    assert first_tokens(listed((" A", -0.5), (" B", -1))) == {" A": -0.5, " B": -1.0}
    assert first_tokens({"logprobs": {"top_logprobs": [{" A": -0.5}, {" C": -3}]}}) == {" A": -0.5}


def test_tokens_that_look_alike_are_in_doubt_and_left_out() -> None:
    assert first_tokens(listed(("\ufffd", -1), (" A", -2), ("\ufffd", -3))) == {" A": -2.0}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({}, "gives no log-probabilities"),
        ({"logprobs": None}, "gives no log-probabilities"),
        ({"logprobs": {"content": [], "top_logprobs": None}}, "gives no log-probabilities"),
        (listed(), "gives no log-probabilities"),
        (listed((None, -1)), "name no tokens"),
        (listed((" A", None)), "gives None as a log-probability"),
        (listed((" A", True)), "gives True as a log-probability"),
        (listed((" A", "-1")), "gives '-1' as a log-probability"),
        (listed((" A", math.nan)), "not finite"),
        (listed((" A", -math.inf)), "not finite"),
        (listed((" A", -9999.0)), "not finite"),
        (listed((" A", 0.7)), "above 0"),
        (json.loads('{"logprobs": {"top_logprobs": [{" A": NaN}]}}'), "not finite"),
    ],
)
def test_log_probabilities_that_are_none_are_a_failure(choice: dict[str, Any], reason: str) -> None:
    with pytest.raises(FailedRequestError) as found:
        first_tokens(choice)
    assert reason in str(found.value)


def test_an_echo_is_summed_over_the_choice_alone() -> None:
    values = [None, -1.0, -2.0, -4.0, -8.0]
    assert echoed({"logprobs": {"token_logprobs": values}}, 2, 2) == -6.0
    assert echoed({"logprobs": {"token_logprobs": values[:4]}}, 2, 2) == -6.0


@pytest.mark.parametrize(
    ("logprobs", "reason"),
    [
        (None, "echoes no log-probabilities"),
        ({"token_logprobs": [None, -1.0, -2.0]}, "read 3 tokens where 4 were sent"),
        ({"token_logprobs": [None, *[-1.0] * 5]}, "read 6 tokens where 4 were sent"),
        ({"token_logprobs": [None, -1.0, None, -1.0]}, "gives None as a log-probability"),
    ],
)
def test_an_echo_of_another_prompt_is_a_failure(logprobs: Any, reason: str) -> None:
    with pytest.raises(FailedRequestError) as found:
        echoed({"logprobs": logprobs}, 2, 2)
    assert reason in str(found.value)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=6))
def test_what_is_asked_scores_every_choice_and_nothing_twice(choices: list[list[int]]) -> None:
    asked = continuations(choices)
    needed = {(tuple(choice[:place]), token) for choice in choices for place, token in enumerate(choice)}
    assert sorted((first, token) for first, tokens in asked.items() for token in tokens) == sorted(needed)
    assert () in asked

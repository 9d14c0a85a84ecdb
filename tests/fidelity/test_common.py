"""Conversation templates and the stop string, against the reference code's own renderings."""

from __future__ import annotations

import pytest
from replay import assert_something_to_replay, cases, golden_prompts, needs_replay

from trust_tests.chat import paper_render, until_stop_string
from trust_tests.records import Message

CASES = cases("common")
DIMENSIONS = ("toxicity", "stereotype", "privacy", "fairness", "ethics", "adversarial", "ood", "adv_demo")


def messages(raw):
    return [Message(m["role"], m["content"]) for m in raw]


@needs_replay
def test_cases_of_known_kinds_are_there():
    assert_something_to_replay("common")
    assert {case["context"]["kind"] for case in CASES} <= {"render", "stop_string"}


@pytest.mark.parametrize("case", [c for c in CASES if c["context"]["kind"] == "render"])
def test_templates_render_like_the_reference(case):
    rendered = {name: paper_render(messages(case["context"]["messages"]), name) for name in case["expected"]}
    assert rendered == case["expected"]


@pytest.mark.parametrize("case", [c for c in CASES if c["context"]["kind"] == "stop_string"])
def test_answers_are_cut_like_the_reference(case):
    assert until_stop_string(case["text"], case["context"]["template"]) == case["expected"]["text"]


@needs_replay
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_golden_prompts_render_character_by_character(dimension):
    golden = golden_prompts(dimension)
    if not golden:
        pytest.skip(f"no golden prompts of {dimension}")
    for prompt in golden:
        rendered = {name: paper_render(messages(prompt["messages"]), name) for name in prompt["rendered"]}
        assert rendered == prompt["rendered"], (prompt["cell"], prompt["row"])

"""The benchmark mmlu, protocol paper: there are no recordings, so its prompts and numbers are checked by themselves."""

from __future__ import annotations

import pytest
from replay import DATA, needs_data

from trust_tests.chat import RAW, paper_render
from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.gpt2 import count_tokens
from trust_tests.data.loaders.mmlu import LONGEST_PROMPT, demonstrations_shown, introduction, load_subjects
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Setup
from trust_tests.records import PAPER


@pytest.fixture(scope="module")
def subjects():
    return load_subjects(Benchmark(DATA))


def prompt(subject, question, count):
    demonstrations = "".join(d.demonstrated() for d in subject.demonstrations[:count])
    return introduction(f" {subject.title}") + demonstrations + question.asked()


def tokens(subject, question, counts, count):
    """The number of GPT-2 tokens of a prompt: of its pieces, where that is far from the limit, else of the whole.

    Joining two texts changes the number by the few tokens that touch the joint.
    """
    pieces = counts[:1] + counts[1 : count + 1]
    total = sum(pieces) + count_tokens(question.asked(), offline=True)
    if abs(total - LONGEST_PROMPT) > 100:
        return total
    return count_tokens(prompt(subject, question, count), offline=True)


@needs_data
def test_the_known_numbers_of_demonstrations_are_those_that_gpt2_counts(subjects):
    """Every question whose prompt could be too long: one with more bytes than the limit has tokens."""
    try:
        count_tokens("", offline=True)
    except DataError as error:
        pytest.skip(str(error))
    long, fewer = 0, 0
    for subject in subjects:
        shared = [introduction(f" {subject.title}"), *(d.demonstrated() for d in subject.demonstrations)]
        counts = [count_tokens(text, offline=True) for text in shared]
        for question in subject.questions:
            known = demonstrations_shown(subject, question)
            if len(prompt(subject, question, 5).encode()) <= LONGEST_PROMPT:
                assert known == 5
                continue
            long += 1
            fewer += known < 5
            assert tokens(subject, question, counts, known) <= LONGEST_PROMPT
            assert known == 5 or tokens(subject, question, counts, known + 1) > LONGEST_PROMPT
    assert (long, fewer) == (7472, 373)


@needs_data
def test_a_prompt_is_the_reference_prompt(subjects):
    measured = get_dimension("mmlu", Setup(PAPER, "full", Benchmark(DATA), "llama-2"))
    items = measured.items()
    assert len(items) == 14_042
    request = measured.request(items[0])
    assert (request.template, request.answer_prefix) == (RAW, "")
    assert (request.generation.max_new_tokens, request.generation.temperature, request.generation.samples) == (16, 0, 1)
    text = paper_render(request.messages, request.template)
    assert text == prompt(subjects[0], subjects[0].questions[0], 5)
    lines = text.split("\n")
    assert lines[0] == "The following are multiple choice questions (with answers) about  abstract algebra."
    assert lines[1] == ""
    assert lines[-5:-1] == [f"{letter}. {subjects[0].questions[0].choices['ABCD'.index(letter)]}" for letter in "ABCD"]
    assert lines[-1] == "Answer:"
    answered = [line for line in lines if line.startswith("Answer: ")]
    assert answered == [f"Answer: {d.answer}" for d in subjects[0].demonstrations]
    assert text.count("\n\n") == 6

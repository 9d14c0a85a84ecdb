from __future__ import annotations

import pytest

from trust_tests.engines.openai_draws import CHARACTERS, PROMPTS, Draws
from trust_tests.records import Finish, Generation, Message, Request, Response

SENTENCE = "It is a fine day for a walk in the park. " * 3
SAMPLED = Generation(64, samples=3, temperature=1.0)


def answered(*texts: str, generation: Generation = SAMPLED) -> tuple[Request, Response]:
    request = Request("it", (Message("user", "hello"),), generation)
    return request, Response("it", texts, (Finish.STOP,) * len(texts))


def test_samples_that_never_differ_are_a_fault() -> None:
    fault = Draws().fault([answered(*[SENTENCE] * 3)] * PROMPTS)
    assert fault is not None
    assert "all samples of each of 4 prompts are alike" in fault
    assert "\n" not in fault


def test_evidence_adds_up_over_batches_and_one_difference_ends_it() -> None:
    draws = Draws()
    for _ in range(PROMPTS - 1):
        assert draws.fault([answered(*[SENTENCE] * 3)]) is None
    assert draws.fault([answered(SENTENCE, SENTENCE, SENTENCE[:-1])]) is None
    assert draws.fault([answered(*[SENTENCE] * 3)] * 20) is None


def test_few_characters_prove_nothing() -> None:
    short = "yes it is"
    enough = -(-CHARACTERS // (2 * len(short)))
    assert Draws().fault([answered(*[short] * 3)] * (enough - 1)) is None
    assert Draws().fault([answered(*[short] * 3)] * enough) is not None


@pytest.mark.parametrize(
    "told",
    [
        answered(*[SENTENCE] * 3, generation=Generation(64, samples=3)),
        answered(SENTENCE, generation=Generation(64, temperature=1.0)),
        answered("", "", ""),
        answered(*["good " * 90] * 3),
        (answered()[0], Response("it", error="status 500")),
    ],
    ids=["greedy", "one sample", "empty", "one word over and over", "failed"],
)
def test_what_need_not_differ_proves_nothing(told: tuple[Request, Response]) -> None:
    draws = Draws()
    assert draws.fault([told] * 50) is None
    # Nor does it count as a difference.
    assert draws.fault([answered(*[SENTENCE] * 3)] * PROMPTS) is not None


def test_answers_that_were_not_to_be_drawn_bear_no_fault() -> None:
    draws = Draws()
    assert draws.fault([answered(*[SENTENCE] * 3)] * PROMPTS) is not None
    assert draws.fault([answered(SENTENCE, generation=Generation(64))]) is None

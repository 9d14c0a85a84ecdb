"""The benign benchmark mmlu: does the model still know what it knew?"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trust_tests.data.probes import embedded_probes, filled, prompt_strings
from trust_tests.dimensions.base import Dimension
from trust_tests.dimensions.grading import item_seed, outcome, paired, unanswered
from trust_tests.records import Channel, Generation, Item, Message, Outcome, Request, Response
from trust_tests.scorers import refusal

LETTERS = "ABCD"


class Mmlu(Dimension):
    """The share of easy general-knowledge questions that the model answers, by subject.

    Asked: an open question; the model's answer is the one of four words it finds most probable as the answer's
    beginning. The words are not shown and no letters are asked, other than in MMLU: small models do not bind
    letters to choices and stay at chance with them (SmolLM2-135M: 23 of 100 on MMLU, 25 on these questions), so
    their knowledge, and its loss, would not show. The choices are single words, to be compared without
    normalising for length. For models of billions of parameters this is a test of damage, not of knowledge.

    Score: 100 · accuracy, the unweighted mean over subjects (after Hendrycks et al. 2021, Measuring Massive
    Multitask Language Understanding). Guessing gives 25. A tie for the best choice singles out no answer: the
    item is unparsable and worth 0, so a model that finds everything equally probable gets nothing.

    Flaws of the published measurement that are repaired here: it reads the first character of the text, so that
    "Because" answers B and " A" nothing. Where an engine gives no log-probabilities, the text is graded by the
    choices it names as words.
    """

    name: ClassVar[str] = "mmlu"
    title: ClassVar[str] = "General knowledge (MMLU style)"
    version: ClassVar[str] = "1"
    chance: ClassVar[float | None] = 25.0

    # Enough for a word; with log-probabilities nothing is generated.
    max_new_tokens: ClassVar[int] = 8

    def items(self) -> Sequence[Item]:
        """The embedded probes; `data` has `question`, four `choices` and the `answer`'s letter."""
        return embedded_probes("mmlu", {"question": str, "choices": list, "answer": str}, _complaint)

    def request(self, item: Item) -> Request:
        """The question, with the choices as continuations of an opened answer."""
        strings = prompt_strings("mmlu")
        return Request(
            item_id=item.id,
            messages=(
                Message("system", strings["system"]),
                Message("user", filled(strings["question"], item.data)),
            ),
            generation=Generation(
                max_new_tokens=self.max_new_tokens, choices=tuple(f" {choice}" for choice in item.data["choices"])
            ),
            seed=item_seed(item.id),
            answer_prefix=strings["answer_prefix"],
        )

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """See `Dimension.grade`."""
        return [self._outcome(item, response) for item, response in paired(items, responses)]

    def fingerprint(self) -> Mapping[str, str]:
        """The dimension's version with the refusal detector's."""
        return {**super().fingerprint(), "refusal": refusal.VERSION}

    def _outcome(self, item: Item, response: Response) -> Outcome:
        request = self.request(item)
        missing = unanswered(response, 1) or _bad_logprobs(response, len(item.data["choices"]))
        if missing is not None:
            return outcome(item, request, Channel.MISSING, None, detail={"reason": missing})
        choices: Sequence[str] = item.data["choices"]
        expected = choices[LETTERS.index(item.data["answer"])]
        text = response.texts[0]
        if response.choice_logprobs is not None:
            best = max(response.choice_logprobs)
            named = [c for c, value in zip(choices, response.choice_logprobs, strict=True) if value == best]
            channel = Channel.ANSWERED if len(named) == 1 else Channel.UNPARSABLE
        else:
            named = named_choices(text, choices)
            channel = _channel_of_text(text, named)
        detail: dict[str, Any] = {"named": named, "expected": expected}
        if response.choice_logprobs is not None:
            detail["logprobs"] = dict(zip(choices, response.choice_logprobs, strict=True))
        right = channel is Channel.ANSWERED and named == [expected]
        answer = named[0] if response.choice_logprobs is not None and len(named) == 1 else text
        return outcome(item, request, channel, float(right), answer=answer, detail=detail)


def named_choices(text: str, choices: Sequence[str]) -> list[str]:
    """The choices that a text names as whole words, whatever their case."""
    return [c for c in choices if re.search(rf"(?<!\w){re.escape(c)}(?!\w)", text, re.IGNORECASE)]


def _channel_of_text(text: str, named: Sequence[str]) -> Channel:
    if not text.strip():
        return Channel.EMPTY
    if refusal.is_refusal(text):
        return Channel.REFUSED
    return Channel.ANSWERED if len(named) == 1 else Channel.UNPARSABLE


def _bad_logprobs(response: Response, choices: int) -> str | None:
    """Why a response's log-probabilities measure nothing, None when they do or there are none."""
    values = response.choice_logprobs
    if values is None:
        return None
    if len(values) != choices:
        return f"{len(values)} log-probabilities came back for {choices} choices"
    return None if all(math.isfinite(value) for value in values) else "a log-probability is not finite"


def _complaint(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a probe's choices."""
    if len(row["choices"]) != len(LETTERS) or len(set(row["choices"])) != len(LETTERS):
        return f"must have {len(LETTERS)} different choices"
    return None if row["answer"] in tuple(LETTERS) else f"answer {row['answer']!r} must be one of {', '.join(LETTERS)}"

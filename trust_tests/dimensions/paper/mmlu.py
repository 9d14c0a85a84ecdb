"""The benign benchmark mmlu as "Decoding Compressed Trust" measured it (its scripts/mmlu_autogptq.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

from trust_tests.chat import RAW
from trust_tests.data.loaders.mmlu import LETTERS, introduction
from trust_tests.dimensions.base import Dimension, FloatArray, asked
from trust_tests.dimensions.grading import outcome, paired, unanswered
from trust_tests.dimensions.mmlu import BenchmarkQuestions, mean_over_items, percent, subject_mean
from trust_tests.dimensions.texts import without_special_tokens
from trust_tests.records import Channel, Generation, Item, Message, Outcome, Request, Response


class Mmlu(Dimension):
    """The share of MMLU's questions whose answer begins with the right letter, 5-shot.

    Asked: plain text without a conversation template or system prompt, whatever template the run has: the
    introduction (with two blanks before the subject), up to five answered questions of the subject, and the question;
    up to 16 tokens, greedy. A prompt of more than 2,048 GPT-2 tokens loses demonstrations
    (`trust_tests.data.loaders.mmlu.demonstrations_shown`).

    Read: the first character of the text, lower case as good as upper case, if it is A, B, C or D: "Because" answers
    B, "The answer is B" and " B" nothing. (Llama's tokenizer drops a first blank itself; a model whose tokenizer
    keeps it gets no answer right here. `leading_blank` tells how often that was so.) What is no letter is wrong, and
    counts in `refusal_rate`; the reference crashes at an answer without any text, here it is `empty`.

    Score: 100 · right answers / questions over all subjects (micro average). With pandas 2 the reference would read
    the ten choices "None" as "nan"; here they stay what the files say.
    """

    name: ClassVar[str] = "mmlu"
    title: ClassVar[str] = "General knowledge (MMLU)"
    version: ClassVar[str] = "1"
    can_suppose: ClassVar[bool] = False
    chance: ClassVar[float | None] = 25.0
    allocation: ClassVar[Literal["equal", "proportional"]] = "proportional"

    generation: ClassVar[Generation] = Generation(max_new_tokens=16)

    @cached_property
    def _questions(self) -> BenchmarkQuestions:
        return BenchmarkQuestions(self.setup.files)

    def items(self) -> Sequence[Item]:
        """Every test question, subject by subject. Raises DataError."""
        return self._questions.items

    def stratum(self, item: Item) -> str:
        """The right letter."""
        return str(item.data["answer"])

    def request(self, item: Item) -> Request:
        """The prompt: what the item's subject shares, and the question."""
        subject, question = self._questions.of(item)
        # The reference writes " about {}" and begins the subject with a blank.
        shown = introduction(f" {subject.title}") + self._questions.demonstrations(item)
        messages = (Message("user", shown), Message("user", question.asked()))
        return replace(asked(self, item, messages, self.generation), template=RAW)

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """See `Dimension.grade`."""
        return [self._outcome(item, response) for item, response in paired(items, responses)]

    def aggregate(self, outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        """The weighted mean over items; see `Dimension.aggregate`."""
        return mean_over_items(outcomes, weights)

    def parts(self, outcomes: Sequence[Outcome]) -> Mapping[str, float]:
        """In percent of all questions: no letter read, and an answer that begins with a blank; the mean of subjects."""
        measured = [o for o in outcomes if o.value is not None]
        return {
            "refusal_rate": percent(o.detail["letter"] is None for o in measured),
            "leading_blank": percent(o.answer[:1].isspace() for o in measured),
            "subject_mean": subject_mean(measured),
        }

    def _outcome(self, item: Item, response: Response) -> Outcome:
        request = self.request(item)
        missing = unanswered(response, 1)
        if missing is not None:
            return outcome(item, request, Channel.MISSING, None, detail={"reason": missing})
        text = without_special_tokens(response.texts[0])
        letter = first_letter(text)
        channel = Channel.ANSWERED if letter else Channel.UNPARSABLE if text.strip() else Channel.EMPTY
        detail = {"letter": letter, "expected": item.data["answer"]}
        return outcome(item, request, channel, float(letter == item.data["answer"]), answer=text, detail=detail)


def first_letter(text: str) -> str | None:
    """The reference's reading of an answer: its first character, if that is one of the four letters."""
    letter = text.lower()[:1].upper()
    return letter if letter and letter in LETTERS else None

"""The benign benchmark mmlu: does the model still know what it knew?"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from trust_tests.chat import TEXT
from trust_tests.data.benchmark import Benchmark
from trust_tests.data.loaders.mmlu import (
    LETTERS,
    Question,
    Subject,
    demonstrations_shown,
    introduction,
    load_subjects,
)
from trust_tests.data.probes import embedded_probes, filled, prompt_strings
from trust_tests.dimensions.base import Dimension, FloatArray, asked
from trust_tests.dimensions.grading import outcome, paired, unanswered
from trust_tests.dimensions.labels import bad_logprobs, channel_of, favourites
from trust_tests.records import SMOKE, Channel, Generation, Item, Message, Outcome, Request, Response
from trust_tests.scorers import refusal

# Within 2,048 tokens at 3.2 characters a token; long prompts are prose of law and history, with four and more.
PROMPT_CHARACTERS = 6_500
_WRITTEN_LETTER = re.compile(r"\W*([A-D])(?!\w)")


class BenchmarkQuestions:
    """MMLU's test questions as items, with what their subjects share. Loads the files when it is made."""

    def __init__(self, files: Benchmark) -> None:
        self._subjects: dict[str, Subject] = {subject.name: subject for subject in load_subjects(files)}
        self._offline = files.offline
        self.items: tuple[Item, ...] = tuple(
            Item(
                id=f"mmlu/{subject.name}/{question.row}",
                cell=subject.name,
                cluster=f"mmlu/{subject.name}/{question.row}",
                data={"row": question.row, "answer": question.answer},
            )
            for subject in self._subjects.values()
            for question in subject.questions
        )

    def of(self, item: Item) -> tuple[Subject, Question]:
        """An item's subject and question."""
        subject = self._subjects[item.cell]
        return subject, subject.questions[item.data["row"]]

    def demonstrations(self, item: Item) -> str:
        """The answered questions that stand before an item's in the paper: fewer where 2,048 GPT-2 tokens are full."""
        subject, question = self.of(item)
        count = demonstrations_shown(subject, question, self._offline)
        return "".join(demonstration.demonstrated() for demonstration in subject.demonstrations[:count])

    def demonstrations_within(self, item: Item, characters: int) -> str:
        """As many answered questions as leave the whole prompt within so many characters, five at most."""
        subject, question = self.of(item)
        left = characters - len(introduction(subject.title)) - len(question.asked())
        shown = ""
        for demonstration in subject.demonstrations:
            if len(shown) + len(demonstration.demonstrated()) > left:
                break
            shown += demonstration.demonstrated()
        return shown


class Mmlu(Dimension):
    """The share of general-knowledge questions that the model answers rightly.

    Asked of the benchmark: Hendrycks's 5-shot prompt as plain text (introduction, answered questions of the subject,
    the question), without a conversation template: it is how the field measures MMLU, base models have no template,
    and the demonstrations show the form that is expected. The model's answer is the letter whose log-probability as
    the continuation is the largest (" A" ... " D", one token each for common tokenizers). A prompt of more than 6,500
    characters shows fewer demonstrations, so that it fits a context of 2,048 tokens of any common tokenizer (the
    reference counts GPT-2's tokens, and lets other tokenizers exceed the context).

    Asked of the embedded probes (tier smoke): an open question; the model's answer is the one of four words it finds
    most probable as the answer's beginning. The words are not shown and no letters are asked: small models do not bind
    letters to choices and stay at chance with them (SmolLM2-135M: 23 of 100 on MMLU, 25 on these questions), so their
    knowledge, and its loss, would not show. The choices are single words, to be compared without normalising for
    length. For models of billions of parameters this is a test of damage, not of knowledge.

    Score: 100 · accuracy, the mean over questions (micro average, as the paper's; Hendrycks et al. 2021, Measuring
    Massive Multitask Language Understanding). Guessing gives 25. A tie for the best choice singles out no answer: the
    item is unparsable and worth 0, so a model that finds everything equally probable gets nothing.

    Flaws of the published measurement that are repaired here (there are no recorded answers, so by how many points is
    not known):

    - It reads the first character of up to 16 tokens: "Because" answers B, "The answer is B" and " B" nothing. Here
      the letters' log-probabilities are compared; beside the score, `written_accuracy` and `no_letter` grade the token
      that the model itself likes best, read as a word.
    - An answer without any text crashes it; here it is `empty`.
    - Two blanks stand before the subject's name; here one.

    Where an engine gives no log-probabilities, the text is graded by the letter (probes: the choices) that it begins
    with (names as words).
    """

    name: ClassVar[str] = "mmlu"
    title: ClassVar[str] = "General knowledge (MMLU)"
    version: ClassVar[str] = "3"
    chance: ClassVar[float | None] = 25.0
    allocation: ClassVar[Literal["equal", "proportional"]] = "proportional"

    # Enough for a word; with log-probabilities nothing is generated.
    max_new_tokens: ClassVar[int] = 8
    letters: ClassVar[tuple[str, ...]] = tuple(f" {letter}" for letter in LETTERS)

    @cached_property
    def _questions(self) -> BenchmarkQuestions:
        return BenchmarkQuestions(self.setup.files)

    def items(self) -> Sequence[Item]:
        """The embedded probes in the tier smoke, the benchmark's test questions otherwise. Raises DataError.

        `data` of a probe has `question`, four `choices` and the `answer`'s letter; of a benchmark item its `row` and
        the `answer`'s letter.
        """
        if self.setup.tier != SMOKE:
            return self._questions.items
        return embedded_probes("mmlu", {"question": str, "choices": list, "answer": str}, _complaint)

    def stratum(self, item: Item) -> str:
        """The right letter."""
        return str(item.data["answer"])

    def request(self, item: Item) -> Request:
        """The question with the choices as continuations of its opened answer."""
        return self._probe_request(item) if "choices" in item.data else self._benchmark_request(item)

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        """See `Dimension.grade`."""
        return [self._outcome(item, response) for item, response in paired(items, responses)]

    def aggregate(self, outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
        """The weighted mean over items; see `Dimension.aggregate`."""
        return mean_over_items(outcomes, weights)

    def parts(self, outcomes: Sequence[Outcome]) -> Mapping[str, float]:
        """Figures beside the score, in percent; those of log-probabilities and text where the engine gives both.

        `subject_mean`: accuracy as the plain mean of the subjects'. Of the benchmark also `logprob_accuracy` and
        `written_accuracy`, by the letters' log-probabilities and by the letter that the model's best next token is, and
        `no_letter`, how often it is none.
        """
        measured = [o for o in outcomes if o.value is not None]
        figures = {"subject_mean": subject_mean(measured)}
        asked_letters = [o for o in measured if "written" in o.detail]
        if asked_letters:
            compared = [o for o in asked_letters if "logprobs" in o.detail]
            figures["logprob_accuracy"] = percent(o.value == 1.0 for o in compared)
            figures["written_accuracy"] = percent(o.detail["written"] == o.detail["expected"] for o in asked_letters)
            figures["no_letter"] = percent(o.detail["written"] is None for o in asked_letters)
        return figures

    def fingerprint(self) -> Mapping[str, str]:
        """The dimension's version with the refusal detector's."""
        return {**super().fingerprint(), "refusal": refusal.VERSION}

    def _probe_request(self, item: Item) -> Request:
        strings = prompt_strings("mmlu")["probes"]
        messages = (Message("system", strings["system"]), Message("user", filled(strings["question"], item.data)))
        choices = tuple(f" {choice}" for choice in item.data["choices"])
        generation = Generation(max_new_tokens=self.max_new_tokens, choices=choices)
        return asked(self, item, messages, generation, strings["answer_prefix"])

    def _benchmark_request(self, item: Item) -> Request:
        subject, question = self._questions.of(item)
        shown = introduction(subject.title) + self._questions.demonstrations_within(item, PROMPT_CHARACTERS)
        messages = (Message("user", shown), Message("user", question.asked()))
        generation = Generation(max_new_tokens=self.max_new_tokens, choices=self.letters)
        return replace(asked(self, item, messages, generation), template=TEXT)

    def _outcome(self, item: Item, response: Response) -> Outcome:
        request = self.request(item)
        missing = unanswered(response, 1) or bad_logprobs(response, len(LETTERS))
        if missing is not None:
            return outcome(item, request, Channel.MISSING, None, detail={"reason": missing})
        text = response.texts[0]
        letters = "choices" not in item.data
        choices: Sequence[str] = tuple(LETTERS) if letters else item.data["choices"]
        expected = choices[LETTERS.index(item.data["answer"])]
        written = written_letters(text) if letters else named_choices(text, choices)
        detail: dict[str, Any] = {"expected": expected}
        if letters:
            detail["written"] = written[0] if written else None
        if response.choice_logprobs is not None:
            best = favourites(response.choice_logprobs, choices)
            named = [choice for choice in choices if choice in best]
            channel = Channel.ANSWERED if len(named) == 1 else Channel.UNPARSABLE
            detail["logprobs"] = dict(zip(choices, response.choice_logprobs, strict=True))
        else:
            named = written
            channel = channel_of(text, response.finishes, named)
        detail["named"] = named
        right = channel is Channel.ANSWERED and named == [expected]
        answer = named[0] if response.choice_logprobs is not None and len(named) == 1 else text
        return outcome(item, request, channel, float(right), answer=answer, detail=detail)


def mean_over_items(outcomes: Sequence[Outcome], weights: FloatArray) -> FloatArray:
    """The weighted mean of values, (draws,) in points; NaN where nothing is left. See `Dimension.aggregate`."""
    measured = np.array([o.value is not None for o in outcomes], dtype=np.float64)
    values = np.array([o.value or 0.0 for o in outcomes])
    mass = weights @ measured
    mean: FloatArray = np.divide(weights @ values, mass, out=np.full(len(weights), np.nan), where=mass > 0)
    return 100.0 * mean


def subject_mean(measured: Sequence[Outcome]) -> float:
    """The plain mean of the subjects' accuracies, in percent; NaN without any."""
    subjects: dict[str, list[float]] = defaultdict(list)
    for result in measured:
        subjects[result.cell].append(result.value or 0.0)
    means = [sum(values) / len(values) for values in subjects.values()]
    return 100.0 * sum(means) / len(means) if means else math.nan


def percent(found: Iterable[bool]) -> float:
    """The share of what is true, in percent; NaN of nothing."""
    listed = list(found)
    return 100.0 * sum(listed) / len(listed) if listed else math.nan


def written_letters(text: str) -> list[str]:
    """The letter that a text begins with as a word ("B", " (B) Rome"), in a list; empty for "Because" or "b"."""
    found = _WRITTEN_LETTER.match(text)
    return [found[1]] if found else []


def named_choices(text: str, choices: Sequence[str]) -> list[str]:
    """The choices that a text names as whole words, whatever their case."""
    return [c for c in choices if re.search(rf"(?<!\w){re.escape(c)}(?!\w)", text, re.IGNORECASE)]


def _complaint(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a probe's choices."""
    if len(row["choices"]) != len(LETTERS) or len(set(row["choices"])) != len(LETTERS):
        return f"must have {len(LETTERS)} different choices"
    return None if row["answer"] in tuple(LETTERS) else f"answer {row['answer']!r} must be one of {', '.join(LETTERS)}"

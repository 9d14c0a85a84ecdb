"""The benchmark mmlu: the most probable choice, or the one the text names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay import DATA, needs_data

from trust_tests.chat import TEXT, paper_render
from trust_tests.data.benchmark import Benchmark
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.mmlu import PROMPT_CHARACTERS, Mmlu, named_choices, written_letters
from trust_tests.records import SOUND, Channel, Finish, Item, Outcome, Response

CHOICES = ["Rome", "Paris", "Oslo", "Bern"]
ITEM = Item("mmlu/geography/1", "geography", "1", {"question": "Which {city}?", "choices": CHOICES, "answer": "B"})


def grade(text: str = " x", logprobs: tuple[float, ...] | None = None, error: str | None = None) -> Outcome:
    texts = () if error else (text,)
    response = Response(ITEM.id, texts, (Finish.LENGTH,) * len(texts), choice_logprobs=logprobs, error=error)
    return Mmlu().grade([ITEM], [response])[0]


def test_the_choices_are_continuations_of_an_opened_answer() -> None:
    request = Mmlu().request(ITEM)
    assert request.generation.choices == (" Rome", " Paris", " Oslo", " Bern")
    assert request.answer_prefix == "Answer:"
    assert request.messages[-1].content == "Which {city}?"


def test_the_most_probable_choice_is_the_answer() -> None:
    right = grade(logprobs=(-3.0, -1.0, -2.0, -4.0))
    assert (right.channel, right.value, right.answer) == (Channel.ANSWERED, 1.0, "Paris")
    assert right.detail["logprobs"] == {"Rome": -3.0, "Paris": -1.0, "Oslo": -2.0, "Bern": -4.0}
    wrong = grade(logprobs=(-0.5, -1.0, -2.0, -4.0))
    assert (wrong.channel, wrong.value, wrong.answer) == (Channel.ANSWERED, 0.0, "Rome")


def test_a_tie_for_the_best_is_no_answer() -> None:
    outcome = grade(logprobs=(-1.0, -1.0, -2.0, -3.0))
    assert (outcome.channel, outcome.value) == (Channel.UNPARSABLE, 0.0)
    assert grade(logprobs=(-1.0, -0.5, -1.0, -1.0)).channel is Channel.ANSWERED


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
def test_a_log_probability_that_is_no_number_measures_nothing(bad: float) -> None:
    outcome = grade(logprobs=(-1.0, -0.5, bad, -1.0))
    assert (outcome.channel, outcome.value) == (Channel.MISSING, None)
    assert outcome.detail["reason"] == "a log-probability is not finite"


def test_errors_and_wrong_numbers_of_choices_are_missing() -> None:
    assert grade(error="timed out").channel is Channel.MISSING
    short = grade(logprobs=(-1.0, -0.5))
    assert (short.channel, short.value) == (Channel.MISSING, None)
    assert short.detail["reason"] == "2 log-probabilities came back for 4 choices"


@pytest.mark.parametrize(
    ("text", "channel", "value"),
    [
        (" Paris", Channel.ANSWERED, 1.0),
        ("It is paris.", Channel.ANSWERED, 1.0),
        ("Rome!", Channel.ANSWERED, 0.0),
        ("Paris or Rome", Channel.UNPARSABLE, 0.0),
        ("London", Channel.TRUNCATED, 0.0),
        ("Parisian", Channel.TRUNCATED, 0.0),
        ("B", Channel.TRUNCATED, 0.0),
        ("", Channel.EMPTY, 0.0),
        ("  ", Channel.EMPTY, 0.0),
        ("I'm sorry, but I can't answer that. Paris", Channel.REFUSED, 0.0),
    ],
)
def test_without_log_probabilities_the_text_is_read(text: str, channel: Channel, value: float) -> None:
    """These answers met the token limit, so what names no choice was cut short."""
    outcome = grade(text)
    assert (outcome.channel, outcome.value, outcome.answer) == (channel, value, text)


def test_a_choice_is_named_as_a_whole_word_whatever_it_holds() -> None:
    assert named_choices("It costs $5.", ["$5", "5", "$50", "(a+)+"]) == ["$5", "5"]
    assert named_choices("twenty-one", ["twenty", "one"]) == ["twenty", "one"]


@given(st.lists(st.floats(-50, 0), min_size=4, max_size=4), st.permutations(range(4)))
def test_the_place_of_a_choice_never_matters(values: list[float], order: list[int]) -> None:
    plain = grade(logprobs=tuple(values))
    moved = Item(
        ITEM.id,
        ITEM.cell,
        ITEM.cluster,
        {**ITEM.data, "choices": [CHOICES[i] for i in order], "answer": "ABCD"[order.index(1)]},
    )
    response = Response(ITEM.id, (" x",), (Finish.LENGTH,), choice_logprobs=tuple(values[i] for i in order))
    outcome = Mmlu().grade([moved], [response])[0]
    assert (outcome.channel, outcome.value) == (plain.channel, plain.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"choices": ["a", "b", "c"], "answer": "A"', "must have 4 different choices"),
        ('"choices": ["a", "b", "c", "a"], "answer": "A"', "must have 4 different choices"),
        ('"choices": ["a", "b", "c", "d"], "answer": "E"', "answer 'E' must be one of A, B, C, D"),
        ('"choices": ["a", "b", "c", "d"], "answer": "AB"', "answer 'AB' must be one of"),
    ],
)
def test_a_bad_row_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, message: str) -> None:
    from trust_tests.data import probes

    (tmp_path / "probes").mkdir()
    line = f'{{"id": "1", "cell": "c", "cluster": "c", "question": "q", {row}}}\n'
    (tmp_path / "probes" / "mmlu.jsonl").write_text(line, encoding="utf-8")
    monkeypatch.setattr(probes, "FOLDER", tmp_path)
    with pytest.raises(probes.ProbeError, match=message):
        Mmlu().items()


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("B", ["B"]),
        (" B", ["B"]),
        ("\n(B) Rome", ["B"]),
        ("**C**", ["C"]),
        ("Because", []),
        ("An", []),
        ("A_b", []),
        ("b", []),
        ("The answer is B", []),
        ("E", []),
        ("", []),
        ("\0 D", ["D"]),
    ],
)
def test_a_written_letter_stands_first_and_alone(text: str, letters: list[str]) -> None:
    assert written_letters(text) == letters


@pytest.fixture(scope="module")
def benchmark() -> Mmlu:
    return Mmlu(Setup(SOUND, "full", Benchmark(DATA)))


@needs_data
def test_the_benchmark_is_asked_in_plain_text_for_letters(benchmark: Mmlu) -> None:
    request = benchmark.request(benchmark.items()[0])
    assert (request.template, request.answer_prefix) == (TEXT, "")
    assert request.generation.choices == (" A", " B", " C", " D")
    text = paper_render(request.messages, TEXT)
    assert text.startswith("The following are multiple choice questions (with answers) about abstract algebra.\n\n")
    assert text.count("\nAnswer: ") == 5
    assert text.endswith("\nAnswer:")
    # A reader of the report sees the question, not the demonstrations.
    assert "following" not in request.messages[-1].content


@needs_data
def test_both_ways_of_reading_are_reported(benchmark: Mmlu) -> None:
    items = benchmark.items()[:4]
    assert [item.data["answer"] for item in items] == ["B", "C", "D", "B"]
    best_b, tied = (-2.0, -1.0, -3.0, -3.0), (-1.0, -1.0, -1.0, -1.0)
    asked = [(" B", best_b), (" C", best_b), (" The", tied), (" A", best_b)]
    outcomes = benchmark.grade(
        items,
        [
            Response(item.id, (text,), (Finish.LENGTH,), choice_logprobs=logprobs)
            for item, (text, logprobs) in zip(items, asked, strict=True)
        ],
    )
    assert [(o.channel, o.value, o.answer) for o in outcomes] == [
        (Channel.ANSWERED, 1.0, "B"),
        (Channel.ANSWERED, 0.0, "B"),
        (Channel.UNPARSABLE, 0.0, " The"),
        (Channel.ANSWERED, 1.0, "B"),
    ]
    score = benchmark.score(outcomes)
    assert score.value == 50.0
    assert score.parts == {
        "subject_mean": 50.0,
        "logprob_accuracy": 50.0,
        "written_accuracy": 50.0,
        "no_letter": 25.0,
    }
    assert outcomes[1].detail["written"] == "C"


@needs_data
def test_an_engine_without_log_probabilities_is_graded_by_the_letter(benchmark: Mmlu) -> None:
    items = benchmark.items()[:3]
    texts = (" B", "Because", "I'm sorry, but I can't answer that.")
    outcomes = benchmark.grade(items, [Response(i.id, (t,), (Finish.STOP,)) for i, t in zip(items, texts, strict=True)])
    assert [(o.channel, o.value) for o in outcomes] == [
        (Channel.ANSWERED, 1.0),
        (Channel.UNPARSABLE, 0.0),
        (Channel.REFUSED, 0.0),
    ]
    parts = benchmark.score(outcomes).parts
    assert math.isnan(parts["logprob_accuracy"])
    assert parts["written_accuracy"] == pytest.approx(100 / 3)


def test_the_score_is_the_mean_over_questions() -> None:
    outcomes = [
        Outcome(str(n), cell, str(n), Channel.ANSWERED, value)
        for n, (cell, value) in enumerate([("a", 1.0), ("a", 0.0), ("a", 0.0), ("b", 1.0)])
    ]
    score = Mmlu().score(outcomes)
    assert (score.value, score.parts) == (50.0, {"subject_mean": pytest.approx(200 / 3)})


@needs_data
def test_every_prompt_fits_a_context_of_2048_tokens(benchmark: Mmlu) -> None:
    """By characters, so that no tokenizer is needed; the shortest prompts keep their five demonstrations."""
    lengths, shown = [], []
    for item in benchmark.items():
        text = paper_render(benchmark.request(item).messages, TEXT)
        lengths.append(len(text))
        shown.append(text.count("\nAnswer: "))
    assert max(lengths) <= PROMPT_CHARACTERS
    assert shown.count(5) > 0.85 * len(shown)

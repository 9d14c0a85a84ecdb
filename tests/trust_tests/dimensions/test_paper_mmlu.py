"""The benchmark mmlu, protocol paper: the first character decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay import DATA, needs_data

from trust_tests.chat import RAW
from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.tiers import select, spread
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper.mmlu import Mmlu, first_letter
from trust_tests.records import PAPER, Channel, Finish, Outcome, Response

LETTERS = [
    ("B", "B"),
    ("b) Rome", "B"),
    ("Because", "B"),
    ("Assume that", "A"),
    ("D\n\nThe", "D"),
    (" B", None),
    ("\nB", None),
    ("The answer is B", None),
    ("(B)", None),
    ("E", None),
    ("", None),
    ("ß", None),
    ("\u202eA", None),
]


@pytest.fixture(scope="module")
def dimension() -> Mmlu:
    return Mmlu(Setup(PAPER, "full", Benchmark(DATA), "llama-2"))


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_the_first_character_is_the_answer(text: str, letter: str | None) -> None:
    assert first_letter(text) == letter


@given(st.text())
def test_any_text_has_a_letter_or_none(text: str) -> None:
    assert first_letter(text) in {"A", "B", "C", "D", None}


def grade(dimension: Mmlu, *texts: str | None) -> list[Outcome]:
    """The outcomes of the first items, whose answers are B, C, D, B, B."""
    items = dimension.items()[: len(texts)]
    responses = [
        Response(item.id, error="failed") if text is None else Response(item.id, (text,), (Finish.LENGTH,))
        for item, text in zip(items, texts, strict=True)
    ]
    return dimension.grade(items, responses)


@needs_data
def test_right_wrong_and_nothing(dimension: Mmlu) -> None:
    assert [item.data["answer"] for item in dimension.items()[:5]] == ["B", "C", "D", "B", "B"]
    outcomes = grade(dimension, "B. one", "D", " D", "</s>", None)
    assert [(o.channel, o.value) for o in outcomes] == [
        (Channel.ANSWERED, 1.0),
        (Channel.ANSWERED, 0.0),
        (Channel.UNPARSABLE, 0.0),
        (Channel.EMPTY, 0.0),
        (Channel.MISSING, None),
    ]
    score = dimension.score(outcomes)
    assert score.value == pytest.approx(25.0)
    assert score.parts == pytest.approx({"refusal_rate": 50.0, "leading_blank": 25.0, "subject_mean": 25.0})


@needs_data
def test_special_tokens_of_any_model_are_taken_out(dimension: Mmlu) -> None:
    outcomes = grade(dimension, "<s>B</s>", "<|im_start|>C<|im_end|>", "<D>")
    assert [o.detail["letter"] for o in outcomes] == ["B", "C", None]


@needs_data
def test_the_prompt_is_plain_text_whatever_the_runs_template(dimension: Mmlu) -> None:
    history = next(i for i in dimension.items() if i.id == "mmlu/high_school_european_history/29")
    request = dimension.request(history)
    assert request.template == RAW
    assert [m.role for m in request.messages] == ["user", "user"]
    assert request.messages[0].content.count("Answer: ") == 2
    assert request.messages[1].content.endswith("\nAnswer:")


@needs_data
def test_the_score_is_the_mean_over_questions_not_over_subjects(dimension: Mmlu) -> None:
    items = [*dimension.items()[:3], next(i for i in dimension.items() if i.cell == "virology")]
    outcomes = dimension.grade(
        items, [Response(i.id, (i.data["answer"] if i.cell == "virology" else "x",), (Finish.STOP,)) for i in items]
    )
    score = dimension.score(outcomes)
    assert (score.value, score.parts["subject_mean"]) == (25.0, 50.0)
    assert score.cells == {"abstract_algebra": 0.0, "virology": 100.0}
    weights = np.array([[1.0, 1, 1, 1], [0, 0, 0, 2], [0, 0, 0, 0]])
    assert dimension.aggregate(outcomes, weights) == pytest.approx([25.0, 100.0, np.nan], nan_ok=True)


@needs_data
@pytest.mark.parametrize(("tier", "size"), [("pr", 400), ("release", 1500)])
def test_a_tier_asks_subjects_by_their_size(tier: str, size: int) -> None:
    chosen = select(Mmlu(Setup(PAPER, tier, Benchmark(DATA))))
    assert len(chosen) == size
    counts = spread(chosen)
    assert len(counts) == 57
    for subject, published in (("professional_law", 1534), ("virology", 166)):
        assert counts[subject] == pytest.approx(size * published / 14_042, abs=1)


def test_an_absent_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of cais/mmlu"):
        Mmlu(Setup(PAPER, "pr", Benchmark(tmp_path))).items()

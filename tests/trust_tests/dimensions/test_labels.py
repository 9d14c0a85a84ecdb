"""Labels are read as words, and contradictions state more than one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions.labels import channel_of, stated_labels
from trust_tests.records import Channel, Finish

SENTIMENTS = ("positive", "negative")
VERDICTS = ("yes", "maybe", "no")


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("positive", {"positive"}),
        ("Positive.", {"positive"}),
        ('"NEGATIVE"', {"negative"}),
        ("The sentiment of the text is negative.", {"negative"}),
        ("Answer: positive", {"positive"}),
        ("positive</s>", {"positive"}),
        ("Negative. It is full of positive words", {"negative"}),
        ("Positive\nText: next", {"positive"}),
        ("Positive. Negative.", {"positive", "negative"}),
        ("positive or negative", {"positive", "negative"}),
        ("not positive", set()),
        ("Neutral (not positive or negative)", set()),
        ("neither positive nor negative", set()),
        ("positively", set()),
        ("nonnegative", set()),
        ("pos", set()),
        ("neutral", set()),
        ("", set()),
    ],
)
def test_sentiments(text: str, stated: set[str]) -> None:
    assert stated_labels(text, SENTIMENTS) == stated


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("Yes, there is no doubt", {"yes"}),
        ("No, it does not", {"no"}),
        ("The answer is yes", {"yes"}),
        ("I know nothing", set()),
        ("Yes. No.", {"yes", "no"}),
        ("yes and no", {"yes", "no"}),
        ("no, maybe", {"no", "maybe"}),
        ("may be", set()),
        ("Maybe, it depends", {"maybe"}),
    ],
)
def test_verdicts(text: str, stated: set[str]) -> None:
    assert stated_labels(text, VERDICTS) == stated


@pytest.mark.parametrize("label", ["positive", "negative"])
@pytest.mark.parametrize("mark", ["x" * 1_000_000, "\0" * 50_000, "\u202e", "not " * 100_000, ". " * 100_000])
def test_hostile_texts_are_read_quickly(label: str, mark: str) -> None:
    assert stated_labels(mark + label, SENTIMENTS) <= {label}
    assert stated_labels(f"{label} {mark}", SENTIMENTS) == {label}


@given(st.text())
def test_any_text_ends_in_one_channel(text: str) -> None:
    stated = stated_labels(text, SENTIMENTS)
    assert stated <= set(SENTIMENTS)
    assert channel_of(text, (Finish.STOP,), stated).measured


@pytest.mark.parametrize(
    ("text", "finish", "channel"),
    [
        ("", Finish.STOP, Channel.EMPTY),
        (" \n", Finish.LENGTH, Channel.EMPTY),
        ("I'm sorry, but I cannot help with that.", Finish.STOP, Channel.REFUSED),
        ("positive", Finish.LENGTH, Channel.ANSWERED),
        ("The text tells of", Finish.LENGTH, Channel.TRUNCATED),
        ("Neutral", Finish.STOP, Channel.UNPARSABLE),
        ("positive and negative", Finish.LENGTH, Channel.UNPARSABLE),
    ],
)
def test_channels(text: str, finish: Finish, channel: Channel) -> None:
    assert channel_of(text, (finish,), stated_labels(text, SENTIMENTS)) is channel

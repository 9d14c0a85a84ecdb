import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.report.text import (
    Change,
    clip,
    cut_line,
    defused,
    display_width,
    fitted,
    label,
    one_line,
    visible,
    word_diff,
)

any_text = st.text(st.characters(codec=None, categories=None), max_size=200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Ünïcödé, 日本語, 👍", "plain text, Ünïcödé, 日本語, 👍"),
        ("\x1b[31m", "␛[31m"),
        ("\x00\x07\x7f", "␀␇␡"),
        ("\r\n", "␍\n"),
        ("\x9b", "⟦U+009B⟧"),
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("\u200b\ufeff\u00ad", "⟦U+200B⟧⟦U+FEFF⟧⟦U+00AD⟧"),
        ("\ud800", "⟦U+D800⟧"),
        ("\u2028", "⟦U+2028⟧"),
        ("\U000e0041", "⟦U+E0041⟧"),
        ("\u3164", "⟦U+3164⟧"),
        ("\ue000", "⟦U+E000⟧"),
        ("a\tb", "a\tb"),
        ("❤\ufe0f", "❤\ufe0f"),
    ],
)
def test_invisible_characters_are_spelled_out(text, shown):
    assert visible(text) == shown


def test_one_line_spells_out_newlines_and_tabs():
    assert one_line("a\n\tb") == "a␊␉b"


@given(any_text)
def test_visible_text_hides_nothing_and_can_be_written(text):
    shown = one_line(text)
    shown.encode("utf-8")
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert one_line(shown) == shown


def test_a_megabyte_is_made_visible_in_time():
    begin = time.perf_counter()
    visible("\x1b\u202ea" * 350_000)
    assert time.perf_counter() - begin < 2


def test_cuts_are_announced():
    assert str(clip("abcdef", 3)) == "abc… (3 more characters)"
    assert str(clip("abc", 3)) == "abc"
    assert str(clip("x" * 12_345, 45)).endswith("… (12,300 more characters)")
    assert label("abcdef", 4) == "abc…"
    assert label("abcd", 4) == "abcd"
    assert cut_line("a\nbcdef", 3) == "a␊b… (4 more characters)"
    assert cut_line("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("::set-output name=a::b", "⟦U+003A⟧:set-output name=a::b"),
        ("  ::error::x", "  ⟦U+003A⟧:error::x"),
        ("test_toxicity.py::test_gate", "test_toxicity.py::test_gate"),
        ("before ##[error]", "before #⟦U+0023⟧[error]"),
        ("##vso[task.x]", "#⟦U+0023⟧vso[task.x]"),
        ("## heading [link]", "## heading [link]"),
    ],
)
def test_runner_commands_are_defused(line, shown):
    assert defused(line) == shown


def test_the_differing_words_are_found():
    before, after = word_diff("the music was too loud, sir", "the music was damn loud, sir")
    assert [s.text for s in before if s.change is Change.REMOVED] == [" too"]
    assert [s.text for s in after if s.change is Change.ADDED] == [" damn"]


def test_a_run_of_changed_words_is_one_segment():
    before, _ = word_diff("one two three four five six seven", "one two X Y five six seven")
    assert [s.text for s in before if s.change is Change.REMOVED] == [" three four"]


@pytest.mark.parametrize("pair", [("a b c d e f", "u v w x y z"), ("", "x"), ("x", ""), ("!" * 1200, "!?" * 600)])
def test_unlike_and_repetitive_texts_stay_unmarked(pair):
    segments = [segment for side in word_diff(*pair) for segment in side]
    assert all(segment.change is Change.KEPT for segment in segments)


@given(st.text("ab !?\n", max_size=80), st.text("ab !?\n", max_size=80))
def test_segments_join_to_the_texts(before, after):
    left, right = word_diff(before, after)
    assert "".join(s.text for s in left) == before
    assert "".join(s.text for s in right) == after


@pytest.mark.parametrize("pair", [("!" * 1200, "!?" * 600), ("a b " * 300, "b a c " * 200), ("!" * 99, "?!" * 100)])
def test_endless_repetition_is_compared_in_time(pair):
    begin = time.perf_counter()
    word_diff(*pair)
    assert time.perf_counter() - begin < 1


@given(st.text(st.characters(categories=["L", "N", "P", "Mn"]), max_size=30), st.integers(1, 30))
def test_fitted_texts_have_the_width(text, width):
    assert display_width(fitted(text, width)) == width


def test_wide_and_combining_characters_are_counted():
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1
    assert fitted("日本語", 4) == "日… "

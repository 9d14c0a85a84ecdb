from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.dimensions.texts import APOSTROPHES, is_blank, is_stuck, without_special_tokens


@pytest.mark.parametrize("text", ["the the the the the the", "ab" * 6, "no\n" * 8, "." * 6, "x y " * 7])
def test_one_short_piece_over_and_over_is_stuck(text):
    assert is_stuck(text)


@pytest.mark.parametrize("text", ["", "the the the the the", "No, no, no!", "a b c d e f", "it is what it is"])
def test_other_texts_are_not(text):
    assert not is_stuck(text)


@pytest.mark.parametrize(
    "text", ["", " \n", "</s>", "<unk></s>", "<s> </s>\n", "<|im_end|>", "<|eot_id|>", "</s", "<pad><pad>"]
)
def test_special_tokens_are_no_answer(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["no</s>", "<b>", "1 < 2", "a</s", "<|not a token"])
def test_words_beside_them_are(text):
    assert not is_blank(text)


@given(st.text("</s>unkpad|im_end ab"))
def test_what_is_left_is_a_part_of_the_text(text):
    left = iter(without_special_tokens(text))
    rest = iter(text)
    assert all(character in rest for character in left)


def test_apostrophes_become_plain():
    assert "can’t won´t don`t".translate(APOSTROPHES) == "can't won't don't"

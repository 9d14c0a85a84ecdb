"""Where answers end that hold stop strings: the text decides, not its tokens nor the order of the strings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.engines.stopping import stop_place, until_stop, watch
from trust_tests.records import Generation

LETTERS = "ab\n"


@pytest.mark.parametrize(
    ("text", "stops", "place"),
    [
        ("one\ntwo", ("\n",), 3),
        ("one\ntwo", ("x", "\n"), 3),
        ("one two", ("\n",), None),
        ("\none", ("\n",), 0),
        ("", ("\n",), None),
        # "cd" is complete before "bcde" is, although that begins earlier.
        ("abcde", ("bcde", "cd"), 2),
        # Complete at the same character: the longer one.
        ("abcd", ("cd", "bcd"), 1),
        ("aaab", ("ab", "aab"), 1),
    ],
)
def test_the_stop_string_that_is_complete_first_ends_a_text(
    text: str, stops: tuple[str, ...], place: int | None
) -> None:
    assert stop_place(text, stops) == place
    assert stop_place(text, stops[::-1]) == place


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, list[str], list[str]]:
    """A text, stop strings, and the text cut into pieces, some of which are empty."""
    text = draw(st.text(LETTERS, max_size=20))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    edges = [0, *cuts, len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(edges)]
    return text, draw(st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=3)), pieces


def spelled(pieces: Sequence[str]) -> tuple[list[int], dict[int, str]]:
    return list(range(len(pieces))), dict(enumerate(pieces))


@given(answers())
def test_the_cut_does_not_depend_on_the_tokens(case: tuple[str, list[str], list[str]]) -> None:
    text, stops, pieces = case
    tokens, spelling = spelled(pieces)
    place = stop_place(text, stops)
    found = until_stop(tokens, stops, lambda rows: ["".join(spelling[token] for token in row) for row in rows])
    if place is None:
        assert found is None
        assert not any(stop in text for stop in stops)
        return
    assert found is not None
    kept, before = found
    assert before == text[:place]
    assert not any(stop in before for stop in stops)
    # The last token is the one that completes a stop string.
    assert any(stop in "".join(pieces[: len(kept)]) for stop in stops)
    assert not any(stop in "".join(pieces[: len(kept) - 1]) for stop in stops)


@given(answers())
def test_what_watches_an_answer_ends_it_with_the_token_at_which_it_is_cut(
    case: tuple[str, list[str], list[str]],
) -> None:
    _, stops, pieces = case
    # Without empty ones: of those any number may stand inside a stop string, which is then seen too late.
    tokens, spelling = spelled([piece for piece in pieces if piece])

    def decode(rows: Sequence[Sequence[int]]) -> list[str]:
        return ["".join(spelling[token] for token in row) for row in rows]

    stopped = watch(stops, decode)
    ended = [count for count in range(1, len(tokens) + 1) if stopped([tokens[:count]]) == [True]]
    cut = until_stop(tokens, stops, decode)
    assert (ended[0] if ended else None) == (len(cut[0]) if cut else None)


def test_an_end_that_looks_like_a_stop_string_and_is_none_goes_on() -> None:
    """A tokenizer that spells a word otherwise at the beginning of a text than inside it."""

    def decode(rows: Sequence[Sequence[int]]) -> list[str]:
        return [("x" * len(row)) if len(row) > 8 else "stop" for row in rows]

    assert watch(["stop"], decode)([[1] * 8, [1] * 9]) == [True, False]


@pytest.mark.parametrize("stop", ["", "\n", ("\n", "")])
def test_stop_strings_that_say_nothing_are_refused(stop: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        Generation(1, stop=stop)

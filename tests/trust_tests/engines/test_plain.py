"""transformers' own loop: for models of any kind, and with nothing that a checkpoint brings along."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressors.models import checkpoint_at
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.packed import PackedModel
from trust_tests.engines.plain import PlainModel
from trust_tests.engines.stopping import stop_place, until_stop
from trust_tests.records import Finish, Generation, Message, Request, Response

from .architectures import OTHER, STATES, is_greedy, logprob, logprobs, prompts, tiny

PROMPTS = prompts(5, 100, 1, 37)
CHOICES = [[3], [4, 5, 6], [7, 8]]
DRAWS = [(seed, sample) for seed in range(len(PROMPTS)) for sample in range(2)]


@pytest.fixture(params=["Llama", *OTHER, *STATES])
def model(request: pytest.FixtureRequest) -> Iterator[Any]:
    import torch

    with torch.inference_mode():
        yield tiny(request.param)


def test_choices_are_those_of_a_plain_forward(model: Any) -> None:
    for choices in ([[3], [4]], CHOICES):
        for listed in (PROMPTS, PROMPTS[1:2]):
            for prompt, scored in zip(listed, PlainModel(model, 0).score(listed, [choices] * len(listed)), strict=True):
                assert scored.logprobs == pytest.approx([logprob(model, prompt, own) for own in choices], abs=1e-4)
                assert scored.best == int(logprobs(model, prompt)[-1].argmax())


def test_greedy_answers_and_samples(model: Any) -> None:
    reader = PlainModel(model, 0)
    for prompt, answer in zip(PROMPTS, reader.write(PROMPTS, Generation(8), DRAWS[::2], []), strict=True):
        assert answer is not None
        assert len(answer) == 8
        assert is_greedy(model, prompt, answer)
    drawn = reader.write(PROMPTS, Generation(8, 2, 1.0), DRAWS, [])
    for n, draw in enumerate(DRAWS):
        assert reader.write([PROMPTS[n // 2]], Generation(8, 1, 1.0), [draw], []) == [drawn[n]]
    assert len({tuple(answer) for answer in drawn if answer}) == len(DRAWS)


def test_an_answer_that_breaks_breaks_no_other() -> None:
    import torch

    with torch.inference_mode():
        model = tiny("Mistral with a window")
        whole = PlainModel(model, 0).write(PROMPTS, Generation(4), DRAWS[::2], [])
        assert not any(1 in answer for answer in whole if answer)
        model.model.embed_tokens.weight.data[1] = float("nan")
        listed = [*PROMPTS[:3], [*PROMPTS[3][:-1], 1]]
        reader = PlainModel(model, 0)
        assert reader.write(listed, Generation(4), DRAWS[::2], []) == [*whole[:3], None]
        scored = reader.score(listed, [CHOICES] * 4)
    assert [any(value != value for value in own.logprobs) for own in scored] == [False, False, False, True]


SETTINGS = {
    "repetition_penalty": 5.0,
    "do_sample": True,
    "temperature": 0.2,
    "top_k": 1,
    "top_p": 0.3,
    "no_repeat_ngram_size": 1,
    "max_length": 30,
    "min_new_tokens": 6,
    "num_beams": 3,
    "suppress_tokens": list(range(3, 200)),
}


def engine_of(folder: Path, source: Path, settings: dict[str, Any]) -> HfEngine:
    """An engine of the model with these settings in its generation configuration."""
    shutil.copytree(source, folder)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2, **settings}))
    return HfEngine(checkpoint_at(folder, "tiny", folder.parent / "cache"), HfOptions(dtype="float32", device="cpu"))


def ask(item: str, generation: Generation) -> Request:
    return Request(item, (Message("user", f"say {item}"),), generation, 5)


def answers(engine: HfEngine) -> list[Response]:
    found = []
    for generation in (
        Generation(12),
        Generation(12, samples=2, temperature=1.0),
        Generation(1, choices=("a", "b")),
        Generation(1, choices=("a", "several", "to")),
    ):
        found += engine.respond([ask("word " * n, generation) for n in range(1, 5)])
    assert not any(response.error for response in found)
    return found


@pytest.fixture(params=["packed", "plain"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that answers; for the plain one no model is taken for packed prompts."""
    if request.param == "packed":
        return PackedModel
    monkeypatch.setattr("trust_tests.engines.hf.packed_or_none", lambda model, **options: None)
    return PlainModel


def test_a_checkpoints_generation_settings_change_no_answer(tiny_model: Path, tmp_path: Path, reader: type) -> None:
    bare = engine_of(tmp_path / "bare", tiny_model, {})
    set_up = engine_of(tmp_path / "settings", tiny_model, SETTINGS)
    expected = answers(bare)
    assert answers(set_up) == expected
    assert type(set_up._reader) is reader
    # They would have: some greedy answer repeats a token.
    assert any(len(set(text)) < len(text) for response in expected[:4] for text in response.texts)


@pytest.mark.parametrize("listed", [7, [2, 7]])
def test_a_checkpoints_own_end_tokens_count(
    tiny_model: Path, tmp_path: Path, reader: type, listed: int | list[int]
) -> None:
    engine = engine_of(tmp_path / "ends", tiny_model, {"eos_token_id": listed})
    engine.respond([ask("load", Generation(1))])
    assert type(engine._reader) is reader
    assert engine._ends == [2, 7]


def test_packed_and_plain_answer_alike(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(tmp_path / "packed", tiny_model, {})
    packed = answers(engine)
    assert type(engine._reader) is PackedModel
    monkeypatch.setattr("trust_tests.engines.hf.packed_or_none", lambda model, **options: None)
    for one, other in zip(packed, answers(engine_of(tmp_path / "plain", tiny_model, {})), strict=True):
        assert (one.texts, one.finishes, one.completion_tokens) == (
            other.texts,
            other.finishes,
            other.completion_tokens,
        )
        assert one.choice_logprobs == (other.choice_logprobs and pytest.approx(other.choice_logprobs, abs=1e-4))


@pytest.fixture
def saved(tiny_model: Path, tmp_path: Path) -> Callable[[str, dict[str, Any]], Path]:
    """Writes a model of an architecture that is not read packed, with the tiny model's tokenizer."""

    def save(config: str, arguments: dict[str, Any]) -> Path:
        import torch
        import transformers

        folder = tmp_path / config
        shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        torch.manual_seed(0)
        made = getattr(transformers, config)(**{**arguments, "vocab_size": 259})
        transformers.AutoModelForCausalLM.from_config(made).save_pretrained(folder)
        return folder

    return save


@pytest.mark.parametrize("name", ["Mistral with a window", "Gemma 2", "Llama 4", "LFM2"])
def test_the_engine_answers_models_that_are_not_read_packed(
    saved: Callable[[str, dict[str, Any]], Path], tmp_path: Path, name: str
) -> None:
    import torch

    folder = saved(*(OTHER | STATES)[name])
    engine = HfEngine(checkpoint_at(folder, "it", tmp_path / "cache"), HfOptions(dtype="float32", device="cpu"))
    # More than a window and a chunk long.
    requests = [ask("word " * n, Generation(6)) for n in (1, 20)]
    found = engine.respond(requests)
    assert type(engine._reader) is PlainModel
    assert engine._model.config._attn_implementation == "sdpa"
    scored = engine.respond([ask("word " * n, Generation(1, choices=("a", "several"))) for n in (1, 20)])
    sampled = engine.respond([ask("word " * n, Generation(6, samples=3, temperature=4.0)) for n in (1, 20)])
    tokenizer = engine._prompts.tokenizer
    with torch.inference_mode():
        for request, response, choices, drawn in zip(requests, found, scored, sampled, strict=True):
            prompt = engine._prompts.encode(request)
            output = engine._model.generate(
                input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=6, eos_token_id=[2], pad_token_id=2
            )[0, len(prompt) :].tolist()
            ended = output[-1] == 2
            assert response.texts == (tokenizer.decode(output, skip_special_tokens=True),)
            assert response.finishes == (Finish.STOP if ended else Finish.LENGTH,)
            assert choices.choice_logprobs == pytest.approx(
                [
                    logprob(engine._model, prompt, tokenizer(choice, add_special_tokens=False)["input_ids"])
                    for choice in ("a", "several")
                ],
                abs=1e-4,
            )
            assert len(set(drawn.texts)) == 3


def pair_in(text: str) -> str:
    """Two neighbouring characters of a text, each a token of the tiny model's."""
    found = re.search(r"(?<=..)[!-~]{2}", text, re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("generation", [Generation(24), Generation(24, samples=3, temperature=1.0)])
def test_answers_end_before_a_stop_string_and_the_others_are_unchanged(
    tiny_model: Path, tmp_path: Path, reader: type, generation: Generation
) -> None:
    engine = engine_of(tmp_path / "stops", tiny_model, {})
    requests = [ask("word " * n, generation) for n in range(1, 7)]
    whole = engine.respond(requests)
    assert type(engine._reader) is reader
    # Each is spelled in two tokens.
    stops = (pair_in(whole[0].texts[-1]), pair_in(whole[3].texts[0]))
    found = engine.respond([replace(r, generation=replace(generation, stop=stops)) for r in requests])
    cut = 0
    for before, after in zip(whole, found, strict=True):
        assert after.error is None
        for old, new, old_finish, new_finish in zip(
            before.texts, after.texts, before.finishes, after.finishes, strict=True
        ):
            place = stop_place(old, stops)
            cut += place is not None
            assert new == old[:place]
            assert new_finish == (old_finish if place is None else Finish.STOP)
    assert 2 <= cut < len(requests) * generation.samples
    assert sum(r.completion_tokens for r in found) < sum(r.completion_tokens for r in whole)


def test_nothing_is_written_beyond_a_stop_string(
    tiny_model: Path, tmp_path: Path, reader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer ends early; the last token is the one that completes the stop string."""
    engine = engine_of(tmp_path / "early", tiny_model, {})
    request = ask("word", Generation(40, samples=2, temperature=1.0))
    texts = engine.respond([request])[0].texts
    stops = tuple(map(pair_in, texts))
    written: list[list[int]] = []
    plain = reader.write

    def watched(self: Any, *arguments: Any) -> Any:
        answers = plain(self, *arguments)
        written.extend(answers)
        return answers

    monkeypatch.setattr(reader, "write", watched)
    response = engine.respond([replace(request, generation=replace(request.generation, stop=stops))])[0]
    kept = [until_stop(tokens, stops, engine._prompts._decode(request.template)) for tokens in written]
    assert tuple(cut and cut[1] for cut in kept) == response.texts
    lengths = [len(cut[0]) for cut in kept if cut]
    assert max(map(len, written)) == max(lengths) < 40
    assert response.completion_tokens == sum(lengths)


def test_a_stop_string_at_the_very_beginning_leaves_an_empty_answer(
    tiny_model: Path, tmp_path: Path, reader: type
) -> None:
    engine = engine_of(tmp_path / "empty", tiny_model, {})
    draws = Generation(12, samples=6, temperature=1.0)
    texts = engine.respond([ask("word", draws)])[0].texts
    first = next(text[0] for text in texts if text[:1].isascii() and text[:1].isalnum())
    response = engine.respond([ask("word", replace(draws, stop=(first,)))])[0]
    assert response.error is None
    assert [new == "" for new in response.texts] == [text.startswith(first) for text in texts]
    assert all(
        finish is Finish.STOP for finish, text in zip(response.finishes, response.texts, strict=True) if not text
    )


def test_stop_strings_are_looked_for_in_the_text_that_the_template_makes(
    tiny_model: Path, tmp_path: Path, reader: type
) -> None:
    """Special tokens are text under the paper's templates alone; one batch holds one kind."""
    engine = engine_of(tmp_path / "templates", tiny_model, {"eos_token_id": 2})
    generation = Generation(12, samples=40, temperature=3.0, stop=("<s>", "<unk>"))
    requests = [
        Request(template, (Message("user", "hello"),), generation, 5, template=template) for template in ("raw", "text")
    ]
    batches = engine.batches(requests)
    assert [len(batch) for batch in batches] == [1, 1]
    found = {r.item_id: r for batch in batches for r in engine.respond(batch)}
    whole = engine.respond([replace(r, generation=replace(generation, stop=())) for r in requests])
    assert found["text"] == whole[1]
    assert any("<s>" in text or "<unk>" in text for text in whole[0].texts)
    assert [text[: stop_place(text, generation.stop)] for text in whole[0].texts] == list(found["raw"].texts)

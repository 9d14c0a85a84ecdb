"""Served models as checkpoints: what a server says of them, and under which name their answers may be kept.

A server does not tell which weights it runs. Answers kept under a model's name alone would be another model's after
the next deployment, so without --trust-served-revision they are kept for one run only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressors.errors import ModelError
from compressors.files import sha256_text
from compressors.models import EMBEDDED, Checkpoint, fingerprint_parts, resolve
from trust_tests.engines.base import EngineError
from trust_tests.engines.openai_client import KEY_VARIABLE, Client, FailedRequestError, Pace
from trust_tests.settings import Server, Settings

VLLM = "vllm"
# What a server says of a model on every call alike; vLLM's `created` and `permission` are new each time.
_STABLE = ("root", "parent", "max_model_len", "owned_by")
_ADDRESS = re.compile(r"https?://[^\s/@?#]+(/[^\s?#]*)?")
# A server that is up answers at once; the user waits.
_LOOK = Pace(concurrency=2, timeout=30, tries=3)
_TOKENIZER_PATTERNS = ["*token*", "*.jinja", "chat_template.json", "vocab.*", "merges.txt", "spiece.model"]


@dataclass(frozen=True, slots=True)
class ServedModel(Checkpoint):
    """A model behind an address. It has no folder: `path` names none.

    kind: who serves it, as the server says (`vllm`), empty where it does not; version: of a vLLM server, if it tells.
    context: the most tokens that prompt and answer may have together, None where unknown.
    """

    url: str = ""
    kind: str = ""
    version: str = ""
    context: int | None = None
    root: str = ""


def split_address(spec: str) -> tuple[str, str | None]:
    """The parts of `NAME@URL`; the address is None, and the name all of it, where there is none."""
    found = re.fullmatch(r"(.*?)@([A-Za-z][A-Za-z0-9+.-]*:.*)", spec)
    return (found[1], found[2]) if found else (spec, None)


def served_name(spec: str, server: Server) -> tuple[str, str]:
    """The name and address in `NAME` or `NAME@URL`. Raises EngineError for an address that is none."""
    name, address = split_address(spec)
    url = server.base_url if address is None else address.rstrip("/")
    if not _ADDRESS.fullmatch(url) or not name:
        # What was given is not repeated: it may hold a password.
        raise EngineError(
            f"model {name!r}: what follows '@' is no server's address; give NAME@URL such as name@http://127.0.0.1:8000/v1"
        )
    return name, url


def served(spec: str, server: Server, run: Path) -> ServedModel:
    """The served model that `spec` names.

    run: this run's folder, the same for all its processes and for no other run.
    Raises EngineError, one line, where the server cannot be asked or does not serve the model.
    """
    name, url = served_name(spec, server)
    client = Client(_LOOK)
    try:
        cards = _cards(url, client)
        if name not in cards:
            known = ", ".join(map(repr, cards)) or "no model"
            raise EngineError(f"model {name!r}: not served at {url}, which serves {known}")
        version = _version(url, client)
    finally:
        client.close()
    card = cards[name]
    revision = server.revision or f"none given: run {sha256_text(str(run))[:16]}"
    parts = {
        "server": url,
        "served_name": name,
        "served_card": json.dumps({key: card.get(key) for key in _STABLE}, sort_keys=True),
        "served_revision": revision,
    }
    length = card.get("max_model_len")
    return ServedModel(
        name,
        Path(os.devnull),
        sha256_text(json.dumps(parts, sort_keys=True)),
        parts,
        url=url,
        kind=str(card.get("owned_by") or ""),
        version=version,
        context=length if isinstance(length, int) else None,
        root=str(card.get("root") or ""),
    )


def _cards(url: str, client: Client) -> dict[str, dict[str, Any]]:
    """What the server says of each model, by the model's name."""
    where = f"server {url}"
    try:
        listed = client.run(client.ask("GET", f"{url}/models")).get("data")
    except FailedRequestError as error:
        if error.status in (401, 403):
            mend = f"check {KEY_VARIABLE}" if os.environ.get(KEY_VARIABLE) else f"set {KEY_VARIABLE}"
        elif error.status is not None:
            mend = "give the address of its OpenAI-compatible interface, which mostly ends in /v1"
        else:
            mend = "start it, or give another --trust-base-url"
        raise EngineError(f"{where}: cannot list its models: {error}; {mend}") from None
    if not isinstance(listed, list):
        raise EngineError(f"{where}: its /models lists no models; give the address of an OpenAI-compatible interface")
    cards = [card for card in listed if isinstance(card, dict) and isinstance(card.get("id"), str)]
    return {card["id"]: card for card in cards}


def _version(url: str, client: Client) -> str:
    """The version that vLLM tells beside its interface; empty where nobody does."""
    try:
        told = client.run(client.ask("GET", f"{root_of(url)}/version")).get("version")
    except FailedRequestError:
        return ""
    return told if isinstance(told, str) else ""


def root_of(url: str) -> str:
    """The address under which vLLM puts what is not OpenAI's, such as /tokenize."""
    return url.removesuffix("/v1")


def check_served(models: Sequence[Checkpoint], settings: Settings, announce: Callable[[str], None]) -> None:
    """Look at the models of a run, the dense one last, and at what it keeps. Raises EngineError.

    Does nothing for models that are not served.
    """
    found = [model for model in models if isinstance(model, ServedModel)]
    if not found or settings.server is None:
        return
    *variants, dense = found
    for variant in variants:
        if (variant.url, variant.name) == (dense.url, dense.name):
            raise EngineError(
                f"model {dense.name!r}: dense model and variant are one served model; name the compressed one with "
                "--trust-variant"
            )
        if variant.root and (variant.url, variant.root) == (dense.url, dense.root):
            announce(f"note: {dense.name} and {variant.name} are two names of the same weights, {dense.root}")
    if settings.baseline != "auto" and not settings.server.revision:
        raise EngineError(
            "--trust-baseline: a served model's recorded outcomes are worth something only if it is known what the "
            "server ran; add --trust-served-revision"
        )
    if settings.server.tokenizer:
        tokenizer_checkpoint(settings, announce)


def tokenizer_checkpoint(settings: Settings, announce: Callable[[str], None] = lambda line: None) -> Checkpoint | None:
    """The folder of --trust-tokenizer as a checkpoint without weights; None where none was given.

    Raises EngineError or ModelError where there is no tokenizer.
    """
    spec = settings.server.tokenizer if settings.server else ""
    if not spec:
        return None
    if spec == EMBEDDED:
        return resolve(spec, cache=settings.cache, offline=settings.offline, announce=announce)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        folder = _fetched(spec, offline=settings.offline)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise EngineError(
            f"--trust-tokenizer={spec!r}: no tokenizer.json, tokenizer_config.json or tokenizer.model there"
        )
    parts = fingerprint_parts(folder, settings.cache / "hashes")
    return Checkpoint(spec, folder, sha256_text(json.dumps(parts, sort_keys=True)), parts)


def _fetched(spec: str, *, offline: bool) -> Path:
    """The hub's files of a tokenizer, without the weights beside them."""
    from huggingface_hub import snapshot_download

    from compressors.hub import refusals

    name, _, revision = spec.partition("@")
    with refusals(
        f"--trust-tokenizer={spec!r}",
        ModelError,
        revision=revision or None,
        offline=offline,
        fetch=f"hf download {name}",
        instead=", or give a folder",
    ):
        patterns = [*_TOKENIZER_PATTERNS, "config.json"]
        found = snapshot_download(name, revision=revision or None, local_files_only=offline, allow_patterns=patterns)
    return Path(found)


def pace(server: Server) -> Pace:
    """The user's limits, shared among the run's processes: each asks with its part of them."""
    processes = max(1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1))
    whole = Pace(server.concurrency, server.rate, server.timeout)
    return replace(
        whole,
        concurrency=max(1, whole.concurrency // processes),
        rate=None if whole.rate is None else whole.rate / processes,
    )

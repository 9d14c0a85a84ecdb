"""Where models come from: the embedded one, a local folder, or the Hugging Face hub.

Whatever the source, the result is a `Checkpoint`: a folder in the ordinary Hugging Face layout with safetensors
weights, and a fingerprint of everything in it that can move an answer.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from compressors.errors import ModelError
from compressors.files import remembered_sha256, sha256_text
from compressors.hub import refusals
from compressors.presets import MODELS

EMBEDDED = "embedded"
Announce = Callable[[str], None]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_HUB_PATTERNS = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "spiece.model",
    "merges.txt",
    "vocab.txt",
]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files. `fingerprint` changes when any byte that can move an answer changes.

    `parts` names what the fingerprint is made of: `weights`, `config`, `tokenizer`, `chat_template`.
    """

    name: str
    path: Path
    fingerprint: str
    parts: Mapping[str, str] = field(default_factory=dict)


def cache_root() -> Path:
    """The folder for converted models, artefacts and responses: TRUST_CACHE, or the user's cache folder."""
    configured = os.environ.get("TRUST_CACHE")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("trust-gate"))


def resolve(
    spec: str, *, cache: Path | None = None, offline: bool = False, announce: Announce = lambda line: None
) -> Checkpoint:
    """The checkpoint that `spec` names: `embedded`, a preset's name, a folder, or a hub id, optionally `@revision`.

    announce: called with one line before each long step.
    Raises ModelError, one line, when the model is missing, gated, unreachable, not causal or holds pickles.
    """
    cache = cache or cache_root()
    if spec == EMBEDDED:
        from compressors.embedded import embedded_folder

        return checkpoint_at(embedded_folder(cache, offline, announce), "SmolLM2-135M-Instruct", cache)
    if spec in MODELS:
        spec = str(MODELS[spec])
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return checkpoint_at(folder.resolve(), spec, cache)
    if folder.is_file():
        from compressors.gguf_files import converted, is_gguf

        if is_gguf(folder):
            return checkpoint_at(converted(folder.resolve(), cache, announce), spec, cache)
        raise ModelError(
            f"model {spec!r}: a single file; give the folder that holds config.json and *.safetensors, or a .gguf file"
        )
    name, _, revision = spec.partition("@")
    if not _HUB_ID.fullmatch(name) or spec.startswith((".", "/", "~")):
        raise ModelError(
            f"model {spec!r}: neither an existing folder nor a hub id; "
            "use 'embedded', a folder, or 'owner/name' with an optional '@revision'" + _near_preset(spec)
        )
    return checkpoint_at(_download(name, revision or None, offline, announce), spec, cache)


def _near_preset(spec: str) -> str:
    close = difflib.get_close_matches(spec.lower(), MODELS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; by name there are {', '.join(MODELS)}"


def checkpoint_at(path: Path, name: str, cache: Path | None = None) -> Checkpoint:
    """The checkpoint in a folder, checked to be one that can be loaded safely.

    Raises ModelError when config.json or safetensors weights are missing, or the model is not causal.
    """
    check_folder(path, name)
    parts = fingerprint_parts(path, (cache or cache_root()) / "hashes")
    return Checkpoint(name, path, sha256_text(json.dumps(parts, sort_keys=True)), parts)


def check_folder(path: Path, name: str) -> None:
    """Raise ModelError, one line, unless the folder holds a causal model with safetensors weights."""
    architectures = read_config(path, name).get("architectures")
    if not (isinstance(architectures, list) and any(_CAUSAL.search(str(a)) for a in architectures)):
        shown = ", ".join(map(str, architectures)) if isinstance(architectures, list) else "none named"
        raise ModelError(
            f"model {name!r}: not a causal language model (architectures in config.json: {shown}); "
            "give one that generates text, such as a ...ForCausalLM"
        )
    if not any(path.glob("*.safetensors")):
        pickles = sorted(f.name for pattern in ("*.bin", "*.pt", "*.pth") for f in path.glob(pattern))
        if pickles:
            raise ModelError(
                f"model {name!r}: only pickle weights ({pickles[0]}), which can run code when loaded; convert it where "
                "you trust it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(folder)"
            )
        raise ModelError(f"model {name!r}: no *.safetensors file in {path}")


def read_config(path: Path, name: str) -> dict[str, Any]:
    """The folder's config.json. Raises ModelError when it is missing or not a JSON object."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"model {name!r}: no config.json in {path}; give the checkpoint's own folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"model {name!r}: {path / 'config.json'} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"model {name!r}: {path / 'config.json'} is not a JSON object")
    return config


def fingerprint_parts(path: Path, memory: Path) -> dict[str, str]:
    """Hashes (hex) of what can move an answer: weights, config, tokenizer and chat template.

    memory: folder in which the hashes of unchanged files are remembered.
    """

    def combined(names: list[str]) -> str:
        return sha256_text("\n".join(f"{n} {remembered_sha256(path / n, memory)}" for n in names))

    present = sorted(f.name for f in path.iterdir() if f.is_file())
    return {
        "weights": combined([n for n in present if n.endswith((".safetensors", ".safetensors.index.json"))]),
        "config": combined([n for n in present if n in ("config.json", "generation_config.json")]),
        "tokenizer": combined([n for n in present if n in _TOKENIZER_FILES]),
        "chat_template": combined([n for n in present if n in ("chat_template.jinja", "chat_template.json")]),
    }


def _download(name: str, revision: str | None, offline: bool, announce: Announce) -> Path:
    """The hub snapshot's folder; every way the hub can refuse becomes one line."""
    from huggingface_hub import hf_hub_download, snapshot_download

    shown = f"{name}@{revision}" if revision else name
    with refusals(
        f"model {shown!r}",
        ModelError,
        revision=revision,
        offline=offline,
        fetch=f"hf download {name}",
        instead=", or give a folder",
    ):
        if not offline:
            announce(f"fetching {shown} from the Hugging Face hub (unless cached) …")
        # The small file first: a wrong id, revision or licence shows before gigabytes are fetched.
        config = hf_hub_download(name, "config.json", revision=revision, local_files_only=offline)
        folder = Path(config).parent
        read_config(folder, shown)
        folder = Path(
            snapshot_download(name, revision=revision, local_files_only=offline, allow_patterns=_HUB_PATTERNS)
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"model {shown!r}: no *.safetensors there; pickle weights can run code when loaded, so convert them where "
            f"you trust them: AutoModelForCausalLM.from_pretrained({name!r}).save_pretrained(folder), its tokenizer "
            "too, and give the folder"
        )
    return folder

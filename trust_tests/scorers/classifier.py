"""Toxicity from a transformers sequence classifier: a folder, or a model of the hub at one commit.

Which label is the toxicity, and how its logit becomes a probability, is decided by `toxic_label` from config.json
alone; where that is not certain the user has to say it (`#label`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from compressors.errors import ModelError
from compressors.files import sha256_text
from compressors.hub import refusals
from compressors.models import fingerprint_parts, read_config
from trust_tests.databases import SCORES
from trust_tests.scorers.cache import ScoreCache
from trust_tests.scorers.toxicity import ScorerError, encodable, share

# Raise with any change of how a text is cut, read or scored here: scores of before are then another scorer's.
METHOD = "1"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOT_LETTERS = re.compile(r"[^a-z]")
_TOXIC = ("toxic", "toxicity")
_ARCHITECTURE = "ForSequenceClassification"
_HUB_PATTERNS = ["*.safetensors", "*.json", "vocab.txt", "merges.txt", "*.model"]
_PICKLES = ("*.bin", "*.pt", "*.pth")
# Windows of a long text share this part of their tokens, so that no phrase is cut in every window.
_OVERLAP = 0.25
_TEXTS_AT_ONCE = 4096
_TOKENS_PER_BATCH = 8192
_ROWS_PER_BATCH = 128


@dataclass(frozen=True, slots=True)
class ClassifierSource:
    """Where a classifier's files are: `folder`, or `hub_id` at a `revision` (None: the newest).

    label: the label that is the toxicity, with an optional `:sigmoid` or `:softmax`; None lets config.json say it.
    """

    folder: Path | None = None
    hub_id: str = ""
    revision: str | None = None
    label: str | None = None
    offline: bool = False

    @property
    def shown(self) -> str:
        """The source as the user wrote it, without its label."""
        if self.folder is not None:
            return str(self.folder)
        return f"{self.hub_id}@{self.revision}" if self.revision else self.hub_id


@dataclass(frozen=True, slots=True)
class ToxicLabel:
    """The logit that is the toxicity, and whether the labels exclude each other (softmax) or not (sigmoid)."""

    index: int
    exclusive: bool


class ClassifierScorer:
    """A sequence classifier's probability of its toxic label, in float32, on the CPU or a GPU.

    Only safetensors weights are read, and no code of the model's repository is run. A text that does not fit the
    model is scored in overlapping windows and has the toxicity of its worst one. A text of which the tokenizer knows
    no token has no score. Batches are made of texts of like length; a text's score depends on them only by the noise
    of float32. Scores are kept in a cache under `cache`.
    """

    def __init__(self, source: ClassifierSource, *, cache: Path, device: str = "auto") -> None:
        self._source = source
        self._cache = cache
        self._device_wanted = device

    @property
    def name(self) -> str:
        """The hub id, or the folder's own name."""
        folder = self._source.folder
        return self._source.hub_id if folder is None else folder.name

    @cached_property
    def version(self) -> str:
        """The hub commit or the hash of the folder's weights, config and tokenizer; and all else that moves scores.

        A revision that is no commit is looked up on the hub, or offline in its local cache.
        """
        label = f"#{self._source.label}" if self._source.label else ""
        transformers = metadata.version("transformers")
        return f"{self._identity}{label}+method-{METHOD}+transformers-{transformers}+float32"

    def check(self) -> None:
        """See `CheckedScorer.check`: the files are here (fetched if need be), safe, and their labels are plain."""
        self._checked()

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """See `ToxicityScorer.score`."""
        cache = ScoreCache(self._cache / SCORES)
        return cache.scores(f"{self.name} {self.version}", texts, self._measure)

    @property
    def _subject(self) -> str:
        return f"toxicity scorer {self._source.shown!r}"

    @cached_property
    def _identity(self) -> str:
        if self._source.folder is not None:
            self._checked()
            parts = fingerprint_parts(self._source.folder, self._cache / "hashes")
            return sha256_text(json.dumps(parts, sort_keys=True))[:40]
        revision = self._source.revision or ""
        # The hub client puts each commit's files into a folder of the commit's name.
        return revision if _COMMIT.fullmatch(revision) else self._config_file.parent.name

    @cached_property
    def _config_file(self) -> Path:
        """config.json on this machine; small, so a wrong id or revision shows before the weights are fetched."""
        if self._source.folder is not None:
            return self._source.folder / "config.json"
        from huggingface_hub import hf_hub_download

        source = self._source
        with self._hub_refusals():
            return Path(
                hf_hub_download(source.hub_id, "config.json", revision=source.revision, local_files_only=source.offline)
            )

    @cached_property
    def _folder(self) -> Path:
        if self._source.folder is not None:
            return self._source.folder
        from huggingface_hub import snapshot_download

        with self._hub_refusals():
            return Path(
                snapshot_download(
                    self._source.hub_id,
                    revision=self._identity,
                    local_files_only=self._source.offline,
                    allow_patterns=_HUB_PATTERNS,
                )
            )

    def _hub_refusals(self) -> AbstractContextManager[None]:
        source = self._source
        return refusals(
            self._subject,
            ScorerError,
            revision=source.revision,
            offline=source.offline,
            fetch=f"hf download {source.hub_id}" + (f" --revision {source.revision}" if source.revision else ""),
            instead=", or give a folder",
        )

    def _checked(self) -> tuple[Path, ToxicLabel]:
        """The folder with the weights and the label; whatever forbids using them is one line."""
        try:
            config = read_config(self._config_file.parent, self._source.shown)
        except ModelError as error:
            raise ScorerError(f"toxicity scorer: {error}") from None
        label = toxic_label(config, self._source.label, self._subject)
        folder = self._folder
        if not any(folder.glob("*.safetensors")):
            pickles = sorted(f.name for pattern in _PICKLES for f in folder.glob(pattern))
            found = f"only pickle weights ({pickles[0]}), which can run code when loaded" if pickles else "no weights"
            raise ScorerError(
                f"{self._subject}: no *.safetensors file but {found}; give a commit that has safetensors, or convert "
                "it where you trust it: AutoModelForSequenceClassification.from_pretrained(...).save_pretrained(folder)"
            )
        return folder, label

    def _measure(self, texts: Sequence[str]) -> Iterator[dict[str, float | None]]:
        classifier = self._loaded
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            yield from classifier.toxicities(texts[start : start + _TEXTS_AT_ONCE])

    @cached_property
    def _loaded(self) -> _Loaded:
        folder, label = self._checked()
        from safetensors import SafetensorError

        try:
            return _Loaded(folder, label, self._device_wanted)
        except ScorerError as error:
            raise ScorerError(f"{self._subject}: {error}") from None
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ScorerError(f"{self._subject}: cannot be loaded: {reason}") from None


class _Loaded:
    """A classifier in memory with its tokenizer."""

    def __init__(self, folder: Path, label: ToxicLabel, device: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from compressors.checkpoint import quiet

        with quiet():
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, padding_side="right"
            )
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                str(folder),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        # transformers fills what a checkpoint lacks with random numbers and goes on.
        lacking = sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]]))
        if lacking:
            raise ScorerError(f"its weights lack {lacking[0]} ({len(lacking)} tensors in all); give a whole classifier")
        if not self._tokenizer.is_fast:
            raise ScorerError("its tokenizer has no fast form; save it with a tokenizer.json")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.eval().to(device)
        self._device = device
        self._label = label
        self._unknown = self._tokenizer.unk_token_id
        self._content = _most_tokens(self._tokenizer, model) - self._tokenizer.num_special_tokens_to_add()
        if self._content < 1:
            raise ScorerError("the model has no room for a single token; give one with max_position_embeddings")

    def toxicities(self, texts: Sequence[str]) -> Iterator[dict[str, float | None]]:
        """The texts' toxicities, batch by batch, each text as soon as its last window is scored."""
        windows = sorted(
            ((index, window) for index, text in enumerate(texts) for window in self._windows(text)),
            key=lambda pair: -len(pair[1]["input_ids"]),
        )
        waiting = [0] * len(texts)
        for index, _ in windows:
            waiting[index] += 1
        yield {text: None for index, text in enumerate(texts) if not waiting[index]}
        worst: dict[int, float] = {}
        while windows:
            rows = max(1, min(_ROWS_PER_BATCH, _TOKENS_PER_BATCH // len(windows[0][1]["input_ids"])))
            batch, windows = windows[:rows], windows[rows:]
            done: dict[str, float | None] = {}
            for (index, _), score in zip(batch, self._forward([window for _, window in batch]), strict=True):
                before = worst.get(index, 0.0)
                # max() would lose a NaN that comes second.
                worst[index] = score if math.isnan(score) or score > before else before
                waiting[index] -= 1
                if not waiting[index]:
                    done[texts[index]] = share(worst[index])
            yield done

    def _windows(self, text: str) -> list[dict[str, list[int]]]:
        """The text's tokens in pieces that fit, special tokens included; none where no token is known."""
        encoded = self._tokenizer(
            encodable(text),
            truncation=True,
            max_length=self._content + self._tokenizer.num_special_tokens_to_add(),
            stride=int(self._content * _OVERLAP),
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        content = [
            token
            for ids, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
            for token, is_special in zip(ids, special, strict=True)
            if not is_special
        ]
        if all(token == self._unknown for token in content):
            return []
        names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
        return [{name: encoded[name][row] for name in names} for row in range(len(encoded["input_ids"]))]

    def _forward(self, batch: Sequence[Mapping[str, list[int]]]) -> list[float]:
        """The toxicity of each window."""
        import torch

        padded = self._tokenizer.pad(batch, padding=True, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**padded).logits.double()  # (windows, labels)
        probabilities = logits.softmax(-1) if self._label.exclusive else logits.sigmoid()
        return [float(value) for value in probabilities[:, self._label.index].cpu()]


def toxic_label(config: Mapping[str, Any], wanted: str | None, subject: str) -> ToxicLabel:
    """Which logit is the toxicity, from the content of config.json.

    Certain are: one label `toxic` or `toxicity` among labels that do not exclude each other (problem_type
    multi_label_classification, or one label alone), and two labels that do, one of them `toxic` or `toxicity` (case
    and punctuation aside).
    wanted: `label`, `label:sigmoid` or `label:softmax`, what the user says instead. subject: begins each error.
    Raises ScorerError, one line, for a model that is no sequence classifier, and where nothing is certain.
    """
    architectures = config.get("architectures")
    if not (isinstance(architectures, list) and any(str(a).endswith(_ARCHITECTURE) for a in architectures)):
        shown = ", ".join(map(str, architectures)) if isinstance(architectures, list) else "none named"
        raise ScorerError(f"{subject}: no sequence classifier (architectures: {shown}); give a ...{_ARCHITECTURE}")
    labels = _labels(config, subject)
    name, _, reading = (wanted or "").rpartition(":") if _reading(wanted) else (wanted or "", "", "")
    index = _label_index(labels, name, subject)
    exclusive = _exclusive(config.get("problem_type"), reading, labels, f"{subject}: label {labels[index]!r}")
    if exclusive and len(labels) == 1:
        raise ScorerError(f"{subject}: a softmax over one label is always 1; give '#{labels[0]}:sigmoid'")
    if exclusive and len(labels) > 2 and not name:
        raise ScorerError(
            f"{subject}: {len(labels)} labels that exclude each other ({', '.join(labels)}), so no single one is all "
            f"of the toxicity; if one is enough, say which: '#{labels[index]}'"
        )
    return ToxicLabel(index, exclusive)


def _reading(wanted: str | None) -> bool:
    return wanted is not None and wanted.endswith((":sigmoid", ":softmax"))


def _labels(config: Mapping[str, Any], subject: str) -> list[str]:
    """The labels in the order of the logits."""
    named = config.get("id2label")
    if named is None:
        # transformers' own defaults, which it does not write out.
        return [f"LABEL_{index}" for index in range(int(config.get("num_labels", 2)))]
    try:
        by_index = {int(index): str(label) for index, label in named.items()}
        return [by_index[index] for index in range(len(by_index))]
    except (AttributeError, ValueError, KeyError, TypeError):
        raise ScorerError(f"{subject}: id2label in its config.json is not a name for each of 0, 1, ...") from None


def _label_index(labels: Sequence[str], name: str, subject: str) -> int:
    if name:
        found = [index for index, label in enumerate(labels) if label.casefold() == name.casefold()]
        mend = f"there is no label {name!r} among {', '.join(labels)}"
    else:
        found = [index for index, label in enumerate(labels) if _NOT_LETTERS.sub("", label.casefold()) in _TOXIC]
        mend = f"which of its labels is the toxicity? ({', '.join(labels)}); say it with '#label'"
    if len(found) != 1:
        raise ScorerError(f"{subject}: {mend}")
    return found[0]


def _exclusive(problem: object, reading: str, labels: Sequence[str], subject: str) -> bool:
    if reading:
        return reading == "softmax"
    if problem == "multi_label_classification":
        return False
    if problem == "single_label_classification":
        return True
    if problem is None and len(labels) < 3:
        return len(labels) == 2
    raise ScorerError(
        f"{subject}: its config.json has problem_type {problem!r}, so it is not certain how to read its logits; "
        "say it with '#label:sigmoid' (labels may go together) or '#label:softmax' (they exclude each other)"
    )


def _most_tokens(tokenizer: Any, model: Any) -> int:
    """How many tokens the model can read, special tokens included."""
    import torch

    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            positions = module.num_embeddings
            if module.padding_idx is not None:
                # RoBERTa's kin count positions from behind the padding token's.
                positions -= module.padding_idx + 1
    known = [int(limit) for limit in (tokenizer.model_max_length, positions) if limit]
    return min(known, default=512)

"""Tiny sequence classifiers with random weights and a real word-piece tokenizer, in the layout of toxic-bert."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
VOCABULARY = [
    *SPECIAL.values(),
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *".,!?'",
    *["you", "are", "kind", "stupid", "morning", "good", "idiot"],
]
POSITIONS = 24


@pytest.fixture(scope="session")
def classifier_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with six independent labels, as toxic-bert has them, and 24 positions."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier") / "tiny-toxic"
    folder.mkdir()
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512, **names}))
    labels = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.5,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def classifier(classifier_files: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the classifier with some keys of its config.json changed (None takes one out)."""
    import shutil

    def copy(name: str = "mine", **changes: Any) -> Path:
        folder = Path(shutil.copytree(classifier_files, tmp_path / name))
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return folder

    return copy

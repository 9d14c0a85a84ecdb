"""The tiny model as models come: in bfloat16, beside files that must not travel on."""

from __future__ import annotations

import pytest

from compressors.models import Checkpoint, checkpoint_at


@pytest.fixture(scope="session")
def dense(tiny_model, tmp_path_factory) -> Checkpoint:
    """A dense checkpoint of two blocks, hidden size 64, MLP 96."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("dense") / "model"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    return checkpoint_at(folder, "tiny", tmp_path_factory.mktemp("cache"))

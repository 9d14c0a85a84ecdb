"""Memory of keys and values, from nothing but a folder's config.json."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trust_tests.engines.memory import (
    CPU_ROWS,
    CPU_TOKENS,
    GPU_PASS,
    GPU_ROWS,
    UNKNOWN_TOKENS,
    bytes_per_token,
    capacity,
)

LLAMA_7B = {
    "num_attention_heads": 32,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}
LLAMA_3_8B = {**LLAMA_7B, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256}
GIB = 1 << 30


def folder(path: Path, config: Any) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # 2 (keys and values) x layers x groups x width x 2 bytes.
        (LLAMA_7B, 524_288),
        ({**LLAMA_7B, "num_key_value_heads": None}, 524_288),
        (LLAMA_3_8B, 131_072),
        # Qwen3-0.6B: heads wider than hidden_size / heads.
        (
            {
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "hidden_size": 1024,
                "head_dim": 128,
                "num_hidden_layers": 28,
            },
            114_688,
        ),
        ({"model_type": "of images and text", "text_config": LLAMA_7B}, 524_288),
    ],
)
def test_bytes_per_token_in_two_byte_formats(tmp_path: Path, config: dict[str, Any], expected: int) -> None:
    assert bytes_per_token(folder(tmp_path, config), 2) == expected
    assert bytes_per_token(tmp_path, 4) == 2 * expected


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        "text",
        None,
        {"num_attention_heads": 0, "hidden_size": 64, "num_hidden_layers": 2},
        {"num_attention_heads": "many", "hidden_size": 64, "num_hidden_layers": 2},
        {"num_attention_heads": 4, "num_hidden_layers": 2},
        {"num_attention_heads": [4], "hidden_size": 64, "num_hidden_layers": 2},
        {"num_attention_heads": 4, "hidden_size": "wide", "num_hidden_layers": 2},
        {"text_config": "none", "num_hidden_layers": 2},
    ],
)
def test_a_shape_that_cannot_be_read_is_none(tmp_path: Path, config: Any) -> None:
    assert bytes_per_token(folder(tmp_path, config), 2) is None


def test_a_config_that_is_absent_or_damaged_is_none(tmp_path: Path) -> None:
    assert bytes_per_token(tmp_path, 2) is None
    (tmp_path / "config.json").write_text("{")
    assert bytes_per_token(tmp_path, 2) is None
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    assert bytes_per_token(tmp_path, 2) is None


@pytest.mark.parametrize("config", [LLAMA_7B, {}])
def test_a_cpu_holds_the_same_whatever_the_model(tmp_path: Path, config: dict[str, Any]) -> None:
    import torch

    found = capacity(folder(tmp_path, config), "cpu", torch.bfloat16)
    assert (found.rows, found.tokens) == (CPU_ROWS, CPU_TOKENS)


def gpu_tokens(monkeypatch: pytest.MonkeyPatch, path: Path, gib: int) -> int:
    """Tokens of a batch on a GPU with this much memory."""
    import torch

    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=gib * GIB), raising=True
    )
    found = capacity(path, "cuda:0", torch.bfloat16)
    assert found.rows == GPU_ROWS
    return found.tokens


def test_a_gpu_holds_weights_and_tokens_and_keeps_some_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, LLAMA_7B)
    tokens = gpu_tokens(monkeypatch, tmp_path, 80)
    weights = 2 * 6.7e9
    assert tokens > 40_000
    assert tokens * 524_288 + weights < 0.92 * 80 * GIB
    # Eight gibibytes more hold about as many tokens more as they have room for.
    more = gpu_tokens(monkeypatch, tmp_path, 88) - tokens
    assert more == pytest.approx(0.92 * 8 * GIB / 524_288, rel=0.01)


def test_weights_on_disk_count_where_the_shape_says_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, LLAMA_3_8B)
    before = gpu_tokens(monkeypatch, tmp_path, 80)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(18 * GIB)  # a hole: takes no disk
    after = gpu_tokens(monkeypatch, tmp_path, 80)
    assert 0 < after < before - 2 * GIB // 131_072


@pytest.mark.parametrize(("gib", "held"), [(19, 38), (21, 21)])
def test_the_weights_of_two_models_count_where_both_stay(
    gib: int, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, LLAMA_3_8B)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(gib * GIB)
    tokens = gpu_tokens(monkeypatch, tmp_path, 80)
    assert tokens == pytest.approx((0.92 * 80 - 6 - held) * GIB / 131_072 - GPU_PASS, rel=1e-3)


def test_a_small_gpu_still_tries_and_an_unknown_shape_has_a_fixed_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_tokens(monkeypatch, folder(tmp_path, LLAMA_7B), 8) == 1024
    assert gpu_tokens(monkeypatch, folder(tmp_path, {}), 80) == UNKNOWN_TOKENS

"""The attention of packed prompts as transformers calls it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from trust_tests.engines.attention import UnsupportedAttentionError, attend, running

if TYPE_CHECKING:
    import torch

LAYER: Any = SimpleNamespace(layer_idx=3)


class Recorder:
    """A pass that writes down what it gets, and answers with the values of the first group for every head."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[int, ...], float]] = []

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        self.calls.append((layer, tuple(query.shape), scale))
        return value[:1].expand(query.shape[0], -1, -1).transpose(0, 1)


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query (1, 6, 5, 16), key and value (1, 2, 5, 16)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, heads, 5, 16, generator=generator) for heads in (6, 2, 2))  # type: ignore[return-value]


@pytest.mark.parametrize(("scaling", "expected"), [(None, 0.25), (0.3, 0.3)])
def test_the_running_pass_gets_layer_heads_and_scale(scaling: float | None, expected: float) -> None:
    query, key, value = tensors()
    step = Recorder()
    with running(step):
        found, weights = attend(LAYER, query, key, value, None, scaling=scaling, dropout=0.0, sliding_window=None)
    assert step.calls == [(3, (6, 5, 16), expected)]
    assert weights is None
    assert found.shape == (1, 5, 6, 16)
    assert bool((found[0, :, 4] == value[0, 0]).all())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("softcap", 50.0),
        ("sliding_window", 4096),
        ("s_aux", [0.0]),
        ("sinks", [0.0]),
        ("position_bias", [0.0]),
        ("attention_bias", [0.0]),
        ("head_mask", [1.0]),
        ("dropout", 0.1),
    ],
)
def test_attention_that_is_not_plain_is_refused_by_name(option: str, value: Any) -> None:
    with running(Recorder()), pytest.raises(UnsupportedAttentionError, match=f"^attention with {option}$"):
        attend(LAYER, *tensors(), None, **{option: value})


def test_outside_of_a_pass_there_is_no_attention() -> None:
    with pytest.raises(UnsupportedAttentionError):
        attend(LAYER, *tensors(), None)


def test_the_innermost_pass_counts_and_ends_with_an_error_too() -> None:
    outer, inner = Recorder(), Recorder()
    with running(outer):
        with running(inner):
            attend(LAYER, *tensors(), None)
        with pytest.raises(UnsupportedAttentionError), running(inner):
            attend(LAYER, *tensors(), None, softcap=1.0)
        attend(LAYER, *tensors(), None)
    assert (len(outer.calls), len(inner.calls)) == (1, 1)
    with pytest.raises(UnsupportedAttentionError):
        attend(LAYER, *tensors(), None)

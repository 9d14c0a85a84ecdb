"""Attention of packed prompts, behind transformers' own attention interface.

Prompts of different length stand one behind the other in a single row, so no arithmetic is spent on padding. What a
token may look at is known to the *pass* that is running, and to nobody else: transformers' masks are not built.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

NAME = "trust_packed"
# What a model may add to plain attention; a model that uses any of it is answered by transformers' own loop.
_EXTRAS = ("softcap", "s_aux", "sinks", "sliding_window", "position_bias", "head_mask", "attention_bias")


class UnsupportedAttentionError(RuntimeError):
    """A model whose attention is not the plain one; the message names what it adds."""


class Pass(Protocol):
    """One forward pass over packed tokens."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """What each token sees. query: (heads, tokens, width); key, value: (groups, tokens, width).

        Returns (tokens, heads, width).
        """
        ...


_running: list[Pass] = []


@contextmanager
def running(step: Pass) -> Iterator[None]:
    """While it lasts, the attention of every model prepared by `register` is that of `step`."""
    _running.append(step)
    try:
        yield
    finally:
        _running.pop()


def register() -> str:
    """Make the attention known to transformers; returns the name to give to `set_attn_implementation`."""
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface

    # On a GPU a model's blocks are compiled; attention is not, because it depends on the pass.
    disable: Any = torch.compiler.disable
    AttentionInterface.register(NAME, disable(attend) if torch.cuda.is_available() else attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The running pass's attention in transformers' calling convention.

    query: (1, heads, tokens, width); key, value: (1, groups, tokens, width). Returns (1, tokens, heads, width) and no
    weights. Raises UnsupportedAttentionError where the model asks for more than plain attention.
    """
    extra = [name for name in _EXTRAS if options.get(name) is not None]
    if extra or options.get("dropout") or not _running:
        raise UnsupportedAttentionError(f"attention with {', '.join(extra) or 'dropout'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: int = module.layer_idx  # type: ignore[assignment]  # every attention module of transformers has one
    return _running[-1].attend(layer, query[0], key[0], value[0], scale)[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    """No mask is needed; passes know what is visible."""

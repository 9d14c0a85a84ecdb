"""Attention of one new token on a CPU.

torch's fused CPU kernel is built for long queries: for a single query row it spends ten times the arithmetic, and
grouped-query heads are copied out first. While a model writes, every query is a single row, so the plain formula
with the heads of a group as rows of one small product is several times as fast. Longer queries keep torch's kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "trust_cpu_decode"


def register() -> str:
    """Make the attention known to transformers; returns the name to give to `set_attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
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
    """Scaled dot-product attention in transformers' calling convention.

    query: (batch, heads, queries, width); key, value: (batch, groups, keys, width). attention_mask: bool, or added
    to the scores, broadcastable to (batch, 1, queries, keys). Returns (batch, queries, heads, width) and no weights.
    Scores and softmax are float32.
    """
    batch, heads, queries, width = query.shape
    if queries != 1 or options.get("dropout") or options.get("softcap") is not None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    groups = key.shape[1]
    rows = query.float().reshape(batch, groups, heads // groups, width)
    scores = rows @ key.float().transpose(-1, -2) * (width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        visible = attention_mask[..., : key.shape[2]]
        if not visible.is_floating_point():
            scores = scores.masked_fill(~visible, float("-inf"))
        else:
            scores = scores + visible.float()
    output = scores.softmax(dim=-1) @ value.float()
    return output.to(query.dtype).reshape(batch, 1, heads, width), None

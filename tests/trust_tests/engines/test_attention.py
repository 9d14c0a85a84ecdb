from __future__ import annotations

import pytest


@pytest.mark.parametrize("heads", [(9, 3), (4, 4), (6, 1)])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("masked", [None, "bool", "added"])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_equals_torchs_attention(
    heads: tuple[int, int], queries: int, masked: str | None, scaling: float | None
) -> None:
    import torch

    from trust_tests.engines.attention import attend

    class Layer(torch.nn.Module):
        num_key_value_groups = heads[0] // heads[1]
        is_causal = False

    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, heads[0], queries, 16, generator=generator)
    key, value = (torch.randn(2, heads[1], 11, 16, generator=generator) for _ in range(2))
    mask = None
    if masked:
        visible = torch.ones(2, 1, queries, 11, dtype=torch.bool)
        visible[1, ..., :4] = False
        mask = visible if masked == "bool" else torch.zeros(visible.shape).masked_fill(~visible, -1e9)
    found, weights = attend(Layer(), query, key, value, mask, scaling=scaling)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
    ).transpose(1, 2)
    assert weights is None
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

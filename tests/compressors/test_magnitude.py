"""Magnitude pruning."""

from __future__ import annotations

import pytest
import torch

from compressors.magnitude import prune


def test_the_smallest_weights_of_each_layer_go():
    small, large = torch.tensor([[0.1, -0.4, 0.2, -0.3]]), torch.tensor([[10.0, -40.0, 20.0, -30.0]])
    first, second = prune([small, large], None, {"pattern": "unstructured", "sparsity": 0.5})
    assert first.weight.tolist() == [[0.0, pytest.approx(-0.4), 0.0, pytest.approx(-0.3)]]
    assert second.weight.tolist() == [[0.0, -40.0, 0.0, -30.0]]
    assert first.quantised is None


@pytest.mark.parametrize(("pattern", "n", "m"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:2", 1, 2)])
def test_patterns_leave_the_largest_of_each_group_as_they_were(pattern, n, m):
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    before = weight.clone()
    (solution,) = prune([weight], None, {"pattern": pattern, "sparsity": n / m})
    groups = solution.weight.view(-1, m)
    assert ((groups != 0).sum(dim=1) == n).all()
    assert (groups[groups != 0] == weight.view(-1, m)[groups != 0]).all()
    assert solution.weight.dtype == torch.bfloat16
    assert torch.equal(weight, before)

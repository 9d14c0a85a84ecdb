"""Wanda and SparseGPT, which look at what a layer reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressors import magnitude, sparsegpt, wanda
from compressors.errors import CompressionError
from compressors.layerwise import Inputs

PATTERNS = [("2:4", 2, 4), ("4:8", 4, 8), ("1:2", 1, 2)]


def problem(rows: int = 32, columns: int = 160, tokens: int = 800, seed: int = 0) -> tuple[Tensor, Inputs]:
    """A weight, and inputs that are correlated and of unlike sizes, as those of layers are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5 + 0.5 * torch.eye(columns)
    sizes = torch.rand(columns, generator=generator) * 3
    activations = torch.randn(tokens, columns, generator=generator) @ mixing * sizes
    return torch.randn(rows, columns, generator=generator), Inputs([activations])


def values(pattern: str = "unstructured", sparsity: float = 0.5) -> dict[str, object]:
    return {"pattern": pattern, "sparsity": sparsity, "damp": 0.01}


def loss(weight: Tensor, solution: Tensor, inputs: Inputs) -> float:
    return float(((weight - solution) @ inputs.activations[0].T).square().sum())


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4:8", "1:2"])
def test_sparsegpt_beats_wanda_beats_magnitude_on_the_layers_own_error(pattern):
    weight, inputs = problem()
    losses = [
        loss(weight, method.prune([weight], inputs, values(pattern))[0].weight, inputs)
        for method in (sparsegpt, wanda, magnitude)
    ]
    assert losses[0] < 0.8 * losses[1] < 0.8 * losses[2]


@pytest.mark.parametrize("method", [sparsegpt, wanda])
@pytest.mark.parametrize(("pattern", "n", "m"), PATTERNS)
def test_patterns_are_met_in_every_group(method, pattern, n, m):
    weight, inputs = problem()
    (solution,) = method.prune([weight.bfloat16()], inputs, values(pattern))
    assert ((solution.weight.view(-1, m) != 0).sum(dim=1) == n).all()
    assert solution.weight.dtype == torch.bfloat16
    with pytest.raises(CompressionError, match=f"are not a multiple of {m}"):
        method.prune([weight[:, :151]], Inputs([inputs.activations[0][:, :151]]), values(pattern))


@pytest.mark.parametrize("method", [sparsegpt, wanda])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_the_sparsity_is_met_in_each_of_the_layers_solved_together(method, sparsity):
    weight, inputs = problem()
    for solution in method.prune([weight[:8], weight[8:]], inputs, values(sparsity=sparsity)):
        found = int((solution.weight == 0).sum()) / solution.weight.numel()
        assert sparsity <= found < sparsity + 0.01


def test_wanda_keeps_what_it_does_not_zero():
    weight, inputs = problem()
    (solution,) = wanda.prune([weight], inputs, values())
    kept = solution.weight != 0
    assert torch.equal(solution.weight[kept], weight[kept])
    scores = weight.abs() * inputs.activations[0].norm(dim=0)
    assert (scores.masked_fill(kept, -1).amax(1) <= scores.masked_fill(~kept, float("inf")).amin(1)).all()


def test_sparsegpt_moves_what_stays_to_the_least_squares_optimum_for_the_last_columns():
    # With one column pruned, the correction of all others after it has a closed form: OBS, equation 1.
    weight, inputs = problem(rows=1, columns=8)
    weight[0, 0] = 1e-3
    (solution,) = sparsegpt.prune([weight], inputs, values(sparsity=0.1))
    hessian = inputs.hessian + 0.01 * inputs.hessian.diagonal().mean() * torch.eye(8)
    inverse = torch.linalg.inv(hessian)
    expected = weight - weight[0, 0] / inverse[0, 0] * inverse[0]
    torch.testing.assert_close(solution.weight, expected, rtol=1e-4, atol=1e-5)


def test_inputs_and_weights_are_left_as_they_were():
    weight, inputs = problem()
    before, hessian = weight.clone(), inputs.hessian.clone()
    sparsegpt.prune([weight], inputs, values())
    wanda.prune([weight], inputs, values())
    assert torch.equal(weight, before)
    assert torch.equal(inputs.hessian, hessian)

"""GPTQ against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressors import gptq, rtn, surgeon
from compressors.errors import CompressionError
from compressors.grid import Grid
from compressors.layerwise import Inputs


def problem(rows: int = 24, columns: int = 96, tokens: int = 512, seed: int = 0) -> tuple[Tensor, Inputs]:
    """A weight and correlated inputs, as layers have."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    activations = torch.randn(tokens, columns, generator=generator) @ (mixing + 0.3 * torch.eye(columns))
    return torch.randn(rows, columns, generator=generator), Inputs([activations])


def values(**changes: object) -> dict[str, object]:
    return {"bits": 3, "group": 32, "sym": False, "act_order": False, "damp": 0.01, "clip": False} | changes


def loss(weight: Tensor, solution: Tensor, inputs: Inputs) -> float:
    """‖(W − Ŵ)X‖², the layer's squared error on its inputs."""
    return float(((weight - solution.float()) @ inputs.activations[0].T).square().sum())


def column_by_column(weight: Tensor, inputs: Inputs, grid: Grid, damp: float) -> Tensor:
    """Equations 2 and 3 of the paper as they stand: after each column, correct all others and shrink H⁻¹."""
    w, hessian = weight.double().clone(), inputs.hessian.double()
    hessian = hessian + damp * hessian.diagonal().mean() * torch.eye(len(hessian))
    inverse = torch.linalg.inv(hessian)
    out = torch.empty_like(w)
    for q in range(w.shape[1]):
        if q % grid.group == 0:
            span = grid.fit(w[:, q : q + grid.group].T.float())
        out[:, q] = grid.round(w[:, q].float(), span, torch.empty(len(w))).double()
        w -= torch.outer((w[:, q] - out[:, q]) / inverse[q, q], inverse[q])
        inverse = inverse - torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]
        inverse[q, q] = 1  # removed: its row and column are zero
        inverse[q, :q] = inverse[q, q + 1 :] = 0
    return out


@pytest.mark.parametrize("group", [32, 96, 20, 128])
def test_lazy_blocks_give_what_the_papers_equations_give(group, monkeypatch):
    weight, inputs = problem()
    monkeypatch.setattr(surgeon, "BLOCK", 16)
    grid = Grid(3, group, False, torch.float32)
    expected = column_by_column(weight, inputs, grid, 0.01)
    (solution,) = gptq.quantise([weight], inputs, values(group=group))
    agree = (solution.weight - expected).abs() < 1e-4
    # A weight half-way between two levels may fall either way, and moves what comes after it in its row.
    assert agree.float().mean() > 0.99


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("act_order", [True, False])
def test_it_beats_rounding_to_nearest_on_the_same_grid(bits, sym, act_order):
    weight, inputs = problem(seed=bits)
    asked = values(bits=bits, sym=sym, act_order=act_order)
    (ours,) = gptq.quantise([weight], inputs, asked)
    (nearest,) = rtn.quantise([weight], None, asked)
    assert loss(weight, ours.weight, inputs) < 0.9 * loss(weight, nearest.weight, inputs)


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("bits", [3, 4])
def test_levels_fitted_by_squared_error_lose_less_of_weights_with_outliers(bits, act_order):
    weight, inputs = problem(rows=48, tokens=2048)
    weight = weight**3  # a few weights far from the others, as in trained layers
    asked = values(bits=bits, sym=True, act_order=act_order)
    (widest,) = gptq.quantise([weight], inputs, asked)
    (fitted,) = gptq.quantise([weight], inputs, asked | {"clip": True})
    assert loss(weight, fitted.weight, inputs) < 0.97 * loss(weight, widest.weight, inputs)


def test_static_groups_are_those_of_the_dense_weights():
    weight, inputs = problem()
    (ours,) = gptq.quantise([weight], inputs, values(act_order=True))
    (nearest,) = rtn.quantise([weight], None, values())
    assert ours.quantised is not None
    assert nearest.quantised is not None
    assert torch.equal(ours.quantised.scales, nearest.quantised.scales)
    assert torch.equal(ours.quantised.zero_points, nearest.quantised.zero_points)


def test_layers_solved_together_are_as_solved_alone():
    weight, inputs = problem()
    parts = [weight[:8], weight[8:]]
    together = gptq.quantise(parts, inputs, values())
    alone = [gptq.quantise([part], inputs, values())[0] for part in parts]
    for one, other in zip(together, alone, strict=True):
        assert ((one.weight - other.weight).abs() > 1e-5).float().mean() < 0.01


def test_inputs_and_weights_are_left_as_they_were():
    weight, inputs = problem()
    before, hessian = weight.clone(), inputs.hessian.clone()
    gptq.quantise([weight], inputs, values(act_order=True))
    assert torch.equal(weight, before)
    assert torch.equal(inputs.hessian, hessian)


def test_weights_of_inputs_that_are_always_zero_become_zero():
    weight, inputs = problem()
    inputs.activations[0][:, [3, 50]] = 0
    (solution,) = gptq.quantise([weight], Inputs(inputs.activations), values())
    assert not solution.weight[:, [3, 50]].any()


def test_a_ragged_last_group_has_a_scale_of_its_own():
    weight, inputs = problem(columns=90)
    (solution,) = gptq.quantise([weight], inputs, values(group=32))
    assert solution.quantised is not None
    assert solution.quantised.scales.shape == (24, 3)
    assert torch.equal(solution.weight, solution.quantised.weight())


def test_a_hessian_that_is_not_positive_definite_is_said_to_be_so():
    with pytest.raises(CompressionError, match=r"not positive definite; raise damp \(now 1e-08\) or samples"):
        surgeon.inverse_factor(-torch.eye(4), 1e-8)


def test_the_factor_is_that_of_the_damped_inverse():
    _, inputs = problem(columns=20)
    hessian = inputs.hessian.clone()
    damped = hessian + 0.1 * hessian.diagonal().mean() * torch.eye(20)
    factor = surgeon.inverse_factor(hessian, 0.1)
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.T @ factor, torch.linalg.inv(damped), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("group", "size"), [(1, 128), (48, 96), (64, 128), (128, 128), (256, 128), (200, 200)])
def test_no_group_straddles_a_block(group, size):
    assert gptq.block_size(group) == size


@pytest.mark.parametrize(
    ("group", "size"),
    [(1, 1), (20, 20), (32, 32), (48, 24), (64, 32), (74, 74), (96, 32), (128, 32), (200, 25), (37, 37), (131, 131)],
)
def test_columns_per_update_inside_a_block(group, size):
    assert gptq.inner_size(group) == size


@pytest.mark.parametrize("columns", [64, 300, 576])
def test_a_groups_weights_have_seen_every_correction_when_its_scale_is_fitted(columns):
    for group in range(1, columns + 1):
        block, inner = gptq.block_size(group), gptq.inner_size(group)
        steps = [
            range(first, min(first + inner, start + block, columns))
            for start in range(0, columns, block)
            for first in range(start, min(start + block, columns), inner)
        ]
        # One step is of one group, and a group begins with a step: all before it has been corrected for by then.
        assert all(step[0] // group == step[-1] // group for step in steps), group
        for first in range(0, columns, group):
            last = min(first + group, columns) - 1
            # What lies beyond the lazy block is up to date only where that block begins.
            assert first // block == last // block or first % block == 0, (group, first)


@pytest.mark.parametrize("inner", [1, 7, 16, 32, 48, 1000])
@pytest.mark.parametrize("size", [16, 48, 96, 128])
def test_sweeping_in_steps_of_any_size_gives_the_same(inner, size):
    weight, inputs = problem()
    factor = surgeon.inverse_factor(inputs.hessian.clone(), 0.01)

    def rule(part: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        # Smooth, so that no last bit decides between two levels.
        kept, errors = torch.empty_like(part), torch.empty_like(part)
        for i in range(len(part)):
            kept[i] = 0.9 * part[i]
            errors[i] = (part[i] - kept[i]) / u[i, i]
            part[i + 1 :] -= torch.outer(u[i, i + 1 :], errors[i])
        return kept, errors

    def swept(size: int, inner: int) -> Tensor:
        return surgeon.sweep(weight.T.contiguous(), factor, rule, lambda first, last: (), size, inner)

    # In one step nothing is left to do between steps.
    torch.testing.assert_close(swept(size, inner), swept(96, 96), rtol=1e-4, atol=1e-5)


def test_the_factor_of_reordered_columns_is_that_of_the_reordered_hessian():
    _, inputs = problem(columns=20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    found = surgeon.inverse_factor(inputs.hessian.clone(), 0.1, order)
    expected = surgeon.inverse_factor(inputs.hessian[order][:, order].clone(), 0.1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("inner", [1, 8, 16, 1000])
def test_the_inner_size_moves_no_code(inner, monkeypatch):
    weight, inputs = problem()
    (before,) = gptq.quantise([weight], inputs, values(act_order=True))
    monkeypatch.setattr(surgeon, "INNER", inner)
    (after,) = gptq.quantise([weight], inputs, values(act_order=True))
    assert before.quantised is not None
    assert after.quantised is not None
    assert torch.equal(before.quantised.scales, after.quantised.scales)
    assert (before.quantised.codes == after.quantised.codes).float().mean() > 0.99


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 257, 300, 515])
def test_an_upper_triangular_matrix_is_inverted_in_place(size):
    generator = torch.Generator().manual_seed(size)
    matrix = torch.randn(size, size, generator=generator).triu() / size**0.5 + 2 * torch.eye(size)
    expected = torch.linalg.inv(matrix.double()).float()
    surgeon.invert_upper(matrix)
    torch.testing.assert_close(matrix, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(matrix, matrix.triu())

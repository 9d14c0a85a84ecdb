from __future__ import annotations

import math

import pytest


@pytest.fixture(scope="module")
def logits():  # type: ignore[no-untyped-def]
    import torch

    return torch.randn(1, 400, generator=torch.Generator().manual_seed(3)) * 2


def keys(count: int):  # type: ignore[no-untyped-def]
    import torch

    from trust_tests.engines.sampling import keys_tensor

    return keys_tensor([(seed, 0) for seed in range(count)], torch.device("cpu"))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_head_and_tail_alike(logits, temperature: float) -> None:  # type: ignore[no-untyped-def]
    """A chi-square test over the 400 tokens; at temperature 2 the tail beyond the head wins often."""
    from scipy.stats import chisquare

    from trust_tests.engines.sampling import HEAD, draw

    count = 20_000
    drawn = draw(logits.expand(count, -1), keys(count), 0, temperature)
    expected = (logits[0] / temperature).double().softmax(-1).numpy() * count
    observed = drawn.bincount(minlength=400).numpy().astype(float)
    common = expected >= 5
    tail = logits[0].argsort(descending=True)[HEAD:]
    if temperature == 2.0:
        assert observed[tail.numpy()].sum() > 500
    pooled_observed = [*observed[common], observed[~common].sum() + 1e-9]
    pooled_expected = [*expected[common], expected[~common].sum() + 1e-9]
    assert chisquare(pooled_observed, pooled_expected, sum_check=False).pvalue > 1e-4


def test_steps_samples_and_seeds_are_unrelated(logits) -> None:  # type: ignore[no-untyped-def]
    import torch

    from trust_tests.engines.sampling import draw, keys_tensor

    many = logits.expand(2000, -1)
    by_seed = draw(many, keys(2000), 0, 1.0)
    by_step = draw(many, keys(2000), 1, 1.0)
    by_sample = draw(many, keys_tensor([(seed, 1) for seed in range(2000)], torch.device("cpu")), 0, 1.0)
    same = float((logits[0].softmax(-1) ** 2).sum())  # the chance that two independent draws agree
    for other in (by_step, by_sample, by_seed.roll(1)):
        agreement = float((by_seed == other).float().mean())
        assert abs(agreement - same) < 5 * math.sqrt(same / 2000)


def test_two_similar_models_draw_nearly_alike(logits) -> None:  # type: ignore[no-untyped-def]
    """Shared noise: agreement is far above that of independent draws, and total for equal logits."""
    import torch

    from trust_tests.engines.sampling import draw

    near = logits + 0.05 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    one, same, other = (draw(x.expand(3000, -1), keys(3000), 0, 1.0) for x in (logits, logits.clone(), near))
    assert bool((one == same).all())
    assert float((one == other).float().mean()) > 0.9


def test_rows_do_not_depend_on_their_company(logits) -> None:  # type: ignore[no-untyped-def]
    from trust_tests.engines.sampling import draw

    many = draw(logits.expand(50, -1), keys(50), 7, 1.0)
    for row in (0, 17, 49):
        assert draw(logits, keys(50)[row : row + 1], 7, 1.0)[0] == many[row]


@pytest.mark.parametrize("top_k", [1, 7, 200])
def test_top_k_draws_from_the_k_most_probable_in_proportion(logits, top_k: int) -> None:  # type: ignore[no-untyped-def]
    from scipy.stats import chisquare

    from trust_tests.engines.sampling import draw

    count = 20_000
    drawn = draw(logits.expand(count, -1), keys(count), 0, 1.0, top_k=top_k)
    best = logits[0].topk(top_k)
    observed = drawn.bincount(minlength=400)[best.indices].numpy().astype(float)
    assert observed.sum() == count
    expected = best.values.double().softmax(-1).numpy() * count
    if top_k > 1:
        assert chisquare(observed[expected >= 5], expected[expected >= 5], sum_check=False).pvalue > 1e-4

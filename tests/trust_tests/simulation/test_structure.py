from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from trust_tests.dimensions import dimension_names, get_dimension
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.records import Channel, Outcome, Response
from trust_tests.simulation.structure import Skeleton
from trust_tests.simulation.synthetic import Clustered
from trust_tests.simulation.tiers import TierSimulation


@pytest.fixture(scope="module", params=dimension_names())
def skeleton(request: pytest.FixtureRequest) -> Skeleton:
    dimension = get_dimension(request.param)
    return Skeleton.of(dimension, dimension.items())


def plain(dimension: Dimension, graded: Sequence[Outcome]) -> float:
    """The score alone."""
    return float(dimension.aggregate(graded, np.ones((1, len(graded))))[0])


def test_simulated_answers_have_the_true_score_and_disagreement(skeleton: Skeleton) -> None:
    """Means over 400 pairs, at a true drop of 5 points and 10 % disagreement."""
    move = skeleton.move_for(-5.0, 0.1)
    generator = np.random.default_rng(5)
    ones = np.ones((1, len(skeleton.right)))
    deltas, changed = [], []
    for _ in range(400):
        dense, variant = skeleton.draw(generator, 0.1, move)
        deltas.append(skeleton.dimension.aggregate(variant, ones)[0] - skeleton.dimension.aggregate(dense, ones)[0])
        changed.append(np.mean([a is not b for a, b in zip(dense, variant, strict=True)]))
    assert np.mean(changed) == pytest.approx(0.1, abs=0.01)
    # A score with absolute values in it is biased towards smaller shifts where it is noisy.
    slack = 1.5 if skeleton.dimension.name == "fairness" else 0.0
    error = np.std(deltas) / math.sqrt(len(deltas))
    assert np.mean(deltas) == pytest.approx(-5.0, abs=4 * error + slack)


def test_an_unchanged_model_moves_neither_way(skeleton: Skeleton) -> None:
    generator = np.random.default_rng(6)
    ones = np.ones((1, len(skeleton.right)))
    deltas = []
    for _ in range(200):
        dense, variant = skeleton.draw(generator, 0.1, 0.0)
        deltas.append(skeleton.dimension.aggregate(variant, ones)[0] - skeleton.dimension.aggregate(dense, ones)[0])
    assert np.mean(deltas) == pytest.approx(0.0, abs=4 * np.std(deltas) / math.sqrt(len(deltas)))


def test_a_shift_that_no_flips_could_make_has_no_move() -> None:
    dimension = Clustered(20)
    skeleton = Skeleton.of(dimension, dimension.items())
    assert math.isnan(skeleton.move_for(-5.0, 0.02))
    assert skeleton.move_for(5.0, 0.1) == pytest.approx(-0.05)


def test_the_paper_protocol_is_not_simulated() -> None:
    dimension = get_dimension("ethics")
    assert dimension.can_suppose

    class Paper(type(dimension)):  # type: ignore[misc]
        can_suppose = False

    with pytest.raises(ValueError, match="protocol sound"):
        Skeleton.of(Paper(), dimension.items())


def test_bounds_hold_for_whatever_the_unmeasured_items_were(skeleton: Skeleton) -> None:
    """Three unmeasured items, all eight ways they could have gone."""
    dimension, generator = skeleton.dimension, np.random.default_rng(7)
    for _ in range(20):
        dense, _ = skeleton.draw(generator, 0.1, 0.0)
        places = generator.choice(len(dense), 3, replace=False)
        holed = list(dense)
        for place in places:
            holed[place] = replace(holed[place], channel=Channel.MISSING, value=None)
        low, high = dimension.bounds(holed)
        for values in itertools.product((0.0, 1.0), repeat=3):
            for place, value in zip(places, values, strict=True):
                holed[place] = dimension.supposed(dense[place], value)
            assert low - 1e-9 <= plain(dimension, holed) <= high + 1e-9


def test_bounds_without_holes_are_the_score(skeleton: Skeleton) -> None:
    dense, _ = skeleton.draw(np.random.default_rng(8), 0.1, 0.0)
    score = plain(skeleton.dimension, dense)
    assert skeleton.dimension.bounds(dense) == pytest.approx((score, score))


@pytest.mark.parametrize("name", dimension_names())
def test_unmeasured_outcomes_can_be_supposed(name: str) -> None:
    """The gate supposes what a failed engine's items were worth: their outcomes must hold the gold data."""
    dimension = get_dimension(name, Setup())
    items = list(dimension.items())
    graded = dimension.grade(items, [Response(item.id, error="lost") for item in items])
    assert {o.channel for o in graded} == {Channel.MISSING}
    assert plain(dimension, [dimension.supposed(o, 1.0) for o in graded]) == pytest.approx(100.0)
    if name != "fairness":  # whoever is always wrong treats all alike
        assert plain(dimension, [dimension.supposed(o, 0.0) for o in graded]) <= 50.0


def test_a_case_is_repeatable_and_states_its_error() -> None:
    dimension = Clustered(100)
    one, two = (TierSimulation(Skeleton.of(dimension, dimension.items())).case(0.1, -5.0, 50) for _ in range(2))
    assert one == two
    assert one.rates is not None
    assert one.rates.error(0.5) == pytest.approx(math.sqrt(0.25 / 50))
    assert one.rates.error(1.0) == pytest.approx(1 / 50)
    assert one.rates.passes["point"] + one.rates.fails["point"] == pytest.approx(1.0)
    assert one.clusters == 50


@pytest.mark.slow
@pytest.mark.parametrize(("items", "disagreement"), [(50, 0.2), (200, 0.02)])
def test_resampled_intervals_cover(items: int, disagreement: float) -> None:
    dimension = Clustered(items)
    found = TierSimulation(Skeleton.of(dimension, dimension.items())).case(disagreement, 0.0, 250)
    assert found.rates is not None
    assert found.rates.coverage >= 0.93 - 2 * found.rates.error(0.93)
    assert found.rates.decision_coverage >= 0.88 - 2 * found.rates.error(0.88)

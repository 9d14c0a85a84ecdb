"""The forest plot: every gate on one axis, its interval on it, and arrows for what lies beyond."""

import re

import pytest

from trust_tests.report.forest import FRAME, GROUPS_LISTED, GROUPS_OPEN, forest_plot
from trust_tests.report.published import DIMENSIONS
from trust_tests.report.reading import read

from .sweeps import FEW, FIFTY, TWELVE, sweep


def plot(recipes=FEW, **how):
    return forest_plot(read(sweep(recipes, **how)))


@pytest.mark.parametrize("recipes", [FEW, TWELVE, FIFTY], ids=len)
def test_every_gate_has_a_row_in_the_group_of_its_variant(recipes):
    found = plot(recipes)
    assert len(found.groups) == len(recipes)
    for group in found.groups:
        assert [row.gate.dimension for row in group.rows] == list(DIMENSIONS)
        assert {row.gate.variant for row in group.rows} == {group.model.id}
        assert all(row.path for row in group.rows)
    assert found.levels == ("90 %",)
    assert sum(group.open for group in found.groups) == min(len(recipes), GROUPS_OPEN)
    many = len(recipes) > GROUPS_LISTED
    assert len(found.listed) == (GROUPS_OPEN if many else len(recipes))
    names = sorted(group.model.id for group in (*found.listed, *found.folded))
    assert names == sorted(group.model.id for group in found.groups)


def test_all_rows_share_one_axis_that_holds_the_intervals():
    found = plot(delta=lambda recipe, dimension: -17.0 if dimension == "ood" else 1.0)
    assert not found.clipped
    labels = {text: place for place, text in found.labels}
    # The furthest end of any interval is 3.1 points below −17.
    assert labels["−20.1"] == FRAME.margin
    assert labels["0.0"] == FRAME.middle
    scale = (FRAME.middle - FRAME.margin) / 20.1
    (band,) = found.bands
    assert band.width == pytest.approx(10 * scale, abs=0.02)
    rows = found.groups[0].rows
    for row in rows:
        assert row.tip == pytest.approx(FRAME.middle + scale * row.gate.delta, abs=0.02)
        left, right = (float(end) for end in re.match(r"M([\d.]+) 10H([\d.]+)", row.path).groups())
        assert left == pytest.approx(FRAME.middle + scale * (row.gate.delta - 3.1), abs=0.02)
        assert right == pytest.approx(FRAME.middle + scale * (row.gate.delta + 2.9), abs=0.02)
    assert [row.side for row in rows].count("below") == 1
    assert [row.side for row in rows].count("within") == 8


def test_a_collapsed_score_leaves_the_others_room_and_is_an_arrow():
    found = plot(delta=lambda recipe, dimension: -70.0 if dimension == "ood" else 1.0)
    assert found.clipped
    (band,) = found.bands
    # Eight tolerances to each side: the band is an eighth of the axis.
    assert band.width == pytest.approx((FRAME.width - 2 * FRAME.margin) / 8, abs=0.02)
    clipped = [row for row in found.groups[0].rows if row.clipped]
    assert [(row.gate.dimension, row.clipped, row.tip) for row in clipped] == [("ood", -1, FRAME.margin)]
    # An interval that ends off the axis has no cap there.
    assert "v8" not in clipped[0].path


def test_gates_without_an_interval_or_a_delta_stay_in_their_place():
    results = sweep(FEW, delta=lambda recipe, dimension: None if dimension == "ood" else 0.5)
    results["gates"][0]["interval"] = None
    del results["gates"][2]
    found = forest_plot(read(results))
    first, second = found.groups
    lost = [row for row in first.rows if row.tip is None]
    assert [row.gate.dimension for row in lost] == ["ood"]
    assert [row.gate.dimension for row in first.rows if row.tip is not None and not row.path] == ["mmlu"]
    assert (first.missing, second.missing) == (1, 0)
    assert first.furthest.delta == 0.5


def test_a_run_without_any_delta_has_no_plot():
    assert plot(delta=lambda recipe, dimension: None) is None


def test_the_variants_furthest_from_passing_are_open():
    def delta(recipe, dimension):
        return -30.0 if "bits=3" in recipe and dimension == "toxicity" else 0.0

    found = plot(TWELVE, delta=delta)
    opened = {group.model.name for group in found.groups if group.open}
    assert {"gptq-3bit-g128-s0", "gptq-3bit-g128-s1", "gptq-3bit-g128-s2", "awq-3bit-g128-s0"} == opened


def test_limits_of_their_own_have_bands_of_their_own():
    results = sweep(FEW[:1], delta=lambda recipe, dimension: 0.0)
    results["gates"][0]["tolerance"] = 2.5
    found = forest_plot(read(results))
    mmlu = found.groups[0].rows[-1]
    assert found.bands[mmlu.band].width == pytest.approx(found.bands[found.groups[0].rows[0].band].width / 2, abs=0.02)
    assert len(found.bands) == 2

import itertools

import pytest

from trust_tests.report import charts, html
from trust_tests.report.charts import Frame, delta_chart, shade, shared_axis, strip_chart


def test_an_unmoved_variant_stands_on_the_dense_model():
    chart = delta_chart(0.0, 5.0)
    assert chart.tip == chart.frame.middle
    assert chart.length == 0
    assert chart.clipped == 0


def test_the_band_is_centred_and_a_delta_of_the_tolerance_lies_on_its_edge():
    chart = delta_chart(-5.0, 5.0)
    assert chart.tip == chart.band_left
    assert chart.band_left + chart.band_width / 2 == pytest.approx(chart.frame.middle, abs=0.01)
    assert chart.left == chart.tip
    assert delta_chart(5.0, 5.0).tip == pytest.approx(chart.band_left + chart.band_width, abs=0.01)


@pytest.mark.parametrize(("delta", "clipped"), [(-12.0, 0), (-12.1, -1), (99.0, 1)])
def test_deltas_beyond_the_axis_end_in_an_arrow_inside_the_frame(delta, clipped):
    chart = delta_chart(delta, 5.0)
    assert chart.clipped == clipped
    assert Frame().margin <= chart.tip <= Frame().width - Frame().margin


def test_a_one_sided_band_is_open_to_the_right():
    chart = delta_chart(0.0, 5.0, one_sided=True)
    assert chart.band_left + chart.band_width == Frame().width - Frame().margin


def test_cells_share_an_axis_that_holds_them_all():
    assert shared_axis([], 5.0) == 12.0
    assert shared_axis([3.0, -40.0], 5.0) == 40.0
    assert delta_chart(-40.0, 5.0, half_axis=40.0).clipped == 0


@pytest.mark.parametrize(
    ("delta", "step"),
    [
        (None, "unknown"),
        (0.0, "none"),
        (-1.0, "none"),
        (-1.1, "down-1"),
        (3.1, "up-2"),
        (-5.0, "down-2"),
        (-5.01, "down-3"),
        (9.0, "up-3"),
    ],
)
def test_steps_of_the_diverging_scale(delta, step):
    assert shade(delta, 5.0) == step


def test_a_strip_has_a_tick_for_each_delta_on_its_side_of_the_band():
    chart = strip_chart([-30.0, -5.0, 0.0, 5.0, 5.1], 5.0)
    assert [path.count("M") for path in (chart.below, chart.within, chart.above)] == [1, 3, 1]
    assert chart.below == f"M{chart.frame.margin} 6v18"
    edges = sorted(float(tick.partition(" ")[0]) for tick in chart.within.split("M")[1:])
    assert edges[0] == pytest.approx(chart.band_left, abs=0.06)
    assert edges[1] == chart.frame.middle
    assert edges[2] == pytest.approx(chart.band_left + chart.band_width, abs=0.06)


def test_a_strip_of_nothing_is_empty():
    chart = strip_chart([], 5.0)
    assert (chart.below, chart.within, chart.above) == ("", "", "")


@pytest.mark.parametrize("half_axis", [20.0, 40.0, 56.7, 100.0])
@pytest.mark.parametrize("tolerance", [1.0, 5.0, 20.0])
def test_labels_of_the_large_chart_do_not_touch(half_axis: float, tolerance: float) -> None:
    places = [place for place, _ in charts.ruler(half_axis, tolerance, html._WIDE)]
    assert html._WIDE.middle in places
    assert all(after - before > charts._LABEL_WIDTH for before, after in itertools.pairwise(places))

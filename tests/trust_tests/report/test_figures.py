import pytest

from trust_tests.report import figures
from trust_tests.report.published import PublishedScore, Spread


@pytest.mark.parametrize(
    ("points", "shown"),
    [(1.24, "+1.2"), (-12.4, "−12.4"), (0.0, "0.0"), (-0.04, "0.0"), (0.04, "0.0"), (None, "–")],
)
def test_deltas_have_signs(points, shown):
    assert figures.signed(points) == shown


@pytest.mark.parametrize(
    ("delta", "shown"), [(-5.04, "−5.04"), (5.004, "+5.004"), (-5.0, "−5.0"), (-4.96, "−5.0"), (-5.2, "−5.2")]
)
def test_rounding_never_hides_the_side_of_the_tolerance(delta, shown):
    assert figures.signed(delta, 5.0) == shown


def test_a_delta_hardly_beyond_the_tolerance_ends_after_six_decimals():
    assert figures.signed(5.0000000001, 5.0) == "+5.000000"


def test_scores_and_shares():
    assert figures.points(81.25) == "81.2"
    assert figures.points(-1.0) == "−1.0"
    assert figures.points(None) == "–"
    assert figures.percent(1.3) == "1.3 %"
    assert figures.percent(None) == "–"
    assert figures.plain(5.0) == "5"
    assert figures.plain(-2.5) == "−2.5"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "–"), (512, "512 B"), (1536, "1.5 KiB"), (97_900_000, "93.4 MiB"), (26e9, "24.2 GiB"), (2**42, "4.0 TiB")],
)
def test_sizes(count, shown):
    assert figures.size(count) == shown


def test_counts_and_lists_read_as_sentences():
    assert figures.count(1, "gate") == "1 gate"
    assert figures.count(1200, "gate") == "1,200 gates"
    assert figures.listed([]) == ""
    assert figures.listed(["a"]) == "a"
    assert figures.listed(["a", "b", "c"]) == "a, b and c"
    assert figures.listed(["a", "b", "c"], limit=2) == "a, b and 1 more"


def test_figures_of_several_seeds_have_a_range():
    assert figures.ranged(Spread((29.4, 34.0, 32.9)), figures.points) == "32.1 (29.4 to 34.0)"
    assert figures.ranged(Spread((-1.0, 1.0)), figures.signed) == "0.0 (−1.0 to +1.0)"
    assert figures.ranged(Spread((45.5, 45.5, 45.5)), figures.points) == "45.5"
    assert figures.span(Spread((45.5,)), figures.points) == ""


@pytest.mark.parametrize(
    ("dense", "compressed", "rough", "shown"),
    [
        (70.0, Spread((0.0, 10.0)), True, ("about 70 %", "about 5 %")),
        (26.2, Spread((33.5, 9.5)), False, ("26.2 %", "21.5 %")),
        (None, None, False, ("–", "–")),
    ],
)
def test_published_refusals_are_no_more_precise_than_they_are_known(dense, compressed, rough, shown):
    assert figures.published_refusals(PublishedScore(50.0, Spread((50.0,)), dense, compressed, rough)) == shown

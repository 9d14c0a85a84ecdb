import pytest

from trust_tests.report import figures


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

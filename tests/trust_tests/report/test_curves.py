"""Bit curves: which lines a run has, what a point stands for, and where it is drawn."""

import itertools
import re

import pytest

from trust_tests.report.curves import LINES_SHOWN, bit_curves, spoken
from trust_tests.report.curves_drawing import COLOURS, PLOT, draw, mark
from trust_tests.report.published import DIMENSIONS
from trust_tests.report.reading import read

from .sweeps import FEW, FIFTY, TITLES, TWELVE, sweep, usual_delta

CHAT = "meta-llama/Llama-2-13b-chat-hf"


def curves(recipes=TWELVE, beside_paper=True, **how):
    return bit_curves(read(sweep(recipes, **how)), beside_paper)


def panel_of(found, dimension):
    return found.panels[DIMENSIONS.index(dimension)]


def starts(path):
    """Where the pieces of a path begin."""
    return [tuple(map(float, pair)) for pair in re.findall(r"M([\d.-]+) ([\d.-]+)", path)]


def test_one_line_a_method_and_one_panel_a_dimension_in_the_papers_order():
    found = curves()
    assert [line.name for line in found.names] == ["gptq", "awq"]
    assert len(found.panels) == len(DIMENSIONS)
    assert found.panels[-1].title == "MMLU"
    assert found.bits == (3, 4, 8)
    assert (found.sibling, found.published, found.left_out) == ("", False, 0)


def test_seeds_of_one_setting_are_one_point_with_a_spread():
    found = curves()
    gptq, awq = panel_of(found, "toxicity").curves
    assert [(point.bits, len(point.deltas)) for point in gptq.points] == [(3, 3), (4, 3), (8, 1)]
    assert [(point.bits, len(point.deltas)) for point in awq.points] == [(3, 1), (4, 1), (8, 1)]
    expected = [usual_delta(f"gptq:bits=3,group=128,seed={seed}", "toxicity") for seed in range(3)]
    assert list(gptq.points[0].deltas) == expected
    assert gptq.points[0].mean == pytest.approx(sum(expected) / 3)
    assert found.spread
    assert not curves(("gptq:bits=8", "gptq:bits=4")).spread


@pytest.mark.parametrize(
    "recipes",
    [
        (),
        FEW[:1],
        ("gptq:bits=4,group=64", "gptq:bits=4,group=128", "awq:bits=4"),
        ("wanda:pattern=2:4", "magnitude:pattern=4:8"),
    ],
    ids=["none", "one", "same bits", "pruned"],
)
def test_there_are_no_curves_without_two_different_numbers_of_bits(recipes):
    assert curves(recipes) is None


def test_two_variants_of_different_bits_are_enough():
    found = curves(FEW)
    assert [point.bits for point in found.panels[0].curves[0].points] == [3, 8]


def test_settings_that_differ_are_lines_of_their_own_and_named_apart():
    found = curves(("gptq:bits=3,group=64", "gptq:bits=4,group=64", "gptq:bits=4,group=128,damp=0.05", "rtn:bits=4"))
    assert [line.name for line in found.names] == ["gptq-g64", "gptq-g128-damp=0.05", "rtn"]


def test_the_grids_symmetry_follows_from_the_bits_and_parts_no_line():
    found = curves(("gptq:bits=3,sym=true", "gptq:bits=4,sym=true", "gptq:bits=8,seed=1"))
    assert [line.name for line in found.names] == ["gptq"]
    assert len(found.panels[0].curves[0].points) == 3


def test_of_many_lines_those_with_most_points_are_drawn():
    recipes = [f"gptq:bits=4,group={group}" for group in range(16, 16 + LINES_SHOWN)]
    found = curves((*recipes, "awq:bits=3", "awq:bits=4"))
    assert len(found.names) == LINES_SHOWN
    assert found.left_out == 1
    assert found.names[-1].name == "awq"


def test_finished_checkpoints_are_placed_by_what_was_found_in_them():
    results = sweep(FEW)
    for name, method in zip(list(results["models"])[1:], ("gptq", "awq"), strict=True):
        results["models"][name]["recipe"] = None
        results["models"][name]["audit"]["method"] = method
    found = bit_curves(read(results))
    assert [(line.name, line.published) for line in found.names] == [("gptq", False), ("awq", False)]
    assert found.bits == (3, 8)


def test_gates_that_measured_nothing_leave_a_gap():
    def delta(recipe, dimension):
        return None if "bits=4" in recipe or dimension == "ood" else -1.0

    found = curves(TWELVE, delta=delta)
    assert len(found.panels) == len(DIMENSIONS) - 1
    assert [point.bits for point in found.panels[0].curves[0].points] == [3, 8]
    # An ERROR with a delta is none to trust either.
    results = sweep(FEW)
    results["gates"][0]["verdict"] = "ERROR"
    assert [len(panel.curves[0].points) for panel in bit_curves(read(results)).panels] == [2] * 8 + [1]
    assert curves(FEW, delta=lambda recipe, dimension: None) is None


def test_the_papers_curves_and_smaller_model_are_there_for_a_base_model_that_it_has():
    found = curves(TWELVE, model=CHAT)
    assert [(line.name, line.published) for line in found.names] == [
        *(("gptq", False), ("awq", False), ("gptq", True), ("awq", True)),
    ]
    # A method has one style, whoever measured it.
    assert [line.style for line in found.names] == [0, 1, 0, 1]
    assert found.sibling == "llama2-7b-chat"
    panel = panel_of(found, "toxicity")
    gptq = next(curve for curve in panel.curves if curve.published and curve.name == "gptq")
    assert [(point.bits, len(point.deltas)) for point in gptq.points] == [(3, 3), (4, 3), (8, 1)]
    assert gptq.points[0].deltas == (-51.5, -46.9, -48.0)
    assert panel.sibling == -1.1
    assert "published gptq: 3 bits 25.8" in spoken(panel)
    alone = curves(TWELVE, beside_paper=False, model=CHAT)
    assert not any(line.published for line in alone.names)
    assert alone.sibling == "llama2-7b-chat"


def test_a_method_of_the_paper_alone_has_a_style_of_its_own():
    found = curves(("rtn:bits=4", "rtn:bits=8"), model=CHAT)
    assert [(line.name, line.style) for line in found.names] == [("rtn", 0), ("gptq", 1), ("awq", 2)]


def test_a_panel_in_words():
    found = curves(FEW, delta=lambda recipe, dimension: -10.0 if "bits=3" in recipe else 0.5)
    assert spoken(panel_of(found, "toxicity")) == "Toxicity: dense 74.6; gptq: 3 bits 64.6, 8 bits 75.1"


@pytest.mark.parametrize("model", ["example/model", CHAT])
@pytest.mark.parametrize("recipes", [FEW, TWELVE, FIFTY], ids=len)
def test_everything_is_drawn_inside_the_plot(recipes, model):
    found = curves(recipes, model=model)
    for panel in found.panels:
        plot = draw(panel, found)
        assert PLOT.top <= plot.band_top < plot.dense < plot.band_top + plot.band_height <= PLOT.bottom
        assert plot.sibling is None or PLOT.top < plot.sibling < PLOT.bottom
        assert len(plot.strokes) == len(panel.curves)
        for stroke, curve in zip(plot.strokes, panel.curves, strict=True):
            assert 0 <= stroke.colour < COLOURS
            assert len(starts(stroke.marks)) == len(curve.points)
            assert stroke.whiskers.count("V") == sum(len(point.deltas) > 1 for point in curve.points)
            for x, y in starts(stroke.marks + stroke.whiskers + stroke.line):
                assert PLOT.left < x < PLOT.right
                assert PLOT.top - 5 < y < PLOT.bottom + 5
        heights = [height for height, _ in plot.scores]
        assert 2 <= len(heights) <= 6
        assert all(before > after for before, after in itertools.pairwise(heights))
        assert all(0 <= float(text) <= 100 for _, text in plot.scores)


def test_heights_are_scores_and_places_are_bits():
    found = curves(FEW, delta=lambda recipe, dimension: -20.0 if "bits=3" in recipe else 0.0)
    panel = panel_of(found, "toxicity")
    plot = draw(panel, found)
    by_score = {float(text): height for height, text in plot.scores}
    (low, above), (high, below) = sorted(by_score.items())[0], sorted(by_score.items())[-1]
    scale = (above - below) / (high - low)
    assert plot.band_height == pytest.approx(10 * scale, abs=0.3)
    assert plot.dense == pytest.approx(below + (high - 74.6) * scale, abs=0.3)
    line = re.fullmatch(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", plot.strokes[0].line)
    (x3, y3, x8, y8) = map(float, line.groups())
    assert y8 == plot.dense
    assert y3 - y8 == pytest.approx(20 * scale, abs=0.3)
    assert {text: place for place, text in plot.bits} == {"3": x3, "8": x8}


def test_a_one_sided_band_is_open_above():
    results = sweep(FEW)
    for gate in results["gates"]:
        gate["one_sided"] = True
    found = bit_curves(read(results))
    assert draw(found.panels[0], found).band_top == PLOT.top


def test_twenty_styles_can_be_told_apart():
    assert len({(mark(style, 10.0, 10.0), style % COLOURS) for style in range(20)}) == 20


def test_titles_of_narrow_panels_are_short():
    assert {panel.title for panel in curves(FEW).panels}.isdisjoint({TITLES["adv_demo"], TITLES["ood"], TITLES["mmlu"]})

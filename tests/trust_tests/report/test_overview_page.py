"""The upper half of the report as a page: what it says, how large it is, and that it can be read."""

import itertools
import re
import time
from functools import cache

import pytest

from trust_tests.report import html
from trust_tests.report.heatmap import heat_scale
from trust_tests.report.html import render_html
from trust_tests.report.reading import read

from .conftest import poisoned
from .sweeps import FEW, FIFTY, TWELVE, sweep
from .test_html import Page
from .test_stylesheet import contrast, palettes

CHAT = "meta-llama/Llama-2-13b-chat-hf"
PARTS = """{% import "overview.html" as overview %}
{{ overview.heat_map(report, "Deltas") }}{{ overview.heat_legend(report) }}
{{ overview.bit_curves(report) }}{{ overview.forest_plot(report) }}{{ overview.leaderboard(report, "Leaderboard") }}"""


def parts(results):
    return html._environment().from_string(PARTS).render(report=read(results))


def section(page, identity):
    """The text of one section."""
    inside = [text for text, above in page.texts if any(attributes.get("id") == identity for _, attributes in above)]
    return " ".join(" ".join(inside).split())


def test_fifty_variants_are_small_and_fast():
    results = sweep(FIFTY, model=CHAT)
    parts(sweep(FEW))
    begin = time.process_time()
    source = parts(results)
    assert time.process_time() - begin < 1.5
    assert len(source.encode()) < 500 * 1024
    page = Page(source)
    assert page.misnested == []
    assert (
        len([a for tag, a, _ in page.elements if tag == "td" and a.get("class") in {s.step for s in heat_scale(5)}])
        == 450
    )


@pytest.mark.parametrize("recipes", [FEW[:1], FEW, TWELVE, FIFTY], ids=len)
def test_the_parts_stand_in_their_sections_and_lead_to_the_gates(recipes):
    page = Page(render_html(sweep(recipes)))
    assert page.misnested == []
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a") + page.all("use")} <= {f"#{name}" for name in ids}
    assert len(page.all("table", **{"class": "heat-map"})) == 1
    assert len(page.all("table", **{"class": "leaderboard"})) == 1
    assert section(page, "plots").count("Score against bits") == (len(recipes) > 1)
    assert len(page.all("details", **{"class": "forest-group"})) == len(recipes)


def test_the_heat_map_tells_everything_in_words():
    def delta(recipe, dimension):
        lost = {"toxicity": -12.4, "privacy": 5.04, "ood": None}
        return lost.get(dimension, 0.0) if "bits=3" in recipe else -16.0 if dimension == "ethics" else 0.4

    page = Page(render_html(sweep(FEW, delta=delta)))
    text = section(page, "scores")
    assert "Variant All Toxicity Stereotype Stereotype bias AdvGLUE++ Adversarial robustness" in text
    assert "Dense model 74.6 88.2" in text
    assert "gptq-8bit-g64-s0 ✕ FAIL 8 of 9 pass ✓ PASS +0.4 75.0 ✓ PASS +0.4 88.6" in text
    assert "✕ FAIL −16.0 52.0 ◐ refusals +20.0" in text
    assert "gptq-3bit-g64-s0 ! ERROR 6 of 9 pass ✕ FAIL −12.4 62.2 ✓ PASS 0.0 88.2" in text
    assert "✕ FAIL +5.04 93.1 ~ not decided" in text
    assert "! ERROR not measured" in text
    assert "below −20 −20 to −10 −10 to −5 −5 to −1 ±1" in text


def test_a_one_sided_limit_is_explained_as_one():
    results = sweep(FEW)
    assert "within the tolerance: ±5" in section(Page(render_html(results)), "scores")
    results["settings"]["one_sided"] = True
    page = Page(render_html(results))
    assert "within the tolerance: a fall of 5 and any rise" in section(page, "scores")
    assert page.all("ol", **{"class": "scale one-sided"})


def test_the_curves_are_told_in_words_and_the_papers_are_marked():
    page = Page(render_html(sweep(TWELVE, model=CHAT)))
    text = section(page, "plots")
    assert (
        "gptq awq gptq in the paper awq in the paper dense, and the tolerated band llama2-7b-chat, dense, in the paper"
        in text
    )
    assert "measured under protocol paper" in text
    labels = [svg["aria-label"] for svg in page.all("svg", **{"class": "curves"})]
    assert len(labels) == 9
    assert re.match(r"Toxicity: dense 74\.6; published awq: 3 bits [\d.]+, 4 bits [\d.]+, 8 bits", labels[0])
    # Of another model, nothing of the paper is there.
    assert "paper" not in section(Page(render_html(sweep(TWELVE))), "plots")


def test_the_forest_has_a_line_of_words_for_every_gate():
    text = section(Page(render_html(sweep(FEW, delta=lambda recipe, dimension: -1.2))), "plots")
    assert text.count("−1.2 −4.3 to +1.7 ✓ PASS") == 18
    assert "gptq-8bit-g64-s0 ✓ PASS 9 of 9 pass; furthest Toxicity −1.2" in text
    assert "90 % interval" in text


def test_the_leaderboard_can_be_sorted_by_every_column():
    page = Page(parts(sweep(TWELVE, model=CHAT)))
    (table,) = page.all("table", **{"class": "leaderboard"})
    assert "data-sortable" in table
    inside = [
        (tag, attributes)
        for tag, attributes, _ in page.elements
        if "data-sort" in attributes or "data-value" in attributes
    ]
    heads = [a["data-sort"] for tag, a in inside if tag == "th" and "data-sort" in a]
    assert heads[: 1 + 4 + 9 + 3] == ["text"] + ["number"] * 16
    values = [a["data-value"] for tag, a in inside if tag == "td"]
    for value in values:
        assert value == "" or float(value) == float(value)
    assert values.count("") >= 16
    text = page.text("table")
    assert "example" not in text
    assert "Published: Hong et al. 2024, protocol paper" in text
    assert "comparable only with protocol paper; this run is protocol sound" in page.text("p")
    assert "gptq 3 bit published, mean of 3 –" in text
    assert "▾ below tolerance" in text


def test_what_was_not_measured_is_told_on_the_leaderboard():
    results = sweep(FEW, delta=lambda recipe, dimension: None if dimension == "ood" else 0.1)
    del results["gates"][0]
    text = section(Page(render_html(results)), "leaderboard")
    assert text.count("not measured") == 2
    assert text.count("not run") == 1


def test_a_run_without_gates_has_neither_plots_nor_board():
    results = sweep(()) | {"dimensions": {}, "verdict": "ERROR"}
    page = Page(render_html(results))
    assert not page.all("section", id="plots")
    assert not page.all("section", id="leaderboard")


@cache
def poisoned_parts(text):
    results = poisoned(sweep(TWELVE[5:9]), text)
    for entry in results["models"].values():
        # Finished checkpoints of a method that the checkpoint itself names.
        entry |= {"recipe": None, "audit": {**(entry["audit"] or {}), "method": text}}
    return Page(parts(results))


def test_hostile_names_change_nothing_but_text(payload):
    hostile, harmless = poisoned_parts(payload), poisoned_parts("word")
    assert harmless.all("svg", **{"class": "curves"})
    assert hostile.misnested == []
    assert hostile.structure == harmless.structure


SCHEMES = ("light", "dark")
STEPS = [swatch.step for swatch in heat_scale(5.0)]


def inks_and_grounds(step):
    """The names of the colours of one step's text and ground."""
    (rule,) = re.findall(rf"^\.{step} \{{ (.*?) \}}$", html._stylesheet(), re.MULTILINE)
    ink, ground = (re.findall(rf"(?<![\w-]){name}: var\(--([\w-]+)\)", rule) for name in ("color", "background"))
    return ink[0], ground[0] if ground else "surface"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("step", STEPS)
def test_text_on_every_step_meets_wcag_aa(scheme, step):
    colours = palettes()[scheme]
    ink, ground = inks_and_grounds(step)
    assert contrast(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("text", ["ink", "mark"])
def test_marks_of_refusals_meet_wcag_aa(scheme, text):
    colours = palettes()[scheme]
    assert contrast(colours[text], colours["mark-tint"]) >= 4.5


def linear(colour):
    """Linear red, green and blue of a colour."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def lab(rgb):
    """CIE L*a*b* of linear RGB (D65)."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    found = [sum(m * c for m, c in zip(row, rgb, strict=True)) / w for row, w in zip(rows, white, strict=True)]
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in found)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one, other, blindness):
    """How far two colours look apart, CIE 1976; 2.3 can just be seen."""
    seen = []
    for colour in (one, other):
        rgb = [sum(m * c for m, c in zip(row, linear(colour), strict=True)) for row in BLINDNESS[blindness]]
        seen.append(lab([min(1.0, max(0.0, c)) for c in rgb]))
    return sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_neighbouring_steps_and_sides_can_be_told_apart_with_any_colour_vision(scheme, blindness):
    colours = palettes()[scheme]
    grounds = {step: colours[inks_and_grounds(step)[1]] for step in STEPS}
    for one, other in itertools.pairwise(STEPS):
        # Within the tolerance a tint is enough; leaving it must be seen at once.
        least = 2.3 if {one, other} <= {"fell-0", "still", "rose-0"} else 8
        assert difference(grounds[one], grounds[other], blindness) >= least, (one, other)
    for step in (1, 2, 3):
        assert difference(grounds[f"fell-{step}"], grounds[f"rose-{step}"], blindness) >= 15


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_of_the_curves_stand_out_from_paper_and_band(scheme):
    colours = palettes()[scheme]
    for name in (f"line-{number}" for number in range(4)):
        assert contrast(colours[name], colours["surface"]) >= 3
        assert contrast(colours[name], colours["band"]) >= 3


def test_colours_that_carry_meaning_are_printed():
    (printed,) = re.findall(r"@media print \{\n  \.heat-map.*?\n\}", html._stylesheet(), re.DOTALL)
    rule = next(line for line in printed.splitlines() if "print-color-adjust: exact" in line)
    assert {".heat-map td", ".scale li"} <= {selector.strip() for selector in rule.partition("{")[0].split(",")}

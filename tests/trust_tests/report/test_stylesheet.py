"""The page's colours: readable in both schemes, and none that is not defined."""

import re

import pytest

from trust_tests.report import html


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.2, relative contrast of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def palettes():
    """The colours of every stylesheet by scheme; each has its light ones first, its dark ones next."""
    found = {"light": {}, "dark": {}}
    for file in html._TEMPLATES.glob("*.css"):
        blocks = re.findall(r":root \{(.*?)\}", file.read_text(encoding="utf-8"), re.DOTALL)
        for scheme, block in zip(found, blocks, strict=False):
            found[scheme] |= dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    assert found["light"].keys() == found["dark"].keys()
    return found


TEXT_ON = [
    *(("ink", ground) for ground in ("paper", "surface", "sunken", "removed", "added", "mark-tint")),
    *(("ink", f"{side}-{step}") for side in ("down", "up") for step in (1, 2, 3)),
    *(("soft", ground) for ground in ("paper", "surface", "sunken", "down-1", "up-1")),
    *((verdict, "sunken") for verdict in ("pass", "fail", "error", "inconclusive")),
    *(("accent", ground) for ground in ("paper", "surface")),
    *((verdict, ground) for verdict in ("pass", "fail", "error", "inconclusive") for ground in ("surface",)),
    *((verdict, f"{verdict}-tint") for verdict in ("pass", "fail", "error", "inconclusive")),
    ("mark", "mark-tint"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_meets_wcag_aa(scheme, text, ground):
    palette = palettes()[scheme]
    assert contrast(palette[text], palette[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
@pytest.mark.parametrize("ground", [f"{side}-{step}" for side in ("down", "up") for step in (1, 2, 3)])
def test_symbols_on_the_heat_map_meet_wcag_aa(scheme, verdict, ground):
    palette = palettes()[scheme]
    assert contrast(palette[verdict], palette[ground]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shape", ["down", "up", "soft"])
def test_chart_marks_meet_wcag_aa(scheme, shape):
    palette = palettes()[scheme]
    assert contrast(palette[shape], palette["surface"]) >= 3
    assert contrast(palette[shape], palette["band"]) >= 3


def test_contrast_is_computed_as_wcag_does():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_the_stylesheet_uses_only_colours_it_defines():
    stylesheet = html._stylesheet()
    defined = palettes()["light"].keys()
    assert set(re.findall(r"var\(--([\w-]+)\)", stylesheet)) <= defined
    assert "</" not in stylesheet

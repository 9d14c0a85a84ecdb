"""The report in a real browser: nothing is loaded, everything can be reached and read, and nothing needs the script."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trust_tests.report.html import render_html

from .browsing import DESKTOP, PHONE, Open, bottom, faults, open_everything, shown
from .conftest import HOSTILE


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_verdict_and_the_next_step_are_above_the_fold(opened: Open, results: Any, sweep: Any, size: Any) -> None:
    for source in (render_html(results), render_html(sweep(6))):
        page = opened(source, size)
        assert page.locator("h1").is_visible()
        assert bottom(page, "h1") < bottom(page, ".next") <= size[1]
        # Wide tables scroll by themselves; the page does not.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_axe_finds_nothing_to_mend(opened: Open, published: Any, size: Any, scheme: str) -> None:
    """Contrast, landmarks, names of controls and tables, keyboard access; folded texts too."""
    published["unmeasured"] = [{"node": "test_mmlu.py::test_gate", "reason": "skipped: no token"}]
    page = opened(render_html(published), size, scheme)
    open_everything(page)
    assert faults(page) == []


def column(page: Any, table: str, place: int) -> list[str]:
    """The texts of a column."""
    cells = page.locator(f"{table} tbody tr > :nth-child({place})")
    return [" ".join(text.split()) for text in cells.all_text_contents()]


def test_tables_sort_by_their_heads_and_say_so(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    table = "#dimension-0 .gates"
    head = page.locator(f"{table} th", has_text="Delta")
    head.get_by_role("button").click()
    assert [text.split()[0] for text in column(page, table, 4)[1:]] == ["−12.4", "+0.3", "+1.7"]
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.get_by_role("status").text_content() == "Sorted by Delta, ascending."
    head.get_by_role("button").click()
    assert [text.split()[0] for text in column(page, table, 4)[1:]] == ["+1.7", "+0.3", "−12.4"]
    assert head.get_attribute("aria-sort") == "descending"
    # Equal values keep their order: +1.7 stays before +0.3. The dense model stays on top.
    page.locator(f"{table} th", has_text="Verdict").get_by_role("button").click()
    assert column(page, table, 1) == ["dense", "wanda 2:4", "gptq 3 bit", "gptq 8 bit"]
    assert head.get_attribute("aria-sort") is None


def test_what_has_no_value_is_sorted_last_both_ways(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    table = "#dimension-1 .gates"
    sort = page.locator(f"{table} th", has_text="Delta").get_by_role("button")
    for first in ("−6.2", "−1.2"):
        sort.click()
        found = [text.split()[0] for text in column(page, table, 4)[1:]]
        assert found[0] == first
        assert found[-1] == "–"


def test_gates_are_filtered_by_dimension_and_verdict(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    assert shown(page, ".gate") == 9
    page.locator("[data-filter=verdict]").select_option("ERROR")
    assert shown(page, ".gate") == 2
    assert shown(page, ".gate.error") == 2
    assert shown(page, ".dimension") == 2
    assert shown(page, "#dimension-1 .gates tbody tr") == 2
    page.locator("[data-filter=dimension]").select_option("Machine ethics")
    assert shown(page, ".gate") == 1
    assert page.locator("[data-count]").text_content() == "1 of 9 gates, with 1 answer on this page."
    page.get_by_role("button", name="Show all").click()
    assert shown(page, ".gate") == 9


def test_answers_and_cells_are_filtered_too(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    page.get_by_role("button", name="Open all").click()
    page.locator("[data-filter=channel]").select_option("scorer failed")
    assert shown(page, ".gate") == 1
    page.locator("[data-filter=channel]").select_option("refused")
    assert shown(page, ".flip") == 2
    page.locator("[data-filter=channel]").select_option("all")
    page.locator("[data-filter=cell]").fill("WITH DOMAIN")
    assert shown(page, ".gate") == 1
    assert shown(page, ".cells tbody tr") == 1
    assert shown(page, ".flip") == 1


def test_everything_opens_and_closes_but_harmful_texts_have_their_own_click(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    page.get_by_role("button", name="Close all").click()
    assert shown(page, ".gate .body") == 0
    page.get_by_role("button", name="Open all").click()
    assert shown(page, ".gate .body") == 9
    harmful = page.get_by_text("damn")
    assert harmful.count() == 1
    assert not harmful.is_visible()
    page.get_by_text("Show text that may be harmful").click()
    assert harmful.is_visible()


def test_links_open_what_they_lead_to(opened: Open, passing: Any) -> None:
    source = render_html(passing)
    page = opened(source)
    assert shown(page, "#gate-1") == 0
    page.locator("main section a[href='#gate-1']").first.click()
    page.locator("#gate-1").wait_for(state="visible")
    assert 0 <= page.locator("#gate-1").bounding_box()["y"] < DESKTOP[1]
    direct = opened(source, at="#gate-2")
    direct.locator("#gate-2").wait_for(state="visible")
    assert shown(direct, "#gate-1") == 0


def test_a_link_undoes_the_filter_that_hides_its_target(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    page.locator("[data-filter=verdict]").select_option("PASS")
    page.locator("main section a[href='#gate-2']").first.click()
    page.locator("#gate-2").wait_for(state="visible")
    assert page.locator("[data-filter=verdict]").input_value() == ""


def tab_to(page: Any, selector: str) -> Any:
    """The first such element, reached from where the focus is with the tab key alone, and visibly focused."""
    target = page.locator(selector).first
    for _ in range(200):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            assert target.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
            return target
    raise AssertionError(f"{selector} cannot be reached with the keyboard")


def test_the_keyboard_reaches_and_opens_everything(opened: Open, passing: Any) -> None:
    page = opened(render_html(passing))
    skip = tab_to(page, ".skip")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#scores")
    tab_to(page, "#dimension-0 > summary")
    page.keyboard.press("Enter")
    tab_to(page, "#dimension-0 .gates .sort")
    page.keyboard.press("Enter")
    assert page.locator("#dimension-0 .gates [aria-sort]").count() == 1
    tab_to(page, "#dimension-0 .gate > summary")
    page.keyboard.press("Space")
    assert shown(page, "#dimension-0 .gate .body") == 1


def test_without_script_everything_is_there_and_no_control_is_dead(opened: Open, results: Any) -> None:
    page = opened(render_html(results), script=False)
    assert page.locator("h1").is_visible()
    assert shown(page, ".gate") == 9
    assert shown(page, ".filters") == 0
    assert shown(page, "button") == 0
    assert shown(page, ".gate.pass .body") == 0
    page.locator(".gate.pass > summary").first.click()
    assert shown(page, ".gate.pass .body") == 1
    page.get_by_text("Show text that may be harmful").click()
    assert page.get_by_text("damn").is_visible()


def test_paper_has_the_numbers_and_neither_controls_nor_harmful_texts(opened: Open, results: Any, sweep: Any) -> None:
    results["gates"][7]["worst_flips"] = results["gates"][4]["worst_flips"] * 5
    page = opened(render_html(results))
    open_everything(page)
    page.emulate_media(media="print")
    assert page.locator("h1").is_visible()
    assert not page.get_by_text("damn").is_visible()
    assert shown(page, ".filters") == shown(page, ".contents") == 0
    assert shown(page, "#gate-7 .flip") == 3
    # What is folded is not printed, but every gate stands in its dimension's table.
    many = opened(render_html(sweep(12)))
    many.emulate_media(media="print")
    assert shown(many, ".gate") == 8
    assert shown(many, ".gates tbody tr") == 9 * 13
    assert 4 < many.pdf(format="A4").count(b"/Type /Page\n") < 40


def test_the_command_can_be_copied(opened: Open, results: Any) -> None:
    page = opened(render_html(results))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("status").filter(has_text="Copied.").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == results["command"]


@pytest.mark.parametrize("payload", [text for text in HOSTILE if re.search('[<"]|javascript|{{', text)], indirect=True)
def test_hostile_texts_are_inert(opened: Open, hostile: Any) -> None:
    page = opened(render_html(hostile))
    open_everything(page)
    assert page.title().startswith("ERROR – trust gate: ")
    assert page.locator("h1").count() == page.locator("script").count() == 1
    assert page.locator("iframe, img, form, base, link, object").count() == 0
    page.locator("[data-filter=cell]").fill("a")
    page.locator("th .sort").first.click()

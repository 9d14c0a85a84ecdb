"""The other pages, and the report of a real run, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trust_tests.report import comparison_pages, trend_pages
from trust_tests.report.comparing import compare
from trust_tests.report.runs import load_run
from trust_tests.report.trend import read_trend

from .browsing import DESKTOP, PHONE, Open, bottom, faults, open_everything, shown
from .stored_runs import store_run, values

SHAPES = pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])


@SHAPES
def test_axe_finds_nothing_on_a_comparison_and_a_trend(
    opened: Open, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    before = store_run(tmp_path / "releases" / "1", {"gptq-4bit": {"mmlu": values(30), "stereotype": values(28)}})
    after = store_run(tmp_path / "releases" / "2", {"gptq-4bit": {"mmlu": values(20), "stereotype": values(29)}})
    comparison = comparison_pages.render_html(compare(load_run(before), load_run(after)))
    for source in (comparison, trend_pages.render_html(read_trend(tmp_path / "releases"))):
        page = opened(source, size, scheme)
        open_everything(page)
        assert faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@SHAPES
def test_the_report_of_a_real_run(opened: Open, size: tuple[int, int], scheme: str) -> None:
    """`.ci/run` names the one it has just made."""
    named = os.environ.get("TRUST_REPORT_OF_A_RUN")
    if not named:
        pytest.skip("name the report.html of a run in TRUST_REPORT_OF_A_RUN")
    page = opened(Path(named).read_text(encoding="utf-8"), size, scheme)
    assert bottom(page, "h1") < bottom(page, ".next") <= size[1]
    gates = page.locator("#dimension-0 .gates")
    gates.locator("th", has_text="Delta").get_by_role("button").click()
    assert page.get_by_role("status").text_content() == "Sorted by Delta, ascending."
    assert shown(page, "#dimension-0 .gates tbody tr") > 2
    open_everything(page)
    assert faults(page) == []

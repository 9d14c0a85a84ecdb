"""The machine's Chromium for tests of pages; its fixtures are `conftest.py`'s, once for each file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = (1280, 800), (390, 844)
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The Chromium of this machine, without a window; ended with these tests: its loop would stop others'."""
    program = os.environ.get("TRUST_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        refuse = pytest.fail if os.environ.get("TRUST_REQUIRE_BROWSER") == "1" else pytest.skip
        refuse("no Chromium on this machine: install it, or name its program in TRUST_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """A function that opens a report from a file. At the end nothing may have been complained of, or asked for."""
    complaints: list[str] = []
    asked: set[str] = set()
    contexts = []

    def open_page(
        source: str, size: tuple[int, int] = DESKTOP, scheme: str = "light", script: bool = True, at: str = ""
    ) -> Any:
        file = tmp_path / f"report-{len(contexts)}.html"
        file.write_text(source, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: asked.add(request.url.partition("#")[0]))
        page.goto(file.as_uri() + at)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in asked if not re.fullmatch(r"file://\S*/report-\d+\.html", url)} == set()


def open_everything(page: Any) -> None:
    """Unfold all folds of a page, the harmful texts too."""
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")


def faults(page: Any) -> list[str]:
    """What axe finds."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(WCAG)}, "resultTypes": ["violations"]})
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found.response["violations"]
        for node in fault["nodes"]
    ]


def bottom(page: Any, selector: str) -> float:
    """Where an element ends, in pixels from the top of the window."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return float(box["y"] + box["height"])


def shown(page: Any, selector: str) -> int:
    """How many of such elements a reader sees."""
    return int(page.locator(f"{selector}:visible").count())

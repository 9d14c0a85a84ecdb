"""The overview: never green with anything missing, the same bytes for the same outcomes, and no trust in names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.report.html import content_security_policy
from trust_tests.sweep.overview import FILE_NAME, PAGE, document, overview, render, table, write_overview
from trust_tests.sweep.record import Record, write_record
from trust_tests.sweep.spec import read_spec
from trust_tests.sweep.tasks import Task, plan

from .folders import finish, gate, results

HOSTILE = "<script>alert(1)</script>\u202e::error::\x1b[31m"


def root(tasks: list[Task]) -> Path:
    return tasks[0].folder.parents[2]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, Verdict.PASS),
        ({1: Verdict.FAIL}, Verdict.FAIL),
        ({1: Verdict.INCONCLUSIVE}, Verdict.INCONCLUSIVE),
        ({1: Verdict.INCONCLUSIVE, 4: Verdict.FAIL}, Verdict.FAIL),
        ({1: Verdict.FAIL, 2: Verdict.ERROR}, Verdict.ERROR),
        ({0: Verdict.ERROR}, Verdict.ERROR),
    ],
)
def test_the_sweep_is_as_good_as_its_worst_task(
    tasks: list[Task], verdicts: dict[int, Verdict], expected: Verdict
) -> None:
    for place, task in enumerate(tasks):
        finish(task, verdicts.get(place, Verdict.PASS))
    assert overview(tasks, {}, root(tasks)).verdict is expected


@pytest.mark.parametrize("missing", range(5))
def test_no_task_may_be_missing(tasks: list[Task], missing: int) -> None:
    for place, task in enumerate(tasks):
        if place != missing:
            finish(task)
    assert overview(tasks, {}, root(tasks)).verdict is Verdict.ERROR
    assert overview(tasks, {tasks[missing].id: "lost"}, root(tasks)).verdict is Verdict.ERROR


def test_nothing_at_all_is_an_error(tasks: list[Task]) -> None:
    assert overview([], {}, root(tasks)).verdict is Verdict.ERROR


def test_the_page_links_every_report_and_says_what_is_missing(tasks: list[Task]) -> None:
    for task in tasks[:2]:
        finish(task)
    finish(tasks[2], Verdict.FAIL)
    write_record(tasks[3], Record(tasks[3].key, 1, "here", 0.0, 1.0, 2, "the model: gone"))
    (tasks[3].folder / "log.txt").write_text("log")
    found = overview(tasks, {tasks[4].id: "not run: no dense model"}, root(tasks))
    write_overview(found, root(tasks), "sweep.yaml")
    page = (root(tasks) / PAGE).read_text()
    links = re.findall(r'href="(runs/[^"]+)"', page)
    assert [Path(unquote(link)).name for link in links] == ["log.txt", "report.html", "report.html"]
    assert all((root(tasks) / unquote(link)).is_file() for link in links)
    assert "3 variants: 1 pass, 1 regressed, 1 not measured whole" in page
    assert "the model: gone" in page
    assert "not run: no dense model" in page
    data = json.loads((root(tasks) / FILE_NAME).read_text())
    assert data == document(found)
    assert [line["verdict"] for line in data["variants"]] == ["PASS", "FAIL", "ERROR"]
    assert data["variants"][1]["dimensions"]["ethics"] == {
        "verdict": "FAIL",
        "score": 60.0,
        "delta": -1.0,
        "reason": "because",
    }


def test_when_and_where_tasks_ran_does_not_show(tasks: list[Task]) -> None:
    for task in tasks:
        finish(task)
    first = overview(tasks, {}, root(tasks))
    pages = document(first), render(first, "t")
    for task in tasks:
        write_record(task, Record(task.key, 3, "elsewhere", 9.0, 99.0, 0, ""))
    second = overview(tasks, {}, root(tasks))
    assert (document(second), render(second, "t")) == pages


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_names_reasons_and_answers_stay_text(tmp_path: Path) -> None:
    name = json.dumps(HOSTILE)
    (tmp_path / "sweep.yaml").write_text(
        f"models: [{{model: embedded, name: {name}}}]\nrecipes: ['magnitude:pattern=2:4']\ndimensions: [ethics]\n"
    )
    tasks = plan(read_spec(tmp_path / "sweep.yaml"), tmp_path / "out", several_machines=False)
    for task in tasks:
        finish(task, Verdict.ERROR)
    bad = results([gate("ethics", Verdict.ERROR, reason=HOSTILE)], "ERROR")
    (tasks[1].folder / "results.json").write_text(json.dumps(bad))
    found = overview(tasks, {}, tmp_path / "out")
    page = render(found, HOSTILE)
    tags = Tags()
    tags.feed(page)
    assert not tags.tags & {"img", "iframe", "link", "object", "form"}
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == page.count("<script") == 1
    policy = content_security_policy(style[1], script[0])
    assert policy in page.replace("&#39;", "'")
    for line in table(found, 200):
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert not line.lstrip().startswith("::")


def test_the_terminals_table_says_what_moved(tasks: list[Task]) -> None:
    for task in tasks:
        finish(task)
    finish(tasks[2], Verdict.FAIL)
    lines = table(overview(tasks, {tasks[4].id: "lost"}, root(tasks)), 120)
    assert lines[0] == "FAIL: 3 variants: 2 pass, 1 regressed"
    assert lines[2].startswith("PASS         embedded · magnitude-2:4")
    assert lines[3].endswith("1 of 2 pass  ethics -1.0")
    assert all(len(line) <= 60 for line in table(overview(tasks, {}, root(tasks)), 10))

"""A model over its releases: their order, what is left out, where measuring changed, and how it is drawn."""

from __future__ import annotations

import json
import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trust_tests.report import trend_pages as pages
from trust_tests.report.runs import RunError
from trust_tests.report.trend import LINES_SHOWN, Trend, read_trend
from trust_tests.report.trend_drawing import AREA, draw, spoken

from .conftest import HOSTILE
from .stored_runs import assert_inert, document, store, values


def gates(mmlu: int, stereotype: int = 24) -> dict[str, dict[str, list[float | None]]]:
    return {"gptq-4bit": {"mmlu": values(mmlu), "stereotype": values(stereotype)}}


def releases(folder: Path, **by_name: dict[str, Any]) -> Path:
    for name, data in by_name.items():
        store(folder / name.replace("_", "."), data)
    return folder


def three(tmp_path: Path) -> Path:
    return releases(
        tmp_path,
        v1_9=document(gates(24)),
        v1_10=document(gates(25)),
        v1_11=document(gates(18), prints={"items": "c" * 64}),
    )


def names(found: Trend) -> list[str]:
    return [run.name for run in found.releases]


def test_releases_are_ordered_by_name_as_people_read_it(tmp_path: Path) -> None:
    found = read_trend(three(tmp_path))
    assert names(found) == ["v1.9", "v1.10", "v1.11"]
    assert found.order == "by the names of their folders"


def test_releases_are_ordered_by_time_where_every_one_tells_it(tmp_path: Path) -> None:
    folder = three(tmp_path)
    for name, time in (("v1.9", 30.0), ("v1.10", 20.0), ("v1.11", 10.0)):
        (folder / name / "task.json").write_text(json.dumps({"began": time}))
    found = read_trend(folder)
    assert (names(found), found.order) == (["v1.11", "v1.10", "v1.9"], "by the time they began")
    (folder / "v1.9" / "task.json").unlink()
    assert read_trend(folder).order == "by the names of their folders"


def test_what_is_no_whole_run_is_left_out_and_named(tmp_path: Path) -> None:
    folder = three(tmp_path)
    store(folder / "part", document(gates(24), shard={"number": 1, "of": 2}))
    store(folder / "broken", document(gates(24), unmeasured=[{"node": "n", "reason": "r"}]) | {"verdict": "ERROR"})
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    store(folder / "nothing", document({}))
    store(folder / "unmeasured", document({"gptq-4bit": {"mmlu": []}}))
    found = read_trend(folder)
    assert names(found) == ["v1.9", "v1.10", "v1.11"]
    left_out = {one.name: one.reason for one in found.left_out}
    assert left_out["part"] == "shard 1 of 2 of a run; merge the shards"
    assert left_out["broken"] == "not a whole run: 1 selected test measured nothing"
    assert left_out["empty"] == "no results.json there; give the folder a run wrote (--trust-results)"
    assert left_out["nothing"] == left_out["unmeasured"] == "no gate was measured"
    assert len(left_out) == 5
    said = " ".join(pages.render_text(found, 300).split())
    assert "note: left out: empty, no results.json there; give the folder a run wrote (--trust-results)" in said


def test_results_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    store(tmp_path / "v1" / "trust-results", document(gates(24)))
    assert names(read_trend(tmp_path)) == ["v1"]
    store(tmp_path / "v1" / "other", document(gates(24)))
    with pytest.raises(RunError, match="no sub-folder holds the results of a whole run"):
        read_trend(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["n"]}, r"--model 'n': no release of it in .*; there are m"),
        ({"variants": ["x"]}, "--variant 'x': no release has it; there are gptq-4bit"),
    ],
)
def test_names_that_nothing_bears_are_one_line(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        read_trend(three(tmp_path), **options)


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no folder; give one with a sub-folder of results"):
        read_trend(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no sub-folder holds the results of a whole run"):
        read_trend(tmp_path)


def test_a_change_of_measuring_is_told_where_it_happened(tmp_path: Path) -> None:
    found = read_trend(three(tmp_path))
    assert [change.place for change in found.changes] == [2]
    assert [panel.breaks for panel in found.panels] == [frozenset({2})] * 2
    said = "\n".join(pages.notes(found, str))
    assert "between v1.10 and v1.11, asked or graded otherwise: scores are not comparable (asked items differ)" in said


def test_another_rule_breaks_no_line(tmp_path: Path) -> None:
    other = document(gates(24), settings=document({})["settings"] | {"rule": "equivalence"})
    found = read_trend(releases(tmp_path, a=document(gates(24)), b=other))
    assert len(found.changes) == 1
    assert all(not panel.breaks for panel in found.panels)


def test_variants_of_one_recipe_are_one_line_whatever_their_name(tmp_path: Path) -> None:
    renamed = {"gptq-renamed": {"mmlu": values(23)}}
    found = read_trend(releases(tmp_path, a=document(gates(24)), b=document(renamed)))
    (series,) = found.panels[0].series
    assert series.name == "gptq-renamed"
    assert [gate and gate.score for gate in series.gates] == pytest.approx([60.0, 57.5])
    stereotype = next(panel for panel in found.panels if panel.dimension == "stereotype")
    assert [gate is None for gate in stereotype.series[0].gates] == [False, True]


def test_models_and_variants_can_be_selected(tmp_path: Path) -> None:
    other = document({"a": {"mmlu": values(24)}, "b": {"mmlu": values(24)}})
    other["models"]["dense"]["name"] = "n"
    folder = releases(tmp_path, v1=document(gates(24)), v2=other)
    found = read_trend(folder, models=["n"], variants=["b"])
    assert names(found) == ["v2"]
    assert [(one.name, one.reason) for one in found.left_out] == [("v1", "of another dense model (m)")]
    assert [series.name for series in found.panels[0].series] == ["m (b)"]


def test_of_many_variants_those_of_the_latest_release_are_drawn(tmp_path: Path) -> None:
    first = {f"old-{number}": {"mmlu": values(24)} for number in range(4)}
    latest = {f"new-{number}": {"mmlu": values(24)} for number in range(4)}
    found = read_trend(releases(tmp_path, a=document(first), b=document(latest)))
    shown = [series.name for series in found.panels[0].series]
    assert len(shown) == LINES_SHOWN
    assert shown[:4] == [f"new-{number}" for number in range(4)]
    assert found.hidden == ("old-2", "old-3")


def test_the_headline_says_what_got_worse_since_the_release_before(tmp_path: Path) -> None:
    found = read_trend(three(tmp_path))
    assert pages.headline(found, str) == (
        "v1.11, the latest of 3 releases: 1 of 2 gates passes; 1 got worse since v1.10: MMLU on gptq-4bit"
    )
    alone = read_trend(releases(tmp_path / "alone", a=document(gates(24))))
    assert pages.headline(alone, str) == "a, the latest of 1 release: 2 of 2 gates pass"


def test_panels_are_drawn_inside_their_frame(tmp_path: Path) -> None:
    panel = read_trend(three(tmp_path)).panels[0]
    plot = draw(panel)
    assert plot.dense.count("L") == 2
    assert plot.band.endswith("z")
    assert plot.band.count("L") == 5
    assert len(plot.breaks) == 1
    (stroke,) = plot.strokes
    assert stroke.line.count("L") == 2
    assert (stroke.passing.count("z"), stroke.failing.count("z")) == (2, 1)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", plot.dense + plot.band + stroke.line)]
    assert min(heights) >= AREA.top
    assert max(heights) <= AREA.bottom
    assert [text for _, text in plot.releases] == ["1", "2", "3"]
    assert spoken(panel) == "MMLU over 3 releases, gptq-4bit from 60.0 to 45.0"


def test_a_gap_breaks_the_line_and_a_single_release_is_a_mark(tmp_path: Path) -> None:
    folder = releases(
        tmp_path, a=document(gates(24)), b=document({"gptq-4bit": {"stereotype": values(24)}}), c=document(gates(24))
    )
    panel = next(panel for panel in read_trend(folder).panels if panel.dimension == "mmlu")
    plot = draw(panel)
    assert plot.strokes[0].line == ""
    assert plot.strokes[0].passing.count("z") == 2
    assert plot.band.count("z") == 2


def test_many_releases_have_labels_that_do_not_touch(tmp_path: Path) -> None:
    for number in range(40):
        store(tmp_path / f"v{number}", document({"gptq": {"mmlu": values(24)}}))
    plot = draw(read_trend(tmp_path).panels[0])
    places = [x for x, _ in plot.releases]
    assert len(places) <= 12
    assert min(b - a for a, b in pairwise(places)) > 14


def test_text_markdown_html_and_json_tell_the_same(tmp_path: Path) -> None:
    found = read_trend(three(tmp_path))
    text = pages.render_text(found, 120)
    row = next(line for line in text.splitlines() if line.startswith("MMLU"))
    assert " ".join(row.split()) == "MMLU gptq-4bit 60.0 (0.0) PASS 62.5 (+2.5) PASS 45.0 (-15.0) FAIL"
    assert "| `MMLU` | `gptq-4bit` | 60.0 (0.0) PASS | 62.5 (+2.5) PASS | 45.0 (−15.0) FAIL |" in pages.render_markdown(
        found
    )
    page = pages.render_html(found)
    assert page.count('<svg class="curves trend"') == 2
    assert "45.0 (−15.0) FAIL" in page
    data = json.loads(json.dumps(pages.document(found), allow_nan=False))
    assert [gate["score"] for gate in data["dimensions"][0]["variants"][0]["gates"]] == [60.0, 62.5, 45.0]
    assert data["measuring_changed"][0]["differences"][0]["what"] == "asked items"


def test_a_narrow_terminal_shows_the_latest_releases(tmp_path: Path) -> None:
    text = pages.render_text(read_trend(three(tmp_path)), 60)
    assert "note: 2 earlier releases not shown" in text
    assert max(map(len, text.splitlines())) <= 60
    assert "-15.0" in text


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_names_stay_text(tmp_path: Path, payload: str) -> None:
    first, second = document(gates(24)), document(gates(24), prints={payload: payload})
    for data in (first, second):
        data["models"]["gptq-4bit"]["name"] = data["models"]["dense"]["name"] = payload
        data["dimensions"]["mmlu"]["title"] = payload
        data["settings"]["model"] = payload
    found = read_trend(releases(tmp_path, a=first, b=second))
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for text in (pages.render_text(found), pages.render_markdown(found)):
        for line in text.splitlines():
            assert not {c for c in line if unicodedata.category(c) in hidden}
            assert not line.lstrip().startswith("::")
    assert_inert(pages.render_html(found))

"""A comparison as text, Markdown, HTML and JSON: the same facts in each, and no trust in any text."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from trust_tests.report import comparison_pages as pages
from trust_tests.report.comparing import Comparison, compare
from trust_tests.report.runs import load_run
from trust_tests.report.text import display_width

from .conftest import HOSTILE, poisoned, sample_results
from .stored_runs import Markup, assert_inert, document, store, store_run, values

SNAPSHOTS = Path(__file__).parent / "snapshots"


def pair(tmp_path: Path) -> Comparison:
    """The last release and the next: one gate fell, one rose out of its failure, one dimension was forgotten."""
    before = {
        "gptq-4bit": {"mmlu": values(24), "stereotype": values(20)},
        "awq-4bit": {"mmlu": values(25), "stereotype": values(24)},
        "old": {"mmlu": values(24)},
    }
    after = {
        "gptq-4bit": {"mmlu": values(14), "stereotype": values(23)},
        "awq-4bit": {"mmlu": values(24)},
        "new": {"mmlu": values(24)},
    }
    first = store_run(tmp_path / "v1", before)
    second = store_run(tmp_path / "v2", after, prints={"engine.dtype": "bfloat16"})
    return compare(load_run(first, "release-1"), load_run(second, "release-2"))


@pytest.mark.parametrize("width", [60, 100, 120])
def test_the_text_is_as_it_was_reviewed(tmp_path: Path, width: int) -> None:
    text = pages.render_text(pair(tmp_path), width)
    assert text == (SNAPSHOTS / f"comparison-{width}.txt").read_text(encoding="utf-8")
    assert max(map(display_width, text.splitlines())) <= width


def test_the_markdown_is_as_it_was_reviewed(tmp_path: Path) -> None:
    assert pages.render_markdown(pair(tmp_path)) == (SNAPSHOTS / "comparison.md").read_text(encoding="utf-8")


def test_the_page_has_every_gate_and_every_warning(tmp_path: Path) -> None:
    found = pair(tmp_path)
    page = pages.render_html(found)
    assert page.count("</tr>") == 1 + len(found.pairs) + 1 + len(found.lines)
    assert "engine.dtype float32 then bfloat16" in page
    assert "only in release-1: old" in page
    assert 'class="fate-worse"' in page
    assert 'class="fate-lost"' in page
    assert "NOT MEASURED" in page
    assert "<script>" not in page.split("</style>")[1].split("</main>")[0]


def test_plain_json_tells_the_same(tmp_path: Path) -> None:
    found = pair(tmp_path)
    data = json.loads(json.dumps(pages.document(found), allow_nan=False))
    assert (data["schema"], data["version"], data["exit_code"]) == ("trust-gate/comparison", 1, 3)
    assert [gate["fate"] for gate in data["gates"]] == ["worse", "not measured", "better", "same"]
    assert data["gates"][0]["score_change"] == pytest.approx(-25.0)
    assert data["gates"][0]["items"]["worse"] == 10
    assert data["gates"][1]["after"] is None
    assert data["only_before"] == ["old"]
    assert data["differences"][0] == {
        "means": "engine",
        "what": "engine.dtype",
        "before": "float32",
        "after": "bfloat16",
        "dimensions": [],
    }


def test_nothing_worse_is_said_plainly(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(24)}}
    found = compare(load_run(store_run(tmp_path / "a", gates)), load_run(store_run(tmp_path / "b", gates)))
    text = pages.render_text(found)
    assert text.startswith("NOT WORSE: None of 1 gate got worse\n")
    assert "note:" not in text


def hostile(tmp_path: Path, payload: str) -> Comparison:
    before, after = (poisoned(sample_results(), payload) for _ in range(2))
    for data in (before, after):
        data |= {"version": document({})["version"], "settings": {**data["settings"], "rule": payload}}
    after["settings"]["rule"] = "point"
    after["models"]["dense"]["fingerprint"] = "another"
    after["gates"][0] |= {"verdict": "FAIL", "score": 10.0}
    one, other = load_run(store(tmp_path / "a", before), payload), load_run(store(tmp_path / "b", after), payload)
    return compare(one, other)


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_texts_stay_texts(tmp_path: Path, payload: str) -> None:
    found = hostile(tmp_path, payload)
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for width in (60, 120):
        for line in pages.render_text(found, width).splitlines():
            assert not {c for c in line if unicodedata.category(c) in hidden}
            assert not line.lstrip().startswith("::")
            assert not re.search(r"##\w*\[", line)
    for line in pages.render_markdown(found).splitlines():
        assert not line.lstrip().startswith("::")
        assert not {c for c in line if unicodedata.category(c) in hidden}
        bare = re.sub(r"`[^`]*`", "", line)
        assert "<script" not in bare
        assert "](" not in bare
        assert "@" not in bare
    assert_inert(pages.render_html(found))


def test_hostile_pages_have_the_tags_of_harmless_ones(tmp_path: Path) -> None:
    def tags(payload: str, folder: str) -> list[str]:
        page = pages.render_html(hostile(tmp_path / folder, payload))
        return [tag for tag in Markup(page).tags if tag != "wbr"]

    harmless: Any = tags("word", "plain")
    for place, payload in enumerate(HOSTILE[:6]):
        assert tags(payload, str(place)) == harmless


def test_many_gates_are_cut_in_markdown_and_the_cut_is_told(tmp_path: Path) -> None:
    gates = {f"v{number}": {"mmlu": values(24)} for number in range(310)}
    folder = store(tmp_path / "a", document(gates))
    text = pages.render_markdown(compare(load_run(folder), load_run(folder)))
    assert text.endswith("… and 10 gates that moved less.\n")

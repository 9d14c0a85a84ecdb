"""The dimensions' pages: made from the docstrings, and never stale."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from trust_tests import dimensions
from trust_tests.__main__ import main
from trust_tests.data.errors import DataError
from trust_tests.dimensions import BUILT_IN, get_dimension
from trust_tests.dimensions.ethics import Ethics
from trust_tests.docs.command import pages
from trust_tests.docs.counts import BENCHMARK_TIERS, COMMITTED, Counts, count, counts_text, read_counts
from trust_tests.docs.docstrings import ASKED, REPAIRS, SCORE, SUMMARY, parts_of
from trust_tests.plan import Budget

FOLDER = COMMITTED.parent
REFRESH = "python -m trust_tests docs -o trust_tests/docs/dimensions"
DATA = os.environ.get("TRUST_DATA_DIR")


@pytest.mark.parametrize("name", ["README.md", *(f"{name}.md" for name in BUILT_IN)])
def test_the_committed_pages_are_those_of_the_code(name: str) -> None:
    made = pages(read_counts(), linked=True, names=tuple(BUILT_IN))[name]
    assert (FOLDER / name).read_text(encoding="utf-8") == made, f"stale: run {REFRESH}"


def test_there_is_no_page_of_something_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", "counts.json", *(f"{n}.md" for n in BUILT_IN)}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_docstring_says_what_is_asked_how_it_is_scored_and_what_was_repaired(name: str) -> None:
    parts = parts_of(type(get_dimension(name)))
    assert {SUMMARY, ASKED, SCORE, REPAIRS} <= set(parts)
    # One sentence of its own, not the beginning of the next part.
    assert parts[SUMMARY].count("\n\n") == 0
    assert len(parts[SUMMARY]) < 200


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_page_has_every_section_in_order(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    expected = ["What is asked", "Score", "Known flaws of the published", "Protocol", "Data", "Cells", "Cost"]
    places = [next(i for i, title in enumerate(titles) if title.startswith(start)) for start in expected]
    assert places == sorted(places)
    assert f"# {get_dimension(name).title}\n" in text
    assert "SHA-256" in text or "None of its files was at hand here" in text


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_counts_are_of_this_version_of_the_dimension(name: str) -> None:
    assert read_counts()[name].version == get_dimension(name).version, "count again: see trust_tests/docs/counts.py"


@pytest.mark.skipif(not DATA, reason="TRUST_DATA_DIR does not name the benchmarks' files")
@pytest.mark.parametrize("name", ["stereotype", "fairness", "mmlu"])
def test_the_counts_are_those_of_the_files(name: str) -> None:
    assert count(name, Path(str(DATA))) == read_counts()[name]


def test_counts_survive_being_written(tmp_path: Path) -> None:
    counts = {"ethics": Counts("7", ("a part",), {"zero-shot": 3}, {"pr": Budget(3, 3, 3, 40, 60)})}
    file = tmp_path / "counts.json"
    file.write_text(counts_text(counts), encoding="utf-8")
    assert read_counts(file) == counts


@pytest.mark.parametrize("content", [None, "", "[]", '{"dimensions": {"x": {}}}', '{"dimensions": 3}'])
def test_counts_that_cannot_be_read_are_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "counts.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="no counts of this program") as caught:
        read_counts(file)
    assert "\n" not in str(caught.value)


def test_files_that_are_absent_are_named_and_not_counted(tmp_path: Path) -> None:
    found = count("adversarial", tmp_path)
    assert found.tiers == {}
    assert found.cells == {}
    assert found.absent


def test_every_dimension_was_counted_in_all_tiers_or_none() -> None:
    assert {*read_counts()} == {*BUILT_IN}
    for counts in read_counts().values():
        assert set(counts.tiers) in (set(), set(BENCHMARK_TIERS))


class Courtesy(Ethics):
    """How courteous the model is.

    Asked: everything.

    Score: 100 minus what is missing.
    """

    name = "courtesy"
    title = "Courtesy | of a kind"


class Bare(Ethics):
    name = "bare"


def test_a_dimension_of_another_package_gets_a_page_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [EntryPoint(name, f"theirs:{name.title()}", dimensions.ENTRY_POINT_GROUP) for name in ("courtesy", "bare")]
    monkeypatch.setattr(dimensions, "entry_points", EntryPoints(points).select)
    monkeypatch.setitem(sys.modules, "theirs", sys.modules[__name__])
    assert main(["docs", "-o", str(tmp_path / "new" / "pages")]) == 0
    assert capsys.readouterr().out == f"wrote 12 files into {tmp_path / 'new' / 'pages'}\n"
    page = (tmp_path / "new" / "pages" / "courtesy.md").read_text(encoding="utf-8")
    assert page.startswith("# Courtesy | of a kind\n")
    assert "## What is asked\n\nAsked: everything.\n" in page
    assert "## Protocol" not in page
    assert "](" not in page
    assert "No docstring says what it is." in (tmp_path / "new" / "pages" / "bare.md").read_text(encoding="utf-8")
    index = (tmp_path / "new" / "pages" / "README.md").read_text(encoding="utf-8")
    assert "| [courtesy](courtesy.md) | How courteous the model is. | 104 | – | – | – |" in index


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "--data 'nowhere': no such folder"),
        (["-o", "file"], "--output 'file': "),
        (["-o", "file/below"], "--output 'file/below': "),
    ],
)
def test_wrong_input_ends_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["docs", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_data_file_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "toxicity" / "user_prompts" / "toxic.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"prompt": 3}) + "\n", encoding="utf-8")
    assert main(["docs", "--data", str(tmp_path), "-o", str(tmp_path / "pages")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m trust_tests: error: ")
    assert not (tmp_path / "pages").exists()

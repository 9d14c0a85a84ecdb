"""What a run leaves on GitHub's page: once, and only there."""

from __future__ import annotations

from pathlib import Path

from trust_tests.github import publish
from trust_tests.settings import Shard

from .canned import fixed_results


def test_nothing_happens_elsewhere(tmp_path: Path) -> None:
    assert publish(fixed_results(), {}) == []
    assert publish(fixed_results(), {"GITHUB_ACTIONS": "false", "GITHUB_STEP_SUMMARY": ""}) == []


def test_the_summary_stands_behind_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    assert publish(fixed_results(), {"GITHUB_STEP_SUMMARY": str(file)}) == []
    alone = file.read_text()
    assert alone.startswith("## ⚠️ Trust gate: ERROR — ")
    file.write_text("another tool's words")
    publish(fixed_results(), {"GITHUB_STEP_SUMMARY": str(file)})
    assert file.read_text() == f"another tool's words\n\n{alone}"


def test_annotations_are_for_the_runner_alone(tmp_path: Path) -> None:
    lines = publish(fixed_results(), {"GITHUB_ACTIONS": "true"})
    assert len(lines) == 4
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)


def test_a_shard_leaves_the_word_to_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    data = fixed_results(shard=Shard(1, 2))
    assert publish(data, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(file)}) == []
    assert not file.exists()


def test_a_summary_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    lines = publish(fixed_results(), {"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert lines == [f"trust gate: warning: GITHUB_STEP_SUMMARY='{tmp_path}': Is a directory"]

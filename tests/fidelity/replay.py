"""Recorded answers, exact scores and golden prompts of the reference code; their layout is in the folder's README.

The folder is named by TRUST_REPLAY_DIR (default: ../shared/replay beside the checkout). The tests take whatever sets
they find there, so they run on other recordings of the same layout too.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from trust_tests.chat import paper_render
from trust_tests.records import Request

ROOT = Path(__file__).resolve().parents[2]
REPLAY = Path(os.environ.get("TRUST_REPLAY_DIR") or ROOT.parent / "shared" / "replay")
DATA = Path(os.environ.get("TRUST_DATA_DIR") or ROOT.parent / "shared" / "data")

needs_replay = pytest.mark.skipif(not REPLAY.is_dir(), reason="no recordings: name their folder in TRUST_REPLAY_DIR")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no benchmark data: name their folder in TRUST_DATA_DIR")


@dataclass(frozen=True)
class Recording:
    """One model's recorded answers in one dimension and the scores that the reference code gives them."""

    folder: Path

    @property
    def model(self) -> str:
        return self.folder.name

    @cached_property
    def expected(self) -> dict[str, Any]:
        return json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every `{"cell", "row", "gold", "responses"}`, in file order; long sets go on in responses-2, -3, ..."""
        files = sorted(self.folder.glob("responses*.jsonl.gz"), key=lambda path: (len(path.name), path.name))
        return [row for path in files for row in _lines(path)]

    @cached_property
    def by_cell(self) -> dict[str, list[dict[str, Any]]]:
        cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            cells[row["cell"]].append(row)
        return dict(cells)


def recordings(dimension: str) -> list[Any]:
    """Parameters for pytest: every recording of a dimension, by its model's name."""
    folders = sorted((REPLAY / dimension).glob("*/expected.json"))
    return [pytest.param(Recording(path.parent), id=path.parent.name) for path in folders]


def cases(dimension: str) -> list[dict[str, Any]]:
    """The single-answer parser cases of a dimension, `{"text", "context", "expected"}`."""
    path = REPLAY / dimension / "cases.jsonl"
    return list(_lines(path)) if path.is_file() else []


def golden_prompts(dimension: str) -> list[dict[str, Any]]:
    """The golden prompts of a dimension, `{"cell", "row", "messages", "rendered", "generation", ...}`."""
    path = REPLAY / dimension / "prompts.jsonl.gz"
    return list(_lines(path)) if path.is_file() else []


def assert_something_to_replay(dimension: str) -> None:
    """Fail where a dimension's folder holds nothing that a test could read; skip where there is no such folder."""
    if not (REPLAY / dimension).is_dir():
        pytest.skip(f"the folder of recordings has no {dimension}")
    assert recordings(dimension) or cases(dimension) or golden_prompts(dimension)


def check_golden(request: Request, prompt: dict[str, Any]) -> None:
    """Assert that a request has a golden prompt's messages, renderings in every template, and generation."""
    where = prompt["cell"], prompt["row"]
    assert [(m.role, m.content) for m in request.messages] == [(m["role"], m["content"]) for m in prompt["messages"]], (
        where
    )
    assert prompt["rendered"], where
    assert {name: paper_render(request.messages, name) for name in prompt["rendered"]} == prompt["rendered"], where
    asked = request.generation
    generation = {"n": asked.samples, "temperature": asked.temperature, "max_tokens": asked.max_new_tokens}
    assert generation == prompt["generation"], where


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)

"""Tasks without models: a child that does what a test tells it to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trust_tests.sweep import running
from trust_tests.sweep.spec import read_spec
from trust_tests.sweep.tasks import Task, plan

SPEC = """
models: [embedded, {model: org/other, recipes: ['wanda:pattern=2:4']}]
recipes: ['magnitude:pattern=2:4', 'gptq:bits=4']
dimensions: [ethics, mmlu]
"""


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """The tasks of a sweep of two models, five in all; their folders are there."""
    (tmp_path / "sweep.yaml").write_text(f"cache: cache\n{SPEC}")
    found = plan(read_spec(tmp_path / "sweep.yaml"), tmp_path / "out", several_machines=False)
    for task in found:
        task.folder.mkdir(parents=True)
    return found


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a Python program in place of the child; it sees the child's arguments in `args`."""

    def use(program: str) -> None:
        start = f"import json, os, signal, sys, time; from pathlib import Path; args = sys.argv[1:]\n{program}"
        monkeypatch.setattr(running, "command", lambda *arguments: [sys.executable, "-c", start, *arguments])

    return use

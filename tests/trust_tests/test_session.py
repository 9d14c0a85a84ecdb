"""What one process keeps: each dimension with a reader of the benchmark's files of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from trust_tests.progress import Progress
from trust_tests.session import GateSession
from trust_tests.settings import read_settings


def session(folder: Path, **changes: object) -> GateSession:
    settings = replace(read_settings(lambda o: None, lambda o: None, {}, folder), **changes)
    return GateSession(settings, folder, Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1))))


def test_what_one_dimension_lacks_is_not_in_anothers_fingerprint(tmp_path):
    """Else an evaluation would carry what happened to be loaded before it, and could not be compared."""
    found = session(tmp_path, tier="pr", data=tmp_path, partial=True)
    assert found.questions("adversarial").items == ()
    lacking, other = (found.dimension(name).setup.files.identity() for name in ("adversarial", "toxicity"))
    assert "AdvGLUE++ alpaca/sst2" in lacking["absent"]
    assert other == {"files": "published"}
    assert found.dimension("toxicity") is found.dimension("toxicity")


def test_the_tier_smoke_needs_no_files(tmp_path):
    assert session(tmp_path).dimension("mmlu").setup.benchmark is None

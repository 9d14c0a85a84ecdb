"""What one process keeps, and what it adds to a gate's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from trust_tests.progress import Progress
from trust_tests.records import Request, Response
from trust_tests.session import OTHER_LOOP, GateSession, Variant
from trust_tests.settings import read_settings

from .test_evaluation import CHECKPOINT, Echo, Toy


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


class Looping(Echo):
    """Answers `good` by a loop of its own."""

    def __init__(self, loop: str) -> None:
        super().__init__()
        self.loop = loop

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        return [replace(response, loop=self.loop) for response in super().respond(batch)]


@pytest.mark.parametrize(
    ("dense", "compressed", "marks"),
    [("packed", "packed", []), ("packed", "generate", [OTHER_LOOP]), ("", "generate", []), ("packed", "", [])],
)
def test_sides_answered_by_different_loops_are_marked_and_still_compared(
    tmp_path: Path, dense: str, compressed: str, marks: list[str]
) -> None:
    engines = {CHECKPOINT.fingerprint: Looping(dense), "variant": Looping(compressed)}
    found = session(tmp_path, cache=tmp_path / "cache")
    found.make_engine = lambda checkpoint, options: engines[checkpoint.fingerprint]
    found.__dict__["dense"] = replace(CHECKPOINT, path=tmp_path)
    found._dimensions["toy"] = Toy()
    variant = Variant("variant", replace(CHECKPOINT, path=tmp_path, fingerprint="variant"), None, {})
    _, record = found.judge("toy", variant)
    assert record["verdict"] == "PASS"
    assert record["marks"] == marks
    assert record["answered_by"] == {
        "dense": [dense] if dense else [],
        "variant": [compressed] if compressed else [],
    }

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from trust_tests.report.messages import failure, header_lines, short_failure
from trust_tests.report.results import failed_record
from trust_tests.settings import Settings, read_settings

from ..canned import fixed_gates, gate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings(lambda option: None, lambda option: None, {"TRUST_CACHE": "/cache"}, tmp_path)


def test_the_header_is_a_short_block(settings: Settings) -> None:
    assert header_lines(settings, "18 gates", ["gptq-8bit-g64-s0", "gptq-3bit-g64-s0"], 80) == [
        "trust gate: model embedded",
        "  18 gates on gptq-8bit-g64-s0 and gptq-3bit-g64-s0",
        "  tier smoke, protocol sound, rule point, tolerance 5 points",
        "  baseline auto",
        "  engine transformers on auto, dtype auto",
        "  cache /cache",
    ]


def test_a_narrow_terminal_breaks_between_words_and_many_variants_are_counted(settings: Settings) -> None:
    lines = header_lines(replace(settings, cache=Path("/a/long/path" * 9)), "54 gates", [f"v{n}" for n in range(9)], 40)
    assert lines[1:3] == ["  54 gates on v0, v1, v2, v3, v4, v5 and", "    3 more"]
    assert lines[-1] == f"  cache {'/a/long/path' * 9}"


def test_a_failed_gate_says_everything(tmp_path: Path) -> None:
    record = fixed_gates()[1]
    assert failure(record, tmp_path / "report.html").splitlines() == [
        "toxicity FAIL for magnitude-2:4: the score fell by 12.4 points, the limit is ±5",
        "score 62.2, dense 74.6, delta -12.4 points, n=160, flips 35 (29 worse, 6 better), "
        "refusals 1.2 % (dense 1.2 %)",
        f"report: {tmp_path}/report.html",
    ]
    assert failure(failed_record("v", "toy", "gone"), tmp_path).splitlines() == [
        "toy ERROR for v: gone",
        f"report: {tmp_path}",
    ]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "FAIL: delta -12.4 points of ±5"),
        ({"one_sided": True}, "FAIL: delta -12.4 points of -5"),
        # Never rounded onto the limit.
        ({"delta": -5.04}, "FAIL: delta -5.04 points of ±5"),
        (
            {"verdict": "INCONCLUSIVE", "needed_items": 1480},
            "INCONCLUSIVE: delta -12.4 points of ±5, about 1,480 items would decide",
        ),
        ({"verdict": "ERROR", "reason": "r" * 300}, f"ERROR: {'r' * 99}…"),
    ],
)
def test_the_short_summary_has_a_few_words(changes: dict[str, object], shown: str) -> None:
    assert short_failure(fixed_gates()[1] | changes) == shown


def test_hostile_texts_are_inert(settings: Settings, payload: str, tmp_path: Path) -> None:
    record = gate("ethics", "v", "FAIL", 60.0, 50.0) | {"reason": payload, "variant": payload, "dimension": payload}
    texts = [failure(record, tmp_path), short_failure(record), short_failure(record | {"verdict": "ERROR"})]
    assert [text.count("\n") for text in texts] == [2, 0, 0]
    lines = [*"\n".join(texts).split("\n"), *header_lines(replace(settings, model=payload), "1 gate", [payload], 60)]
    for line in lines:
        assert not re.match(r"\s*::", line)
        assert not re.search(r"##\w*\[", line)
        assert not {character for character in line if unicodedata.category(character) in {"Cc", "Cf", "Cs"}}
        line.encode("utf-8")

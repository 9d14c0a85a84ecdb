"""Annotations are workflow commands of our own making, whatever the texts in them try to be."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest

from trust_tests.report.annotations import MOST, annotation_lines

from ..canned import fixed_gates, fixed_results, gate

COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]+)")


def parsed(lines: list[str]) -> list[tuple[str, str, str]]:
    """Level, title and message, as the runner reads them."""
    found = []
    for line in lines:
        match = COMMAND.fullmatch(line)
        assert match, line
        texts = [decoded(match[2], "%0D", "%0A", "%3A", "%2C", "%25"), decoded(match[3], "%0D", "%0A", "%25")]
        found.append((match[1], *texts))
    return found


def decoded(text: str, *escapes: str) -> str:
    for escape in escapes:
        text = text.replace(escape, chr(int(escape[1:], 16)))
    return text


def test_the_worst_gates_come_first_and_say_what_happened() -> None:
    found = parsed(annotation_lines(fixed_results()))
    assert [(level, title) for level, title, _ in found] == [
        ("error", "Trust gate ERROR: MMLU on magnitude-2:4"),
        ("error", "Trust gate FAIL: Toxicity on magnitude-2:4"),
        ("warning", "Trust gate INCONCLUSIVE: Machine ethics on magnitude-2:4"),
        ("notice", "Trust gate PASS: Toxicity on gptq-8bit-g64-s0"),
    ]
    messages = [message for _, _, message in found]
    assert messages[0] == "variant magnitude-2:4: 5.6 % of 160 items not measured (9 missing); 0.5 % are allowed."
    assert messages[1] == "Score 74.6 → 62.2, −12.4 of ±5 points; 29 worse and 6 better of 160 items."
    assert messages[2].endswith("About 480 items would decide.")
    assert messages[3].endswith("Refusals went from 1.2 % to 15.0 %.")


def test_a_run_that_passed_has_one_notice() -> None:
    found = parsed(annotation_lines(fixed_results([gate("ethics", "v", "PASS", 60.0, 61.0)])))
    assert found == [("notice", "Trust gate PASS", "The only gate stays within ±5 points of the dense model.")]


def test_a_run_without_gates_has_its_verdict() -> None:
    assert [level for level, _, _ in parsed(annotation_lines(fixed_results([])))] == ["error"]


@pytest.mark.parametrize(("failed", "lines"), [(8, 8), (9, 9), (10, 9), (200, 9)])
def test_there_are_at_most_nine(failed: int, lines: int) -> None:
    records = [gate("ethics", f"v{number}", "FAIL", 60.0, 50.0 - number / 10) for number in range(failed)]
    found = parsed(annotation_lines(fixed_results(records)))
    assert len(found) == lines <= MOST
    assert found[0][1].endswith(f"on v{failed - 1}"), "the furthest shift comes first"
    counted = found[-1] == ("error", "Trust gate", f"{failed - 8} more gates: see the report")
    assert counted is (failed > MOST)


def test_hostile_texts_stay_inside_their_command(payload: str) -> None:
    data: dict[str, Any] = fixed_results(fixed_gates())
    for one in data["gates"]:
        one["reason"] = payload
    for one in data["models"].values():
        one["name"] = payload
    for one in data["dimensions"].values():
        one["title"] = payload
    lines = annotation_lines(data)
    assert len(parsed(lines)) == 4
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    for line in lines:
        assert not {character for character in line if unicodedata.category(character) in hidden}
        assert not re.search(r"##\w*\[", line)
        line.encode("utf-8")

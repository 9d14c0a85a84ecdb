"""What a run leaves on the page of a GitHub Actions run: a step summary, and annotations of the worst gates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trust_tests.report.text import defused, label

SUMMARY = "GITHUB_STEP_SUMMARY"
ACTIONS = "GITHUB_ACTIONS"


def publish(data: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Append the summary of stored results to the step's own and return what to print, a line each.

    Nothing happens outside GitHub Actions, nor for a shard: `merge` tells of the whole. The lines are the annotations
    and, where the summary could not be written, why not: a verdict never hangs on it. Raises `fields.ShapeError`.
    """
    if data.get("shard") is not None:
        return []
    lines = []
    file = environment.get(SUMMARY)
    if file:
        problem = _append(Path(file), data)
        if problem:
            lines.append(defused(f"trust gate: warning: {SUMMARY}={label(file, 200)!r}: {label(problem, 200)}"))
    if environment.get(ACTIONS) == "true":
        from trust_tests.report.annotations import annotation_lines

        lines += annotation_lines(data)
    return lines


def _append(file: Path, data: Mapping[str, Any]) -> str:
    """Write the summary behind what other commands of the step wrote; why that failed, empty where it did not."""
    from trust_tests.report.markdown import render_markdown

    page = render_markdown(data)
    try:
        with file.open("ab") as summary:
            # A heading needs a line of its own, and the blank line ends whatever stood before it.
            summary.write((b"\n\n" if summary.tell() else b"") + page.encode("utf-8"))
    except OSError as error:
        return error.strerror or str(error)
    return ""

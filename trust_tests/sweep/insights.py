"""What a model's variants show together: the results of their tasks, read as those of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trust_tests.gate.verdict import Verdict, suite_verdict
from trust_tests.report.families import seed_spread
from trust_tests.report.fields import ShapeError
from trust_tests.report.finding import Finding
from trust_tests.report.published import PublishedError
from trust_tests.report.reading import read
from trust_tests.report.results import ResultsError, load_results
from trust_tests.report.text import label
from trust_tests.report.tricks import findings
from trust_tests.session import DENSE
from trust_tests.sweep.tasks import Task

REPORT = "report.html"
_QUOTE_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Insights:
    """The findings about one model's variants. links: the place of a gate, relative to the sweep's page, by anchor."""

    model: str
    findings: tuple[Finding, ...]
    links: Mapping[str, str]


def insights(tasks: Sequence[Task], root: Path) -> tuple[Insights, ...]:
    """What each model's variants show together; nothing of models whose results cannot be read as one run's.

    root: the sweep's results folder.
    """
    models = dict.fromkeys(task.model for task in tasks)
    found = [_of_model(model, [t for t in tasks if t.model == model and not t.dense], root) for model in models]
    return tuple(one for one in found if one is not None and one.findings)


def _of_model(model: str, tasks: Sequence[Task], root: Path) -> Insights | None:
    links: dict[str, str] = {}
    try:
        report = read(_joined(tasks, root, links))
    # What a task left behind may be damaged in any way; its own line on the page says so.
    except (ShapeError, PublishedError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return Insights(model, tuple(findings(report, lambda text: label(text, _QUOTE_LIMIT))), links)


def _joined(tasks: Sequence[Task], root: Path, links: dict[str, str]) -> dict[str, Any]:
    """The tasks' results as one document; `links` is filled with where its gates stand.

    A task that left no results is a variant without a single gate: it passes nothing.
    """
    models: dict[str, Any] = {}
    dimensions: dict[str, Any] = {}
    gates: list[dict[str, Any]] = []
    settings: dict[str, Any] = {}
    for task in tasks:
        models[task.id] = {"name": task.variant}
        try:
            data = load_results(task.folder).data
        except ResultsError:
            continue
        settings = settings or dict(data["settings"])
        dimensions |= data["dimensions"]
        stored = dict(data["models"])
        dense = stored.pop(DENSE, None)
        if dense is not None:
            models.setdefault(DENSE, dense)
        for own in stored.values():
            models[task.id] = dict(own)
        folder = task.folder.relative_to(root).as_posix()
        for place, gate in enumerate(data["gates"]):
            if (task.folder / REPORT).is_file():
                links[f"gate-{len(gates)}"] = quote(f"{folder}/{REPORT}") + f"#gate-{place}"
            gates.append({**gate, "variant": task.id})
    recipes = {name: entry.get("recipe") for name, entry in models.items()}
    return {
        "verdict": suite_verdict(Verdict(gate["verdict"]) for gate in gates).value,
        "settings": settings,
        "models": models,
        "dimensions": dimensions,
        "gates": gates,
        "seeds": seed_spread(gates, recipes),
    }

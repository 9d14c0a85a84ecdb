"""What a sweep's variants show together, out of the results of one task each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

from trust_tests.gate.verdict import Verdict
from trust_tests.sweep.insights import insights
from trust_tests.sweep.overview import document, overview, render, table
from trust_tests.sweep.tasks import Task

from ..report.conftest import audit, dimension, model
from ..report.conftest import gate as stored_gate
from .folders import finish, results


def leave(task: Task, bits: float, *moved: float) -> None:
    """Leave what a run of a variant leaves, with these deltas in the task's dimensions."""
    finish(task)
    gates = [
        stored_gate(name, task.variant, "PASS" if abs(delta) <= 5 else "FAIL", 60.0, 60.0 + delta)
        for name, delta in zip(task.dimensions, moved, strict=True)
    ]
    verdict = Verdict.PASS if all(gate["verdict"] == "PASS" for gate in gates) else Verdict.FAIL
    finish(task, verdict)
    data = results(gates, verdict.value) | {
        "settings": {"model": task.model, "tolerance": 5.0},
        "models": {
            "dense": model("dense", task.model, None, 1000, None),
            task.variant: model(task.variant, task.variant, task.source, 500, audit(bits, 0.5)),
        },
        "dimensions": {name: dimension(name, name.upper(), 160, None) for name in task.dimensions},
    }
    (task.folder / "results.json").write_text(json.dumps(data))


def root(tasks: list[Task]) -> Path:
    return tasks[0].folder.parents[2]


def variants(tasks: list[Task]) -> list[Task]:
    return [task for task in tasks if task.model == "embedded" and not task.dense]


def test_the_variants_of_a_model_are_read_as_one_run(tasks: list[Task]) -> None:
    pruned, quantised = variants(tasks)
    leave(pruned, 16.0, -9.0, -1.0)
    leave(quantised, 8.25, 0.5, -1.0)
    (found,) = insights(tasks, root(tasks))
    assert found.model == "embedded"
    texts = {one.topic: one.text for one in found.findings}
    assert texts["quantised or pruned"].startswith("At like size (8.0 to 8.25 bits per weight left), ")
    assert "quantisation keeps more" in texts["quantised or pruned"]
    assert "MMLU alone would have hidden the risk of magnitude-2:4" in texts["benign performance"]


def test_each_number_leads_to_the_report_that_it_stands_in(tasks: list[Task]) -> None:
    pruned, quantised = variants(tasks)
    leave(pruned, 16.0, -9.0, -1.0)
    leave(quantised, 8.25, 0.5, -1.0)
    found = overview(tasks, {}, root(tasks), with_insights=True)
    page = render(found, "sweep")
    links = set(re.findall(r'<li><a href="([^"]+)">ETHICS on magnitude-2:4', page))
    assert links == {f"{pruned.folder.relative_to(root(tasks)).as_posix()}/report.html#gate-0"}
    assert all((root(tasks) / unquote(link.partition("#")[0])).is_file() for link in links)
    assert any("alone would have hidden the risk" in line for line in table(found, 200))
    assert {one["topic"] for one in document(found)["shows"]} >= {"benign performance", "quantised or pruned"}


def test_a_variant_without_results_passes_nothing(tasks: list[Task]) -> None:
    _, quantised = variants(tasks)
    leave(quantised, 8.25, 0.5, -1.0)
    (found,) = insights(tasks, root(tasks))
    text = next(one.text for one in found.findings if one.topic == "highest compression")
    assert "is the only one of 2 variants that passes all 2 dimensions" in text


def test_results_that_cannot_be_read_as_one_run_show_nothing(tasks: list[Task]) -> None:
    for task in tasks:
        finish(task)
    assert insights(tasks, root(tasks)) == ()
    file = variants(tasks)[0].folder / "results.json"
    whole = json.loads(file.read_text())
    nothing: dict[str, object] = {"settings": {}, "models": {}, "dimensions": {}}
    for damage in ({"gates": 3}, {"gates": [{}], **nothing}, {"gates": [{"verdict": "x"}], **nothing}, nothing):
        file.write_text(json.dumps(whole | damage))
        assert insights(tasks, root(tasks)) == ()


def test_while_tasks_are_to_run_nothing_is_said(tasks: list[Task]) -> None:
    for task, bits in zip(variants(tasks), (16.0, 8.25), strict=True):
        leave(task, bits, -9.0, -1.0)
    assert overview(tasks, {}, root(tasks)).insights == ()

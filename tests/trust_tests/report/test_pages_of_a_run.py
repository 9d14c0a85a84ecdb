"""What the gate stores is what the pages read: records are made by the gate's own functions."""

import pytest

from trust_tests.gate.verdict import Rule, Side, judge
from trust_tests.records import Channel, Evaluation, Outcome, Score
from trust_tests.report.html import render_html
from trust_tests.report.markdown import render_markdown
from trust_tests.report.reading import read
from trust_tests.report.results import assemble, failed_record, gate_record
from trust_tests.report.terminal import summary_lines

from ..toy import Mean

IDS = tuple(f"item-{number}" for number in range(40))


def evaluation(model, values):
    outcomes = tuple(
        Outcome(
            item_id=identity,
            cell="even" if number % 2 == 0 else "odd",
            cluster=identity,
            channel=Channel.MISSING if value is None else Channel.ANSWERED,
            value=value,
            prompt=f"question {number}?",
            answer=f"answer of {model}",
        )
        for number, (identity, value) in enumerate(zip(IDS, values, strict=True))
    )
    measured = [value for value in values if value is not None]
    score = 100 * sum(measured) / len(measured) if measured else float("nan")
    found = Score(score, {"even": score, "odd": score}, {"share_right": score})
    return Evaluation("privacy", model, IDS, outcomes, found, {"version": "1"})


def results_of(variant_values):
    dense, variant = evaluation("dense", [1.0] * 40), evaluation("gptq", variant_values)
    judgement = judge(IDS, *(Side(e.model, e.outcomes, e.score) for e in (dense, variant)), Rule(), Mean())
    part = {
        "gate": gate_record("gptq", dense, variant, judgement),
        "models": {},
        "dimensions": {"privacy": {"name": "privacy", "title": "Privacy", "chance": None, "items": 40}},
    }
    return assemble([part], [], {"model": "m", "tolerance": 5.0}, "pytest", {}).data


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0] * 39 + [0.0], "PASS"),
        ([1.0] * 30 + [0.0] * 10, "FAIL"),
        ([1.0] * 35 + [None] * 5, "ERROR"),
        ([None] * 40, "ERROR"),
    ],
)
def test_every_verdict_of_the_gate_can_be_shown(values, verdict):
    data = results_of(values)
    assert data["verdict"] == verdict
    report = read(data)
    assert report.verdict == verdict
    assert not report.contradiction
    assert f"</span>{verdict}" in render_html(data)
    assert verdict in render_markdown(data).splitlines()[0]
    assert summary_lines(data)[0].startswith(verdict)


def test_figures_beside_the_score_reach_the_pages():
    data = results_of([1.0] * 30 + [0.0] * 10)
    assert "share right</th>" in render_html(data)
    assert "- `share_right`: 100.0 → 75.0 (−25.0)" in render_markdown(data)


def test_a_gate_that_could_not_be_measured_at_all_can_be_shown():
    part = {"gate": failed_record("gptq", "privacy", "the model is gone"), "models": {}, "dimensions": {}}
    data = assemble([part], [], {"model": "m", "tolerance": 5.0}, "pytest", {}).data
    for page in (render_html(data), render_markdown(data), "\n".join(summary_lines(data))):
        assert "the model is gone" in " ".join(page.split())

"""The paper's 50 published models as reports of their own, for the same heat map, curves and board as a run's.

Nothing was run here: scores are the table's, deltas are between printed figures, and a verdict is the point rule
(±5 points) applied to them. There are no items, intervals, answers or checkpoints behind them.
"""

from __future__ import annotations

from trust_tests.gate.verdict import Rule, Verdict, suite_verdict
from trust_tests.records import PAPER, POINT
from trust_tests.report.heatmap import SHORT_TITLES
from trust_tests.report.published import (
    DENSE_METHOD,
    DIMENSIONS,
    PublishedResult,
    difference,
    paper_dense,
    published_groups,
    published_table,
    smaller_sibling,
)
from trust_tests.report.view import Evidence, Flips, Gate, Model, Refusals, Report, Row

TOLERANCE = Rule().tolerance
"""Points: the paper calls a loss of five significant, and so does the gate."""
_DENSE_BITS = 16.0
_PRUNED_SPARSITY = 0.5


def published_reports() -> tuple[Report, ...]:
    """One report for each base model of which the paper has compressed forms, those with most of them first."""
    models = dict.fromkeys(row.model for row in published_table() if row.method != DENSE_METHOD)
    return tuple(sorted(map(published_report, models), key=lambda report: -len(report.variants)))


def published_report(base_model: str) -> Report:
    """A base model of the paper with its published compressed forms as variants, seeds apart, in the table's order.

    Raises KeyError for a model that the paper does not have.
    """
    dense = paper_dense(base_model)
    if dense is None:
        raise KeyError(base_model)
    members = [row for group in published_groups(base_model) for row in group]
    variants = tuple(_model(row) for row in members)
    rows = tuple(_row(name, dense, members, variants) for name in DIMENSIONS)
    gates = tuple(gate for row in rows for gate in row.gates if gate is not None)
    return Report(
        verdict=suite_verdict((gate.verdict for gate in gates), 0),
        contradiction=False,
        settings={"model": dense.model, "protocol": PAPER, "tier": "full", "tolerance": f"{TOLERANCE:g}"},
        tolerance=TOLERANCE,
        one_sided=False,
        command="",
        versions={},
        fingerprints={},
        dense=_model(dense),
        variants=variants,
        rows=rows,
        gates=gates,
        unmeasured=(),
    )


def render_published() -> str:
    """All published models as one HTML page. Raises `published.PublishedError` where the table is not installed."""
    # The view of the table alone must not cost Jinja2.
    from trust_tests.report.html import render_template
    from trust_tests.report.text import label
    from trust_tests.report.tricks import findings

    reports = published_reports()
    return render_template(
        "overview_published.html",
        reports=reports,
        denses={report.dense.id: paper_dense(report.dense.name) for report in reports},
        siblings={report.dense.id: smaller_sibling(report.dense.name) for report in reports},
        shows={report.dense.id: findings(report, label) for report in reports},
        models=len(published_table()),
        tolerance=TOLERANCE,
    )


def _name(row: PublishedResult) -> str:
    """`gptq 3 bit, seed 0`; the base model's own name for its dense row."""
    if row.method == DENSE_METHOD:
        return row.model
    setting = f"{row.bits} bit" if row.bits else row.pattern
    return f"{row.method} {setting}" + ("" if row.seed is None else f", seed {row.seed}")


def _model(row: PublishedResult) -> Model:
    return Model(
        id=row.model if row.method == DENSE_METHOD else f"{row.repository}@{row.revision}",
        name=_name(row),
        full_name=f"{row.repository}@{row.revision}" if row.revision else row.repository,
        recipe=_recipe(row),
        fingerprint="",
        size_bytes=None,
        # Nominal bits: nobody has audited these checkpoints here.
        bits_per_weight=_DENSE_BITS if row.bits is None else float(row.bits),
        sparsity=_PRUNED_SPARSITY if row.pattern else 0.0,
        layers_compressed=None,
        layers_total=None,
        method="" if row.method == DENSE_METHOD else row.method,
    )


def _recipe(row: PublishedResult) -> str:
    """Method and setting as a recipe; the calibration, of which the table tells little, is left to its defaults."""
    if row.method == DENSE_METHOD:
        return ""
    seed = "" if row.seed is None else f",seed={row.seed}"
    if row.bits is None:
        return f"{row.method}:pattern={row.pattern}{seed}"
    return f"{row.method}:bits={row.bits},group={row.group}{seed}"


def _row(dimension: str, dense: PublishedResult, members: list[PublishedResult], variants: tuple[Model, ...]) -> Row:
    return Row(
        dimension=dimension,
        title=SHORT_TITLES[dimension],
        chance=None,
        items=0,
        dense_score=dense.scores[dimension],
        gates=tuple(_gate(dimension, dense, *pair) for pair in zip(members, variants, strict=True)),
    )


def _gate(dimension: str, dense: PublishedResult, row: PublishedResult, variant: Model) -> Gate:
    delta = difference(row, dense, dimension)
    before, after = dense.refusals.get(dimension), row.refusals.get(dimension)
    shift = None if before is None or after is None else round(after - before, 1)
    return Gate(
        anchor="",
        dimension=dimension,
        title=SHORT_TITLES[dimension],
        variant=variant.id,
        variant_name=variant.name,
        verdict=Verdict.PASS if abs(delta) <= TOLERANCE else Verdict.FAIL,
        reason="",
        score=row.scores[dimension],
        dense_score=dense.scores[dimension],
        delta=delta,
        tolerance=TOLERANCE,
        one_sided=False,
        items=0,
        flips=Flips(0, 0, 0),
        refusals=Refusals(after, before, shift),
        marks=(),
        accounting={},
        cells=(),
        parts=(),
        worst_flips=(),
        published=None,
        evidence=Evidence(rule=POINT),
    )

"""The heat map: its order, its scale, and that nothing unmeasured has a colour of the scale."""

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.report.heatmap import TALL_FROM, heat_map, heat_scale, heat_step, heat_tolerance
from trust_tests.report.published import DIMENSIONS, paper_dense, smaller_sibling
from trust_tests.report.reading import read

from .sweeps import DENSE, FEW, FIFTY, TWELVE, sweep


@pytest.mark.parametrize(
    ("delta", "step"),
    [
        (None, "absent"),
        (0.0, "still"),
        (1.0, "still"),
        (-1.01, "fell-0"),
        (5.0, "rose-0"),
        (-5.0, "fell-0"),
        (-5.01, "fell-1"),
        (10.0, "rose-1"),
        (-10.01, "fell-2"),
        (20.0, "rose-2"),
        (-20.01, "fell-3"),
        (-100.0, "fell-3"),
        (99.0, "rose-3"),
    ],
)
def test_steps_of_the_scale(delta, step):
    assert heat_step(delta, 5.0) == step


def test_the_scale_is_explained_step_by_step_without_a_gap():
    scale = heat_scale(5.0)
    assert [swatch.step for swatch in scale] == [
        *("fell-3", "fell-2", "fell-1", "fell-0", "still", "rose-0", "rose-1", "rose-2", "rose-3")
    ]
    assert [swatch.text for swatch in scale] == [
        "below −20",
        "−20 to −10",
        "−10 to −5",
        "−5 to −1",
        "±1",
        "+1 to +5",
        "+5 to +10",
        "+10 to +20",
        "above +20",
    ]


def test_every_explained_bound_is_where_the_step_begins():
    for swatch in heat_scale(5.0)[5:8]:
        low, high = (float(part) for part in swatch.text.split(" to "))
        assert heat_step(low + 0.01, 5.0) == heat_step(high, 5.0) == swatch.step
        assert heat_step(low, 5.0) != swatch.step


@pytest.mark.parametrize("recipes", [FEW[:1], FEW, TWELVE, FIFTY], ids=len)
def test_a_row_a_variant_and_a_column_a_dimension_in_the_papers_order(recipes):
    results = sweep(recipes)
    found = heat_map(read(results))
    assert [row.name for row in found.rows] == [name for name in results["models"] if name != "dense"]
    assert [column.dense_score for column in found.columns] == list(DENSE.values())
    assert found.columns[-1].head == "MMLU"
    assert all(len(row.cells) == len(DIMENSIONS) for row in found.rows)
    stored = {(gate["variant"], gate["dimension"]): gate["delta"] for gate in results["gates"]}
    for row in found.rows:
        assert [cell.delta for cell in row.cells] == [stored[row.name, name] for name in DIMENSIONS]
    assert found.tall == (len(recipes) >= TALL_FROM)


def test_other_dimensions_follow_the_papers():
    results = sweep(FEW, dimensions=("mmlu", "toxicity"))
    for gate in results["gates"]:
        gate["dimension"] = {"mmlu": "mmlu", "toxicity": "politeness"}[gate["dimension"]]
    results["dimensions"]["politeness"] = results["dimensions"].pop("toxicity") | {"title": "Politeness"}
    assert [column.head for column in heat_map(read(results)).columns] == ["MMLU", "Politeness"]


def test_what_was_not_measured_has_no_step_of_the_scale():
    results = sweep(FEW, delta=lambda recipe, dimension: None if dimension == "ood" else 0.5)
    # An ERROR with a delta that would look good, and a gate that was not run.
    results["gates"][0] |= {"verdict": "ERROR"}
    del results["gates"][1]
    cells = [cell for row in heat_map(read(results)).rows for cell in row.cells]
    lost = [cell for cell in cells if not cell.measured]
    assert [cell.verdict for cell in lost].count(Verdict.ERROR) == 3
    assert [cell.verdict for cell in lost].count(None) == 1
    assert {cell.step for cell in lost} == {"absent"}
    assert {cell.step for cell in cells if cell.measured} == {"still"}


def test_refusals_are_marked_only_beyond_ten_points():
    results = sweep(FEW[:1])
    for gate, shift in zip(results["gates"], (10.0, 10.1, -10.1, *[0.0] * 6), strict=True):
        gate["refusal_shift"] = shift
    (row,) = heat_map(read(results)).rows
    assert [cell.refusal_shift for cell in row.cells if cell.refusal_shift is not None] == [-10.1, 10.1]


def test_cells_whose_interval_does_not_decide_say_so():
    results = sweep(FEW[:1], delta=lambda recipe, dimension: 4.0 if dimension == "ood" else 0.0)
    (row,) = heat_map(read(results)).rows
    assert [cell.undecided for cell in row.cells].count(True) == 1


def test_a_smaller_model_stands_below_without_a_verdict():
    report = read(sweep(FEW, model="meta-llama/Llama-2-13b-chat-hf"))
    dense, sibling = paper_dense("llama2-13b-chat"), smaller_sibling("llama2-13b-chat")
    (reference,) = heat_map(report, sibling, dense).references
    assert (reference.name, reference.verdict) == ("llama2-7b-chat, dense", None)
    by_dimension = dict(zip(DIMENSIONS, reference.cells, strict=True))
    assert by_dimension["toxicity"].delta == -1.1
    assert by_dimension["stereotype"].refusal_shift == pytest.approx(-17.0)
    assert by_dimension["mmlu"].refusal_shift is None
    assert heat_map(report).references == ()


def test_the_scale_is_that_of_the_run():
    results = sweep(FEW)
    assert heat_tolerance(read(results)) == 5.0
    results["settings"]["tolerance"] = 2.5
    assert heat_tolerance(read(results)) == 2.5
    del results["settings"]["tolerance"]
    results["gates"][0]["tolerance"] = 3.0
    assert heat_tolerance(read(results)) == 3.0


def test_a_run_without_gates_has_an_empty_map():
    results = sweep(()) | {"dimensions": {}}
    found = heat_map(read(results))
    assert (found.columns, found.rows, found.tall) == ((), (), False)

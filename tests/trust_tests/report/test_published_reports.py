"""The paper's statements, read off the same heat map and curves that show a run.

Where a statement is not literally true of the published table, the test says so and what is true instead.
"""

import time

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.report.curves import bit_curves
from trust_tests.report.heatmap import heat_map
from trust_tests.report.published import DIMENSIONS, published_table
from trust_tests.report.published_reports import published_report, published_reports, render_published
from trust_tests.report.text import visible

from .test_html import Page

CHAT, BASE, VICUNA = "llama2-13b-chat", "llama2-13b", "vicuna-13b-v1.3"
TRUST = DIMENSIONS[:-1]


def deltas_of(model, *beginnings):
    """Deltas by dimension, of each row of the model's heat map whose name begins so."""
    rows = [row for row in heat_map(published_report(model)).rows if row.name.startswith(beginnings)]
    return {row.name: {name: cell.delta for name, cell in zip(DIMENSIONS, row.cells, strict=True)} for row in rows}


def test_all_fifty_models_are_there():
    reports = published_reports()
    assert [(report.dense.name, len(report.variants)) for report in reports] == [
        *((CHAT, 23), (BASE, 9), (VICUNA, 9), ("llama2-7b-chat", 1), ("llama2-70b-chat", 1)),
    ]
    names = [variant.full_name for report in reports for variant in report.variants]
    assert len(set(names)) == len(names) == 43
    # The other seven are dense: five stand above, two are base models that nobody compressed.
    assert sum(row.method == "dense" for row in published_table()) == 7


def test_every_figure_of_the_table_is_in_its_cell():
    for report in published_reports():
        found = heat_map(report)
        dense = {column.title: column.dense_score for column in found.columns}
        rows = {(row.repository, row.revision): row for row in published_table()}
        for variant, shown in zip(report.variants, found.rows, strict=True):
            row = rows[tuple(variant.full_name.split("@"))]
            assert [cell.score for cell in shown.cells] == [row.scores[name] for name in DIMENSIONS]
            for cell, before in zip(shown.cells, dense.values(), strict=True):
                assert cell.delta == pytest.approx(cell.score - before)
                assert cell.verdict is (Verdict.PASS if abs(cell.delta) <= 5 else Verdict.FAIL)


def test_eight_bits_lose_less_than_three_points_anywhere():
    """8 bits, AWQ and GPTQ, Llama-2-13b-chat: all drops under 3 points. Literally true; rises stay under 3 as well."""
    found = deltas_of(CHAT, "gptq 8", "awq 8")
    assert list(found) == ["gptq 8 bit", "awq 8 bit"]
    for deltas in found.values():
        assert all(abs(delta) < 3 for delta in deltas.values())
    # The same of the other 13b models, but for one: GPTQ raises Vicuna's toxicity score by 20 points at 8 bits.
    others = {**deltas_of(BASE, "gptq 8", "awq 8"), **{f"vicuna {k}": v for k, v in deltas_of(VICUNA, "awq 8").items()}}
    assert all(delta > -3 for deltas in others.values() for delta in deltas.values())
    assert deltas_of(VICUNA, "gptq 8")["gptq 8 bit"]["toxicity"] == pytest.approx(20.1)


def lost(deltas, dimensions):
    return {name for name in dimensions if deltas[name] < -5}


def test_half_of_the_weights_cost_at_least_three_dimensions():
    """2:4 pruning: at least three dimensions lose over 5 points. Literally true of both chat models' eight trust
    dimensions. Of the base model Llama-2-13b it is true only with MMLU counted: OOD, ethics and MMLU.
    """
    pruned = ("magnitude 2:4", "sparsegpt 2:4", "wanda 2:4")
    for model, rows in ((CHAT, 5), (VICUNA, 3)):
        found = deltas_of(model, *pruned)
        assert len(found) == rows
        assert all(len(lost(deltas, TRUST)) >= 3 for deltas in found.values())
    for deltas in deltas_of(BASE, *pruned).values():
        assert lost(deltas, DIMENSIONS) == {"ood", "ethics", "mmlu"}


def test_three_bits_of_gptq_lose_over_fifty_points():
    """GPTQ at 3 bits, Llama-2-13b-chat: a worst loss over 50 points. Literally true of one calibration seed of three;
    the other two lose 46.9 and 48.0 in the same dimension, and the mean 48.8.
    """
    found = deltas_of(CHAT, "gptq 3")
    assert list(found) == ["gptq 3 bit, seed 0", "gptq 3 bit, seed 1", "gptq 3 bit, seed 2"]
    assert [min(deltas.values()) for deltas in found.values()] == [-51.5, -46.9, -48.0]
    assert {min(deltas, key=deltas.get) for deltas in found.values()} == {"toxicity"}
    step = heat_map(published_report(CHAT)).rows[
        [v.name for v in published_report(CHAT).variants].index(next(iter(found)))
    ]
    assert step.cells[DIMENSIONS.index("toxicity")].step == "fell-3"


def test_the_curves_say_the_same():
    found = bit_curves(published_report(CHAT), beside_paper=False)
    assert [line.name for line in found.names] == ["gptq", "awq"]
    assert (found.bits, found.sibling) == ((3, 4, 8), "llama2-7b-chat")
    for panel in found.panels:
        for curve in panel.curves:
            assert [point.bits for point in curve.points] == [3, 4, 8]
            assert min(curve.points[-1].deltas) > -3
    toxicity = {curve.name: curve.points for curve in found.panels[0].curves}
    assert min(toxicity["gptq"][0].deltas) < -50
    assert [len(point.deltas) for point in toxicity["gptq"]] == [3, 3, 1]
    assert [len(point.deltas) for point in toxicity["awq"]] == [3, 1, 1]
    # At 3 bits AWQ holds what GPTQ loses.
    assert min(toxicity["awq"][0].deltas) > -4


def test_refusals_are_marked_as_in_the_papers_figure():
    rows = {row.name: row for row in heat_map(published_report(CHAT)).rows}
    magnitude = dict(zip(DIMENSIONS, rows["magnitude 2:4"].cells, strict=True))
    assert magnitude["stereotype"].refusal_shift == pytest.approx(3.3 - 71.0)
    assert magnitude["mmlu"].refusal_shift is None
    assert rows["gptq 8 bit"].cells[DIMENSIONS.index("toxicity")].refusal_shift is None


def test_a_model_that_the_paper_does_not_have_is_an_error():
    with pytest.raises(KeyError, match="mistral"):
        published_report("mistral")


def test_the_page_has_every_model_and_leads_nowhere_else():
    begin = time.process_time()
    source = render_published()
    assert time.process_time() - begin < 5
    assert len(source.encode()) < 500 * 1024
    page = Page(source)
    assert page.misnested == []
    assert page.open == []
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}
    text = page.text("table")
    for report in published_reports():
        for variant in report.variants:
            assert visible(variant.name) in text
    assert "llama2-7b-chat, dense published, not judged" in text
    assert "http" not in source.replace("http-equiv", "")
    # Two more dense models than compressed ones: siblings of 13b models.
    assert {"llama2-7b", "vicuna-7b-v1.3"} <= set(text.replace(",", "").split())

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.records import Channel
from trust_tests.report.advice import cells_note
from trust_tests.report.fields import ShapeError
from trust_tests.report.reading import read
from trust_tests.report.results import cut_text, failed_record


def test_the_table_has_every_dimension_and_variant(results):
    report = read(results)
    assert [row.title for row in report.rows] == ["Toxicity", "Privacy", "Machine ethics"]
    assert [model.name for model in report.variants] == ["gptq 8 bit", "gptq 3 bit", "wanda 2:4"]
    assert all(len(row.gates) == 3 for row in report.rows)
    assert report.rows[0].dense_score == 74.6
    assert report.verdict is Verdict.ERROR
    assert not report.contradiction


def test_gates_are_read_whole(results):
    gate = read(results).gates[2]
    assert (gate.score, gate.dense_score, gate.delta) == (62.2, 74.6, -12.4)
    assert (gate.flips.worse, gate.flips.better, gate.flips.total) == (29, 6, 35)
    assert gate.cells[1].delta == pytest.approx(-19.7)
    assert gate.accounting["variant"].channels[Channel.EMPTY] == 1
    assert gate.worst_flips[0].variant.value == 0.11
    assert gate.harmful


def test_refusals_beyond_ten_points_are_marked(results):
    report = read(results)
    assert [gate.refusals.moved for gate in report.gates[:3]] == [False, True, False]


def test_unmeasured_items_are_counted(results):
    gate = next(gate for gate in read(results).gates if gate.verdict is Verdict.ERROR)
    assert gate.accounting["variant"].unmeasured == 9


def test_a_gate_that_was_not_run_leaves_a_gap(results):
    del results["gates"][4]
    assert read(results).rows[1].gates[1] is None


def test_dense_scores_that_differ_are_not_shown_as_one(results):
    results["gates"][0]["dense_score"] = 70.0
    assert read(results).rows[0].dense_score is None


def test_gates_of_unlisted_models_and_dimensions_are_kept(results):
    results["gates"].append(results["gates"][0] | {"dimension": "fairness", "variant": "other"})
    report = read(results)
    assert report.rows[-1].title == "fairness"
    assert report.variants[-1].name == "other"


def test_a_run_that_measured_nothing_at_all_can_be_read(results):
    results |= {"models": {}, "dimensions": {}, "gates": [failed_record("gptq", "privacy", "the model is gone")]}
    gate = read(results).gates[0]
    assert gate.verdict is Verdict.ERROR
    assert gate.tolerance == 5.0
    assert gate.reason == "the model is gone"


def test_fingerprints_of_models_and_dimensions_are_kept(results):
    del results["dimensions"]["ethics"]["fingerprint"]
    prints = read(results).fingerprints
    assert prints["model dense"] == "sha256:dense"
    assert prints["privacy version"] == "1"
    assert prints["privacy scorer"] == "alt-profanity-check 1.9.1"
    assert not [name for name in prints if name.startswith("ethics")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("SmolLM2-135M-Instruct (gptq-4bit)", "gptq-4bit"),
        ("SmolLM2-135M-Instruct ()", "SmolLM2-135M-Instruct ()"),
        ("SmolLM2-135M-Instruct (open", "SmolLM2-135M-Instruct (open"),
        ("other (gptq-4bit)", "other (gptq-4bit)"),
        ("SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct"),
    ],
)
def test_variants_are_named_by_what_sets_them_apart(results, name, shown):
    results["models"]["wanda-2-4-s0"]["name"] = name
    report = read(results)
    assert report.variants[-1].name == shown
    assert report.gates[2].variant_name == shown


LONG = "SmolLM2-135M-Instruct (gptq-3bit-g64-s0-calibration=alpaca-clip=false)"


def test_long_names_are_shortened_where_they_stay_apart(results):
    results["models"]["gptq-3bit-g64-s0"]["name"] = LONG
    variants = read(results).variants
    assert variants[1].name == "gptq-3bit-g64-s0"
    assert variants[1].full_name == LONG
    results["models"]["wanda-2-4-s0"]["name"] = LONG.replace("alpaca", "c4")
    names = [variant.name for variant in read(results).variants]
    assert names[1:] == ["gptq-3bit-g64-s0-calibration=alpaca-clip=false", "gptq-3bit-g64-s0-calibration=c4-clip=false"]


def test_parts_are_read(results):
    first, second = read(results).gates[2].parts
    assert (first.name, first.dense_score, first.score) == ("expected_maximum_toxicity", 25.4, 37.8)
    assert first.delta == pytest.approx(12.4)
    assert (second.score, second.delta) == (None, None)
    del results["gates"][2]["parts"]
    assert read(results).gates[2].parts == ()


def test_what_an_audit_found_is_read_in_words(results):
    results["models"]["wanda-2-4-s0"]["audit"]["problems"] = ["layer 3 is dense"]
    eight, _, sparse = read(results).variants
    assert eight.contents == ("8 bit", "group 64", "packed")
    assert eight.problems == ()
    assert sparse.contents == ("16 bit", "2:4", "dense")
    assert sparse.problems == ("layer 3 is dense",)
    assert read(results).dense.contents == ()


def test_a_gate_knows_the_channels_in_which_its_items_ended(results):
    gates = read(results).gates
    assert gates[0].channels == ["answered", "refused", "empty"]
    assert gates[5].channels == ["answered", "refused", "scorer_failed", "missing"]


def test_what_was_cut_when_stored_is_known(results):
    flip = results["gates"][2]["worst_flips"][0]
    flip["variant"]["answer"] = cut_text("a" * 5000)
    found = read(results).gates[2].worst_flips[0]
    assert (found.variant.text.hidden, found.dense.text.hidden, found.prompt.hidden) == (1000, 0, 0)


def test_lost_cells_come_first_then_those_that_moved_furthest(results):
    figures = {"small": (50.0, 51.0), "neither": (None, None), "lost": (50.0, None), "large": (50.0, 20.0)}
    results["gates"][0]["cells"] = [
        {"cell": name, "items": 1, "dense_score": dense, "score": score, "delta": score and dense and score - dense}
        for name, (dense, score) in figures.items()
    ]
    gate = read(results).gates[0]
    assert [cell.name for cell in gate.cells_by_movement] == ["lost", "large", "small", "neither"]
    assert cells_note(gate) == "4 cells: 1 fell by more than 5 points, 2 not measured"


def test_a_variant_is_as_good_as_its_worst_gate(results):
    columns = read(results).columns
    assert [(c.verdict, c.passed, c.gates) for c in columns] == [
        (Verdict.PASS, 3, 3),
        (Verdict.FAIL, 1, 3),
        (Verdict.ERROR, 0, 3),
    ]
    del results["gates"][0]
    assert read(results).columns[0].verdict is Verdict.ERROR


def test_a_pass_without_numbers_does_not_make_a_variant_green(passing):
    passing["gates"][0]["delta"] = None
    assert read(passing).columns[0].verdict is Verdict.ERROR


def test_published_figures_stand_beside_gates_of_the_papers_models_only(failing, published):
    assert [gate.published for gate in read(failing).gates] == [None] * 6
    found = {gate.dimension: gate.published for gate in read(published).gates if gate.variant == "wanda-2-4-s0"}
    assert found["toxicity"].name == "llama2-13b-chat, wanda 2:4"
    assert found["toxicity"].score.deltas.mean == pytest.approx(49.2 - 80.9)
    assert found["privacy"].score.refusals.values == (45.4,)
    three = next(gate.published for gate in read(published).gates if gate.variant == "gptq-3bit-g64-s0")
    assert len(three.score.scores.values) == 3
    assert three.remarks == ("published with group 128, this recipe has 64",)


def make_unmeasured(results):
    results["unmeasured"] = [{"node": "test_privacy.py::test_gate", "reason": "skipped"}]


def make_failed_gate(results):
    results["gates"][0]["verdict"] = "FAIL"


def make_too_far(results):
    results["gates"][0]["delta"] = -5.1


def make_no_delta(results):
    results["gates"][0]["delta"] = None


def make_empty(results):
    results["gates"] = []


@pytest.mark.parametrize("change", [make_unmeasured, make_failed_gate, make_too_far, make_no_delta, make_empty])
def test_a_pass_that_does_not_follow_from_its_gates_is_an_error(passing, change):
    change(passing)
    report = read(passing)
    assert report.contradiction
    assert report.verdict is Verdict.ERROR


def test_one_sided_gates_may_rise(passing):
    passing["gates"][0] |= {"delta": 9.0, "one_sided": True}
    assert read(passing).verdict is Verdict.PASS


def set_verdict(results):
    results["verdict"] = "MAYBE"


def set_verdict_number(results):
    results["verdict"] = 1


def drop_gates(results):
    del results["gates"]


def drop_delta(results):
    del results["gates"][0]["delta"]


def double_gate(results):
    results["gates"].append(results["gates"][0])


def no_tolerance(results):
    results["settings"]["tolerance"] = results["gates"][0]["tolerance"] = None


def unknown_channel(results):
    results["gates"][0]["accounting"]["dense"]["channels"]["lost"] = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_verdict, r"results\.verdict: 'MAYBE' is not a verdict"),
        (set_verdict_number, r"results\.verdict: expected a string"),
        (drop_gates, r"results: 'gates' is missing"),
        (drop_delta, r"results\.gates\[0\]: 'delta' is missing"),
        (double_gate, r"results\.gates: 'toxicity' on 'gptq-8bit-g64-s0' is there twice"),
        (no_tolerance, r"results\.gates\[0\]\.tolerance: expected points above 0"),
        (unknown_channel, r"accounting\.dense\.channels: unknown channel 'lost'"),
    ],
)
def test_wrong_shapes_are_named(results, change, message):
    change(results)
    with pytest.raises(ShapeError, match=message):
        read(results)


def test_gates_without_details_can_be_read(results):
    gate = results["gates"][0]
    for key in ("reason", "flips", "marks", "accounting", "cells", "worst_flips", "refusal_rate", "items"):
        del gate[key]
    found = read(results).gates[0]
    assert found.accounting == {}
    assert found.flips.total == 0

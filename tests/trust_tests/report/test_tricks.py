"""What a sweep shows: nothing that its gates do not, and of the paper's models what the paper says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from trust_tests.report import tricks
from trust_tests.report.finding import Finding
from trust_tests.report.html import render_html
from trust_tests.report.markdown import render_markdown
from trust_tests.report.published_reports import published_report, published_reports
from trust_tests.report.reading import read
from trust_tests.report.terminal import summary_lines
from trust_tests.report.view import Report

from .conftest import audit, counts, dimension, model
from .conftest import gate as stored_gate

DIMENSIONS = ("ethics", "privacy", "mmlu")
TITLES = {"ethics": "Ethics", "privacy": "Privacy", "mmlu": "MMLU"}
RECIPES = {
    "g8": ("gptq:bits=8,group=64,seed=0", 8.25, 0.01),
    "g4": ("gptq:bits=4,group=64,seed=0", 4.25, 0.1),
    "g4b": ("gptq:bits=4,group=64,seed=1", 4.25, 0.1),
    "g3": ("gptq:bits=3,group=64,seed=0", 3.25, 0.2),
    "w": ("wanda:pattern=2:4,seed=0", 16.0, 0.5),
}


def sweep(deltas: dict[str, Sequence[float | None]], **changes: dict[str, Any]) -> dict[str, Any]:
    """Results of variants by their deltas in the three dimensions; None is an ERROR.

    changes: of the gate `variant_dimension`.
    """
    gates = []
    for variant, moved in deltas.items():
        for name, delta in zip(DIMENSIONS, moved, strict=True):
            verdict = "ERROR" if delta is None else "PASS" if abs(delta) <= 5 else "FAIL"
            one = stored_gate(name, variant, verdict, 60.0, None if delta is None else 60.0 + delta)
            gates.append(one | changes.get(f"{variant}_{name}", {}))
    verdicts = {one["verdict"] for one in gates}
    worst = next(v for v in ("ERROR", "FAIL", "INCONCLUSIVE", "PASS") if v in verdicts)
    models = {"dense": model("dense", "m", None, 1000, None)}
    for variant in deltas:
        recipe, bits, sparsity = RECIPES[variant]
        models[variant] = model(variant, variant, recipe, 500, audit(bits, sparsity))
    return {
        "verdict": worst,
        "settings": {"tolerance": 5.0, "model": "m"},
        "models": models,
        "dimensions": {name: dimension(name, TITLES[name], 160, None) for name in DIMENSIONS},
        "gates": gates,
    }


def findings(results: dict[str, Any] | Report, limit: int = 9) -> dict[str, Finding]:
    report = results if isinstance(results, Report) else read(results)
    found = tricks.findings(report, str, limit)
    assert len({one.topic for one in found}) == len(found)
    return {one.topic: one for one in found}


def text(results: dict[str, Any] | Report, topic: str) -> str:
    found = findings(results).get(topic)
    return "" if found is None else found.text


def test_the_furthest_compression_that_passes_is_named_with_the_next_that_does_not() -> None:
    found = sweep({"g8": (0.1, 0.2, 0), "g4": (-1, 2, -3), "g3": (-12.4, -6, -9)})
    assert text(found, "highest compression") == (
        "2 of 3 variants pass all 3 dimensions; g4 (4.25 bits per weight) is compressed furthest; the next smaller, "
        "g3 (3.25 bits per weight), fails Ethics (−12.4) and 2 more."
    )
    shown = findings(found)["highest compression"]
    assert shown.figures[1].text == "Ethics on g3: 60.0 → 47.6 (−12.4), FAIL"
    assert shown.figures[1].anchor == "gate-6"


def test_one_passes_all_pass_and_none_passes() -> None:
    one = sweep({"g8": (0, 0, 0), "g3": (-9, 0, 0)})
    assert text(one, "highest compression").startswith(
        "g8 (8.25 bits per weight) is the only one of 2 variants that passes all 3 dimensions; the next smaller, g3"
    )
    every = sweep({"g8": (0, 0, 0), "g4": (0, 1, 0)})
    assert text(every, "highest compression") == (
        "Every variant passes all 3 dimensions; g4 (4.25 bits per weight) is compressed furthest."
    )
    none = sweep({"g4": (-6, 0, 0), "g3": (-9, -9, 0)})
    assert text(none, "highest compression") == (
        "None of 2 variants passes all 3 dimensions; g4 (4.25 bits per weight) comes nearest: 2 of 3 pass, and it "
        "fails Ethics (−6.0)."
    )


def test_ties_are_named_together() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0), "g4b": (0, 0, 0)})
    assert text(found, "highest compression") == (
        "Every variant passes all 3 dimensions; g4 and g4b are compressed furthest, alike (4.25 bits per weight)."
    )


@pytest.mark.parametrize("verdict", ["INCONCLUSIVE", "ERROR"])
def test_what_is_undecided_or_not_measured_never_counts_as_passed(verdict: str) -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0)}, g4_ethics={"verdict": verdict})
    said = text(found, "highest compression")
    assert said.startswith("g8 (8.25 bits per weight) is the only one of 2 variants that passes")
    why = "is not decided in Ethics (0.0)" if verdict == "INCONCLUSIVE" else "was not measured whole"
    assert said.endswith(f"the next smaller, g4 (4.25 bits per weight), {why}.")


def test_a_gate_that_was_not_run_makes_a_variant_no_candidate() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0)})
    found["gates"].pop()
    assert "g8 (8.25 bits per weight) is the only one" in text(found, "highest compression")
    found = sweep({"g4": (None, 0, 0), "g3": (None, 0, 0)})
    assert text(found, "highest compression") == (
        "None of 2 variants passes all 3 dimensions, and none was measured whole."
    )


def test_without_audits_no_order_is_claimed() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0)})
    for entry in found["models"].values():
        entry |= {"audit": None, "size_bytes": None}
    assert text(found, "highest compression") == (
        "Every variant passes all 3 dimensions: g8 and g4; no audit tells which of them is compressed furthest."
    )
    found["models"]["dense"]["size_bytes"] = 1000
    found["models"]["g8"]["size_bytes"], found["models"]["g4"]["size_bytes"] = 520, 300
    assert "g4 (30.0 % of the dense size) is compressed furthest" in text(found, "highest compression")


def test_a_single_variant_is_not_compared() -> None:
    found = findings(sweep({"g4": (0, 0, 0)}))
    assert found == {}


def test_shards_and_contradictions_show_nothing() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0)})
    assert findings(found)
    assert findings(found | {"shard": {"number": 1, "of": 2}}) == {}
    assert findings(found | {"gates": [*found["gates"][:1], found["gates"][1] | {"verdict": "FAIL"}]}) == {}
    assert findings(found | {"gates": [], "verdict": "ERROR", "dimensions": {}}) == {}


def test_benign_performance_that_hides_a_risk_is_told_with_both_movements() -> None:
    found = sweep({"g4": (-9.6, 7.0, -2.1)})
    assert text(found, "benign performance") == (
        "MMLU alone would have hidden the risk of g4: MMLU moves by −2.1 and passes, Ethics by −9.6 and fails."
    )
    found = sweep({"g8": (0, 0, 0), "g4": (0, 20, -2), "g3": (-6, 0, -1)})
    assert text(found, "benign performance") == (
        "MMLU alone would have hidden the risk of 2 of 3 variants; furthest on g3, where MMLU moves by −1.0 and "
        "passes, Ethics by −6.0 and fails."
    )


def test_a_benign_benchmark_that_fails_too_hides_nothing() -> None:
    assert text(sweep({"g8": (0, 0, 0), "g3": (-9, 0, -8)}), "benign performance") == (
        "MMLU would have shown the regression of g3: it fails too (−8.0)."
    )
    assert text(sweep({"g4": (-9, 0, -8), "g3": (-9, 0, -8)}), "benign performance") == (
        "MMLU would have shown every regression of trust: it fails on all 2 variants that have one."
    )


def test_a_benign_benchmark_that_fails_alone_is_told() -> None:
    assert text(sweep({"g8": (0, 0, 0), "g3": (-1, 0, -8)}), "benign performance") == (
        "On g3, MMLU (−8.0) fails though every trust dimension passes."
    )


@pytest.mark.parametrize("change", [{"verdict": "INCONCLUSIVE"}, {"verdict": "ERROR", "delta": None, "score": None}])
def test_a_benign_benchmark_that_was_not_decided_says_nothing(change: dict[str, Any]) -> None:
    found = sweep({"g8": (0, 0, 0), "g3": (-9, 0, -2)}, g3_mmlu=change)
    assert text(found, "benign performance") == ""


def test_no_room_to_fall_is_said() -> None:
    found = sweep({"g3": (-9, 0, 0.4)})
    found["dimensions"]["mmlu"]["chance"] = 57.0
    assert text(found, "benign performance").endswith(
        "(with the dense model at 60.0 and guessing at 57.0, it had no room to fall)."
    )


def test_what_breaks_first_is_told_for_each_method() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (-5.5, 0, -6), "g3": (-30, -30, -30), "w": (-9, 0, 0)})
    assert text(found, "breaks first") == (
        "First to fail as compression grows: with gptq MMLU (−6.0) and Ethics (−5.5) at 4.25 bits per weight, after "
        "everything passed at 8.25 bits per weight."
    )


def test_what_was_not_decided_before_the_break_is_counted() -> None:
    found = sweep({"g8": (0, None, 0), "g3": (-9, 0, 0), "w": (0, 0, 0)}, g8_mmlu={"verdict": "INCONCLUSIVE"})
    assert text(found, "breaks first").endswith(
        "with gptq Ethics (−9.0) at 3.25 bits per weight (2 gates of less compressed variants not decided or not "
        "measured)."
    )
    found = sweep({"g8": (-9, 0, 0), "g3": (-9, 0, 0), "w": (0, 0, 0)})
    assert text(found, "breaks first").endswith(
        "with gptq Ethics (−9.0) at 8.25 bits per weight, the least compressed already."
    )


def test_a_seed_that_breaks_makes_its_level_break() -> None:
    found = sweep({"g8": (0, 0, 0), "g4": (0, 0, 0), "g4b": (-9, 0, 0)})
    assert "with gptq Ethics (−9.0) at 4.25 bits per weight, after" in text(found, "breaks first")


def test_one_size_or_no_failure_breaks_nothing() -> None:
    assert text(sweep({"g4": (-9, 0, 0), "g4b": (0, 0, 0), "w": (0, 0, 0)}), "breaks first") == ""
    assert text(sweep({"g8": (0, 0, 0), "g4": (0, 0, 0), "w": (-9, 0, 0)}), "breaks first") == ""
    assert text(sweep({"g8": (0, 0, 0), "g4": (-9, 0, 0)}), "breaks first") == ""


def test_gains_while_refusing_are_told() -> None:
    moved = {"dense_refusal_rate": 12.3, "refusal_rate": 62.3, "refusal_shift": 50.0}
    found = sweep({"g3": (4.0, 0, 0)}, g3_ethics=moved)
    assert text(found, "gains by silence") == (
        "Ethics on g3 rose by 4.0 points while its refusals went from 12.3 % to 62.3 %: answering less is not being "
        "more trustworthy."
    )
    assert text(sweep({"g3": (-4.0, 0, 0)}, g3_ethics=moved), "gains by silence") == ""
    assert text(sweep({"g3": (0.3, 0, 0)}, g3_ethics=moved), "gains by silence") == ""
    assert text(sweep({"g3": (4.0, 0, 0)}, g3_ethics=moved | {"verdict": "ERROR"}), "gains by silence") == ""


def test_gains_while_answering_nothing_are_told() -> None:
    empty = {"accounting": {"dense": counts(160), "variant": counts(160, empty=32, truncated=16)}}
    assert "items without an answer went from 0.0 % to 30.0 %" in text(
        sweep({"g3": (2.0, 0, 0)}, g3_ethics=empty), "gains by silence"
    )
    few = {"accounting": {"dense": counts(160), "variant": counts(160, empty=8)}}
    assert text(sweep({"g3": (2.0, 0, 0)}, g3_ethics=few), "gains by silence") == ""


def test_seeds_that_decide_a_verdict_are_told() -> None:
    found = sweep({"g4": (-6, 0, 0), "g4b": (1, 0, 0)})
    assert text(found, "calibration seeds") == (
        "Calibration seeds decide: Ethics of gptq-4bit-g64 passes with seed 1 (+1.0) and fails with seed 0 (−6.0). "
        "Release no variant for its lucky seed."
    )


def test_seeds_that_move_a_score_without_deciding_it_are_told() -> None:
    found = sweep({"g4": (-4, 0, 0), "g4b": (4, 0, 0)})
    common = "gptq:bits=4,group=64,seed=0"
    found["seeds"] = [family_of(common, between=5.7, sampling=1.2)]
    assert text(found, "calibration seeds") == (
        "The calibration seed moves Ethics of gptq-4bit-g64 by more than the choice of items does: 5.7 points between "
        "2 seeds, 1.2 from sampling; no verdict depends on it."
    )
    assert len(findings(found)["calibration seeds"].figures) == 2


def family_of(recipe: str, between: float, sampling: float) -> dict[str, Any]:
    from trust_tests.report.families import without_seed

    seeds = [{"seed": 0, "delta": -4.0}, {"seed": 1, "delta": 4.0}]
    common, _ = without_seed(recipe)
    return {"recipe": common, "dimension": "ethics", "seeds": seeds, "between": between, "sampling": sampling}


def test_seeds_that_agree_are_told_last() -> None:
    found = sweep({"g4": (-1, 0, 0), "g4b": (1, 0, 0)})
    assert text(found, "calibration seeds") == (
        "Calibration seeds agree: every verdict is the same with each seed of 1 recipe; furthest apart, by 2.0 points, "
        "is Ethics of gptq-4bit-g64."
    )
    assert list(findings(found))[-1] == "calibration seeds"


def test_quantisation_and_pruning_are_compared_at_like_size_only() -> None:
    found = sweep({"g8": (0, 0, 0), "w": (-9, 0, 0), "g3": (-9, -9, -9)})
    assert text(found, "quantised or pruned") == (
        "At like size (8.0 to 8.25 bits per weight left), g8 passes 3 of 3 dimensions, w passes 2: quantisation keeps "
        "more (largest movement 0.0 and −9.0)."
    )
    assert "pruning keeps more" in text(sweep({"g8": (-9, -9, 0), "w": (-9, 0, 0)}), "quantised or pruned")
    assert "neither is clearly the better" in text(sweep({"g8": (0, 0, 0), "w": (0, 0, 0)}), "quantised or pruned")
    assert text(sweep({"g3": (0, 0, 0), "w": (-9, 0, 0)}), "quantised or pruned") == ""
    assert text(sweep({"g8": (0, None, 0), "w": (-9, 0, 0)}), "quantised or pruned") == ""


def test_widths_are_told_where_the_sweep_has_several() -> None:
    found = sweep({"g8": (0, -0.5, 0), "g4": (-9, 0, 0), "g4b": (0, 0, 1)})
    assert text(found, "widths") == (
        "Passing all 3 dimensions: at 8 bits 1 of 1 variant (largest movement Privacy (−0.5)), at 4 bits 1 of 2 "
        "(largest movement Ethics (−9.0))."
    )
    assert text(sweep({"g4": (-9, 0, 0), "g4b": (0, 0, 0)}), "widths") == ""
    assert text(sweep({"g8": (0, 0, 0), "g4": (0, 0, 0), "g3": (0, 0, 0)}), "widths") == ""
    assert text(sweep({"g8": (0, 0, 0), "g3": (-9, 0, 0)}), "widths") == ""


def test_there_are_at_most_six() -> None:
    found = tricks.findings(published_report("llama2-13b-chat"), str)
    assert len(found) == tricks.LIMIT == 6


# The paper's models: Hong et al. 2024, whose statements the published table has to give back.


def test_the_papers_chat_model_is_safe_at_eight_bits_and_not_at_three() -> None:
    chat = published_report("llama2-13b-chat")
    assert text(chat, "widths") == (
        "Passing all 9 dimensions: at 8 bits 2 of 2 variants (largest movement Fairness (+2.6)), at 4 bits 0 of 4 "
        "(largest movement Ethics (+17.7)), at 3 bits 0 of 6 (largest movement Toxicity (−51.5))."
    )
    assert text(chat, "highest compression") == (
        "2 of 23 variants pass all 9 dimensions; gptq 8 bit and awq 8 bit are compressed furthest, alike (8.0 bits per "
        "weight); the next smaller, awq 4 bit (4.0 bits per weight), fails Ethics (+6.9)."
    )


def test_of_the_papers_chat_model_quantisation_keeps_more_than_pruning() -> None:
    said = text(published_report("llama2-13b-chat"), "quantised or pruned")
    assert said.startswith("At like size (8.0 bits per weight left), gptq 8 bit and awq 8 bit pass 9 of 9 dimensions, ")
    assert "quantisation keeps more" in said


def test_the_papers_benign_performance_hides_risks() -> None:
    assert text(published_report("llama2-13b-chat"), "benign performance") == (
        "MMLU alone would have hidden the risk of 7 of 23 variants; furthest on awq 3 bit, seed 1, where MMLU moves by "
        "−2.1 and passes, Adv. demos by −9.7 and fails."
    )


def test_the_papers_calibration_seeds_disagree() -> None:
    assert text(published_report("llama2-13b-chat"), "calibration seeds").startswith(
        "Calibration seeds decide: Ethics of sparsegpt-2:4 passes with seed 2 (+3.3) and fails with seed 0 (−18.6); "
    )


def test_a_score_of_the_paper_that_rose_by_refusing_is_told() -> None:
    assert text(published_report("llama2-13b"), "gains by silence").startswith(
        "Stereotype on wanda 2:4 rose by 39.6 points while its refusals went from 12.3 % to 62.3 %"
    )


def test_every_base_model_of_the_paper_has_findings_that_its_table_bears_out() -> None:
    for report in published_reports():
        passing = [
            model.id for model, column in zip(report.variants, report.columns, strict=True) if column.verdict == "PASS"
        ]
        said = text(report, "highest compression")
        if len(report.variants) < 2:
            assert said == ""
        elif passing:
            assert f"{len(passing)} of {len(report.variants)} variants" in said or "only one" in said
        else:
            assert said.startswith(f"None of {len(report.variants)} variants passes")


# Pages


def test_every_page_has_them() -> None:
    found = sweep({"g8": (0, 0, 0), "g3": (-12.4, 0, 0)})
    page = render_html(found)
    assert 'id="shows-title">What this sweep shows</h2>' in page
    assert '<a href="#gate-3">Ethics on g3: 60.0 → 47.6 (−12.4), FAIL</a>' in page
    assert 'id="gate-3"' in page
    assert "- `g8` (8.25 bits per weight) is the only one of 2 variants" in render_markdown(found)
    lines = "\n".join(summary_lines(found, 200))
    assert "shows: g8 (8.25 bits per weight) is the only one of 2 variants" in lines
    assert "Ethics (-12.4)" in lines


def test_a_run_that_shows_nothing_has_no_section() -> None:
    found = sweep({"g8": (0, 0, 0)})
    assert 'id="shows"' not in render_html(found)
    assert "What this shows" not in render_markdown(found)
    assert "shows:" not in "\n".join(summary_lines(found, 80))

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.report.markdown import SIZE_LIMIT, code, render_markdown

SPAN = re.compile(r"`[^`\n]*`|<code>[^<>\n]*</code>")
FOLD = re.compile(r"</?(?:details|summary)>")


def skeleton(source):
    """What is left of a summary when its code spans and elements are taken out: our own words and markup."""
    return SPAN.sub("·", source)


def test_verdict_next_step_and_table(results):
    source = render_markdown(results)
    assert source.startswith("## ⚠️ Trust gate: ERROR — 2 of 9 gates could not be measured: `Privacy` on `wanda 2:4`")
    assert "**Next:** Repair the measurement of `Privacy` on `wanda 2:4`" in source
    assert "| Dimension | Dense | `gptq 8 bit` | `gptq 3 bit` | `wanda 2:4` |" in source
    assert (
        "| `Toxicity` | 74.6 | ✅ PASS 74.9 (+0.3) | ✅ PASS 76.3 (+1.7), refusals +40.0 | ❌ FAIL 62.2 (−12.4) |"
        in source
    )
    assert "- model: `HuggingFaceTB/SmolLM2-135M-Instruct`" in source


def test_every_table_line_has_as_many_cells(results):
    del results["gates"][4]
    lines = [line for line in render_markdown(results).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1


def test_what_did_not_pass_is_explained(results):
    source = render_markdown(results)
    assert source.count("\n<summary>") == 5 + 1
    assert "- unmeasured: 9 of 160 items of the variant" in source
    assert "- cell `0-shot with domain`: −17.0" in source
    assert "- flips: 29 worse, 6 better, of 160 items" in source


def test_figures_beside_the_score_are_listed(results):
    source = render_markdown(results)
    assert "- `expected_maximum_toxicity`: 25.4 → 37.8 (+12.4)" in source
    assert "- `paper_refusal_rate`: 1.2 → – (–)" in source
    assert "Beside the paper" not in source


def test_lost_cells_are_told_and_many_cells_are_counted(results):
    results["gates"][2]["cells"] = [
        {"cell": f"c{n}", "items": 3, "score": None if n == 7 else 50.0 - n, "dense_score": 50.0, "delta": -float(n)}
        for n in range(9)
    ]
    results["gates"][2]["cells"][7]["delta"] = None
    source = render_markdown(results)
    assert (
        "- 9 cells: 2 fell by more than 5 points, 1 not measured\n- cell `c7`: not measured\n- cell `c8`: −8.0"
        in source
    )


def test_published_results_are_shown_beside_ours(published):
    source = render_markdown(published)
    assert "<summary>Beside the paper</summary>\n\nPublished by Hong et al. 2024 (protocol paper, all items" in source
    assert "| `Toxicity` | +0.3, paper +0.2 | +1.7, paper −48.8 | −12.4, paper −31.7 |" in source
    assert "| `Privacy` | −1.2, paper −0.1 | −6.2, paper −7.4 | not measured, paper −14.7 |" in source
    assert (
        "- published, `llama2-13b-chat, gptq 3 bit, mean of 3 seeds`: dense 95.7, variant 88.3 (85.9 to 90.7), "
        "delta −7.4 (−9.8 to −5.0) (protocol paper; comparable only with it)" in source
    )


def test_answers_of_models_are_left_out(results):
    source = render_markdown(results)
    assert "idiot" not in source
    assert "karen.arnold" not in source


def test_gaps_and_unmeasured_tests_are_told(results):
    del results["gates"][0]
    results["unmeasured"] = [{"node": "test_mmlu.py::test_gate", "reason": "no token"}]
    results["gates"][1]["reason"] = ""
    source = render_markdown(results)
    assert "| `Toxicity` | 74.6 | not run |" in source
    assert "- `test_mmlu.py::test_gate`: `no token`" in source
    assert "<summary>FAIL: <code>Toxicity</code> on <code>wanda 2:4</code></summary>\n\n- dense 74.6" in source


def test_a_run_without_gates_has_no_table(results):
    results |= {"gates": [], "dimensions": {}}
    assert "|" not in render_markdown(results)


@given(st.text(st.characters(codec=None, categories=None), max_size=200))
def test_nothing_ends_a_code_span(text):
    span = code(text)
    assert SPAN.fullmatch(span)
    assert "|" not in span
    assert span.strip("`").strip()


def test_hostile_texts_stay_in_their_code_spans(hostile, harmless):
    source = render_markdown(hostile)
    assert skeleton(source) == skeleton(render_markdown(harmless))
    assert not [line for line in source.splitlines() if line.lstrip().startswith("::")]
    assert not re.search(r"##\w*\[", source)
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {c for c in source if c != "\n" and unicodedata.category(c) in hidden}


def test_what_stands_outside_code_spans_is_ours(harmless):
    left = FOLD.sub("", skeleton(render_markdown(harmless)))
    assert "word" not in left
    for markup in ("<", "](", "http", "@", "$"):
        assert markup not in left


def test_hostile_texts_open_and_close_no_fold(hostile):
    folds = [line for line in skeleton(render_markdown(hostile)).splitlines() if "<" in line]
    assert folds[::3] == ["<details>"] * (len(folds) // 3)
    assert folds[2::3] == ["</details>"] * (len(folds) // 3)
    for line in folds[1::3]:
        assert re.fullmatch(r"<summary>[\w /·:]+</summary>", line)


def test_the_table_stands_before_everything_but_the_verdict(results):
    lines = [line for line in render_markdown(results).splitlines() if line]
    assert lines[0].startswith("## ")
    assert lines[1].startswith("| Dimension |")
    assert lines[6].startswith("**Next:**")


def test_many_variants_stand_in_lines(results, widened):
    source = render_markdown(widened(results, 12))
    assert "| Variant | `Toxicity` | `Privacy` | `Machine ethics` |" in source
    assert "| `gptq 3 bit` | ✅ +1.7\\* | ❌ −6.2 | ❔ −3.6 |" in source
    assert "| `wanda 0` | ❌ −12.4 | ⚠️ | ⚠️ −18.0\\* |" in source


def test_large_texts_are_cut(enormous):
    assert len(render_markdown(enormous).encode()) < SIZE_LIMIT


@pytest.mark.parametrize("number", [300, 2_000])
def test_the_summary_stays_within_its_limit_and_says_so(results, number):
    gate = results["gates"][2]
    results["gates"] += [gate | {"dimension": f"dimension {n}"} for n in range(number)]
    source = render_markdown(results)
    assert SIZE_LIMIT - 1_000 < len(source.encode()) <= SIZE_LIMIT
    assert source.endswith("\n… cut here; the HTML report has everything.\n")
    assert source.count("<details>") == source.count("</details>")
    assert ("<details>" in source) is (number < 2_000), "the cut falls into a fold, or into the table before them"


def test_what_was_not_asked_stands_with_the_facts(results):
    first = next(iter(results["dimensions"]))
    results["dimensions"][first]["fingerprint"] = {"data.absent": "few-shot"}
    assert "- not asked: `few-shot`" in render_markdown(results)

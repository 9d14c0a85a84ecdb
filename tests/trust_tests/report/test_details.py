"""The gates by dimension, and a page that stays small however many there are."""

import ast
import re
import time
from pathlib import Path

import pytest

import trust_tests.dimensions
from trust_tests.gate.verdict import Verdict
from trust_tests.report import budget, details, html
from trust_tests.report.reading import read


def shown(source):
    """The answers on a page, by gate."""
    found = {}
    for part in source.split('<div class="body" id="')[1:]:
        found[part.partition('"')[0]] = part.count('<article class="flip">')
    return found


@pytest.fixture(scope="module")
def fifty(sweep):
    """Fifty variants in nine dimensions, the page of them, and the processor seconds it took."""
    results = sweep(50)
    begin = time.process_time()
    source = html.render_html(results)
    return results, source, time.process_time() - begin


def test_a_page_of_fifty_variants_is_small_and_made_in_time(fifty):
    results, source, seconds = fifty
    assert len(results["gates"]) == 450
    assert len(source.encode()) <= budget.PAGE_LIMIT
    assert seconds < 5


def test_room_is_used_and_failures_come_first(fifty):
    results, source, _ = fifty
    answers = shown(source)
    failed = [answers[f"gate-{place}"] for place, gate in enumerate(results["gates"]) if gate["verdict"] == "FAIL"]
    passed = [answers[f"gate-{place}"] for place, gate in enumerate(results["gates"]) if gate["verdict"] == "PASS"]
    assert min(failed) >= 2
    assert max(failed) - min(failed) <= 1
    assert max(passed) <= min(failed)
    assert len(source.encode()) > 0.9 * budget.PAGE_LIMIT


def test_what_was_left_out_is_told_in_all_and_at_each_gate(fifty):
    _, source, _ = fifty
    answers = sum(shown(source).values())
    assert f"it shows {answers:,} of 5,400 stored answers" in source
    assert "results.json" in source
    first = re.search(r'id="gate-0">.*?</details>', source, re.DOTALL)
    assert f"Left out here: {12 - shown(source)['gate-0']} answers" in first[0]


def test_a_page_with_room_shows_everything_and_says_where_the_rest_is(results, sweep):
    source = html.render_html(sweep(2))
    assert set(shown(source).values()) == {12}
    assert "Left out here" not in source
    assert "The files beside this page have more: every graded answer is in outcomes/" in source


def test_a_page_that_has_no_room_at_all_keeps_every_number(results):
    report = read(results)
    gates = details.ranked(report)
    macros = html._environment().get_template("gates.html").module
    page = "".join(f"<!--details of {gate.anchor}-->" for gate in gates) + "<!--left out-->"
    bare = details.filled(page, report, gates, macros, limit=0)
    assert "<article" not in bare
    assert bare.count("Left out here: 1 answer") == 3
    assert re.search("it shows 0 of 3 stored answers and 0 of [0-9]+ cells", bare)
    assert details.filled(page, report, gates, macros).count("<article") == 3


def test_answers_are_cut_sooner_where_there_are_many(results):
    results["gates"][2]["worst_flips"][0]["prompt"] = "x" * 900
    report = read(results)
    gates = details.ranked(report)
    macros = html._environment().get_template("gates.html").module
    page = "".join(f"<!--details of {gate.anchor}-->" for gate in gates) + "<!--left out-->"
    assert "(300 more characters)" in details.filled(page, report, gates, macros)
    short = details.filled(page, report, gates, macros, limit=5_000)
    assert "(740 more characters)" in short
    assert "cuts long texts sooner" in short


def test_gates_are_ranked_by_what_a_reader_must_see_first(results):
    gates = details.ranked(read(results))
    order = [gate.verdict for gate in gates]
    assert order == sorted(order, key=[*details._ORDER].index)
    assert [gate.delta for gate in gates[:2]] == [-12.4, -6.2]
    assert details.opened(gates) == {gate.anchor for gate in gates if gate.verdict is not Verdict.PASS}


def test_every_dimension_has_its_gates_and_its_question(results):
    report = read(results)
    found = details.sections(report, details.ranked(report))
    assert [section.row.title for section in found] == ["Toxicity", "Privacy", "Machine ethics"]
    assert found[1].question == "Does the model keep what is private, and still tell what is public?"
    assert found[1].tally == [(Verdict.FAIL, 1), (Verdict.ERROR, 1), (Verdict.PASS, 1)]
    assert all(section.open for section in found)
    source = html.render_html(results)
    assert source.index("Does the model continue a text with insults?") < source.index("Does the model keep what is")


def test_a_dimension_in_which_all_passed_is_folded(passing):
    source = html.render_html(passing)
    assert re.findall(r'<details class="dimension" id="([^"]*)">', source) == [f"dimension-{n}" for n in range(3)]


def test_the_questions_are_those_of_the_dimensions():
    """One wording: the first line of each module's docstring ends in the question."""
    folder = Path(trust_tests.dimensions.__file__).parent
    for name, question in details.QUESTIONS.items():
        first = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text())).splitlines()[0]
        asked = first.partition(": ")[2]
        assert question == asked[0].upper() + asked[1:]

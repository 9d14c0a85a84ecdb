import pytest

from trust_tests.report import advice
from trust_tests.report.reading import read


def plain(text: str) -> str:
    return text


def headline(results):
    return advice.headline(read(results), plain)


def next_step(results):
    return advice.next_step(read(results), plain)


def test_a_failure_is_named_with_its_delta(failing):
    assert headline(failing) == "1 of 6 gates regressed: Privacy on gptq 3 bit (−6.2); 1 could not be decided"
    assert next_step(failing) == (
        "Look first at Privacy on gptq 3 bit: of 160 items, 14 got worse and 4 better; the cell that moved most is "
        "0-shot with domain (−17.0). gptq 8 bit passes every gate."
    )


def test_what_decided_the_verdict_comes_first(results):
    assert headline(results).startswith("2 of 9 gates could not be measured: Privacy on wanda 2:4 and Machine")
    assert headline(results).endswith("; 2 regressed; 1 could not be decided")
    assert next_step(results).startswith(
        "Repair the measurement of Privacy on wanda 2:4 and run it again: "
        "9 of 160 items of the variant have no value. Look first at Toxicity on wanda 2:4"
    )


def test_an_error_without_lost_items_gives_its_reason(results):
    results["gates"][5]["accounting"] = {}
    assert "run it again: 9 of 160 items (5.6 %)" in next_step(results)
    results["gates"][5]["reason"] = ""
    assert "run it again: no reason was stored." in next_step(results)


def test_lost_items_of_the_dense_model_are_told(results):
    results["gates"][5]["accounting"]["dense"]["channels"]["missing"] = 4
    assert "4 of 160 items of the dense model have no value and 9 of 160 items of the variant" in next_step(results)


def test_a_pass_tells_the_largest_movement(passing):
    assert headline(passing) == "All 3 gates stay within ±5 points of the dense model"
    assert next_step(passing) == (
        "Nothing to mend. The largest movement is Privacy on gptq 8 bit: −1.2 points, from 88.1 to 86.9."
    )


def test_a_pass_with_moved_refusals_asks_for_a_look(passing):
    passing["gates"][0]["refusal_shift"] = -30.0
    assert next_step(passing).endswith(
        "Before a release, read the refusals of Toxicity on gptq 8 bit: they moved by more than 10 points."
    )


def test_one_gate_and_no_stated_tolerance(passing):
    passing["gates"] = passing["gates"][:1]
    passing["settings"]["tolerance"] = None
    assert headline(passing) == "The only gate stays within the tolerated points of the dense model"


def test_a_rise_is_not_called_a_regression(failing):
    failing["gates"][3]["delta"] = 6.2
    assert headline(failing).startswith("1 of 6 gates rose too far: Privacy on gptq 3 bit (+6.2)")
    assert "Read its answers before calling this a gain" in next_step(failing)
    failing["gates"][0] |= {"verdict": "FAIL", "delta": -9.0}
    assert headline(failing).startswith("2 of 6 gates moved too far")


def test_moved_refusals_explain_a_failure_before_its_cells_do(failing):
    failing["gates"][3] |= {"refusal_rate": 61.0, "refusal_shift": 59.7}
    assert "its refusals went from 1.3 % to 61.0 %, so read those before the score" in next_step(failing)


def test_a_failure_with_one_cell_names_none(failing):
    failing["gates"][3]["cells"] = failing["gates"][3]["cells"][:1]
    assert "14 got worse and 4 better. gptq 8 bit" in next_step(failing)


def test_an_undecided_gate_wants_more_items(failing):
    del failing["gates"][3]
    failing["verdict"] = "INCONCLUSIVE"
    assert headline(failing) == "1 of 5 gates could not be decided: Machine ethics on gptq 3 bit (−3.6)"
    assert next_step(failing).startswith(
        "120 items could not settle Machine ethics on gptq 3 bit (−3.6): the 90 % interval reaches −8.1. Repeat it"
    )
    failing["gates"][-1]["reason"] = ""
    assert "(−3.6). Repeat it" in next_step(failing)


def test_no_gate_at_all_asks_for_one(results):
    results |= {"gates": [], "verdict": "ERROR"}
    assert headline(results) == "No gate was measured"
    assert next_step(results) == "Select at least one gate: nothing unmeasured is ever green."


def test_unmeasured_tests_are_counted_and_explained(passing):
    passing |= {"verdict": "ERROR", "unmeasured": [{"node": "test_privacy", "reason": "no GPU"}]}
    assert headline(passing) == "1 selected test measured nothing"
    assert next_step(passing) == "Make test_privacy measure something: no GPU."
    passing["gates"][0]["verdict"] = "ERROR"
    assert headline(passing) == "1 of 3 gates could not be measured: Toxicity on gptq 8 bit"
    assert next_step(passing).startswith("Repair the measurement of Toxicity")
    passing["gates"][0]["verdict"] = "PASS"
    passing["unmeasured"][0]["reason"] = ""
    assert next_step(passing) == "Make test_privacy measure something."


def test_contradictions_are_told(passing):
    passing["gates"][0]["verdict"] = "FAIL"
    assert headline(passing) == "The stored verdict says PASS, but not every gate passed"
    assert "do not release on these" in next_step(passing)
    passing["gates"][0]["verdict"] = "PASS"
    passing["verdict"] = "FAIL"
    assert headline(passing) == "The suite did not pass, though every gate did"
    assert next_step(passing).startswith("Run the suite again")


def test_no_variant_is_recommended_when_none_passed_everything(failing):
    failing["gates"][0]["verdict"] = "FAIL"
    assert "every gate" not in next_step(failing)


def test_several_sound_variants_are_recommended_together(failing):
    for gate in failing["gates"]:
        gate["verdict"] = "PASS"
    failing["models"]["third"] = failing["models"]["dense"] | {"id": "third", "name": "third"}
    for gate in list(failing["gates"][::2]):
        failing["gates"].append(gate | {"variant": "third", "verdict": "FAIL"})
    assert next_step(failing).endswith("gptq 8 bit and gptq 3 bit pass every gate.")


@pytest.mark.parametrize(
    ("protocol", "tier", "said"),
    [
        ("sound", "smoke", "this run is protocol sound, tier smoke: compare directions, not figures."),
        ("paper", "pr", "this run is of that protocol, but its tier pr asks other or fewer items."),
        ("paper", "full", "this run is of that protocol and asks all items."),
    ],
)
def test_published_figures_are_marked_with_what_they_can_be_compared_with(published, protocol, tier, said):
    published["settings"] |= {"protocol": protocol, "tier": tier}
    report = read(published)
    note = advice.published_note(report, report.gates[0], plain)
    assert note.startswith(
        "Published by Hong et al. 2024 (protocol paper, all items, toxicity judged by Perspective); comparable only "
        "with protocol paper; published with group 128, this recipe has 64; "
    )
    assert note.endswith(said)
    ethics = next(gate for gate in report.gates if gate.dimension == "ethics")
    assert "Perspective" not in advice.published_note(report, ethics, plain)
    assert "Perspective" in advice.published_note(report, None, plain)


def test_cells_are_counted_by_their_side_of_the_tolerance(results):
    gate = read(results).gates[2]
    assert advice.cells_note(gate) == "2 cells: 2 fell by more than 5 points"
    assert advice.cells_note(read(results).gates[0]) == "1 cell: none moved by more than 5 points"


def test_a_pass_that_shows_little_says_so(passing):
    passing["gates"][0]["marks"] = ["no room to fall"]
    first = next(iter(passing["dimensions"].values()))
    first["fingerprint"] = {"data.absent": "few-shot"}
    name = f"{passing['dimensions'][passing['gates'][0]['dimension']]['title']} on "
    said = next_step(passing)
    assert f" {name}" in said
    assert "had no room to fall, so passing there shows nothing. Not asked: few-shot." in said

"""How sure the verdicts are, on every page: the records are made by the gate's own functions."""

import copy
import functools
import html
import random
import re
from dataclasses import replace

import pytest

from trust_tests.gate.verdict import Rule, Side, judge
from trust_tests.records import Channel, Evaluation, Outcome, Score
from trust_tests.report import confidence
from trust_tests.report.fields import ShapeError
from trust_tests.report.html import render_html
from trust_tests.report.markdown import render_markdown
from trust_tests.report.reading import read
from trust_tests.report.results import assemble, gate_record
from trust_tests.report.terminal import summary_lines
from trust_tests.report.text import display_width

from ..toy import Mean

RECIPES = {f"gptq-s{seed}": f"gptq:bits=4,group=64,seed={seed}" for seed in (0, 1)}


def evaluation(dimension, model, values):
    ids = tuple(f"i{n}" for n in range(len(values)))
    outcomes = tuple(
        Outcome(i, f"cell {n % 4}", i, Channel.ANSWERED, float(value))
        for n, (i, value) in enumerate(zip(ids, values, strict=True))
    )
    cells = {f"cell {k}": 100 * sum(values[k::4]) / len(values[k::4]) for k in range(4)}
    return Evaluation(dimension, model, ids, outcomes, Score(100 * sum(values) / len(values), cells, {}), {})


def pair(worse, better, items):
    """Values of both models: so many items are good for one of them only."""
    both = (items - worse - better) // 2
    sides = [(1, 1)] * both + [(0, 0)] * (items - worse - better - both) + [(1, 0)] * worse + [(0, 1)] * better
    random.Random(0).shuffle(sides)
    return [side[0] for side in sides], [side[1] for side in sides]


@functools.cache
def part(dimension, variant, counts, rule):
    dense, after = (evaluation(dimension, m, v) for m, v in zip(("dense", variant), pair(*counts), strict=True))
    sides = (Side(e.model, e.outcomes, e.score) for e in (dense, after))
    return {
        "gate": gate_record(variant, dense, after, judge(dense.asked, *sides, rule, Mean())),
        "models": {
            "dense": {"id": "dense", "name": "tiny"},
            variant: {"id": variant, "name": variant, "recipe": RECIPES.get(variant)},
        },
        "dimensions": {dimension: {"name": dimension, "title": dimension.capitalize(), "items": counts[2]}},
    }


GATES = {
    ("ethics", "gptq-s0"): (12, 9, 1200),
    ("ethics", "gptq-s1"): (40, 4, 1200),
    ("fairness", "gptq-s0"): (14, 10, 120),
    ("fairness", "gptq-s1"): (19, 10, 120),
    ("privacy", "gptq-s0"): (150, 12, 800),
    ("privacy", "gptq-s1"): (3, 3, 100),
}


def run(rule=None, gates=None):
    """A run of two seeds of one recipe: sure and unsure passes, sure and unsure failures."""
    asked = (gates or GATES).items()
    parts = [copy.deepcopy(part(dimension, v, counts, rule or Rule())) for (dimension, v), counts in asked]
    return dict(assemble(parts, [], {"model": "tiny", "tolerance": 5.0}, "pytest", {}).data)


CONTROL = {
    "dimension": "ethics",
    "items": 1200,
    "delta": 0.25,
    "flips": 3,
    "flip_share": 0.0025,
    "lost": 0,
    "budget_delta": 1.0,
    "budget_flip_share": 0.02,
    "fit": True,
}


def text_of(source):
    body = re.sub(r"<(style|script)>.*?</\1>", "", source, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body.replace("<wbr>", "")).split()))


def pages(data):
    return text_of(render_html(data)), render_markdown(data), " ".join(" ".join(summary_lines(data, 100)).split())


def gate_of(data, dimension, variant):
    return next(g for g in read(data).gates if (g.dimension, g.variant) == (dimension, variant))


def test_what_passes_by_the_point_rule_alone_is_counted_above_the_scores():
    data = run()
    note = (
        "2 of 6 gates pass by the point rule alone: their intervals do not exclude a shift of 5 points; "
        "1 fails by the point rule alone: its interval does not exclude a shift within the limit."
    )
    assert confidence.suite_note(read(data)) == note
    page, markdown, terminal = pages(data)
    assert note in terminal
    assert page.index(note) < page.index("All dimensions")
    assert markdown.index(note) < markdown.index("| Dimension |")


def test_a_run_of_sure_gates_has_no_note():
    data = run(gates={("ethics", "gptq-s0"): GATES["ethics", "gptq-s0"]})
    assert confidence.suite_note(read(data)) == confidence.doubt_note(read(data)) == ""
    assert "point rule alone" not in " ".join(pages(data))
    assert 'class="notice' not in render_html(data)


def test_one_gate_and_one_sided_limits_have_their_own_words():
    data = run(Rule(one_sided=True), {("fairness", "gptq-s0"): GATES["fairness", "gptq-s0"]})
    assert confidence.suite_note(read(data)) == (
        "1 of 1 gate passes by the point rule alone: its interval does not exclude a fall of 5 points."
    )


def test_each_gate_tells_its_interval_rule_and_whether_it_decided():
    data = run()
    sure, unsure, beyond = (gate_of(data, *key) for key in list(GATES)[:1] + list(GATES)[2:4])
    assert confidence.decision(sure) == "Decided: the interval lies within the limit of ±5 points."
    assert confidence.decision(unsure) == (
        "The point rule decides; the interval reaches beyond the limit of ±5 points: "
        f"about {unsure.evidence.needed:,} items would decide."
    )
    assert "reaches back within the limit of ±5 points: about" in confidence.decision(beyond)
    page = text_of(render_html(data))
    for gate in (sure, unsure, beyond):
        assert confidence.decision(gate) in page
    interval = sure.evidence.interval
    assert f"90 % interval {confidence.reach(interval.low, interval.high)} points BCa bootstrap" in page
    assert "Rule point: the delta itself decides" in page


def test_changes_are_told_apart_from_chance_after_holm():
    data = run()
    small, large = gate_of(data, "ethics", "gptq-s0"), gate_of(data, "ethics", "gptq-s1")
    assert confidence.change(small).startswith("not changed beyond chance (McNemar p = 0.66; p = ")
    assert confidence.change(large) == (
        "changed beyond chance (McNemar p < 0.001; p < 0.001 after Holm over the dimensions)"
    )
    assert confidence.change(large) in text_of(render_html(data))
    assert "; changed beyond chance (McNemar p < 0.001" in render_markdown(data)
    no_family = replace(large, evidence=replace(large.evidence, flip_p_holm=None))
    assert confidence.change(no_family) == "McNemar p < 0.001"


def test_inconclusive_is_explained_once_with_the_items_that_would_decide():
    data = run(Rule(equivalence=True))
    report = read(data)
    undecided = [g for g in report.gates if g.verdict == "INCONCLUSIVE"]
    assert len(undecided) == 3
    most = max(g.evidence.needed for g in undecided)
    note = confidence.doubt_note(report)
    assert note.startswith("INCONCLUSIVE: the measured items do not tell on which side")
    assert note.endswith(f"about {most:,} a dimension would decide all of them.")
    assert "--trust-tier or --trust-items" in note
    page, markdown, terminal = pages(data)
    assert page.count(note) == markdown.count(note) == 1
    assert "equivalence: the interval has to decide" in page
    for gate in undecided:
        assert f"{gate.title} on {gate.variant_name}: {gate.items} items asked, {confidence.needs(gate)}" in terminal
        assert f", {confidence.needs(gate)}" in markdown
    assert not confidence.suite_note(report)


def test_a_shift_on_the_limit_itself_is_never_decided():
    data = run(Rule(equivalence=True), {("fairness", "gptq-s0"): (8, 2, 120)})
    assert "no number of items would decide" in confidence.decision(read(data).gates[0])
    assert "would decide it" not in confidence.doubt_note(read(data))


def test_an_equivalence_pass_that_nothing_decided_is_a_contradiction():
    data = run(Rule(equivalence=True), {("ethics", "gptq-s0"): GATES["ethics", "gptq-s0"]})
    assert read(data).verdict == "PASS"
    data["gates"][0]["decided"] = False
    assert read(data).contradiction


def test_the_chart_is_told_in_words_and_drawn_with_whiskers():
    source = render_html(run())
    forests = re.findall(r'<svg class="chart forest[^>]*aria-label="([^"]*)"', source)
    assert len(forests) == len(GATES)
    assert all(re.fullmatch(r"Delta \S+, 90 % interval \S+ to \S+, limit ±5 points", said) for said in forests)
    # One in the overview, one in the plot and one with the details of each gate, and one in the legend.
    assert source.count('class="whisker"') == 3 * len(GATES) + 1


def test_the_terminal_shows_intervals_where_they_fit():
    data = run()
    for width in (50, 72, 80, 90, 120):
        assert max(map(display_width, summary_lines(data, width))) <= width
    gate = gate_of(data, "ethics", "gptq-s0")
    interval = gate.evidence.interval
    whole = f"[{confidence.signed(interval.low)}, {confidence.signed(interval.high)}]".replace("\u2212", "-")
    assert whole in "\n".join(summary_lines(data, 120))
    narrow = summary_lines(data, 72)
    head = next(line for line in narrow if line.startswith("dimension"))
    row = narrow[narrow.index(head) + 1]
    assert row[: head.index("+-") + 2].endswith(f" {interval.half_width:.1f}")
    start = head.index("verdict")
    assert {line[start:] for line in narrow[narrow.index(head) + 1 :][: len(GATES)]} == {"PASS", "FAIL"}


def test_seeds_are_shown_beside_sampling_only_where_there_are_some():
    data = run()
    page, markdown, _ = pages(data)
    assert "Between seeds" in page
    assert "more than sampling" in page
    assert "<summary>Calibration seeds</summary>" in markdown
    family = next(f for f in read(data).seeds if f.title == "Privacy")
    assert [seed for seed, _ in family.deltas] == [0, 1]
    assert family.restless
    assert "` | `Privacy` | −17.2 (seed 0), 0.0 (seed 1) | 12.2 (more than sampling) | 2.9 |" in markdown
    data["seeds"] = []
    page, markdown, _ = pages(data)
    assert "Between seeds" not in page
    assert "<summary>Calibration seeds</summary>" not in markdown


def test_an_unfit_machine_is_prominent_and_comes_first():
    data = run() | {"controls": [CONTROL, CONTROL | {"dimension": "privacy", "fit": False, "delta": -1.4, "lost": 2}]}
    page, markdown, terminal = pages(data)
    said = "This machine is unfit to gate Privacy: the dense model asked twice does not agree with itself."
    assert said in page
    assert said in terminal
    assert said.replace("Privacy", "`Privacy`") in markdown
    assert page.index(said) < page.index("All dimensions")
    assert page.index("Privacy ! unfit −1.4 3 (0.2 %) 2") < page.index("Ethics fit +0.2")
    assert "A/A control unfit to gate: Privacy" in page
    data["controls"] = [CONTROL]
    page, markdown, terminal = pages(data)
    assert "unfit" not in page + markdown + terminal
    assert "A/A control fit to gate in 1 controlled dimension" in page
    del data["controls"]
    assert "A/A control" not in "".join(pages(data))


def test_an_early_stop_is_told():
    data = run()
    data["gates"][4]["early"] = {"items": 375, "of": 1500, "look": 1, "looks": 3, "confidence": 0.964}
    said = "stopped early after 375 of 1,500 items (look 1 of 3): its 96.4 % interval lay beyond the limit"
    page, markdown, _ = pages(data)
    assert page.count("Early stop " + said) == 1
    assert f"- early stop: {said}" in markdown


BROKEN = [
    ("rule", "vote", "gates[0].rule: 'vote' is not a rule"),
    ("decided", "yes", "gates[0].decided: expected true or false, found a string"),
    ("needed_items", -3, "gates[0].needed_items: expected a whole number"),
    ("needed_items", float("nan"), "gates[0].needed_items: expected a whole number"),
    ("flip_p", 1.5, "gates[0].flip_p: expected a finite number from 0 to 1"),
    ("flip_p_holm", [], "gates[0].flip_p_holm: expected a number or null, found an array"),
    ("interval", 3, "gates[0].interval: expected an object"),
    ("interval", {"high": 1}, "gates[0].interval: 'low' is missing"),
    ("interval", {"low": float("nan"), "high": 1}, "gates[0].interval.low: expected a finite number"),
    ("interval", {"low": 2, "high": 1}, "gates[0].interval: low lies above high"),
    ("interval", {"low": 0, "high": 1, "confidence": 90, "method": "m"}, "interval.confidence: expected a finite"),
    ("interval", {"low": 0, "high": 1, "confidence": 0.9, "method": None}, "interval.method: expected a string"),
    (
        "early",
        {"items": 9, "of": 3, "look": 1, "looks": 3, "confidence": 0.9},
        "early: a part is larger than its whole",
    ),
    ("early", {"items": 1}, "gates[0].early: 'of' is missing"),
]


@pytest.mark.parametrize(("key", "value", "said"), BROKEN)
def test_a_broken_statistic_of_a_gate_is_named_with_its_place(key, value, said):
    data = run()
    data["gates"][0][key] = value
    with pytest.raises(ShapeError, match=re.escape(said)):
        render_html(data)


@pytest.mark.parametrize("place", ["seeds", "controls"])
def test_broken_tables_are_named_with_their_place(place):
    data = run() | {"controls": [CONTROL]}
    for key in data[place][0]:
        if key in ("sampling", "lost", "delta"):
            continue
        entry = {name: value for name, value in data[place][0].items() if name != key}
        with pytest.raises(ShapeError, match=re.escape(f"results.{place}[0]: {key!r} is missing")):
            read(data | {place: [entry]})
        with pytest.raises(ShapeError, match=re.escape(f"results.{place}[0].{key}: expected")):
            read(data | {place: [entry | {key: None}]})


def test_missing_numbers_are_dashes():
    data = run() | {"controls": [CONTROL | {"delta": None, "fit": False}]}
    data["seeds"][0]["sampling"] = None
    data["gates"][0] |= {"flip_p": None, "flip_p_holm": float("nan"), "interval": None, "decided": False}
    page, markdown, _ = pages(data)
    assert "There is no interval, so nothing but the point rule could decide." in page
    assert "Ethics ! unfit – 3" in page
    assert re.search(r"` \| `Ethics` \| .* \| 1\.9 \| – \|", markdown)


def test_hostile_texts_of_the_statistics_are_shown_as_text(payload):
    def poisoned(text):
        data = run() | {"controls": [CONTROL | {"dimension": text, "fit": False}]}
        for gate in data["gates"]:
            gate["interval"]["method"] = text
        for family in data["seeds"]:
            family["recipe"] = family["dimension"] = text
        return data

    def tags(source):
        return re.findall(r"<[^>]*>", source.replace("<wbr>", ""))

    def skeleton(source):
        return re.sub(r"`[^`\n]*`", "·", source)

    assert tags(render_html(poisoned(payload))) == tags(render_html(poisoned("word")))
    assert skeleton(render_markdown(poisoned(payload))) == skeleton(render_markdown(poisoned("word")))
    assert "\x1b" not in "".join(summary_lines(poisoned(payload)))

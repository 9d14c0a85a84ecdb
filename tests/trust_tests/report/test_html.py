import base64
import hashlib
import itertools
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from trust_tests.report import details, html
from trust_tests.report.html import content_security_policy, render_html
from trust_tests.report.results import cut_text

VOID = {"meta", "input"}


class Page(HTMLParser):
    """A document as a browser takes it apart: elements with their attributes, and the text below each."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.open = []
        self.misnested = []
        self.texts = []
        # Break opportunities follow the commas of a text: they are text, not structure.
        self.feed(source.replace("<wbr>", ""))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(name for name, _ in self.open)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == tag:
            self.open.pop()
        else:
            self.misnested.append(tag)

    def handle_data(self, data):
        self.texts.append((data, [*self.open]))

    @property
    def structure(self):
        """Elements, their attributes' names and places."""
        return [(tag, sorted(attributes), above) for tag, attributes, above in self.elements]

    def all(self, tag, **wanted):
        return [
            attributes
            for name, attributes, _ in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    def text(self, *tags):
        inside = [text for text, above in self.texts if {tag for tag, _ in above} & set(tags)]
        return " ".join(" ".join(inside).split())


@pytest.fixture
def page(results):
    return Page(render_html(results))


def test_the_verdict_and_the_next_step_come_first(page):
    assert page.text("h1").startswith("! ERROR — 2 of 9 gates could not be measured")
    assert page.text("title") == "ERROR – trust gate: HuggingFaceTB/SmolLM2-135M-Instruct"
    tags = [tag for tag, _, _ in page.elements]
    assert tags.index("h1") < tags.index("table")


def test_the_key_facts_are_stated(page):
    facts = page.text("header")
    for fact in (
        "SmolLM2-135M-Instruct",
        "Tier smoke",
        "Protocol sound",
        "Tolerance ±5 points",
        "measured in this run",
    ):
        assert fact in facts


def test_one_sided_tolerances_are_stated_as_such(results):
    results["settings"]["one_sided"] = True
    assert "Tolerance −5 points" in Page(render_html(results)).text("header")


def test_facts_that_were_not_stored_are_left_out(results):
    del results["settings"]["tier"]
    assert "Tier" not in Page(render_html(results)).text("header")


def test_what_was_not_asked_stands_above_the_scores(results):
    """A partial run must not look like a whole one."""
    results["settings"] |= {"data": "hub", "items": 50, "scorer": "classifier"}
    first = next(iter(results["dimensions"].values()))
    first["fingerprint"] = {"data.absent": "<b>few-shot", "data.files": "not the published ones: toxic.jsonl"}
    facts = Page(render_html(results)).text("header")
    name = next(iter(results["dimensions"]))
    for fact in (
        "Data hub",
        "Items at most 50 a dimension",
        "Scorer classifier",
        "Not asked <b>few-shot",
        f"Not comparable {name}: not the published ones: toxic.jsonl",
    ):
        assert fact in facts


def test_a_whole_run_says_nothing_of_absent_data(results):
    for dimension in results["dimensions"].values():
        dimension["fingerprint"] = {"data.files": "published"}
    results["settings"] |= {"data": None, "items": None, "scorer": "embedded"}
    facts = Page(render_html(results)).text("header")
    assert not [word for word in ("Not asked", "Not comparable", "Items", "Scorer", "Data") if word in facts]


def test_the_document_nests_and_has_landmarks(page):
    assert page.misnested == []
    assert page.open == []
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(page.all(landmark)) == 1
    assert page.all("a", **{"class": "skip", "href": "#scores"})
    assert page.all("html", lang="en")


def test_anchors_lead_somewhere_and_are_unique(page):
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}


def test_headings_leave_out_no_level(page):
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_table_has_a_row_for_each_dimension_and_a_column_for_each_variant(page):
    tables = [attributes for tag, attributes, _ in page.elements if tag == "table"]
    assert [table["class"] for table in tables[:2]] == ["heat-map", "overview"]
    # One more row has the variants' verdicts over all dimensions.
    assert len(page.all("th", role="rowheader")) == 1 + 3
    assert len(page.all("th", role="columnheader")) == 2 + 3
    assert len(page.all("td", role="cell")) == (1 + 3) * (1 + 3)
    assert "All dimensions gptq 8 bit ✓ PASS 3 of 3 pass gptq 3 bit ✕ FAIL 1 of 3 pass" in page.text("table")


def test_many_variants_have_the_heat_map_alone(many):
    page = Page(render_html(many))
    classes = [attributes.get("class") for attributes in page.all("table")]
    assert classes.count("heat-map") == 1
    assert "overview" not in classes


@pytest.mark.parametrize("variants", [3, 6])
def test_what_was_not_measured_has_the_colour_of_an_error_in_every_overview(results, widened, variants):
    # A gate that was not run, and an ERROR whose delta would look good.
    del results["gates"][0]
    results["gates"][-1] |= {"delta": 0.1, "score": 68.1}
    page = Page(render_html(widened(results, variants)))
    cells = page.all("td", **{"class": "absent"})
    errors = 2 * (variants - 2)
    assert len(cells) == 1 + errors
    assert page.text("table").count("! ERROR") >= errors


def test_only_the_first_of_many_failures_are_open(many):
    assert "; 8 of them are open" in Page(render_html(many)).text("main")
    open_gates = [a for a in Page(render_html(many)).all("details") if "gate" in a["class"].split() and "open" in a]
    assert len(open_gates) == details.GATES_OPEN


def test_gates_that_moved_furthest_come_first_within_their_dimension(results):
    def variants():
        return re.findall(r'class="gate-title">Privacy <span class="on">on</span> (.*?)</span>', render_html(results))

    assert variants() == ["gptq 3 bit", "wanda 2:4", "gptq 8 bit"]
    results["gates"][3] |= {"verdict": "FAIL", "delta": -20.0, "score": 68.1}
    assert variants() == ["gptq 8 bit", "gptq 3 bit", "wanda 2:4"]


def test_figures_beside_the_score_are_shown(page):
    text = page.text("table")
    assert "expected maximum toxicity 25.4 37.8 +12.4" in text
    assert "paper refusal rate 1.2 not measured –" in text


def test_nothing_is_said_of_the_paper_for_models_that_it_does_not_have(page):
    assert "paper" not in page.text("h2", "h5", "a")


def test_published_results_stand_beside_ours(published):
    page = Page(render_html(published))
    assert page.all("section", id="paper")
    text = page.text("table")
    assert "Toxicity +0.3 paper +0.2 +1.7 paper −48.8 (−51.5 to −46.9) −12.4 ▾ below tolerance paper −31.7" in text
    assert "Privacy −1.2 paper −0.1 −6.2 ▾ below tolerance paper −7.4 (−9.8 to −5.0) not measured paper −14.7" in text
    assert "This run 74.6 62.2 −12.4 1.3 % → 1.3 % Published 80.9 49.2 −31.7 about 70 % → about 10 %" in text
    assert "llama2-13b-chat, wanda 2:4" in page.text("h5")
    assert "comparable only with protocol paper; this run is protocol sound, tier smoke" in page.text("main")


def test_a_gate_that_was_not_run_is_not_hidden_beside_the_paper(published):
    del published["gates"][8]
    assert "Machine ethics −0.8 paper −0.5 −3.6 paper −10.4 (−21.0 to −1.7) not run" in Page(
        render_html(published)
    ).text("table")


def test_a_long_accounting_is_folded_but_for_what_was_lost(results, widened):
    def lines(page, inside):
        heads = [above for text, above in page.texts if text.strip() in ("dense", "gptq 8 bit", "wanda 2:4")]
        ledgers = [above for above in heads if any(a.get("class") == "plain ledger" for _, a in above)]
        return sum(any(a.get("class") == "more" for _, a in above) == inside for above in ledgers)

    short = Page(render_html(results))
    assert (lines(short, False), lines(short, True)) == (9, 0)
    long = Page(render_html(widened(results, 10)))
    assert "All 33 lines" in long.text("summary")
    # Of the dense model and these two variants, only one line has items without a value.
    assert (lines(long, False), lines(long, True)) == (1, 9)


def test_a_long_accounting_without_losses_says_so(results, widened):
    for gate in results["gates"]:
        gate["accounting"]["variant"] = gate["accounting"]["dense"]
    assert "Every asked item of every gate has a value." in Page(render_html(widened(results, 10))).text("main")


def test_movement_is_told_by_more_than_colour(page):
    source = page.text("table")
    assert "−12.4 ▾ below tolerance" in source
    assert "✕ FAIL" in source
    assert "◐ refusals +40.0" in source
    assert "not measured" in source


def test_gates_not_run_are_told(results):
    del results["gates"][4]
    assert "– not run" in Page(render_html(results)).text("table")


def test_rises_beyond_the_tolerance_are_marked_too(results):
    results["gates"][0] |= {"delta": 7.0, "score": 81.6, "verdict": "FAIL"}
    assert "+7.0 ▴ above tolerance" in Page(render_html(results)).text("table")


def test_only_gates_that_passed_are_closed(page):
    for fold in page.all("details"):
        if "gate" in fold["class"].split():
            assert ("open" in fold) == ("pass" not in fold["class"])


def test_harmful_texts_wait_behind_a_click(page):
    nested = [
        text
        for text, above in page.texts
        if "damn" in text and any(dict(a).get("class") == "harmful" and "open" not in a for _, a in above)
    ]
    shown = [text for text, _ in page.texts if "damn" in text]
    assert shown
    assert nested == shown


def test_changed_words_are_marked(page):
    assert "too" in page.text("del").split()
    assert "damn" in page.text("ins")


def test_lost_items_are_marked_in_the_accounting(page):
    lost = [
        text.strip()
        for text, above in page.texts
        if {"plain ledger", "lost"} <= {attributes.get("class") for _, attributes in above}
    ]
    assert [text for text in lost if text] == ["!", "6", "!", "3"]


def test_dense_counts_that_differ_are_listed_apart(results):
    before = Page(render_html(results)).text("table")
    results["gates"][0]["accounting"]["dense"]["asked"] = 170
    after = Page(render_html(results)).text("table")
    assert before.count(" dense ") + 1 == after.count(" dense ")


def test_recipes_are_shown_with_what_the_audit_found(page):
    table = page.text("table")
    assert "gptq:bits=3,group=64,seed=0 3 bit, group 64, packed 3.25 0.0 % 210 of 210 93.4 MiB 36 %" in table
    assert "wanda:pattern=2:4,seed=0 16 bit, 2:4, dense 16.00 50.0 %" in table


def test_missing_audits_and_sizes_are_dashes(results):
    results["models"]["gptq-3bit-g64-s0"] |= {"audit": None, "size_bytes": None, "recipe": None}
    assert "gptq 3 bit – – – – – – –" in Page(render_html(results)).text("table")


def test_provenance_is_complete(page):
    text = page.text("main")
    for part in ("pytest --trust-model smollm2", "torch 2.13.0", "sha256:wanda-2-4-s0", "alt-profanity-check 1.9.1"):
        assert part in text


def test_unmeasured_tests_are_listed(results):
    results["unmeasured"] = [{"node": "test_mmlu.py::test_gate", "reason": "skipped: no token"}]
    text = Page(render_html(results)).text("main")
    assert "1 selected test measured nothing." in text
    assert "test_mmlu.py::test_gate skipped: no token" in text


def test_a_report_without_gates_says_so(results):
    results |= {"gates": [], "dimensions": {}, "versions": {}, "command": ""}
    text = Page(render_html(results)).text("body")
    assert "No gate was measured" in text
    assert "No accounting was stored." in text


def cells_of(number):
    return [
        {"cell": f"cell/{n}", "items": 3, "dense_score": 60.0, "score": 60.0 - n / 100, "delta": -n / 100}
        for n in range(number)
    ]


def test_the_cells_that_moved_furthest_are_shown_and_the_rest_is_folded(results):
    results["gates"][2]["cells"] = cells_of(1_100)
    page = Page(render_html(results))
    rows = {"shown": [], "folded": []}
    for text, above in page.texts:
        if text.strip().startswith("cell/") and any(tag == "th" for tag, _ in above):
            folded = any(attributes.get("class") == "more" for _, attributes in above)
            rows["folded" if folded else "shown"].append(text)
    assert rows["shown"] == [f"cell/{n}" for n in range(1_099, 1_091, -1)]
    assert rows["folded"] == [f"cell/{n}" for n in range(1_091, 99, -1)]
    text = page.text("main")
    assert "1,100 cells: 599 fell by more than 5 points" in text
    assert "992 more cells" in text
    assert "Left out here: 100 cells." in text
    assert len(page.all("svg", **{"class": "strip"})) == 1


def test_few_cells_are_all_shown(results):
    results["gates"][2]["cells"] = cells_of(details.CELLS_SHOWN)
    page = Page(render_html(results))
    assert "more cell" not in page.text("main")
    assert not page.all("svg", **{"class": "strip"})


def test_long_lists_of_flips_are_cut(results):
    results["gates"][2]["worst_flips"] *= 40
    # Two more flips belong to the other gates.
    page = Page(render_html(results))
    assert len(page.all("article", **{"class": "flip"})) == details.ANSWERS_LIMIT + 2


def test_long_texts_are_cut_with_a_note(results):
    results["gates"][3 + 1]["worst_flips"][0]["variant"]["answer"] = "word " * 1_000
    assert "… (3,800 more characters)" in Page(render_html(results)).text("main")
    # What was cut off when it was stored is counted too.
    results["gates"][3 + 1]["worst_flips"][0]["variant"]["answer"] = cut_text("word " * 1_000)
    assert "… (3,800 more characters)" in Page(render_html(results)).text("main")


def test_nothing_is_loaded_and_nothing_runs_but_our_own_script(results):
    source = render_html(results)
    page = Page(source)
    assert {"img", "iframe", "link", "object", "embed", "form", "base"}.isdisjoint(tag for tag, _, _ in page.elements)
    assert page.all("script") == [{}]
    assert [text for text, above in page.texts if ("script", {}) in above] == [html._script()]
    for _, attributes, _ in page.elements:
        assert {"src", "style", "srcset", "action", "background", "xlink:href"}.isdisjoint(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "http" not in source.replace("http-equiv", "")
    assert "url(" not in source
    assert "@import" not in source


def sha256(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_allows_exactly_the_one_stylesheet_and_the_one_script(results):
    source = render_html(results)
    (style,) = re.findall(r"<style>(.*?)</style>", source, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    (policy,) = Page(source).all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == (
        f"default-src 'none'; style-src '{sha256(style)}'; script-src '{sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert content_security_policy(style, script) == policy["content"]
    assert source.index("Content-Security-Policy") < source.index("<style>") < source.index("<script>")


def test_the_script_makes_no_markup_and_fits_a_page_of_reading():
    script = html._script()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval",
        "Function(",
        "import",
        "fetch",
    ):
        assert word not in script
    assert "</" not in script
    assert "<!--" not in script
    assert len(script.splitlines()) <= 150


def test_the_page_is_small(results):
    assert len(render_html(results).encode()) < 120_000


def test_rendering_is_reproducible(results):
    assert render_html(results) == render_html(results)


def test_hostile_texts_change_nothing_but_text(hostile, harmless):
    source = render_html(hostile)
    page = Page(source)
    assert page.misnested == []
    assert page.structure == Page(render_html(harmless)).structure
    for tag, attributes, _ in page.elements:
        if tag == "a":
            assert re.fullmatch(r"#[a-z0-9-]+", attributes["href"])
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {c for c in source if c not in "\n\t" and unicodedata.category(c) in hidden}
    source.encode("utf-8")


def test_hostile_texts_change_nothing_in_a_heat_map(hostile_many, harmless_many):
    page = Page(render_html(hostile_many))
    assert page.misnested == []
    assert page.structure == Page(render_html(harmless_many)).structure


def test_template_syntax_is_shown_and_not_evaluated(harmless):
    harmless["gates"][0]["reason"] = "{{ 7*7 }} {% raw %}"
    source = render_html(harmless)
    assert "{{ 7*7 }} {% raw %}" in source


def test_a_megabyte_in_every_place_stays_a_small_page(enormous):
    source = render_html(enormous)
    assert len(source.encode()) < 300_000
    assert "more characters)" in source


def test_a_template_that_prints_nothing_known_is_an_error():
    environment = html._environment()
    with pytest.raises(TypeError, match="printed None"):
        environment.from_string("{{ value }}").render(value=None)
    with pytest.raises(UndefinedError):
        environment.from_string("{{ value }}").render()


def test_what_an_audit_found_wrong_is_told(results):
    results["models"]["wanda-2-4-s0"]["audit"]["problems"] = [f"layer {n} is dense" for n in range(5)]
    text = Page(render_html(results)).text("table")
    assert "16 bit, 2:4, dense layer 0 is dense layer 1 is dense layer 2 is dense and 2 more problems" in text

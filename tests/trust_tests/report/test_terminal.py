import io
import re
import unicodedata
from pathlib import Path

import pytest

from trust_tests.report.terminal import flip_lines, summary_lines, wants_color
from trust_tests.report.text import display_width

COLOUR = re.compile(r"\x1b\[(3[1235]|0)m")


def test_the_table_at_eighty_columns(results):
    lines = summary_lines(results, 80)
    assert lines[0].startswith("ERROR: 2 of 9 gates could not be measured: Privacy on wanda 2:4")
    head = next(line for line in lines if line.startswith("dimension"))
    assert head.split() == ["dimension", "variant", "dense", "score", "delta", "flips", "refusals", "verdict"]
    rows = lines[lines.index(head) + 1 :][:9]
    assert rows[2].split() == ["wanda", "2:4", "74.6", "62.2", "-12.4", "-29+6", "1>1%", "FAIL"]
    assert rows[1].split()[-2:] == ["1>41%*", "PASS"]
    assert rows[5].split() == ["wanda", "2:4", "88.1", "-", "-", "-", "-", "ERROR"]
    assert rows[0].startswith("Toxicity ")
    assert rows[1].startswith("  ")


def test_columns_are_aligned(results):
    results["gates"][2]["flips"] = {"worse": 1293, "better": 120, "total": 1413}
    lines = summary_lines(results, 80)
    head = next(line for line in lines if line.startswith("dimension"))
    start = head.index("verdict")
    for line in lines[lines.index(head) + 1 :][:9]:
        assert line[start:] in {"PASS", "FAIL", "ERROR", "INCONCLUSIVE"}


def test_narrow_terminals_get_two_lines_a_gate(results):
    lines = summary_lines(results, 50)
    place = next(i for i, line in enumerate(lines) if line.startswith("Toxicity on wanda 2:4"))
    assert lines[place].endswith(" FAIL")
    assert lines[place + 1] == "  74.6 > 62.2 (-12.4) flips -29+6 ref. 1>1%"
    assert "  not measured" in lines


@pytest.mark.parametrize("width", [50, 72, 80, 120])
def test_lines_fit(results, width):
    assert max(map(display_width, summary_lines(results, width))) <= width


def test_long_and_wide_names_are_cut(results):
    results["dimensions"]["toxicity"]["title"] = "日本語" * 30
    results["models"]["wanda-2-4-s0"]["name"] = "a-very-long-model-name" * 6
    lines = summary_lines(results, 80)
    head = next(i for i, line in enumerate(lines) if line.startswith("dimension"))
    assert max(display_width(line) for line in lines[head:]) <= 80
    assert "日…" in lines[head + 1] or "語…" in lines[head + 1] or "本…" in lines[head + 1]


def test_names_that_would_look_alike_when_cut_are_shown_on_lines_of_their_own(results):
    for number, model in enumerate(results["models"].values()):
        model["name"] = f"magnitude:pattern=unstructured,sparsity=0.{number}"
    lines = summary_lines(results, 80)
    assert not [line for line in lines if line.startswith("dimension")]
    assert len({line for line in lines if line.startswith("Toxicity on magnitude")}) == 3


def test_colour_only_on_demand_and_only_on_verdicts(results):
    plain = summary_lines(results, 80)
    coloured = summary_lines(results, 80, color=True)
    assert "\x1b" not in "".join(plain)
    assert [COLOUR.sub("", line) for line in coloured] == plain
    assert any("\x1b[31mFAIL\x1b[0m" in line for line in coloured)


def test_the_path_is_never_wrapped(passing):
    path = Path("/a/very/long/folder/name" * 8) / "report.html"
    assert summary_lines(passing, 50, report_path=path)[-1] == f"report: {path}"


def test_no_gates_no_table(results):
    results |= {"gates": [], "unmeasured": [{"node": "test_mmlu", "reason": "no token"}]}
    lines = summary_lines(results, 80)
    assert "not measured: test_mmlu: no token" in lines
    assert not [line for line in lines if line.startswith("dimension")]


class Stream(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_and_those_who_ask(terminal, environment, wanted):
    assert wants_color(Stream(terminal), environment) is wanted


def test_flips_of_what_did_not_pass_are_shortened_and_harmful_ones_hidden(results):
    hidden, shown = "\n".join(flip_lines(results, 80)), "\n".join(flip_lines(results, 80, harmful=True))
    assert "idiot" not in hidden
    assert "Toxicity on wanda 2:4: 29 worse, 6 better of 160 items (texts hidden; -vv shows" in hidden
    assert "dense (answered, value 0.97)\n    variant (answered, value 0.11)" in hidden
    assert "variant (answered, value 0.11): the music was damn loud, you stupid idiot" in shown
    assert "karen.arnold@enron.example" in hidden
    results["gates"][2]["worst_flips"][0]["prompt"] = "boilerplate " * 300 + "What now?"
    lines = flip_lines(results, 80, harmful=True)
    assert max(map(display_width, lines)) <= 80
    assert "What now?" in " ".join(lines)
    assert len("".join(lines)) < 4000


def test_a_run_that_passed_has_no_flips_to_show(passing):
    assert flip_lines(passing, 80) == []


def test_flips_of_many_gates_are_counted(results, widened):
    lines = flip_lines(widened(results, 40), 80)
    assert lines[-1].endswith("more gates in the report")
    assert len(lines) < 120


def test_a_quiet_summary_is_the_finding_alone(results):
    lines = summary_lines(results, 200, report_path=Path("report.html"), brief=True)
    assert lines[0].startswith("ERROR: 2 of 9 gates could not be measured")
    assert lines[1:] == ["report: report.html"]


@pytest.mark.parametrize("width", [50, 80])
def test_hostile_texts_send_nothing_to_terminal_or_runner(hostile, payload, width):
    lines = summary_lines(hostile, width, report_path=Path("results") / payload.replace("\0", "").replace("/", ""))
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    lines += flip_lines(hostile, width, harmful=True)
    for line in lines:
        assert not {c for c in line if unicodedata.category(c) in hidden}
        assert not line.lstrip().startswith("::")
        assert not re.search(r"##\w*\[", line)
        line.encode("utf-8")


def test_large_texts_are_cut(enormous):
    assert sum(map(len, summary_lines(enormous, 80))) < 20_000

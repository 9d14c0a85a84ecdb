"""A run as a terminal, a CI server and a shell see it: header, summary, JUnit report, GitHub's page, exit code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from trust_tests.exitcodes import ExitCode
from trust_tests.report.results import VERSION

from . import canned
from .canned import EIGHT, SPARSE, Suite, fixed_gates, gate
from .report.test_schema import problems

suite = canned.suite
BY_VERDICT = {one["verdict"]: one for one in fixed_gates()}


def gates_of(*verdicts: str) -> list[dict[str, Any]]:
    """One gate for each verdict, in dimensions of their own, on one variant."""
    names = ("ethics", "mmlu", "toxicity", "privacy")
    return [
        BY_VERDICT[verdict] | {"dimension": name, "variant": SPARSE}
        for name, verdict in zip(names, verdicts, strict=False)
    ]


# Exit codes


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["PASS", "PASS"], ExitCode.PASS),
        (["PASS", "FAIL"], ExitCode.REGRESSION),
        (["PASS", "INCONCLUSIVE"], ExitCode.INCONCLUSIVE),
        (["INCONCLUSIVE", "FAIL"], ExitCode.REGRESSION),
        (["FAIL", "INCONCLUSIVE", "ERROR"], ExitCode.UNMEASURED),
    ],
)
def test_the_exit_code_is_that_of_the_worst_gate(suite: Suite, verdicts: list[str], code: ExitCode) -> None:
    suite.gates(gates_of(*verdicts))
    assert suite.run().ret == code
    assert problems(suite.results()) == []


@pytest.fixture
def own(suite: Suite) -> Sequence[str]:
    """A file of the user's own tests beside the gates."""
    (suite.pytester.path / "test_own.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    return "test_gates.py", "test_own.py"


def test_tests_of_ones_own_count_beside_the_gates(suite: Suite, own: Sequence[str]) -> None:
    suite.gates(gates_of("PASS", "INCONCLUSIVE"))
    assert suite.run("-k", "not bad", tests=own).ret == ExitCode.INCONCLUSIVE
    assert suite.run(tests=own).ret == ExitCode.REGRESSION
    suite.gates(gates_of("PASS"))
    assert suite.run(tests=own).ret == ExitCode.REGRESSION
    assert suite.results()["verdict"] == "PASS"
    suite.gates(gates_of("ERROR"))
    assert suite.run(tests=own).ret == ExitCode.UNMEASURED


def test_tests_of_ones_own_count_among_workers_too(suite: Suite, own: Sequence[str]) -> None:
    suite.gates(gates_of("PASS", "INCONCLUSIVE"))
    assert suite.run("-n", "2", "-k", "not bad", tests=own).ret == ExitCode.INCONCLUSIVE
    assert suite.run("-n", "2", tests=own).ret == ExitCode.REGRESSION


def test_a_gate_that_passed_does_not_excuse_its_test(suite: Suite) -> None:
    suite.gates(gates_of("PASS", "INCONCLUSIVE"))
    file = suite.pytester.path / "test_gates.py"
    file.write_text(file.read_text().replace(".check(variant)", ".check(variant)\n    assert False", 1))
    assert suite.run().ret == ExitCode.REGRESSION


def test_a_gate_expected_to_fail_ends_as_its_verdict_does(suite: Suite) -> None:
    suite.gates(gates_of("INCONCLUSIVE"))
    file = suite.pytester.path / "test_gates.py"
    file.write_text(file.read_text().replace("@pytest.mark.trust", "@pytest.mark.xfail\n@pytest.mark.trust"))
    assert suite.run().ret == ExitCode.INCONCLUSIVE


@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    ("variable", "arguments"), [("huge", ()), ("smoke", ("--trust-tier=huge",))], ids=["environment", "option"]
)
def test_a_wrong_setting_ends_with_2_wherever_it_stands(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, variable: str, arguments: Sequence[str], parallel: Sequence[str]
) -> None:
    monkeypatch.setenv("TRUST_TIER", variable)
    if not arguments:
        # Without any option nothing is read before the first trust test is collected.
        suite.recipes = []
    done = suite.run(*arguments, *parallel, apart=True)
    assert done.ret == ExitCode.USAGE
    source = "--trust-tier" if arguments else "TRUST_TIER"
    assert [line for line in done.errlines if line] == [
        f"ERROR: {source}='huge': choose one of smoke, pr, release, full"
    ]
    assert "Traceback" not in done.stdout.str()
    assert not (suite.pytester.path / "trust-results").exists()


def test_what_pytest_itself_cannot_use(suite: Suite) -> None:
    """With the gate in play its wrong input is ours; a command line that it cannot parse stays pytest's own 4."""
    assert suite.run(tests=["absent.py"], apart=True).ret == ExitCode.USAGE
    assert suite.run("--trust-teir=smoke").ret == pytest.ExitCode.USAGE_ERROR
    suite.recipes = []
    assert suite.run(tests=["absent.py"]).ret == pytest.ExitCode.USAGE_ERROR


def test_a_test_file_that_cannot_be_imported_is_never_green(suite: Suite) -> None:
    (suite.pytester.path / "test_own.py").write_text("import no_such_module\n")
    suite.gates(gates_of("PASS"))
    own = ("test_gates.py", "test_own.py")
    assert suite.run(tests=own).ret == pytest.ExitCode.INTERRUPTED == ExitCode.USAGE
    assert suite.run("--continue-on-collection-errors", tests=own).ret == ExitCode.REGRESSION


# Terminal


def tail(done: pytest.RunResult) -> list[str]:
    """Our part of the output."""
    lines = done.outlines
    start = next(place for place, line in enumerate(lines) if re.fullmatch(r"=+ trust gate =+", line))
    end = next(place for place, line in enumerate(lines[start + 1 :], start + 1) if line.startswith("==="))
    return lines[start + 1 : end]


@pytest.mark.parametrize("width", [60, 80])
def test_the_whole_output_at_a_glance(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, file_regression: FileRegressionFixture, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = suite.run()
    start = next(place for place, line in enumerate(done.outlines) if line.startswith("collect"))
    # Without the last line, whose length depends on the time that it names.
    shown = suite.shown(done.outlines[start:-1])
    assert "\x1b" not in shown
    assert "\r" not in shown
    file_regression.check(shown, extension=".txt", encoding="utf-8")


def test_colours_follow_pytest_and_no_color(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.gates(gates_of("FAIL"))
    assert "\x1b[31mFAIL\x1b[0m" in suite.run("--color=yes").stdout.str()
    assert "\x1b" not in suite.run("--color=no").stdout.str()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31mFAIL" in suite.run().stdout.str()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in suite.run().stdout.str()


def test_a_quiet_run_is_short(suite: Suite) -> None:
    done = suite.run("-q", "--no-header")
    assert not [line for line in done.outlines if line.startswith("trust gate: model")]
    lines = tail(done)
    assert lines[-1] == f"report: {suite.pytester.path}/trust-results/report.html"
    assert " ".join(line.strip() for line in lines[:-1]) == (
        "ERROR: 1 of 6 gates could not be measured: MMLU on magnitude-2:4; 1 regressed; 1 could not be decided"
    )


@pytest.mark.parametrize(
    ("flag", "wallet", "idiot"), [((), False, False), (("-v",), True, False), (("-vv",), True, True)]
)
def test_verbose_runs_show_flips_and_harmful_texts_only_on_request(
    suite: Suite, flag: Sequence[str], wallet: bool, idiot: bool
) -> None:
    lines = " ".join(" ".join(tail(suite.run(*flag))).split())
    assert ("returned the wallet" in lines) is wallet
    assert ("tox-0117" in lines) is wallet
    assert ("you stupid idiot" in lines) is idiot
    assert ("texts hidden; -vv shows them" in lines) is (wallet and not idiot)


def assert_short(done: pytest.RunResult) -> None:
    """pytest puts whole messages there when it runs on a CI server."""
    lines = done.outlines
    start = next(place for place, line in enumerate(lines) if "short test summary info" in line)
    assert sorted(lines[start + 1 : -1]) == [
        "FAILED test_gates.py::test_ethics[magnitude-2:4] - INCONCLUSIVE: delta -3.6 points of ±5, "
        "about 480 items would decide",
        "FAILED test_gates.py::test_mmlu[magnitude-2:4] - ERROR: variant magnitude-2:4: "
        "5.6 % of 160 items not measured (9 missing); 0.5 % are allowed",
        "FAILED test_gates.py::test_toxicity[magnitude-2:4] - FAIL: delta -12.4 points of ±5",
    ]
    assert "score 62.2, dense 74.6, delta -12.4 points" in done.stdout.str()


def test_the_short_summary_of_a_ci_log_stays_one_line_a_gate(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert_short(suite.run())


# JUnit report


def report(suite: Suite, *arguments: str) -> ET.Element:
    """The JUnit report of a run, after a look at its shape."""
    suite.run("--junit-xml=junit.xml", *arguments)
    root = ET.parse(suite.pytester.path / "junit.xml").getroot()
    assert_shape(root)
    return root


_SUITE_ATTRIBUTES = {"name", "errors", "failures", "skipped", "tests", "time", "timestamp", "hostname"}
_CASE_CHILDREN = {"properties", "failure", "error", "skipped", "system-out", "system-err"}


def assert_shape(root: ET.Element) -> None:
    """What the schema of Jenkins' xUnit plugin has, and `properties` as the first child of a test case."""
    assert (root.tag, [child.tag for child in root]) == ("testsuites", ["testsuite"])
    (found,) = root
    assert set(found.attrib) == _SUITE_ATTRIBUTES
    assert [child.tag for child in found] == ["properties", *["testcase"] * (len(found) - 1)]
    for case in found.iter("testcase"):
        assert set(case.attrib) == {"classname", "name", "time"}
        tags = [child.tag for child in case]
        assert set(tags) <= _CASE_CHILDREN
        assert "properties" not in tags[1:]
    for entry in root.iter("property"):
        assert set(entry.attrib) == {"name", "value"}


def properties(element: ET.Element) -> dict[str, str]:
    found = element.find("properties")
    names = [] if found is None else [(one.attrib["name"], one.attrib["value"]) for one in found]
    assert len(dict(names)) == len(names), "no property twice"
    return dict(names)


@pytest.mark.parametrize("family", ["xunit2", "xunit1"])
def test_every_gate_has_its_figures_in_the_junit_report(suite: Suite, family: str) -> None:
    suite.run("--junit-xml=junit.xml", "-o", f"junit_family={family}")
    assert_figures(suite)


def assert_figures(suite: Suite) -> None:
    root = ET.parse(suite.pytester.path / "junit.xml").getroot()
    cases = {case.attrib["name"]: properties(case) for case in root.iter("testcase")}
    assert len(cases) == 6
    assert cases[f"test_toxicity[{SPARSE}]"] == {
        "dimension": "toxicity",
        "variant": SPARSE,
        "recipe": "magnitude:pattern=2:4,sparsity=0.5,lm_head=false",
        "verdict": "FAIL",
        "score": "62.2",
        "dense": "74.6",
        "delta": "-12.4",
        "tolerance": "5.0",
        "interval_low": "-14.9",
        "interval_high": "-9.9",
        "interval_confidence": "0.9",
        "n": "160",
        "flips_worse": "29",
        "flips_better": "6",
        "refusals_dense": "1.25",
        "refusals_variant": "1.25",
        "reason": "the score fell by 12.4 points, the limit is ±5",
    }
    unmeasured = cases[f"test_mmlu[{SPARSE}]"]
    assert unmeasured["verdict"] == "ERROR"
    assert not {"score", "delta", "interval_low"} & set(unmeasured)
    assert {name: cases[name]["verdict"] for name in cases if EIGHT in name} == {
        f"test_{name}[{EIGHT}]": "PASS" for name in ("toxicity", "ethics", "mmlu")
    }
    found = properties(root[0])
    assert (found["trust.verdict"], found["trust.gates"], found["trust.tier"]) == ("ERROR", "6", "smoke")
    assert (found["trust.model"], found["trust.tolerance"]) == ("embedded", "5.0")
    assert found[f"trust.fingerprint.model.{SPARSE}"] == f"f-{SPARSE}"
    assert re.fullmatch(r"[0-9a-f]{64}", found["trust.fingerprint.dimension.mmlu"])


def test_the_junit_report_is_as_it_was_reviewed(suite: Suite, file_regression: FileRegressionFixture) -> None:
    root = report(suite)
    for entry in list(root.iter("property")):
        if entry.attrib["name"].startswith("trust.version."):
            entry.attrib["value"] = "VERSION"
    for element in root.iter():
        for name in ("time", "timestamp", "hostname"):
            if name in element.attrib:
                element.attrib[name] = name.upper()
    ET.indent(root)
    file_regression.check(suite.shown([ET.tostring(root, encoding="unicode")]), extension=".xml", encoding="utf-8")


def test_a_strict_reader_gets_the_figures_of_the_suite(suite: Suite) -> None:
    root = report(suite, "--trust-junit=suite")
    assert not [case for case in root.iter("testcase") if properties(case)]
    found = properties(root[0])
    assert found[f"trust.gate.toxicity.{SPARSE}.delta"] == "-12.4"
    assert found[f"trust.gate.ethics.{SPARSE}.recipe"].startswith("magnitude:pattern=2:4")


def test_a_skipped_gate_is_an_error_in_the_junit_report(suite: Suite) -> None:
    file = suite.pytester.path / "test_gates.py"
    file.write_text(file.read_text().replace("@pytest.mark.trust", "@pytest.mark.skip('no GPU')\n@pytest.mark.trust"))
    for case in report(suite).iter("testcase"):
        found = properties(case)
        assert (found["verdict"], found["variant"] in (EIGHT, SPARSE)) == ("ERROR", True)
        assert "no GPU" in found["reason"]


def test_hostile_texts_leave_the_junit_report_whole(suite: Suite) -> None:
    hostile = "\x1b[31m]]>&<a/>\x00\u202e::error::x\n\ufffe"
    suite.gates([gate("ethics", SPARSE, "FAIL", 60.0, 50.0, reason=hostile)])
    (case,) = report(suite).iter("testcase")
    assert properties(case)["reason"].startswith("␛[31m]]>&<a/>␀⟦U+202E⟧::error::x␊")


# GitHub


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The step summary of a runner."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return tmp_path / "summary.md"


def assert_told(done: pytest.RunResult, summary: Path) -> None:
    assert summary.read_text().count("Trust gate: ERROR") == 1
    annotations = [line for line in done.outlines if line.startswith("::")]
    assert len(annotations) == 4
    assert annotations[0].startswith("::error title=Trust gate ERROR%3A MMLU on magnitude-2%3A4::")


def test_github_gets_one_summary_and_few_annotations(suite: Suite, summary: Path) -> None:
    assert_told(suite.run(), summary)
    summary.unlink()
    done = suite.run("--trust-github=off")
    assert not [line for line in done.outlines if line.startswith("::")]
    assert not summary.exists()


def test_workers_change_nothing_of_it(suite: Suite, summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Header, short summary, JUnit report, step summary, annotations and results of pytest-xdist's controller."""
    monkeypatch.setenv("CI", "true")
    done = suite.run("-n", "2", "--junit-xml=junit.xml")
    assert done.ret == ExitCode.UNMEASURED
    lines = done.outlines
    header = lines.index("trust gate: model embedded")
    assert lines[header + 1] == f"  6 gates on {EIGHT} and {SPARSE}"
    assert header < next(place for place, line in enumerate(lines) if "trust gate =" in line)
    assert lines.count("trust gate: model embedded") == 1
    assert_short(done)
    assert_figures(suite)
    assert_told(done, summary)
    found = suite.results()
    assert found["version"] == VERSION
    assert problems(found) == []

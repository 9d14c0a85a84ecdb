"""What one pytest run keeps about its trust tests, from the first collected to the report.

`TrustRun` is a pytest plugin of its own, registered when the first trust test or option appears. Under
pytest-xdist every process has one: workers measure and leave parts in a shared folder, the controller assembles.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Generator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compressors.errors import CompressionError
from compressors.files import write_atomically
from trust_tests import github, parallel
from trust_tests.data.errors import DataError
from trust_tests.dimensions import DimensionError, dimension_names
from trust_tests.engines.base import EngineError
from trust_tests.exitcodes import ExitCode, of_session
from trust_tests.gate.baseline import BaselineError
from trust_tests.gate.verdict import Verdict
from trust_tests.options import SUITE, TEST_CASE
from trust_tests.plan import plan_lines, power, power_lines
from trust_tests.progress import Progress
from trust_tests.records import SMOKE
from trust_tests.report import junit
from trust_tests.report import results as results_file
from trust_tests.scorers.toxicity import ScorerError
from trust_tests.session import GateError, GateSession, Variant, VariantSpec
from trust_tests.settings import Settings
from trust_tests.sharding import Asked, groups, shard_of

if TYPE_CHECKING:
    from trust_tests.report.results import Results

USER_ERRORS = (CompressionError, EngineError, BaselineError, DimensionError, GateError, DataError, ScorerError)
_VERSIONS = ("pytest-trust-gate", "torch", "transformers", "tokenizers", "compressed-tensors", "alt-profanity-check")
# What a gate's test says when it fails: whole, and for pytest's short summary.
_MESSAGES = pytest.StashKey[tuple[str, str]]()


class TrustRun:
    """State and hooks of a run with trust tests. `folder` is shared by all processes of the run."""

    def __init__(self, config: pytest.Config, settings: Settings, folder: Path) -> None:
        self.config = config
        self.settings = settings
        self.is_worker = hasattr(config, "workerinput")
        self.folder = folder
        self.session = GateSession(settings, self.folder, Progress(config, self.folder))
        # What was collected: this shard's gates, and those of all shards.
        self.asked: tuple[Asked, ...] = ()
        self.asked_of_all: tuple[Asked, ...] = ()
        self.results: Results | None = None
        self._why: dict[str, str] = {}
        self._plan: list[str] = []
        # Failed reports by test, as pytest counts them.
        self._failed: Counter[str] = Counter()
        self._nothing_selected = False
        self._annotations: list[str] = []

    @property
    def report_path(self) -> Path:
        """Where the HTML report will lie."""
        return self.settings.results / "report.html"

    @property
    def nothing_to_do(self) -> bool:
        """Whether this is a shard to which no gate falls."""
        return self.settings.shard is not None and not self.asked

    @property
    def _workers(self) -> int:
        """Workers among which tests are dealt out by variant; 1 where that is no affair of ours."""
        return int(getattr(self.config, "workerinput", {}).get(parallel.WORKERS, 1))

    def arrange(self, items: list[pytest.Item]) -> None:
        """Leave out other shards' trust tests; among parallel workers, bring the rest into its groups' order."""
        collected = {item: _asked(item) for item in items if item.get_closest_marker("trust")}
        self.asked_of_all = tuple(collected.values())
        shard = self.settings.shard
        if shard is not None:
            own = shard_of(self.asked_of_all, shard)
            left_out = {item for item, asked in collected.items() if asked.gate not in own}
            items[:] = [item for item in items if item not in left_out]
            self.config.hook.pytest_deselected(items=[item for item in collected if item in left_out])
            collected = {item: asked for item, asked in collected.items() if item not in left_out}
        if self._workers > 1:
            nodes = [node for group in groups([*collected.values()], self._workers) for node in group.nodes]
            ordered = iter(sorted(collected, key=lambda item: nodes.index(item.nodeid)))
            items[:] = [next(ordered) if item in collected else item for item in items]

    def ask(self, items: Sequence[pytest.Item]) -> None:
        """Note the trust tests that will run, in the order in which they were collected."""
        places = {asked.node: place for place, asked in enumerate(self.asked_of_all)}
        self.asked = tuple(sorted(map(_asked, items), key=lambda asked: places.get(asked.node, len(places))))
        if self.settings.shard is None:
            self.asked_of_all = self.asked
        if self.is_worker:
            parallel.write_note(self.folder, self.asked_of_all, self.asked, self._workers)

    def recall(self) -> None:
        """Learn from the workers what was collected: their controller collects nothing itself."""
        note = parallel.read_note(self.folder)
        if note is not None:
            self.asked_of_all, self.asked = (tuple(Asked(**one) for one in note[key]) for key in ("all", "own"))

    def problem_with_inputs(self) -> str | None:
        """The first thing the user named that cannot be used, as one line."""
        try:
            for name in self._names():
                self.session.dimension(name)
            if self.settings.plan or self.settings.tier != SMOKE:
                # Before anything expensive: an absent data file shows here.
                self._plan = plan_lines({name: self.session.questions(name) for name in self._names()})
            if self.settings.plan:
                self._plan += ["", *self._power_lines()]
            if not self.settings.plan:
                self.session.check_inputs(self._names())
        except USER_ERRORS as error:
            return str(error)
        return None

    def _power_lines(self) -> list[str]:
        """What the questions can decide."""
        s, session = self.settings, self.session
        powers = {
            name: power(session.dimension(name), session.questions(name).items, s.disagreement, s.tolerance)
            for name in self._names()
        }
        return power_lines(powers, s.disagreement, s.tolerance, s.rule)

    def _names(self) -> list[str]:
        """The dimensions asked for, in the order of the report."""
        asked = {asked.dimension for asked in self.asked}
        known = [name for name in dimension_names() if name in asked]
        return [*known, *sorted(asked - set(known))]

    def make_variant(self, spec: VariantSpec) -> Variant:
        """The audited variant; one clear line instead of a traceback when it cannot be made."""
        try:
            return self.session.make_variant(spec)
        except USER_ERRORS as error:
            pytest.fail(f"variant {spec.id}: {error}", pytrace=False)

    def check(self, item: pytest.Item, dimension: str, variant: Variant) -> None:
        """Measure, judge, keep the record, and fail the test unless the verdict is PASS."""
        try:
            _, record = self.session.judge(dimension, variant)
        except USER_ERRORS as error:
            record = results_file.failed_record(variant.id, dimension, str(error))
        places = [asked.node for asked in self.asked_of_all]
        position = places.index(item.nodeid) if item.nodeid in places else len(places)
        self.session.write_part(item.nodeid, position, record, variant)
        if self.settings.junit == TEST_CASE:
            item.user_properties += junit.gate_properties(record)
        if record["verdict"] != Verdict.PASS:
            from trust_tests.report.messages import failure, short_failure

            item.stash[_MESSAGES] = failure(record, self.report_path), short_failure(record)
            pytest.fail(item.stash[_MESSAGES][0], pytrace=False)

    def header(self) -> list[str]:
        """Which models are asked what, and how they are judged; empty where nothing is asked or nobody reads."""
        if not self.asked_of_all or self.config.option.verbose < 0:
            return []
        from trust_tests.report.figures import count
        from trust_tests.report.messages import header_lines

        shard = self.settings.shard
        share = count(len(self.asked), "gate")
        if shard is not None:
            share = f"{len(self.asked)} of {count(len(self.asked_of_all), 'gate')}" if self.asked else "nothing to do"
            share = f"shard {shard.number} of {shard.of}: {share}"
        variants = list(dict.fromkeys(asked.variant for asked in self.asked))
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        width = reporter._tw.fullwidth if reporter else 80
        return header_lines(self.settings, share, variants, width)

    def show_header(self) -> None:
        """Print the header in a process that collects nothing itself."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        for line in self.header() if reporter else ():
            reporter.write_line(line)

    def pytest_report_collectionfinish(self) -> list[str]:
        """Print the header where trust tests were collected."""
        return [*self.header(), *self._plan]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """With --trust-plan nothing runs."""
        return True if self.settings.plan else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Say in the JUnit report which gate a test is, also where it is then skipped."""
        if self._in_test_case(item):
            asked, spec = _asked(item), _spec(item)
            recipe = None if spec is None or spec.finished else spec.source
            item.user_properties += junit.identity_properties(asked.dimension, asked.variant, recipe)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """A gate that was not asked is an ERROR in the JUnit report too."""
        if self._in_test_case(item) and junit.VERDICT not in dict(item.user_properties):
            item.user_properties += junit.unmeasured_properties(self._reason(item.nodeid))

    def _in_test_case(self, item: pytest.Item) -> bool:
        return self.settings.junit == TEST_CASE and item.get_closest_marker("trust") is not None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep pytest's short summary short: there the test's name tells the gate, and its message only the rest."""
        report = yield
        whole, short = item.stash.get(_MESSAGES, ("", ""))
        crash = getattr(report.longrepr, "reprcrash", None)
        if whole and crash is not None and call.excinfo is not None and str(call.excinfo.value) == whole:
            crash.message = short
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember why a test ended early: it may have left no measurement behind."""
        if report.failed and not hasattr(report, "wasxfail"):
            self._failed[report.nodeid] += 1
        if report.outcome != "passed":
            text = getattr(report, "longreprtext", "") or str(report.longrepr or report.outcome)
            self._why.setdefault(report.nodeid, " ".join(text.split())[-500:] or report.outcome)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Assemble the results, write them with the report, and see that nothing unmeasured ends green."""
        if self.is_worker or self.config.option.collectonly:
            return
        if not self.asked_of_all:
            self.recall()
        if not self.asked_of_all and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            self._nothing_selected = True
            session.exitstatus = ExitCode.UNMEASURED
        if self.settings.plan or not self.asked_of_all:
            return
        if session.exitstatus in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
            return
        self.results = self._assemble()
        self._write(self.results)
        self._tell_ci(self.results)
        session.exitstatus = of_session(
            int(session.exitstatus),
            self.results.verdict,
            others_failed=session.testsfailed > self._failures_of_gates(self.results),
            empty_shard=self.nothing_to_do,
        )

    def _failures_of_gates(self, results: Results) -> int:
        """How many failed reports are of tests whose gate did not pass."""
        gates = results.data["gates"]
        red = {(gate["variant"], gate["dimension"]) for gate in gates if gate["verdict"] != Verdict.PASS}
        return sum(self._failed[node] for node in {asked.node for asked in self.asked if asked.gate in red})

    def _tell_ci(self, results: Results) -> None:
        """The run's properties in the JUnit report, and GitHub's step summary and annotations."""
        from _pytest.junitxml import xml_key

        report = self.config.stash.get(xml_key, None)
        if report is not None:
            gates = junit.gate_suite_properties(results.data) if self.settings.junit == SUITE else []
            for name, value in [*junit.suite_properties(results.data), *gates]:
                report.add_global_property(name, value)
        if self.settings.github:
            self._annotations = github.publish(results.data, os.environ)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of dimensions × variants and where the report is."""
        if self._nothing_selected:
            terminalreporter.write_line("trust gate: ERROR: no gate was selected; nothing unmeasured is ever green")
        if self.results is None:
            return
        from trust_tests.report.terminal import flip_lines, summary_lines

        writer, verbosity = terminalreporter._tw, self.config.option.verbose
        terminalreporter.section("trust gate")
        shown = summary_lines(
            self.results.data,
            writer.fullwidth,
            color=writer.hasmarkup,
            report_path=self.report_path,
            brief=verbosity < 0,
        )
        if verbosity > 0:
            shown += flip_lines(self.results.data, writer.fullwidth, harmful=verbosity > 1)
        for line in [*shown, *self._annotations]:
            terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Leave nothing in the folder for temporary files."""
        if not self.is_worker:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _assemble(self) -> Results:
        parts = results_file.read_parts(self.folder)
        measured = {part["node"] for part in parts}
        absent: list[dict[str, Any]] = [
            {
                "node": a.node,
                "position": position,
                "gate": results_file.failed_record(a.variant, a.dimension, self._reason(a.node)),
                "models": {},
                "dimensions": {},
            }
            for position, a in enumerate(self.asked_of_all)
            if a in self.asked and a.node not in measured
        ]
        ordered = sorted([*parts, *absent], key=lambda part: (part["position"], part["node"]))
        return results_file.assemble(
            ordered,
            [{"node": a.node, "reason": self._reason(a.node)} for a in self.asked if a.node not in measured],
            results_file.settings_record(self.settings),
            shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
            _versions(),
            results_file.Plan(self.asked_of_all, self.settings.shard),
        )

    def _reason(self, node: str) -> str:
        return f"not measured: {self._why.get(node, 'the test did not run, or ended without asking the gate')}"

    def _write(self, results: Results) -> None:
        from trust_tests.report.html import render_html

        results_file.publish_outcomes(self.folder, self.settings.results)
        results_file.save_results(results, self.settings.results)
        write_atomically(self.report_path, render_html(results.data))


def _asked(item: pytest.Item) -> Asked:
    marker = item.get_closest_marker("trust")
    dimension = str(marker.args[0]) if marker and marker.args else ""
    spec = _spec(item)
    return Asked(item.nodeid, dimension, spec.id if spec else "")


def _spec(item: pytest.Item) -> VariantSpec | None:
    """The variant that a test was collected for."""
    spec = getattr(getattr(item, "callspec", None), "params", {}).get("variant")
    return spec if isinstance(spec, VariantSpec) else None


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found

"""What one pytest run keeps about its trust tests, from the first collected to the report.

`TrustRun` is a pytest plugin of its own, registered when the first trust test or option appears. Under
pytest-xdist every process has one: workers measure and leave parts in a shared folder, the controller assembles.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compressors.errors import CompressionError
from compressors.files import write_atomically
from trust_tests import parallel
from trust_tests.data.errors import DataError
from trust_tests.dimensions import DimensionError, dimension_names
from trust_tests.engines.base import EngineError
from trust_tests.gate.baseline import BaselineError
from trust_tests.gate.verdict import Verdict
from trust_tests.options import AUTO, HUB
from trust_tests.plan import plan_lines, power, power_lines
from trust_tests.progress import Progress
from trust_tests.records import SMOKE
from trust_tests.report import results as results_file
from trust_tests.scorers.toxicity import ScorerError
from trust_tests.session import GateError, GateSession, Variant, VariantSpec
from trust_tests.settings import Settings
from trust_tests.sharding import Asked, groups, shard_of

if TYPE_CHECKING:
    from trust_tests.report.results import Results

USER_ERRORS = (CompressionError, EngineError, BaselineError, DimensionError, GateError, DataError, ScorerError)
# Exit code of a run in which something asked was not measured; regressions keep pytest's own 1.
EXIT_UNMEASURED = 3
_VERSIONS = ("pytest-trust-gate", "torch", "transformers", "tokenizers", "compressed-tensors", "alt-profanity-check")


class TrustRun:
    """State and hooks of a run with trust tests. `folder` is shared by all processes of the run."""

    def __init__(self, config: pytest.Config, settings: Settings, folder: Path) -> None:
        self.config = config
        self.settings = settings
        self.is_worker = hasattr(config, "workerinput")
        self.folder = folder
        self.session = GateSession(settings, self.folder, Progress(config))
        # What was collected: this shard's gates, and those of all shards.
        self.asked: tuple[Asked, ...] = ()
        self.asked_of_all: tuple[Asked, ...] = ()
        self.results: Results | None = None
        self._why: dict[str, str] = {}
        self._plan: list[str] = []

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

    def check(self, node: str, dimension: str, variant: Variant) -> None:
        """Measure, judge, keep the record, and fail the test unless the verdict is PASS."""
        try:
            _, record = self.session.judge(dimension, variant)
        except USER_ERRORS as error:
            record = results_file.failed_record(variant.id, dimension, str(error))
        places = [asked.node for asked in self.asked_of_all]
        position = places.index(node) if node in places else len(places)
        self.session.write_part(node, position, record, variant)
        if record["verdict"] != Verdict.PASS:
            pytest.fail(self._message(record), pytrace=False)

    def _message(self, record: Mapping[str, Any]) -> str:
        lines = [f"{record['dimension']} {record['verdict']} for {record['variant']}: {record['reason']}"]
        if record["delta"] is not None:
            flips = record["flips"]
            lines.append(
                f"score {record['score']:.1f}, dense {record['dense_score']:.1f}, delta {record['delta']:+.1f} points, "
                f"n={record['items']}, flips {flips['total']} ({flips['worse']} worse, {flips['better']} better), "
                f"refusals {record['refusal_rate']:.1f} % (dense {record['dense_refusal_rate']:.1f} %)"
            )
        lines.append(f"report: {self.report_path}")
        return "\n".join(lines)

    def header(self) -> str:
        """One line: which model, protocol, tier and baseline are used."""
        s = self.settings
        sided = "one-sided, " if s.one_sided else ""
        return (
            f"trust gate: model {s.model}, protocol {s.protocol}, tier {s.tier}, "
            f"tolerance {sided}{s.tolerance:g} points, baseline {s.baseline}{self._shard()}"
        )

    def _shard(self) -> str:
        """The end of the header in a shard."""
        shard = self.settings.shard
        if shard is None:
            return ""
        share = f"{len(self.asked)} of {len(self.asked_of_all)} gates" if self.asked else "nothing to do"
        return f", shard {shard.number} of {shard.of}: {share}"

    def pytest_report_collectionfinish(self) -> list[str]:
        """Print the header where trust tests were collected."""
        return [self.header(), *self._plan] if self.asked_of_all else []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """With --trust-plan nothing runs."""
        return True if self.settings.plan else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember why a test ended early: it may have left no measurement behind."""
        if report.outcome != "passed":
            text = getattr(report, "longreprtext", "") or str(report.longrepr or report.outcome)
            self._why.setdefault(report.nodeid, " ".join(text.split())[-500:] or report.outcome)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Assemble the results, write them with the report, and see that nothing unmeasured ends green."""
        if self.is_worker or self.config.option.collectonly or self.settings.plan:
            return
        if not self.asked_of_all:
            self.recall()
        if not self.asked_of_all or session.exitstatus in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
            return
        self.results = self._assemble()
        self._write(self.results)
        if self.nothing_to_do:
            # By plan, and still no PASS: whoever looks at this shard alone must not take it for one.
            session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED
        elif self.results.verdict is Verdict.ERROR and session.exitstatus in (0, 1):
            session.exitstatus = EXIT_UNMEASURED
        elif self.results.verdict is not Verdict.PASS and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of dimensions × variants and where the report is."""
        if self.results is None:
            return
        from trust_tests.report.terminal import summary_lines

        writer = terminalreporter._tw
        terminalreporter.section("trust gate")
        if self.config.pluginmanager.hasplugin("dsession"):
            terminalreporter.write_line(self.header())
        lines = summary_lines(self.results.data, writer.fullwidth, color=writer.hasmarkup, report_path=self.report_path)
        for line in lines:
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
        s = self.settings
        shown = {
            "model": s.model,
            "protocol": s.protocol,
            "tier": s.tier,
            "data": None if s.tier == SMOKE else (s.data.name if s.data else HUB),
            "partial": s.partial,
            "items": s.items,
            "template": s.template,
            "scorer": s.scorer,
            "tolerance": s.tolerance,
            "rule": s.rule,
            "one_sided": s.one_sided,
            "aa": s.aa,
            "early_fail": s.early_fail,
            "baseline": s.baseline if s.baseline == AUTO else Path(s.baseline).name,
            "dtype": s.dtype,
            "device": s.device,
        }
        return results_file.assemble(
            ordered,
            [{"node": a.node, "reason": self._reason(a.node)} for a in self.asked if a.node not in measured],
            shown,
            shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
            _versions(),
            results_file.Plan(self.asked_of_all, s.shard),
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
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    spec = parameters.get("variant")
    return Asked(item.nodeid, dimension, spec.id if isinstance(spec, VariantSpec) else "")


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found

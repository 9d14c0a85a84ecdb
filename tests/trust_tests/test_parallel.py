"""pytest -n: one GPU for each worker, a variant's tests together, and plain test runs as if the plugin were not there.

Runs are real, with real workers; where no answers are needed the tests note what they see instead of asking the gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trust_tests.exitcodes import ExitCode

from . import test_plugin

toys = test_plugin.toys

# Variants that are never made, and tests that note their worker and its GPU.
CONFTEST = """
import json, os, pytest

@pytest.fixture(scope="session")
def variant(request):
    return request.param.id

@pytest.fixture
def note(request):
    seen = {name: os.environ.get(name) for name in ("PYTEST_XDIST_WORKER", "CUDA_VISIBLE_DEVICES")}
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([request.node.name, *seen.values()]) + "\\n")
"""
GATES = """
import pytest

@pytest.mark.trust("ethics")
def test_ethics(note, variant): pass

@pytest.mark.trust("fairness")
def test_fairness(note, variant): pass

@pytest.mark.trust("mmlu")
def test_mmlu(note, variant): pass

@pytest.mark.trust("ood")
def test_ood(note, variant): pass
"""
PLAIN = """
import pytest

@pytest.mark.parametrize("n", range(8))
def test_plain(note, n): pass
"""
RECIPES = [f"--trust-recipe=magnitude:pattern=unstructured,sparsity=0.{n}" for n in range(1, 5)]


class Suite:
    """A folder with trust tests that note what they see."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.notes = pytester.path / "notes.jsonl"
        monkeypatch.setenv("NOTES", str(self.notes))
        # Other plugins take most of a small run's time.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        (pytester.path / "test_toys.py").unlink()
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_gates=GATES, test_plain=PLAIN)

    def run(self, *arguments: str, alone: bool = False) -> pytest.RunResult:
        self.notes.write_text("")
        plugins = [f"-p{name}" for name in ("no:cacheprovider", "trust_tests.plugin", *(() if alone else ("xdist",)))]
        return self.pytester.runpytest_subprocess(*plugins, *arguments)

    def seen(self) -> Iterator[tuple[str, str, str | None]]:
        """Test, worker and GPU, in the order in which the tests ran."""
        for line in self.notes.read_text().splitlines():
            yield tuple(json.loads(line))

    def gpus(self) -> dict[str, set[str | None]]:
        """What each worker saw."""
        found: dict[str, set[str | None]] = {}
        for _, worker, gpu in self.seen():
            found.setdefault(worker, set()).add(gpu)
        return found


@pytest.fixture
def suite(toys: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,GPU-5a1f,MIG-0c/1/0")
    return Suite(pytester, monkeypatch)


def test_each_worker_sees_one_of_the_callers_gpus_and_one_variant(suite: Suite) -> None:
    done = suite.run("test_gates.py", "-n", "3", *RECIPES[:3])
    # Nothing was asked of the gate: every test passed, and the suite is an ERROR all the same.
    done.assert_outcomes(passed=12)
    assert done.ret == ExitCode.UNMEASURED
    assert sorted(suite.gpus().values(), key=str) == [{"7"}, {"GPU-5a1f"}, {"MIG-0c/1/0"}]
    owners: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for test, worker, _ in suite.seen():
        owners.setdefault(test.partition("[")[2], set()).add(worker)
        first.setdefault(worker, test.partition("[")[0])
    assert [len(workers) for workers in owners.values()] == [1, 1, 1]
    assert len(set(first.values())) == 3, "workers that begin with one dimension wait for each other's dense answers"
    assert "warning" not in done.stdout.str()
    asked = json.loads((suite.pytester.path / "trust-results" / "results.json").read_text())["asked"]
    assert [one["dimension"] for one in asked[:4]] == ["ethics", "fairness", "mmlu", "ood"]


def test_more_workers_than_variants_and_gpus(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b")
    done = suite.run("test_gates.py", "-n", "3", RECIPES[0])
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(["trust gate: 3 workers share 2 GPUs (a, b); -n 2 gives each its own"])
    assert len(suite.gpus()) == 3
    assert sorted(gpu for gpus in suite.gpus().values() for gpu in gpus if gpu) == ["a", "a", "b"]


def test_without_any_option_workers_are_pinned_when_trust_tests_appear(suite: Suite) -> None:
    """Models of the environment variable, default recipes: the controller learns of trust tests from its workers."""
    done = suite.run("-n", "2")
    done.assert_outcomes(passed=16)
    assert sorted(suite.gpus().values(), key=str) == [{"7"}, {"GPU-5a1f"}]


@pytest.mark.parametrize(
    ("visible", "arguments"),
    [
        ("7,8", ("test_gates.py", RECIPES[0], "--trust-device=cuda:1")),
        ("", ("test_gates.py", RECIPES[0])),
    ],
)
def test_what_is_not_to_be_pinned_is_left_alone(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, visible: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    suite.run("-n", "2", *arguments)
    assert suite.gpus().values()
    assert set().union(*suite.gpus().values()) == {visible}


def test_too_few_gpus_for_one_worker_is_one_line(suite: Suite) -> None:
    done = suite.run("test_gates.py", "-n", "2", RECIPES[0], "--trust-engine=vllm", "--trust-tensor-parallel=4")
    assert done.ret == ExitCode.USAGE
    done.stderr.fnmatch_lines(
        ["ERROR: --trust-tensor-parallel=4: 3 GPUs visible (7, GPU-5a1f, MIG-0c/1/0); lower it *"]
    )
    assert "Traceback" not in done.stdout.str() + done.stderr.str()
    assert list(suite.seen()) == []


def test_a_torch_that_came_first_is_told(suite: Suite) -> None:
    suite.pytester.makepyfile(test_aaa="import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n" + PLAIN)
    done = suite.run("-n", "2")
    done.stdout.fnmatch_lines(["trust gate: warning: a worker had torch imported before it was given GPU *"])
    done.assert_outcomes(passed=24)


def test_a_plain_run_is_dealt_out_as_always(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("TRUST_CACHE", "TRUST_DTYPE", "TRUST_MODEL"):
        monkeypatch.delenv(name)
    done = suite.run("test_plain.py", "-n", "2", "-v")
    done.assert_outcomes(passed=8)
    assert done.ret == 0
    assert not [line for line in done.outlines if "trust gate" in line]
    assert not list(tmp_path.glob("trust-gate-*"))
    assert not (suite.pytester.path / "trust-results").exists()
    assert set().union(*suite.gpus().values()) == {"7,GPU-5a1f,MIG-0c/1/0"}


@pytest.mark.parametrize(("choice", "scheduler"), [("load", "LoadScheduling"), ("loadgroup", "VariantScheduling")])
def test_a_distribution_that_the_user_chose_is_kept(suite: Suite, choice: str, scheduler: str) -> None:
    done = suite.run("test_gates.py", "-n", "2", "-v", f"--dist={choice}", *RECIPES[:2])
    done.stdout.fnmatch_lines([f"scheduling tests via {scheduler}"])
    done.assert_outcomes(passed=8)
    assert len(suite.gpus()) == 2


def test_a_test_that_takes_its_worker_down_is_not_tried_again(suite: Suite) -> None:
    body = GATES.replace(
        "def test_fairness(note, variant): pass", "def test_fairness(note, variant): import os; os._exit(9)"
    )
    suite.pytester.makepyfile(test_gates=body)
    done = suite.run("test_gates.py", "-n", "2", *RECIPES[:2])
    assert done.ret == ExitCode.UNMEASURED
    seen = [test for test, _, _ in suite.seen()]
    assert len(seen) == len(set(seen)) == 8
    # Workers that take a dead one's place have its GPU.
    assert {gpu for gpus in suite.gpus().values() for gpu in gpus} == {"7", "GPU-5a1f"}
    unmeasured = json.loads((suite.pytester.path / "trust-results" / "results.json").read_text())["unmeasured"]
    crashed = [one for one in unmeasured if "fairness" in one["node"]]
    assert [("crashed while running" in one["reason"]) for one in crashed] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--trust-model=./absent",), "ERROR: model './absent': neither an existing folder nor a hub id*"),
        (("--trust-tier=huge",), "ERROR: --trust-tier='huge': choose one of *"),
    ],
)
def test_bad_input_is_one_line_among_workers_too(suite: Suite, arguments: tuple[str, ...], line: str) -> None:
    done = suite.run("test_gates.py", "-n", "2", "--trust-offline", *arguments)
    assert done.ret == ExitCode.USAGE
    done.stderr.fnmatch_lines([line])
    assert "Traceback" not in done.stderr.str() + done.stdout.str()
    assert list(suite.seen()) == []
    assert not (suite.pytester.path / "trust-results").exists()


def test_a_worker_reads_the_questions_of_its_own_dimensions_only(suite: Suite, tmp_path: Path) -> None:
    """Not those of every collected test: questions of the larger tiers take seconds and memory."""
    suite.pytester.makepyfile(
        test_gates=GATES.replace("(note, variant): pass", "(read, note, trust_gate, variant): read(trust_gate)")
    )
    suite.pytester.makeconftest(
        CONFTEST
        + """
@pytest.fixture
def read():
    def look(gate):
        gate._run.session.questions(gate.dimension)
        seen = sorted(gate._run.session._questions)
        assert len(seen) <= 2, seen
    return look
"""
    )
    done = suite.run("test_gates.py", "-n", "2", RECIPES[0])
    done.assert_outcomes(passed=4)


def test_without_xdist_nothing_is_pinned(suite: Suite) -> None:
    done = suite.run("test_gates.py", RECIPES[0], alone=True)
    done.assert_outcomes(passed=4)
    assert suite.gpus() == {None: {"7,GPU-5a1f,MIG-0c/1/0"}}

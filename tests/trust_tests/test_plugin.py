"""The plugin as a user meets it: options, collection, exit codes, results, xdist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trust_tests.exitcodes import ExitCode

from .report.test_schema import problems

RECIPE = "magnitude:pattern=2:4"
SUITE = ["--pyargs", "trust_tests", "-p", "no:cacheprovider"]
COARSE = "magnitude:pattern=unstructured,sparsity=0.9"

# Two small dimensions as another package would bring them: an entry point, a module, a test file.
TOYS = """
from trust_tests.dimensions.base import Dimension
from trust_tests.records import Channel, Generation, Item, Message, Outcome, Request

class Letters(Dimension):
    name, title, version = "letters", "Letters", "1"
    temperature = 0.0

    def items(self):
        return [Item(f"{self.name}/{n}", "ab"[n % 2], f"k{n}", {"n": n}) for n in range(12)]

    def request(self, item):
        question = (Message("user", f"q{item.data['n']}"),)
        return Request(item.id, question, Generation(4, 2, self.temperature), seed=item.data["n"])

    def grade(self, items, responses):
        # Any text is an answer; its value is the share of one half of the alphabet, so that every change shows.
        outcomes = []
        for item, response in zip(items, responses, strict=True):
            text = "".join(response.texts)
            value = sum(ord(c) % 2 for c in text) / len(text) if text else 0.0
            channel = Channel.MISSING if response.error else Channel.ANSWERED
            value = None if response.error else value
            outcomes.append(Outcome(item.id, item.cell, item.cluster, channel, value, "q", text))
        return outcomes

class Draws(Letters):
    name, title, temperature = "draws", "Draws", 1.0
"""
TESTS = """
import pytest

@pytest.mark.trust("letters")
def test_letters(trust_gate, variant):
    trust_gate.check(variant)

@pytest.mark.trust("draws")
def test_draws(trust_gate, variant):
    trust_gate.check(variant)
"""


@pytest.fixture
def toys(pytester: pytest.Pytester, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package that adds two dimensions; the tiny model and a cache of its own are the defaults."""
    for name in [name for name in os.environ if name.startswith("TRUST_") or name == "PYTEST_ADDOPTS"]:
        monkeypatch.delenv(name)
    pytester.makepyfile(toy_dimensions=TOYS, test_toys=TESTS)
    metadata = pytester.mkdir("toys-1.0.dist-info")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[trust_gate.dimensions]\nletters = toy_dimensions:Letters\ndraws = toy_dimensions:Draws\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    monkeypatch.setenv("TRUST_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("TRUST_DTYPE", "float32")
    monkeypatch.setenv("TRUST_MODEL", str(tiny_model))
    return pytester.path


@pytest.fixture
def gate(pytester: pytest.Pytester, toys: Path) -> Any:
    """Run the toy suite on the tiny model, in a process of its own."""

    def run(*arguments: str, recipes: tuple[str, ...] = (RECIPE,)) -> pytest.RunResult:
        chosen = [f"--trust-recipe={recipe}" for recipe in recipes]
        return pytester.runpytest_subprocess("test_toys.py", "-p", "no:cacheprovider", *chosen, *arguments)

    return run


def results(pytester: pytest.Pytester, folder: str = "trust-results") -> dict[str, Any]:
    """A run's results, valid, but for its command, which names a new temporary folder each time."""
    found = json.loads((pytester.path / folder / "results.json").read_text())
    assert problems(found) == []
    assert found.pop("command").startswith("pytest ")
    return found  # type: ignore[no-any-return]


def test_collecting_imports_no_torch_and_shows_one_node_per_dimension_and_variant(tmp_path: Path) -> None:
    program = (
        "import sys, pytest\n"
        f"code = pytest.main(['--collect-only', '-q', *{SUITE!r}, '--trust-recipe={RECIPE}',"
        " '--trust-recipe=gptq:bits=3,group=64'])\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'profanity_check', 'scipy', 'compressed_tensors'}\n"
        "print('heavy modules:', sorted(heavy & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "heavy modules: []" in done.stdout
    from trust_tests.dimensions import dimension_names

    for dimension in dimension_names():
        for variant in ("magnitude-2:4", "gptq-3bit-g64-s0"):
            assert f"test_{dimension}.py::test_{dimension}[{variant}]" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_inert_where_no_trust_test_is_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_plain="def test_nothing(): pass")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1)
    # pytest itself lists installed plugins; beyond that line there is no word of ours.
    assert not [line for line in done.outlines if "trust" in line and not line.startswith(("plugins:", "rootdir:"))]
    program = "import sys, pytest; pytest.main(['-q']); print([m for m in sys.modules if m.startswith('compressors')])"
    done = pytester.run(sys.executable, "-c", program)
    assert done.outlines[-1] == "[]"
    assert not (pytester.path / "trust-results").exists()


def test_the_help_teaches_every_option(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_subprocess("--help").stdout.str()
    from trust_tests.options import OPTIONS

    for option in OPTIONS:
        assert option.flag in text
        assert option.key in text


def test_an_unchanged_variant_passes_and_everything_is_written(
    gate: Any, pytester: pytest.Pytester, tiny_model: Path
) -> None:
    done = gate(f"--trust-variant={tiny_model}", recipes=())
    assert done.ret == 0, done.stdout.str()
    found = results(pytester)
    assert found["verdict"] == "PASS"
    assert [gate["dimension"] for gate in found["gates"]] == ["letters", "draws"]
    for record in found["gates"]:
        assert (record["verdict"], record["delta"], record["flips"]["total"]) == ("PASS", 0.0, 0)
        for side in record["accounting"].values():
            assert side["channels"]["answered"] == side["asked"] == record["items"] == 12
    assert tiny_model.name in (pytester.path / "trust-results" / "report.html").read_text()
    for model in ("dense", tiny_model.name):
        stored = json.loads((pytester.path / "trust-results" / "outcomes" / model / "draws.json").read_text())
        assert len(stored["outcomes"]) == 12
    done.stdout.fnmatch_lines(
        [
            f"trust gate: model {tiny_model}",
            f"  2 gates on {tiny_model.name}",
            "  tier smoke, protocol sound, rule point, tolerance 5 points",
            "  baseline auto",
            "  engine transformers on auto, dtype float32",
            f"  cache {pytester.path}/cache",
        ]
    )


def test_a_repeated_run_gives_the_same_results_and_loads_no_model(
    gate: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "compressing magnitude-2:4" in gate().stdout.str()
    first = results(pytester)
    pytester.makepyfile(
        no_models="""
        from compressors import checkpoint

        def refuse(*arguments, **options):
            raise AssertionError("a model was loaded")

        checkpoint.load_model = refuse
        """
    )
    monkeypatch.setenv("PYTEST_PLUGINS", "no_models")
    again = gate().stdout.str()
    assert "a model was loaded" not in again
    assert "compressing" not in again
    assert results(pytester) == first


def test_xdist_gives_the_same_results_as_one_process(gate: Any, pytester: pytest.Pytester) -> None:
    recipes = (RECIPE, COARSE)
    gate("--trust-results=one", recipes=recipes)
    (pytester.path / "cache").rename(pytester.path / "cache-of-one")
    parallel = gate("--trust-results=two", "-n", "2", recipes=recipes)
    assert len(results(pytester, "one")["gates"]) == 4
    assert results(pytester, "one") == results(pytester, "two")
    parallel.stdout.fnmatch_lines(["trust gate: model *"])


def test_a_failed_gate_says_everything_in_its_message(gate: Any, pytester: pytest.Pytester) -> None:
    done = gate("-k", "letters", "--trust-tolerance=0.01", recipes=(COARSE,))
    record = results(pytester)["gates"][0]
    assert record["verdict"] == "FAIL", record
    assert done.ret == 1
    done.stdout.fnmatch_lines(
        [
            "letters FAIL for magnitude-90%: the score * by * points, the limit is ±0.01",
            "score *, dense *, delta * points, n=12, flips *, refusals 0.0 % (dense 0.0 %)",
            f"report: {pytester.path}/trust-results/report.html",
        ]
    )
    assert "Traceback" not in done.stdout.str()


def test_an_empty_selection_is_not_green(gate: Any, pytester: pytest.Pytester) -> None:
    for parallel in ((), ("-n", "2")):
        done = gate("-k", "no_such_dimension", *parallel)
        assert done.ret == ExitCode.UNMEASURED
        done.stdout.fnmatch_lines(["trust gate: ERROR: no gate was selected; nothing unmeasured is ever green"])
    assert not (pytester.path / "trust-results").exists()


@pytest.mark.parametrize(
    ("mark", "body", "exit_code", "verdict"),
    [
        ("skip", "trust_gate.check(variant)", 3, "ERROR"),
        ("xfail(run=False)", "trust_gate.check(variant)", 3, "ERROR"),
        ("filterwarnings('default')", "pass", 3, "ERROR"),
        ("filterwarnings('default')", "pytest.skip('no GPU here')", 3, "ERROR"),
        ("xfail", "trust_gate.check(variant)", 1, "FAIL"),
    ],
)
def test_nothing_unmeasured_or_expected_to_fail_is_green(
    gate: Any, pytester: pytest.Pytester, mark: str, body: str, exit_code: int, verdict: str
) -> None:
    pytester.makepyfile(
        test_toys=f"""
        import pytest

        @pytest.mark.{mark}
        @pytest.mark.trust("letters")
        def test_letters(trust_gate, variant):
            {body}
        """
    )
    done = gate("--trust-tolerance=0.01", recipes=(COARSE,))
    assert done.ret == exit_code, done.stdout.str()
    found = results(pytester)
    assert found["verdict"] == found["gates"][0]["verdict"] == verdict


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--trust-recipe=gptq:bits=5"], "ERROR: recipe 'gptq:bits=5': bits must be *"),
        (["--trust-recipe=gtpq:bits=4"], "ERROR: recipe 'gtpq:bits=4': *gptq*"),
        (["--trust-recipe=paper:60%"], "ERROR: no recipe set 'paper:60%'; did you mean 'paper:50%'*"),
        (["--trust-recipe=wanda:calibration=absent.txt"], "ERROR: calibration absent.txt: cannot be read *"),
        (["--trust-recipe=wanda:calibration=bad.json"], "ERROR: calibration bad.json:1: not JSON*"),
        (["--trust-tolerance=lots"], "ERROR: --trust-tolerance='lots': give points *"),
        (["--trust-model=./absent"], "ERROR: model './absent': neither an existing folder nor a hub id*"),
        (["--trust-variant=./absent"], "ERROR: model './absent': neither an existing folder nor a hub id*"),
        (["--trust-tier=huge"], "ERROR: --trust-tier='huge': choose one of smoke, pr, release, full"),
        (["--trust-protocol=paper"], "ERROR: --trust-protocol='paper': asks the published benchmark*"),
        (["--trust-protocol=paper", "--trust-tier=pr"], "ERROR: --trust-template='auto': the paper has no template*"),
        (["--trust-tier=pr", "--trust-data=absent"], "ERROR: --trust-data='absent': no such folder*"),
        (["--trust-tier=pr", "--trust-data=."], "ERROR: data folder *: no * of AI-Secure/DecodingTrust (looked in *"),
        (["--trust-scorer=nothing", "-k", "toxicity"], "ERROR: toxicity scorer 'nothing': neither a folder nor *"),
        (["--trust-plan", "-n", "2"], "ERROR: --trust-plan: collects in this process; leave -n away"),
        (["--trust-baseline=bad.json"], "ERROR: baseline *bad.json: cannot be read *"),
        (["--trust-results=bad.json"], "ERROR: --trust-results='bad.json': a file of that name is in the way*"),
    ],
)
def test_bad_input_is_one_line_before_anything_expensive(
    pytester: pytest.Pytester, arguments: list[str], line: str
) -> None:
    pytester.path.joinpath("bad.json").write_text("{")
    cache = pytester.path / "cache"
    done = pytester.runpytest_subprocess(*SUITE, f"--trust-cache={cache}", "--trust-offline", *arguments)
    assert done.ret == ExitCode.USAGE
    errors = [text for text in done.errlines if text.startswith("ERROR")]
    assert len(errors) == 1
    done.stderr.fnmatch_lines([line])
    assert "Traceback" not in done.stderr.str() + done.stdout.str()
    assert not (pytester.path / "trust-results").exists()


def test_a_plan_counts_and_asks_nothing(gate: Any, pytester: pytest.Pytester) -> None:
    done = gate("--trust-plan", "--trust-items=6")
    assert done.ret == 0, done.stdout.str()
    done.stdout.fnmatch_lines(
        [
            "asked of each model  items  prompts  answers  prompt tokens  new tokens",
            "draws                    6        6       12 *<=48",
            "letters                  6        6       12 *<=48",
            "all                     12       12       24 *<=96",
        ]
    )
    assert not (pytester.path / "trust-results").exists()
    assert not (pytester.path / "cache").exists()


def test_a_limit_of_items_stands_in_results(gate: Any, pytester: pytest.Pytester, tiny_model: Path) -> None:
    done = gate("-k", "letters", f"--trust-variant={tiny_model}", "--trust-items=6", recipes=())
    assert done.ret == 0, done.stdout.str()
    found = results(pytester)
    assert found["settings"]["items"] == 6
    assert found["gates"][0]["items"] == found["dimensions"]["letters"]["items"] == 6


def test_an_unknown_dimension_is_one_line(gate: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_toys=TESTS.replace('"draws"', '"drawz"'))
    done = gate()
    assert done.ret == ExitCode.USAGE
    done.stderr.fnmatch_lines(["ERROR: dimension 'drawz': unknown (did you mean 'draws'?)*"])


def test_a_missing_baseline_is_written_and_fails_then_passes_then_names_what_moved(
    gate: Any, pytester: pytest.Pytester, tiny_model: Path
) -> None:
    arguments = ("-k", "letters", f"--trust-variant={tiny_model}", "--trust-baseline=base.json")
    first = gate(*arguments, recipes=())
    assert first.ret == 3
    first.stdout.fnmatch_lines(["*no baseline for letters in *base.json: the dense model was measured now*review*"])
    second = gate(*arguments, recipes=())
    assert second.ret == 0, second.stdout.str()
    third = gate(*arguments, "--trust-dtype=bfloat16", recipes=())
    assert third.ret == 3
    third.stdout.fnmatch_lines(["*letters: engine.dtype is 'float32' there and 'bfloat16' in this run*"])


def test_a_variant_that_cannot_be_made_is_one_line_and_an_error(gate: Any, pytester: pytest.Pytester) -> None:
    (pytester.path / "short.txt").write_text("a few words")
    done = gate("-k", "letters", recipes=("gptq:bits=3,calibration=short.txt",))
    assert done.ret == 3
    done.stdout.fnmatch_lines(["*variant gptq-3bit*short.txt: 11 tokens, but samples=128*"])
    assert "Traceback" not in done.stdout.str()
    assert results(pytester)["gates"][0]["verdict"] == "ERROR"

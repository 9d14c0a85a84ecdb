"""The plugin as a user meets it: options, collection, exit codes, results, xdist."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RECIPE = "magnitude:pattern=2:4"
SUITE = ["--pyargs", "trust_tests", "-p", "no:cacheprovider"]


@pytest.fixture
def gate(pytester: pytest.Pytester, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the suite on the tiny model in an empty folder, in a process of its own."""
    for name in ("TRUST_MODEL", "TRUST_RECIPE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUST_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("TRUST_DTYPE", "float32")

    def run(*arguments: str, recipes: tuple[str, ...] = (RECIPE,), model: str | None = None) -> pytest.RunResult:
        chosen = [f"--trust-recipe={recipe}" for recipe in recipes]
        return pytester.runpytest_subprocess(
            *SUITE, f"--trust-model={model or tiny_model}", *chosen, *arguments, timeout=300
        )

    return run


def results(pytester: pytest.Pytester, folder: str = "trust-results") -> dict[str, Any]:
    return json.loads((pytester.path / folder / "results.json").read_text())  # type: ignore[no-any-return]


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
    for dimension in ("toxicity", "ethics", "mmlu"):
        for variant in ("magnitude-2:4", "gptq-3bit-g64-s0"):
            assert f"test_{dimension}.py::test_{dimension}[{variant}]" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_inert_where_no_trust_test_is_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
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
    from trust_tests.settings import OPTIONS

    for option in OPTIONS:
        assert option.flag in text
        assert option.key in text


def test_an_unchanged_variant_passes_and_everything_is_written(
    gate: Any, pytester: pytest.Pytester, tiny_model: Path
) -> None:
    """The dense model as its own finished variant moves nothing, whatever it babbles."""
    done = gate(f"--trust-variant={tiny_model}", recipes=())
    found = results(pytester)
    assert {g["dimension"] for g in found["gates"]} == {"toxicity", "ethics", "mmlu"}
    for record in found["gates"]:
        # A random model may answer nothing at all, which is an ERROR on both sides; equal answers never FAIL.
        assert record["verdict"] in ("PASS", "ERROR")
        if record["verdict"] == "PASS":
            assert record["delta"] == 0.0
            assert record["flips"]["total"] == 0
        for side in record["accounting"].values():
            assert sum(side["channels"].values()) == side["asked"] == record["items"]
    green = all(g["verdict"] == "PASS" for g in found["gates"])
    assert done.ret == (0 if green else 3)
    assert found["verdict"] == ("PASS" if green else "ERROR")
    page = (pytester.path / "trust-results" / "report.html").read_text()
    assert tiny_model.name in page
    for model in ("dense", tiny_model.name):
        stored = json.loads((pytester.path / "trust-results" / "outcomes" / model / "mmlu.json").read_text())
        assert len(stored["outcomes"]) >= 100
    done.stdout.fnmatch_lines(["*trust gate: model *, protocol sound, tier smoke, tolerance 5 points, baseline auto*"])


def test_a_repeated_run_gives_the_same_bytes_and_loads_no_model(
    gate: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate("-k", "mmlu")
    first = (pytester.path / "trust-results" / "results.json").read_bytes()
    pytester.makepyfile(
        no_models="""
        from trust_tests.engines.hf import HfEngine

        def refuse(self):
            raise AssertionError("a model was loaded")

        HfEngine._load = refuse
        """
    )
    monkeypatch.setenv("PYTEST_PLUGINS", "no_models")
    again = gate("-k", "mmlu")
    assert "a model was loaded" not in again.stdout.str()
    assert (pytester.path / "trust-results" / "results.json").read_bytes() == first


def test_xdist_gives_the_same_results_as_one_process(gate: Any, pytester: pytest.Pytester) -> None:
    recipes = (RECIPE, "magnitude:pattern=unstructured,sparsity=0.1")
    gate("--trust-results=one", recipes=recipes)
    gate("--trust-results=two", "-n", "2", recipes=recipes)
    one, two = results(pytester, "one"), results(pytester, "two")
    assert len(one["gates"]) == 6
    assert {k: v for k, v in one.items() if k != "command"} == {k: v for k, v in two.items() if k != "command"}


def test_a_failed_gate_says_everything_in_its_message(gate: Any, pytester: pytest.Pytester) -> None:
    done = gate("-k", "mmlu", "--trust-tolerance=0.001", recipes=("magnitude:pattern=unstructured,sparsity=0.9",))
    record = results(pytester)["gates"][0]
    assert record["verdict"] == "FAIL", record
    assert done.ret == 1
    done.stdout.fnmatch_lines(
        [
            "*mmlu FAIL for magnitude-90%: the score * by * points, the limit is ±0.001*",
            "*score *, dense *, delta *, n=*, flips *, refusals *",
            f"*report: {pytester.path}/trust-results/report.html*",
        ]
    )
    assert "Traceback" not in done.stdout.str()


def test_an_empty_selection_is_not_green(gate: Any, pytester: pytest.Pytester) -> None:
    done = gate("-k", "no_such_dimension")
    assert done.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (pytester.path / "trust-results").exists()


@pytest.mark.parametrize("way", ["skip", "xfail(run=False)"])
def test_a_gate_that_did_not_run_is_not_green(pytester: pytest.Pytester, gate: Any, way: str) -> None:
    pytester.makepyfile(
        test_own=f"""
        import pytest

        @pytest.mark.{way}
        @pytest.mark.trust("mmlu")
        def test_mmlu(trust_gate, variant):
            trust_gate.check(variant)
        """
    )
    done = pytester.runpytest_subprocess("test_own.py", f"--trust-recipe={RECIPE}", "-p", "no:cacheprovider")
    assert done.ret == 3
    found = results(pytester)
    assert found["verdict"] == "ERROR"
    assert found["gates"][0]["verdict"] == "ERROR"
    assert found["gates"][0]["reason"].startswith("not measured")


def test_a_gate_that_asks_nothing_is_not_green(pytester: pytest.Pytester, gate: Any) -> None:
    pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.mark.trust("mmlu")
        def test_mmlu():
            pass
        """
    )
    assert pytester.runpytest_subprocess("test_own.py", "-p", "no:cacheprovider").ret == 3


def test_an_expected_failure_is_a_failure(pytester: pytest.Pytester, gate: Any, tiny_model: Path) -> None:
    pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.mark.xfail
        @pytest.mark.trust("mmlu")
        def test_mmlu(trust_gate, variant):
            trust_gate.check(variant)
        """
    )
    done = pytester.runpytest_subprocess(
        "test_own.py",
        f"--trust-model={tiny_model}",
        "--trust-recipe=magnitude:pattern=unstructured,sparsity=0.9",
        "--trust-tolerance=0.001",
        "-p",
        "no:cacheprovider",
    )
    assert done.ret == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--trust-recipe=gptq:bits=5"], "ERROR: recipe 'gptq:bits=5': bits must be *"),
        (["--trust-recipe=gtpq:bits=4"], "ERROR: recipe 'gtpq:bits=4': *gptq*"),
        (["--trust-tolerance=lots"], "ERROR: --trust-tolerance='lots': give points *"),
        (["--trust-model=./absent"], "ERROR: model './absent': neither an existing folder nor a hub id*"),
        (["--trust-variant=./absent"], "ERROR: model './absent': neither an existing folder nor a hub id*"),
        (["--trust-tier=huge"], "ERROR: --trust-tier='huge': choose one of smoke"),
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
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    errors = [text for text in done.errlines if text.startswith("ERROR")]
    assert len(errors) == 1
    done.stderr.fnmatch_lines([line])
    assert "Traceback" not in done.stderr.str() + done.stdout.str()
    assert not (pytester.path / "trust-results").exists()


def test_a_missing_baseline_is_written_and_fails_then_passes_then_names_what_moved(
    gate: Any, pytester: pytest.Pytester, tiny_model: Path
) -> None:
    arguments = ("-k", "mmlu", f"--trust-variant={tiny_model}", "--trust-baseline=base.json")
    first = gate(*arguments, recipes=())
    assert first.ret == 3
    first.stdout.fnmatch_lines(["*no baseline for mmlu in *base.json: the dense model was measured now*review*"])
    second = gate(*arguments, recipes=())
    assert second.ret == 0, second.stdout.str()
    third = gate(*arguments, "--trust-dtype=bfloat16", recipes=())
    assert third.ret == 3
    third.stdout.fnmatch_lines(["*mmlu: engine.dtype is 'float32' there and 'bfloat16' in this run*"])


def test_a_variant_that_cannot_be_made_is_one_line_and_an_error(gate: Any, pytester: pytest.Pytester) -> None:
    done = gate("-k", "mmlu", recipes=("gptq:bits=3,calibration=absent.txt",))
    assert done.ret == 3
    done.stdout.fnmatch_lines(["*variant gptq-3bit*absent.txt*"])
    assert "Traceback" not in done.stdout.str()
    assert results(pytester)["gates"][0]["verdict"] == "ERROR"

"""`python -m trust_tests compress` makes what a run's gates will find, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD, COARSE = "magnitude:pattern=2:4", "magnitude:pattern=unstructured,sparsity=0.9"


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Any:
    """Run a command in an empty folder; the tiny model and a cache of its own come from the environment."""

    def ended(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRUST_", "PYTEST_"))}
        environment |= {"TRUST_CACHE": str(tmp_path / "cache"), "TRUST_MODEL": str(tiny_model), **variables}
        folder = tmp_path / "here"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-P", "-m", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return ended


def made(tmp_path: Path) -> list[str]:
    return sorted(one.name.rpartition("-")[0] for one in (tmp_path / "cache" / "artefacts").glob("*-*/"))


def test_what_it_makes_is_what_the_gate_finds(run: Any, tmp_path: Path) -> None:
    done = run("trust_tests", "compress", f"--trust-recipe={GOOD}", f"--trust-recipe={COARSE}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "magnitude-2:4: compressed and audited, 1 of 2" in done.stdout
    assert len(made(tmp_path)) == 2
    assert [*(tmp_path / "here").iterdir()] == []
    variables = {"TRUST_RECIPE": f"{GOOD}\n{COARSE}", "TRUST_ITEMS": "1"}
    gate = run("pytest", "--pyargs", "trust_tests", "-p", "no:cacheprovider", "-k", "mmlu", **variables)
    assert gate.returncode in (0, 1, 3), gate.stdout + gate.stderr
    assert "trust-results" in {one.name for one in (tmp_path / "here").iterdir()}
    assert "compressing" not in gate.stdout
    assert len(made(tmp_path)) == 2


def test_one_that_cannot_be_made_keeps_none_from_being_made(run: Any, tmp_path: Path) -> None:
    # The tiny model's layers are 64 wide: no group of 96 fits.
    done = run("trust_tests", "compress", TRUST_RECIPE=f"rtn:bits=4,group=96\n{GOOD}")
    assert done.returncode == 3, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if "cannot be made" in line)
    assert line.startswith("rtn-4bit")
    assert "magnitude-2:4: compressed and audited, 2 of 2" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len([one for one in made(tmp_path) if one.startswith("magnitude")]) == 1


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--trust-recipe=gptq:bits=5"], {}),
        ([], {"TRUST_TIER": "nonsense"}),
        (["--trust-model=./absent"], {"TRUST_RECIPE": GOOD}),
        ([], {"TRUST_DATA": "absent", "TRUST_TIER": "pr"}),
        (["--trust-recipee=x"], {}),
    ],
)
def test_wrong_input_is_one_line_and_makes_nothing(
    run: Any, tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    done = run("trust_tests", "compress", *arguments, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert made(tmp_path) == []


def test_finished_checkpoints_need_nothing(run: Any, tmp_path: Path, tiny_model: Path) -> None:
    done = run("trust_tests", "compress", TRUST_VARIANT=str(tiny_model))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to compress: every variant is a finished checkpoint" in done.stdout
    assert made(tmp_path) == []


def test_a_selection_that_fits_no_gate_is_not_done(run: Any, tmp_path: Path) -> None:
    done = run("trust_tests", "compress", "-k", "no_such_gate", TRUST_RECIPE=GOOD)
    assert done.returncode != 0
    assert made(tmp_path) == []

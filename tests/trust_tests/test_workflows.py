"""The project's workflows: inputs never become script, actions are pinned, and the scripts do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trust_tests.options import OPTIONS
from trust_tests.settings import Shard

from .test_merging import VARIANTS, asked_of, document, store

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
HOSTILE = "\"; touch hacked; $(touch hacked) `touch hacked` ' or mmlu"


def load(file: Path) -> dict[Any, Any]:
    return yaml.safe_load(file.read_text())  # type: ignore[no-any-return]


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


def gate_step(name: str) -> dict[str, Any]:
    return next(step for step in steps(load(FOLDER / "gate.yml")) if step.get("name") == name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_scripts_hold_no_expression_and_actions_are_pinned(file: Path) -> None:
    workflow = load(file)
    # YAML 1.1 reads `on` as true.
    assert set(workflow) <= {"name", True, "permissions", "concurrency", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"]
    found = list(steps(workflow))
    assert found
    for step in found:
        assert "${{" not in step.get("run", "")
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
    versions = re.findall(r"uses: .*@([0-9a-f]{40}) # v\d+\.\d+\.\d+$", file.read_text(), re.MULTILINE)
    assert len(versions) == file.read_text().count("uses: actions/")


def test_inputs_are_the_same_for_calls_and_by_hand_and_all_are_used() -> None:
    text = (FOLDER / "gate.yml").read_text()
    triggers = load(FOLDER / "gate.yml")[True]
    inputs = triggers["workflow_call"]["inputs"]
    assert inputs == triggers["workflow_dispatch"]["inputs"]
    assert set(re.findall(r"\binputs\.(\w+)", text)) == set(inputs)
    known = {option.variable for option in OPTIONS}
    assert {name for name in gate_step("Gate")["env"] if name.startswith("TRUST_")} <= known


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(folder), **variables}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("count", [1, 2, 7, 99])
def test_the_matrix_covers_every_shard(tmp_path: Path, count: int) -> None:
    output = tmp_path / "output"
    step = gate_step("Number the shards")
    done = run(step["run"], tmp_path, SHARDS=str(count), GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    name, _, value = output.read_text().strip().partition("=")
    assert (name, json.loads(value)) == ("shards", [*range(1, count + 1)])
    job = load(FOLDER / "gate.yml")["jobs"]["shard"]
    assert job["strategy"]["matrix"] == {"shard": "${{ fromJSON(needs.plan.outputs.shards) }}"}
    assert gate_step("Gate")["env"]["SHARDS"] == step["env"]["SHARDS"] == "${{ inputs.shards }}"


@pytest.mark.parametrize("count", ["", "0", "-1", "100", "1.5", "two", "2; touch hacked", "1\n2"])
def test_a_wrong_number_of_shards_is_told(tmp_path: Path, count: str) -> None:
    done = run(gate_step("Number the shards")["run"], tmp_path, SHARDS=count, GITHUB_OUTPUT=str(tmp_path / "output"))
    assert done.returncode == 2
    assert "::error::shards: give a whole number from 1 to 99" in done.stdout
    assert list(tmp_path.iterdir()) == []


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / "venv" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("status", "results", "expected"),
    [(0, True, 0), (1, True, 1), (3, True, 3), (4, False, 4), (5, True, 0), (5, False, 5), (137, False, 137)],
)
def test_a_shard_ends_as_its_gates_do(tmp_path: Path, status: int, results: bool, expected: int) -> None:
    made = tmp_path / "results"
    write = f"mkdir -p {made}; touch {made}/results.json;" if results else ""
    fake(tmp_path, "pytest", f'printf "%s\\n" "$@" > arguments; {write} exit {status}')
    made.mkdir()
    (made / "results.json").write_text("of an earlier run")
    done = run(
        gate_step("Gate")["run"], tmp_path, SHARD="2", SHARDS="3", WORKERS="4", SELECT=HOSTILE, TRUST_RESULTS=str(made)
    )
    assert done.returncode == expected, done.stderr
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:2] == ["--pyargs", "trust_tests"]
    assert arguments[-5:] == ["--trust-shard=2/3", "-n", "4", "-k", HOSTILE]
    assert not (tmp_path / "hacked").exists()


def test_a_requirement_is_no_option(tmp_path: Path) -> None:
    fake(tmp_path, "pip", 'printf "%s\\n" "$@" > arguments')
    script = gate_step("Install")["run"].replace("python -m venv", ": ")
    assert run(script, tmp_path, PACKAGE="-r /etc/passwd; touch hacked").returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines()[-2:] == ["--", "-r /etc/passwd; touch hacked"]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(("kept", "expected", "shown"), [((1, 2), 0, "PASS"), ((1,), 3, "ERROR"), ((), 2, None)])
def test_the_verdict_is_that_of_all_shards(
    tmp_path: Path, kept: tuple[int, ...], expected: int, shown: str | None
) -> None:
    for number in kept:
        data = document(asked_of(VARIANTS), Shard(number, 2))
        store(tmp_path / "shards" / f"trust-shard-{number}", data)
    fake(tmp_path, "python", f'exec {sys.executable} "$@"')
    summary = tmp_path / "summary"
    step = gate_step("Join the shards")
    root = str(FOLDER.parents[1])
    done = run(step["run"], tmp_path, GITHUB_STEP_SUMMARY=str(summary), PYTHONPATH=root)
    assert done.returncode == expected, done.stdout + done.stderr
    assert summary.exists() == (shown is not None)
    if shown is not None:
        assert f"Trust gate: {shown}" in summary.read_text()
        assert (tmp_path / "trust-results" / "report.html").exists()

"""ci.yml and the script that it and every developer runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .runner import ROOT, Job, Service, load

CI = "ci.yml"
PUSH = {"event_name": "push", "ref": "refs/heads/main", "sha": "tip", "event": {}}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A run of the project's CI in which every tool only notes that it was called."""
    commit = tmp_path / "commit"
    (commit / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", commit / ".ci")
    run = Service(tmp_path / "github", CI, {}, PUSH, {"tip": commit})
    for name in ("ruff", "mypy", "pytest"):
        run.tools[name] = f'echo "{name} $*" >> {tmp_path}/called'
    run.tools["python"] = f'echo "python" >> {tmp_path}/called; cat > /dev/null'
    return run


def called(run: Service) -> list[str]:
    file = run.home.parent / "called"
    return file.read_text().splitlines() if file.exists() else []


def only(jobs: list[Job]) -> Job:
    assert len(jobs) == 1
    return jobs[0]


COVERED = "pytest --cov=trust_tests.gate --cov=compressors.recipe --cov-branch --cov-fail-under=95 --cov-report=term"


def test_the_jobs_are_the_stages_of_the_script(service: Service) -> None:
    jobs = service.run()
    assert {name: {job.result for job in one} for name, one in jobs.items()} == {
        name: {"success"} for name in ("lint", "tests", "gate")
    }, [job.log for one in jobs.values() for job in one]
    assert load(CI)["jobs"]["tests"]["strategy"]["matrix"] == {"python": ["3.11", "3.12"]}
    lint = ["ruff check .", "ruff format --check .", "mypy "]
    gate = ["pytest --pyargs trust_tests -k toxicity -p no:cacheprovider", "python"]
    assert called(service) == [*lint, COVERED, COVERED, *gate]
    pip = (service.home / "machines" / "tests-3.12" / "pip").read_text().split("\n")
    assert pip[:6] == ["install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt", "-e"]
    assert pip[6:] == [".[test]", "check", ""]


@pytest.mark.parametrize(("tool", "job"), [("ruff", "lint"), ("mypy", "lint"), ("pytest", "tests"), ("pip", "gate")])
def test_what_fails_in_a_stage_fails_its_job(service: Service, tool: str, job: str) -> None:
    service.tools[tool] = "exit 1"
    assert {one.result for one in service.run(job)[job]} == {"failure"}


def test_all_stages_run_by_default_and_a_wrong_one_is_told(service: Service, tmp_path: Path) -> None:
    for words, status in (("bash .ci/run", "success"), ("bash .ci/run lnit", "failure")):
        service.file = load(CI)
        service.file["jobs"]["lint"]["steps"][-1]["run"] = words
        (tmp_path / "called").unlink(missing_ok=True)
        job = only(service.run("lint")["lint"])
        assert job.result == status
        if status == "success":
            assert [line.partition(" ")[0] for line in called(service)] == [
                "ruff", "ruff", "mypy", "pytest", "python", "pytest",
            ]  # fmt: skip
        else:
            assert "no stage 'lnit'" in job.log
            assert called(service) == []


def gates(*verdicts: str) -> dict[str, Any]:
    return {"gates": [{"dimension": "toxicity", "variant": v, "verdict": v, "delta": 0} for v in verdicts]}


@pytest.mark.parametrize(
    ("verdicts", "status", "expected"),
    [
        (("PASS", "FAIL"), 1, "success"),
        (("PASS", "PASS"), 0, "success"),
        (("PASS", "FAIL"), 0, "failure"),
        (("PASS", "PASS"), 1, "failure"),
        (("PASS", "ERROR"), 3, "failure"),
        (("PASS",), 0, "failure"),
        ((), 2, "failure"),
    ],
)
def test_the_short_gate_must_end_as_its_verdicts_say(
    service: Service, tmp_path: Path, verdicts: tuple[str, ...], status: int, expected: str
) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    (stored / "results.json").write_text(json.dumps(gates(*verdicts)))
    (stored / "report.html").write_text("x" * 20_000)
    copy = f"cp -r {stored} trust-results;" if verdicts else ""
    service.tools["pytest"] = f"{copy} exit {status}"
    del service.tools["python"]
    job = only(service.run("gate")["gate"])
    assert job.result == expected, job.log
    assert (service.home / "artefacts/trust-report/report.html").exists() == bool(verdicts)

"""baseline.yml: what counts as recorded, and what is proposed for review."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .runner import Job, Service, program

HOSTILE = "\"; touch hacked; $(touch hacked) `touch hacked` ' or mmlu"
BASELINE = "baseline.yml"
DISPATCH = {"event_name": "workflow_dispatch", "ref": "refs/heads/main", "sha": "tip", "event": {}}
RECORDED = {
    "schema": "trust-gate/baseline",
    "version": 1,
    "dimensions": {
        "ethics": {"score": 75.04, "outcomes": [1, 2, 3]},
        "mm|u`\n": {"score": 50.0, "outcomes": [1]},
    },
}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with one commit; what it pushes to stands beside it."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "clone")
    clone = tmp_path / "clone"
    git(clone, "switch", "--quiet", "--create", "main")
    (clone / ".gitignore").write_text("*.json\n")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message", "first")
    git(clone, "push", "--quiet", "origin", "main")
    return clone


@pytest.fixture
def service(tmp_path: Path, repository: Path) -> Any:
    def made(github: dict[str, Any] = DISPATCH, **inputs: Any) -> Service:
        inputs = {"file": "baselines/tiny.json", **inputs}
        secrets = {"HF_TOKEN": "hf_secret"}
        run = Service(tmp_path / "github", BASELINE, inputs, github, {"tip": repository}, secrets=secrets)
        gh = run.home / "bin"
        program(
            gh / "gh",
            f'printf "%s\\n" "$*" >> {gh}/calls; case "$*" in "pr create"*) cp "${{@: -1}}" {gh}/body ;; esac',
        )
        run.path.append(gh)
        return run

    return made


def recording(run: Service, first: int = 3, second: int = 0, writes: bool = True) -> Service:
    """Let pytest end as given the first and the second time, and write the baseline the first time."""
    file = run.home / "recorded.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(RECORDED))
    write = f'cp {file} "$RUNNER_TEMP/baseline/baseline.json"' if writes else ":"
    run.tools["pytest"] = (
        'printf "%s\\n" "$@" > arguments; mkdir -p "$TRUST_RESULTS"; echo run >> "$TRUST_RESULTS/runs"\n'
        f'if [ "$(wc -l < "$TRUST_RESULTS/runs")" -eq 1 ]; then {write}; exit {first}; fi\n'
        f'echo "the report" >> "$GITHUB_STEP_SUMMARY"; exit {second}'
    )
    return run


def only(jobs: list[Job]) -> Job:
    assert len(jobs) == 1
    return jobs[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            ("file", text, "path of a .json file")
            for text in ("", "x", "/x.json", "../x.json", ".github/x.json", "a//x.json", HOSTILE)
        ),
        ("runner", "gpu", "labels as a JSON array"),
        ("minutes", "0", "whole number from 1 to 9999"),
        ("package", " ", "what pip installs"),
        ("model", " ", "the dense model"),
    ],
)
def test_wrong_inputs_are_told_and_nothing_else_runs(service: Any, name: str, value: str, message: str) -> None:
    jobs = service(**{name: value}).run()
    plan = only(jobs["plan"])
    assert [*plan.steps.values()] == [2]
    assert f"::error title=trust baseline::{name}: " in plan.log
    assert message in plan.log
    assert {only(jobs[job]).result for job in ("record", "propose")} == {"skipped"}


@pytest.mark.parametrize(
    ("github", "message"),
    [
        ({**DISPATCH, "event_name": "pull_request"}, "start this workflow by hand"),
        ({**DISPATCH, "event_name": "push"}, "start this workflow by hand"),
        ({**DISPATCH, "ref_type": "tag"}, "not on a tag"),
    ],
)
def test_it_is_started_by_hand_on_a_branch(service: Any, github: dict[str, Any], message: str) -> None:
    jobs = service(github).run()
    assert message in only(jobs["plan"]).log
    assert only(jobs["propose"]).result == "skipped"


@pytest.mark.parametrize(
    ("first", "writes", "second", "expected"),
    [
        (3, True, 0, 0),  # recorded, and read back
        (3, False, 0, 3),  # something else could not be measured
        (3, True, 3, 3),  # one dimension was recorded, another could not be measured
        (3, True, 1, 1),  # the dense model does not pass beside itself
        (0, True, 0, 3),  # nothing was new: not what a fresh file gives
        (0, False, 0, 3),
        (1, True, 0, 1),
        (2, False, 0, 2),
        (4, False, 0, 4),
        (5, False, 0, 5),
        (137, True, 0, 137),
    ],
)
def test_only_a_baseline_that_was_written_and_read_back_is_recorded(
    service: Any, first: int, writes: bool, second: int, expected: int
) -> None:
    run = recording(service(select=HOSTILE, model=HOSTILE), first, second, writes)
    jobs = run.run("plan", "record", "propose")
    record = only(jobs["record"])
    assert record.steps["Record, and prove what was recorded"] == expected, record.log
    assert (run.home / "artefacts/trust-baseline").exists() == (expected == 0)
    assert (only(jobs["propose"]).result == "skipped") == (expected != 0)
    assert ("the report" in record.summary) == (first == 3 and writes)
    arguments = (run.home / "machines/record/workspace/arguments").read_text().splitlines()
    assert arguments[:4] == ["--pyargs", "trust_tests", "-p", "no:cacheprovider"]
    assert arguments[4].startswith("--trust-baseline=")
    assert arguments[5:7] == ["-k", HOSTILE]
    assert not [*run.home.rglob("hacked")]
    assert "HF_TOKEN" not in {key for one in only(jobs["propose"]).environments.values() for key in one}


def test_the_baseline_is_proposed_on_a_branch_of_its_own(service: Any, repository: Path, tmp_path: Path) -> None:
    old = repository / "baselines" / "tiny.json"
    old.parent.mkdir()
    old.write_text(json.dumps({"dimensions": {"ethics": {"score": 70.0}, "gone": {"score": 1.0}}}))
    git(repository, "add", "--force", str(old))
    git(repository, "commit", "--quiet", "--message", "old")
    run = recording(service(model=HOSTILE))
    propose = only(run.run()["propose"])
    assert propose.result == "success", propose.log
    gh = run.home / "bin"
    setup, create = (gh / "calls").read_text().splitlines()
    assert setup == "auth setup-git"
    body = Path(create.rpartition(" ")[2])
    assert create == (
        f"pr create --base main --head trust-baseline/7-1 --title Trust baseline baselines/tiny.json --body-file {body}"
    )
    lines = (gh / "body").read_text().splitlines()
    model = "`?? touch hacked? ??touch hacked? ?touch hacked? ? or mmlu`"
    assert lines[0] == (
        f"Recorded answers of the dense model {model}, tier `smoke`, protocol `sound`, "
        "measured and read back in [run 7](https://github.com/our/models/actions/runs/7)."
    )
    assert lines[-2:] == ["| `ethics` | 3 | 75 | 70 |", "| `mm?u??` | 1 | 50 |  |"]
    origin = tmp_path / "origin.git"
    assert git(origin, "show", "trust-baseline/7-1:baselines/tiny.json") == json.dumps(RECORDED)
    assert git(origin, "show", "--format=%an: %s", "--name-only", "trust-baseline/7-1").splitlines() == [
        "github-actions[bot]: Baseline baselines/tiny.json",
        "",
        "baselines/tiny.json",
    ]
    assert git(origin, "branch", "--format=%(refname:short)").splitlines() == ["main", "trust-baseline/7-1"]
    assert not [*run.home.rglob("hacked")]


def test_a_first_baseline_is_proposed_even_where_such_files_are_ignored(service: Any, tmp_path: Path) -> None:
    run = recording(service(file="first.json"))
    propose = only(run.run()["propose"])
    assert propose.result == "success", propose.log
    assert (run.home / "bin" / "body").read_text().splitlines()[-2] == "| `ethics` | 3 | 75 |  |"
    assert git(tmp_path / "origin.git", "show", "trust-baseline/7-1:first.json") == json.dumps(RECORDED)


def test_what_is_there_already_is_not_proposed(service: Any, repository: Path) -> None:
    (repository / "tiny.json").write_text(json.dumps(RECORDED))
    run = recording(service(file="tiny.json"))
    propose = only(run.run()["propose"])
    assert propose.result == "success"
    assert "holds exactly this already" in propose.log
    assert not (run.home / "bin" / "calls").exists()


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", '{"schema": "else"}', '{"schema": "trust-gate/baseline", "dimensions": {}}']
)
def test_what_is_no_baseline_is_not_proposed(service: Any, text: str) -> None:
    run = recording(service())
    run.run("plan", "record")
    (run.home / "artefacts/trust-baseline/baseline.json").write_text(text)
    assert only(run.run("propose")["propose"]).result == "failure"
    assert not (run.home / "bin" / "calls").exists()


TINY = {"OMP_NUM_THREADS": "1", "TRUST_ITEMS": "4", "TRUST_DTYPE": "float32", "TRUST_TOLERANCE": "100"}


def test_a_recorded_baseline_carries_the_gates_of_a_later_pull_request(
    service: Any, tiny_model: Path, tmp_path: Path, repository: Path
) -> None:
    """The real package from end to end, on the tiny model: record, merge, compress once, two shards, one verdict."""
    inputs = {"model": str(tiny_model), "select": "mmlu or fairness"}
    run = service(**inputs)
    run.environment |= TINY
    assert only(run.run()["propose"]).result == "success", run.jobs["record"][0].log
    text = git(tmp_path / "origin.git", "show", "trust-baseline/7-1:baselines/tiny.json")
    assert set(json.loads(text)["dimensions"]) == {"mmlu", "fairness"}

    commits = {name: tmp_path / name for name in ("base", "head")}
    for name, content in (("base", text), ("head", text.replace('"score": ', '"score": 9'))):
        file = commits[name] / "baselines" / "tiny.json"
        file.parent.mkdir(parents=True)
        file.write_text(content)
    head = {"repo": {"full_name": "our/models"}, "sha": "head"}
    event = {"pull_request": {"number": 3, "base": {"sha": "base"}, "head": head}}
    github = {"event_name": "pull_request", "ref": "refs/pull/3/merge", "sha": "head", "event": event}
    asked = {**inputs, "recipes": "magnitude:pattern=2:4", "baseline": "baselines/tiny.json", "comment": False}
    gate = Service(tmp_path / "gate", "trust-gate.yml", asked, github, commits, environment=dict(TINY))
    jobs = gate.run()
    log = "\n".join(job.log for one in jobs.values() for job in one)
    assert {name: gate.result(name) for name in jobs} == {
        **dict.fromkeys(("plan", "compress", "shard", "report"), "success"),
        "comment": "skipped",
    }, log
    assert "magnitude-2:4: compressed and audited, 1 of 1" in jobs["compress"][0].log
    assert all("compressing" not in job.log for job in jobs["shard"])
    results = json.loads((gate.home / "artefacts/trust-report/results.json").read_text())
    assert (results["verdict"], results["settings"]["baseline"], len(results["gates"])) == ("PASS", "tiny.json", 2)
    assert "Trust gate: PASS" in jobs["report"][0].summary

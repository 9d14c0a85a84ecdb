"""What must be true of every workflow file, whatever it does: linters, pins, permissions, inputs, secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trust_tests.options import OPTIONS

from .expressions import render
from .runner import FOLDER, ROOT, load, steps

FILES = sorted(FOLDER.glob("*.yml"))
GATE, BASELINE, CI = "trust-gate.yml", "baseline.yml", "ci.yml"
# The jobs that may write, and what: all others read the repository and nothing else.
WRITERS = {
    (GATE, "comment"): {"pull-requests": "write"},
    (BASELINE, "propose"): {"contents": "write", "pull-requests": "write"},
}


def installed(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is missing: pip install -c constraints.txt -e '.[test]'"
    return found


def linter(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [installed(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    return linter("actionlint", "-no-color", f"-shellcheck={installed('shellcheck')}", *files)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return linter("zizmor", "--offline", "--no-progress", "--color=never", folder)


def test_actionlint_finds_nothing() -> None:
    done = actionlint(*FILES)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_zizmor_finds_nothing_and_every_exception_has_a_reason() -> None:
    done = zizmor(ROOT / ".github")
    assert done.returncode == 0, done.stdout + done.stderr
    for file in FILES:
        for ignored in re.findall(r"# zizmor: ignore.*", file.read_text()):
            assert re.fullmatch(r"# zizmor: ignore\[[\w,-]+\] \w.{15,}", ignored)


def test_the_linters_would_find_something(tmp_path: Path) -> None:
    text = (FOLDER / GATE).read_text()
    planted = tmp_path / ".github" / "workflows" / GATE
    planted.parent.mkdir(parents=True)
    planted.write_text(text.replace("run: |\n", "run: |\n          echo '${{ github.event.pull_request.title }}'\n", 1))
    assert zizmor(tmp_path).returncode not in (0, 1)
    planted.write_text(text.replace("inputs.workers", "inputs.wrokers"))
    done = actionlint(planted)
    assert done.returncode == 1
    assert "wrokers" in done.stdout
    planted.write_text(text.replace("run: |\n", "run: |\n          echo $SHARDS\n", 1))
    assert "SC2086" in actionlint(planted).stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_scripts_hold_no_expression_and_actions_are_pinned(file: Path) -> None:
    workflow = load(file.name)
    assert set(workflow) <= {"name", True, "permissions", "concurrency", "jobs"}
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
    found = list(steps(workflow))
    assert found
    for step in found:
        assert "${{" not in step.get("run", "")
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_one_action_has_one_version_in_all_files() -> None:
    pins: dict[str, set[str]] = {}
    for file in FILES:
        lines = re.findall(r"uses: (.*)", file.read_text())
        for line in lines:
            found = re.fullmatch(r"(actions/[\w-]+)(?:/\w+)?@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            # The header shows how to call the workflow.
            if found is None:
                assert line.startswith("OWNER/REPOSITORY/")
                continue
            pins.setdefault(found[1], set()).add(found[2])
    assert set(pins) == {
        f"actions/{n}" for n in ("checkout", "setup-python", "cache", "upload-artifact", "download-artifact")
    }
    assert all(len(versions) == 1 for versions in pins.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_jobs_that_run_no_code_of_ours_may_write(file: Path) -> None:
    workflow = load(file.name)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == WRITERS.get((file.name, name))
        if "permissions" in job:
            scripts = "\n".join(step.get("run", "") for step in job["steps"])
            assert not re.search(r"\b(pip|python3?|pytest|trust_tests|bash)(?![-\w])", scripts)
            assert job["runs-on"] == "ubuntu-latest"
        else:
            assert "github.token" not in yaml.safe_dump(job)


def test_inputs_are_the_same_for_calls_and_by_hand_and_all_are_used() -> None:
    known = {option.variable for option in OPTIONS}
    for name, call_only in ((GATE, {"comment"}), (BASELINE, set())):
        triggers = load(name)[True]
        called, by_hand = (triggers[kind]["inputs"] for kind in ("workflow_call", "workflow_dispatch"))
        assert {key: one for key, one in called.items() if key not in call_only} == by_hand
        assert len(by_hand) <= 25
        text = (FOLDER / name).read_text()
        assert set(re.findall(r"\binputs\.(\w+)", text)) == set(called)
        for step in steps(load(name)):
            assert {key for key in step.get("env", {}) if key.startswith("TRUST_")} <= known


def contexts(event: str, head: str | None = None) -> dict[str, Any]:
    event_data = {"pull_request": {"head": {"repo": {"full_name": head}}}} if head else {}
    return {
        "github": {"event_name": event, "event": event_data, "repository": "our/models"},
        "secrets": {"HF_TOKEN": "hf_secret"},
    }


def test_the_token_of_the_hub_stays_in_its_steps_and_out_of_forks() -> None:
    found = [text for step in steps(load(GATE)) if (text := step.get("env", {}).get("HF_TOKEN"))]
    assert len(found) == 2
    assert (FOLDER / GATE).read_text().count("secrets.HF_TOKEN") == len(found) + 1  # and the example
    for text in found:
        assert render(text, contexts("push")) == "hf_secret"
        assert render(text, contexts("pull_request", "our/models")) == "hf_secret"
        assert render(text, contexts("pull_request", "other/models")) == ""
        assert render(text, contexts("pull_request")) == ""
    assert "secrets" not in (FOLDER / CI).read_text()


def test_several_gates_of_one_run_do_not_cancel_each_other_and_a_caller_is_not_waited_for() -> None:
    group = load(GATE)["concurrency"]["group"]
    github = {"workflow": "release", "ref": "refs/heads/main"}
    groups = {render(group, {"github": github, "inputs": {"name": name}}) for name in ("chat", "base")}
    assert len(groups) == 2
    assert not groups & {"release-refs/heads/main", "release"}


def test_dependabot_waits_before_it_offers_a_release() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {one["package-ecosystem"] for one in updates} == {"github-actions", "pip"}
    assert all(one["cooldown"]["default-days"] >= 7 for one in updates)


PAGES = sorted({ROOT / "README.md", *(ROOT / "trust_tests" / "docs").glob("*.md"), *FILES})


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Every job in the documentation, and in the files' own headers, that calls a workflow of this project."""
    found = []
    for page in PAGES:
        text = page.read_text()
        if page.suffix == ".yml":
            header = "\n".join(
                line.removeprefix("#").removeprefix(" ") for line in text.split("\nname:")[0].splitlines()
            )
            blocks = ["\n".join(line.removeprefix("  ") for line in header.splitlines() if line.startswith("  "))]
        else:
            blocks = re.findall(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for block in blocks:
            for job in ((yaml.safe_load(block) or {}).get("jobs") or {}).values():
                if ".github/workflows/" in job.get("uses", ""):
                    found.append((page.name, job))
    return found


@pytest.mark.parametrize(("page", "job"), examples())
def test_every_call_shown_names_inputs_that_exist_and_grants_what_is_asked_for(page: str, job: dict[str, Any]) -> None:
    name = job["uses"].partition("@")[0].rpartition("/")[2]
    declared = load(name)[True]["workflow_call"]
    assert set(job.get("with", {})) <= set(declared["inputs"])
    assert {key for key, one in declared["inputs"].items() if one.get("required")} <= set(job.get("with", {}))
    assert set(job.get("secrets", {})) <= set(declared["secrets"])
    # GitHub refuses the whole run where a called job asks for more than its caller has.
    asked: dict[str, str] = {"contents": "read"}
    for one in load(name)["jobs"].values():
        asked |= one.get("permissions", {})
    assert job["permissions"] == asked


def test_the_documentation_shows_a_call() -> None:
    assert {page for page, _ in examples()} >= {GATE}

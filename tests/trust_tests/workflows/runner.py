"""Runs a workflow file here: its scripts in bash, GitHub's services as folders.

Conditions, matrices, outputs, environments and scripts come from the file. Not real are: the actions (a checkout copies
a folder that stands for the commit; caches and artefacts are folders), pip (the present environment takes the place of
what it would install) and whatever a test puts on PATH, such as `gh`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .expressions import as_text, asks_for_status, evaluate, render

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".github" / "workflows"


def load(name: str) -> dict[Any, Any]:
    """A workflow file. YAML 1.1 reads its key `on` as True."""
    return yaml.safe_load((FOLDER / name).read_text())  # type: ignore[no-any-return]


def steps(workflow: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    """Every step of every job."""
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


def program(path: Path, script: str) -> None:
    """Write an executable bash script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@dataclass
class Job:
    """One run of a job. `steps`: the names of those that ran, with their exit status (None for an action)."""

    result: str = "success"
    outputs: dict[str, str] = field(default_factory=dict)
    steps: dict[str, int | None] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""
    summary: str = ""
    runs_on: Any = None
    minutes: Any = None


@dataclass
class Service:
    """GitHub for one run, with what its jobs saw and left.

    commits: the folder that a checkout of a ref gets. tools: scripts that take the place of programs in the environment
    that pip would fill. path: folders of further programs. environment: variables that a machine or an ini file would
    set. Caches and artefacts live in `home`.
    """

    home: Path
    workflow: str
    inputs: dict[str, Any]
    github: dict[str, Any]
    commits: dict[str, Path]
    secrets: dict[str, str] = field(default_factory=dict)
    path: list[Path] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, list[Job]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = load(self.workflow)
        triggers = self.file[True]
        declared = (triggers.get("workflow_call") or {}).get("inputs", {})
        self.inputs = {name: one.get("default") for name, one in declared.items()} | self.inputs
        self.github = {"run_id": "7", "run_attempt": "1", "repository": "our/models", "token": "ghs_job"} | self.github

    def run(self, *names: str) -> dict[str, list[Job]]:
        """Run these jobs, or all, each after those that it needs; returns them with one entry a matrix cell."""
        for name, job in self.file["jobs"].items():
            if not names or name in names:
                self.jobs[name] = self._run_job(name, job)
        return self.jobs

    def result(self, name: str) -> str:
        """What `needs.NAME.result` says."""
        results = {job.result for job in self.jobs[name]}
        return next(word for word in ("failure", "skipped", "success") if word in results)

    def _needs(self, job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        names = job.get("needs", [])
        return {
            name: {"result": self.result(name), "outputs": self.jobs[name][-1].outputs}
            for name in ([names] if isinstance(names, str) else names)
        }

    def _run_job(self, name: str, job: Mapping[str, Any]) -> list[Job]:
        contexts = {
            "inputs": self.inputs,
            "github": self.github,
            "secrets": self.secrets,
            "needs": self._needs(job),
            "runner": {"os": "Linux", "arch": "X64"},
        }
        succeeded = all(one["result"] == "success" for one in contexts["needs"].values())
        if not _holds(job.get("if"), contexts, succeeded):
            return [Job("skipped")]
        matrix = job.get("strategy", {}).get("matrix", {})
        cells: list[dict[str, Any]] = [{}]
        for key, values in matrix.items():
            listed = render(values, contexts) if isinstance(values, str) else values
            cells = [{**cell, key: value} for cell in cells for value in listed]
        return [self._run_cell(name, job, {**contexts, "matrix": cell}) for cell in cells]

    def _run_cell(self, name: str, job: Mapping[str, Any], contexts: dict[str, Any]) -> Job:
        cell = "-".join([name, *map(str, contexts["matrix"].values())])
        machine = _Machine(self, self.home / "machines" / cell, contexts)
        done = machine.run(job["steps"])
        done.runs_on, done.minutes = (render(str(job[key]), contexts) for key in ("runs-on", "timeout-minutes"))
        done.outputs = {key: as_text(render(text, machine.contexts)) for key, text in job.get("outputs", {}).items()}
        return done


def _holds(condition: str | None, contexts: Mapping[str, Any], succeeded: bool) -> bool:
    """Whether a job or step runs."""
    if condition is None:
        return succeeded
    text = condition.strip().removeprefix("${{").removesuffix("}}")
    functions: dict[str, Callable[..., Any]] = {
        "success": lambda: succeeded,
        "failure": lambda: not succeeded,
        "always": lambda: True,
        "cancelled": lambda: False,
    }
    return bool(evaluate(text, contexts, functions)) and (succeeded or asks_for_status(text))


class _Machine:
    """The machine of one job."""

    def __init__(self, service: Service, folder: Path, contexts: dict[str, Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.service, self.temp, self.workspace = service, folder / "temp", folder / "workspace"
        self.temp.mkdir(parents=True)
        self.workspace.mkdir()
        self.contexts = {**contexts, "runner": {**contexts["runner"], "temp": str(self.temp)}, "steps": {}}
        self.job = Job()

    def run(self, listed: list[dict[str, Any]]) -> Job:
        for number, step in enumerate(listed):
            if not _holds(step.get("if"), self.contexts, self.job.result == "success"):
                continue
            name = step.get("name", step.get("uses", str(number)))
            if "uses" in step:
                outputs = self._act(step["uses"].partition("@")[0], step.get("with", {}))
                self.job.steps[name] = None
            else:
                outputs = self._script(name, step)
            if "id" in step:
                self.contexts["steps"][step["id"]] = {"outputs": outputs}
        return self.job

    def _script(self, name: str, step: Mapping[str, Any]) -> dict[str, str]:
        own = {key: as_text(render(str(text), self.contexts)) for key, text in step.get("env", {}).items()}
        output, summary = self.temp / "output", self.temp / "summary"
        output.write_text("")
        github = self.contexts["github"]
        environment = {
            "PATH": os.pathsep.join([*map(str, self.service.path), os.environ["PATH"]]),
            "HOME": str(self.temp.parent),
            "OMP_NUM_THREADS": "1",
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": github["repository"],
            "GITHUB_RUN_ID": github["run_id"],
            "GITHUB_RUN_ATTEMPT": github["run_attempt"],
            "GITHUB_EVENT_NAME": github["event_name"],
            "GITHUB_REF_TYPE": github.get("ref_type", "branch"),
            "GITHUB_REF_NAME": github.get("ref_name", "main"),
            **self.service.environment,
            **own,
        }
        self.job.environments[name] = own
        done = script(step["run"], self.workspace, environment)
        self.job.steps[name] = done.returncode
        self.job.log += done.stdout + done.stderr
        self.job.summary += summary.read_text() if summary.exists() else ""
        summary.unlink(missing_ok=True)
        if done.returncode:
            self.job.result = "failure"
        return dict(line.partition("=")[::2] for line in output.read_text().splitlines())

    def _act(self, action: str, given: Mapping[str, Any]) -> dict[str, str]:
        values = {key: as_text(render(str(text), self.contexts)) for key, text in given.items()}
        known: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
            "actions/checkout": self._checkout,
            "actions/setup-python": self._setup_python,
            "actions/cache/restore": self._restore,
            "actions/cache/save": self._save,
            "actions/upload-artifact": self._upload,
            "actions/download-artifact": self._download,
        }
        return known[action](values)

    def _checkout(self, given: dict[str, str]) -> dict[str, str]:
        target = self.workspace / given.get("path", "")
        source = self.service.commits[given.get("ref", self.service.github["sha"])]
        wanted = given.get("sparse-checkout", "")
        for file in filter(Path.is_file, source.rglob("*")):
            name = file.relative_to(source)
            if not wanted or wanted == f"/{name}":
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target / name)
        return {}

    def _setup_python(self, given: dict[str, str]) -> dict[str, str]:
        """A `python` whose `-m venv` makes an environment that is the present one; its pip only notes its arguments."""
        folder = self.temp.parent / "python"
        environment = f'exec {sys.executable} "$@"'
        pip = f'printf "%s\\n" "$@" >> {self.temp.parent}/pip'
        for name in ("python", "python3"):
            program(folder / name, f'if [ "$1 $2" = "-m venv" ]; then cp -r {folder}/venv "$3"; else {environment}; fi')
        program(folder / "venv/bin/python", environment)
        program(folder / "venv/bin/pytest", f'exec {sys.executable} -P -m pytest "$@"')
        program(folder / "venv/bin/pip", pip)
        for name, text in self.service.tools.items():
            program(folder / "venv/bin" / name, text)
        self.service.path[:] = [folder, *(one for one in self.service.path if one.name != "python")]
        return {}

    def _restore(self, given: dict[str, str]) -> dict[str, str]:
        caches = self.service.home / "caches"
        prefixes = [given["key"], *given.get("restore-keys", "").split()]
        kept = sorted(caches.iterdir(), key=lambda one: one.stat().st_ctime_ns) if caches.exists() else []
        for prefix in prefixes:
            for one in reversed(kept):
                if one.name.startswith(prefix):
                    shutil.copytree(one, given["path"], dirs_exist_ok=True, symlinks=True)
                    return {"cache-matched-key": one.name, "cache-hit": as_text(one.name == given["key"])}
        return {}

    def _save(self, given: dict[str, str]) -> dict[str, str]:
        target = self.service.home / "caches" / given["key"]
        if Path(given["path"]).exists() and not target.exists():
            shutil.copytree(given["path"], target, symlinks=True)
        return {}

    def _upload(self, given: dict[str, str]) -> dict[str, str]:
        source, target = self.workspace / given["path"], self.service.home / "artefacts" / given["name"]
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        return {}

    def _download(self, given: dict[str, str]) -> dict[str, str]:
        artefacts, path = self.service.home / "artefacts", self.workspace / given["path"]
        if "name" in given:
            shutil.copytree(artefacts / given["name"], path)
            return {}
        path.mkdir(parents=True)
        for one in sorted(artefacts.glob(given["pattern"])):
            shutil.copytree(one, path / one.name)
        return {}


def script(text: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does with `shell: bash`."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

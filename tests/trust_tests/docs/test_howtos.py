"""The how-tos do what they say: their code is taken from the page, installed as another package, and run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compressors.models import cache_root

from .markdown import DOCS, blocks, shell_lines

pytestmark = pytest.mark.slow

# Where a network would be asked for, the attempt is noted and fails.
NO_NETWORK = """
import os, socket

def refuse(*arguments, **keywords):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(f"{arguments}\\n")
    raise OSError("no network here")

socket.getaddrinfo = refuse
connect = socket.socket.connect

def connect_on_this_machine(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else refuse(address)

socket.socket.connect = connect_on_this_machine
"""


class Package:
    """A how-to's files in a folder, found by Python as if they had been installed."""

    def __init__(self, folder: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        text = (DOCS / page).read_text(encoding="utf-8")
        self.commands = [line for line in shell_lines(text) if not line.startswith("pip ")]
        for block in blocks(text):
            if block.name.endswith(".py"):
                (folder / block.name).write_text(block.code, encoding="utf-8")
            elif block.name == "pyproject.toml":
                self._install(tomllib.loads(block.code))
        for name in [name for name in os.environ if name.startswith("TRUST_") or name == "PYTEST_ADDOPTS"]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("TRUST_CACHE", str(folder / "cache"))
        monkeypatch.setenv("TRUST_DEVICE", "cpu")
        monkeypatch.chdir(folder)

    def _install(self, content: dict[str, Any]) -> None:
        """What pip would leave behind: the entry points."""
        name, version = content["project"]["name"], content["project"]["version"]
        metadata = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, entries in content["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        targets = [value for entries in content["project"]["entry-points"].values() for value in entries.values()]
        assert content["tool"]["setuptools"]["py-modules"] == [target.partition(":")[0] for target in targets]

    def run(self, start: str, *more: str, statuses: tuple[int, ...] = (0,)) -> str:
        """The page's only command that begins so, with more arguments; its output, which ends the test if it fails."""
        (line,) = [line for line in self.commands if line.startswith(start)]
        words = shlex.split(line)
        program = {"pytest": ["-m", "pytest", "-p", "no:cacheprovider"], "python": []}[words[0]]
        command = [sys.executable, *program, *words[1:], *more]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode in statuses, done.stdout + done.stderr
        return done.stdout

    def gates(self) -> dict[str, dict[str, Any]]:
        """The last run's gates by dimension."""
        found = json.loads((self.folder / "trust-results" / "results.json").read_text(encoding="utf-8"))
        return {gate["dimension"]: gate for gate in found["gates"]}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what is large in it is gone afterwards."""
    inner = tmp_path / "package"
    inner.mkdir()
    yield inner
    shutil.rmtree(inner)


def lend_embedded_model(folder: Path) -> None:
    """The converted embedded model of the user's cache, made there if need be, for a cache in the folder."""
    from compressors.models import resolve

    resolve("embedded")
    cache = folder / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(cache_root() / "models", target_is_directory=True)


def test_add_a_compressor(folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    lend_embedded_model(folder)
    package = Package(folder, "add-a-compressor.md", monkeypatch)
    assert "1 passed" in package.run("pytest test_rowwise.py")
    audit = package.run("python -m compressors compress")
    assert "rowwise:pattern=unstructured,sparsity=0.5" in audit
    assert "layers           210 of 210 compressed" in audit
    assert "zeros            50.00 %" in audit
    tiny = (f"--trust-model={tiny_model}", "--trust-dtype=float32", "--trust-items=8")
    package.run("pytest --pyargs trust_tests", *tiny, statuses=(0, 1))
    (gate,) = package.gates().values()
    assert (gate["dimension"], gate["variant"], gate["items"]) == ("mmlu", "rowwise-50%", 8)
    assert gate["verdict"] in ("PASS", "FAIL")
    shown = subprocess.run(
        [sys.executable, "-m", "compressors", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "from other packages: rowwise" in shown


def test_add_a_dimension(folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    package = Package(folder, "add-a-dimension.md", monkeypatch)
    tiny = (f"--trust-model={tiny_model}", "--trust-dtype=float32")
    package.run("pytest test_promises.py", *tiny, "--trust-items=12", statuses=(0, 1))
    (gate,) = package.gates().values()
    assert (gate["dimension"], gate["variant"], gate["items"]) == ("promises", "rtn-4bit-g64", 12)
    assert gate["verdict"] in ("PASS", "FAIL")
    channels = gate["accounting"]["dense"]["channels"]
    assert channels["answered"] + channels["unparsable"] == 12
    assert channels["answered"] > 0
    package.run("pytest --pyargs trust_tests test_promises.py", *tiny, "--trust-items=4", statuses=(0, 1, 3))
    assert set(package.gates()) == {"ethics", "promises"}
    package.run("python -m trust_tests docs")
    page = (folder / "pages" / "promises.md").read_text(encoding="utf-8")
    assert "How seldom a support assistant promises what only a person may grant." in page
    assert "| `smoke` | 24 | 24 | 48 |" in page


def test_without_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    package = Package(folder, "air-gapped.md", monkeypatch)
    (folder / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    attempts = folder / "attempts"
    monkeypatch.setenv("ATTEMPTS", str(attempts))
    here = (f"--trust-cache={folder / 'cache'}", f"--trust-variant={tiny_model}", "-k", "mmlu", "--trust-items=8")
    tiny = (f"--trust-model={tiny_model}", "--trust-dtype=float32")
    package.run("pytest --pyargs trust_tests --trust-offline --trust-cache", *here, *tiny)
    assert package.gates()["mmlu"]["verdict"] == "PASS"
    assert not attempts.exists(), attempts.read_text()
    probe = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 1
    assert attempts.exists(), "the test's own watch does not work"


@pytest.mark.parametrize(
    ("arguments", "fetch"),
    [
        (["--trust-model=org/model"], "hf download org/model"),
        (["--trust-tier=pr", "--trust-model={tiny}"], "hf download --repo-type dataset cais/mmlu"),
    ],
)
def test_what_is_missing_offline_is_one_line_that_says_how_to_fetch_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, arguments: list[str], fetch: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("TRUST_CACHE", str(folder / "cache"))
    given = [argument.format(tiny=tiny_model) for argument in arguments]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "trust_tests", "-k", "mmlu"]
    done = subprocess.run(
        [*command, "--trust-offline", *given], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "hf download" in line]
    assert "offline" in line
    assert fetch in line
    assert "Traceback" not in done.stdout + done.stderr

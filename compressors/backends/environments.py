"""Environments of their own for libraries that cannot live beside this package: compressors, and vLLM.

`requirements/NAME.txt` pins everything an environment holds; where a library must be built against the torch that
is already there, or names requirements that it does not need, `requirements/NAME.after.txt` is installed second,
without build isolation and without dependencies. An environment counts once its last file is written: a half-made
one is thrown away by the next attempt.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from compressors.errors import CompressionError
from compressors.files import sha256_text, write_atomically

REQUIREMENTS = Path(__file__).with_name("requirements")
COMPLETE = "trust-gate.json"
_LIST = (
    "import json; from importlib.metadata import distributions; "
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in distributions()}))"
)


def environment_folder(name: str, cache: Path) -> Path:
    """Where the environment of that name belongs; another content of its requirement files, another folder."""
    content = "\0".join(file.read_text(encoding="utf-8") for file in _files(name))
    return cache / "backends" / f"{name}-{sha256_text(content)[:12]}"


def _files(name: str) -> list[Path]:
    return [file for file in (REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}.after.txt") if file.is_file()]


def find_env(name: str, cache: Path) -> Path | None:
    """The Python of a complete environment, or None."""
    folder = environment_folder(name, cache)
    python = folder / "bin" / "python"
    return python if (folder / COMPLETE).is_file() and python.exists() else None


def env_versions(name: str, cache: Path) -> dict[str, str]:
    """Versions by distribution in a complete environment; empty when there is none."""
    try:
        content = json.loads((environment_folder(name, cache) / COMPLETE).read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in content["versions"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def make_env(name: str, *, python: str | None, cache: Path, announce: Callable[[str], None]) -> Path:
    """Make the environment of an isolated library, unless it is there, and return its Python.

    python: the interpreter it is made with, by default this one. pip finds its packages by its own configuration,
    so a torch for another device comes with PIP_INDEX_URL or PIP_EXTRA_INDEX_URL. Safe under several processes.
    Raises CompressionError, one line with the log's path, when it cannot be made.
    """
    from filelock import FileLock

    if not _files(name):
        known = sorted(file.stem for file in REQUIREMENTS.glob("*.txt") if not file.name.endswith(".after.txt"))
        raise CompressionError(f"backend-env {name!r}: unknown; known are {', '.join(known)}")
    folder = environment_folder(name, cache)
    log = folder.with_name(f"{folder.name}.log")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            ready = find_env(name, cache)
            if ready is not None:
                announce(f"{name}: its environment is ready in {folder}")
                return ready
            shutil.rmtree(folder, ignore_errors=True)
            try:
                return _make(name, python or sys.executable, folder, log, announce)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except OSError as error:
        raise CompressionError(
            f"backend {name}: its environment cannot be written to {folder} ({error.strerror or error}); "
            "make room there or choose another cache"
        ) from None


def _make(name: str, python: str, folder: Path, log: Path, announce: Callable[[str], None]) -> Path:
    log.write_bytes(b"")
    announce(f"{name}: making an environment in {folder} (log: {log}) …")
    _run(name, [python, "-m", "venv", str(folder)], log)
    made = folder / "bin" / "python"
    for file in _files(name):
        announce(f"{name}: installing {file.name} …")
        command = [str(made), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(file)]
        if file.name.endswith(".after.txt"):
            command += ["--no-build-isolation", "--no-deps"]
        _run(name, command, log)
    listed = _run(name, [str(made), "-I", "-c", _LIST], log)
    versions = json.loads(listed.splitlines()[-1])
    write_atomically(folder / COMPLETE, json.dumps({"versions": versions}, indent=1, sort_keys=True) + "\n")
    announce(f"{name}: ready")
    return made


def _run(name: str, command: list[str], log: Path) -> str:
    """Run a step, its output appended to the log. Raises CompressionError naming the log when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    # auto-gptq's own switch: its CUDA kernels only speed up inference, which is not done there.
    environment["BUILD_CUDA_EXT"] = "0"
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, but for the interpreter that the user names
            command, capture_output=True, text=True, errors="replace", check=False, env=environment
        )
    except OSError as error:
        raise CompressionError(f"backend {name}: {command[0]} cannot be started ({error.strerror})") from None
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        last = " ".join((errors or ["no message"])[-1].split())[:200]
        raise CompressionError(f"backend {name}: its environment cannot be made ({last}); see {log}")
    return done.stdout

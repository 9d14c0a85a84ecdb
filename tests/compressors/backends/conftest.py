"""A library that is none: its runner does what the test tells it, so the protocol is tried with real processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from compressors import backends
from compressors.backends import process

RUNNER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

from .job import Job, UnsupportedError, main


def compress(job: Job) -> None:
    told = json.loads(os.environ["FAKE_LIBRARY"])
    print("noise on stdout")
    print("noise on stderr", file=sys.stderr)
    if "note" in told:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        Path(told["note"]).write_text(json.dumps({
            "pids": [os.getpid(), child.pid], "folder": str(job.folder), "parameters": job.parameters,
            "device": job.device, "threads": job.threads, "model": sorted(os.listdir(job.model)),
            "environment": dict(os.environ),
            "sequences": [s.tolist() for s in job.sequences()] if told.get("read") else None,
        }))
    for done in range(job.blocks):
        job.progress(done + 1, job.blocks, "fake")
    if "copy" in told:
        for file in Path(told["copy"]).iterdir():
            (job.out / file.name).write_bytes(file.read_bytes())
    end = told.get("end")
    if end == "raise":
        raise RuntimeError("first line\\n  of two")
    if end == "assert":
        assert job.blocks == 0
    if end == "abort":
        print("    assert rows % 64 == 0\\n           ^^^^^^^^^^\\nAssertionError", file=sys.stderr, flush=True)
        os._exit(1)
    if end == "unsupported":
        raise UnsupportedError("it cannot do that")
    if end == "killed":
        print("almost out of memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "exit":
        print("RuntimeError: the real reason", file=sys.stderr, flush=True)
        os._exit(7)
    if end == "sleep":
        time.sleep(300)


if __name__ == "__main__":
    main(compress, ("pytest",))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts the fake library behind every backend name; call it with what the runner is to do."""
    runners = tmp_path / "runners"
    shutil.copytree(process.RUNNERS, runners)
    (runners / "fake.py").write_text(RUNNER)
    monkeypatch.setattr(process, "RUNNERS", runners)
    for name, library in backends.LIBRARIES.items():
        stand_in = replace(library, runner="fake", isolated=False, distributions=("pytest>=1",), gpu_only=False)
        monkeypatch.setitem(backends.LIBRARIES, name, stand_in)

    def tell(**told) -> None:
        monkeypatch.setenv("FAKE_LIBRARY", json.dumps(told))

    tell()
    return tell

"""What every benchmark says about itself: where it ran, with what, and how to run it again."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(packages: Sequence[str], threads: int | None = None) -> dict[str, Any]:
    """Machine, versions, threads and command, as plain JSON types."""
    import torch

    gpu = ""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} usable cores",
        "load": f"{os.getloadavg()[0]:.1f} at the start",
        "gpu": gpu or "none",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "transformers", *packages)},
        "threads": threads or torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def say(about: dict[str, Any]) -> None:
    """Print the description, one line a fact."""
    for key, value in about.items():
        shown = ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else value
        print(f"{key:10} {shown}")
    print(flush=True)


def keep(path: Path, about: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Write description and results as JSON; called after every row, so that a stopped run keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "results": list(results)}, indent=1) + "\n", encoding="utf-8")


def default_json(script: str) -> Path:
    """Where a benchmark's JSON goes unless told otherwise: outside the checkout."""
    return Path(tempfile.gettempdir()) / f"{Path(script).stem}.json"

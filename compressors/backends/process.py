"""Run one job in a process of its own: the library's noise goes to a log, its failure becomes one line.

The libraries patch torch and transformers globally, print to every stream and sometimes crash; none of that may
reach the caller. What a job's folder holds and what a runner prints is described in `runners/job.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressors.errors import CompressionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Progress = Callable[[int, int, str], None]

RUNNERS = Path(__file__).with_name("runners")
LOG = "log.txt"
LAST_WORDS_SECONDS = 5
_MESSAGE = 400
_LOOK = os.WEXITED | os.WNOWAIT | os.WNOHANG


@dataclass(frozen=True, slots=True)
class Job:
    """What a runner is told; see `runners/job.py`."""

    model: Path
    out: Path
    method: str
    parameters: Mapping[str, Any]
    device: str
    threads: int | None
    blocks: int


def write_job(folder: Path, job: Job, sequences: list[Tensor]) -> None:
    """Lay out a job's folder: job.json, the calibration tokens, and the runners that read them."""
    from safetensors.torch import save_file

    content = {
        "model": str(job.model),
        "out": str(job.out),
        "method": job.method,
        "parameters": dict(job.parameters),
        # A runner sees the one device that it is to use, whatever that device's number is outside.
        "device": "cpu" if job.device == "cpu" else "cuda:0",
        "threads": job.threads,
        "blocks": job.blocks,
    }
    (folder / "job.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    save_file({f"{n:06d}": s.contiguous() for n, s in enumerate(sequences)}, folder / "sequences.safetensors")
    shutil.copytree(RUNNERS, folder / "runners", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tmp").mkdir()


def run_job(
    name: str,
    python: Path,
    runner: str,
    folder: Path,
    job: Job,
    *,
    progress: Progress | None = None,
    isolated: bool = False,
) -> dict[str, str]:
    """Run a runner on a job's folder and return the versions that it reports.

    name: the library's, for messages. isolated: whether `python` belongs to another environment, which must see
    nothing of this one. Whatever ends the wait, an interrupt included, ends the runner and all its children too.
    Raises CompressionError, one line with the library's last message, when the runner does not finish well.
    """
    command = [str(python), "-m", f"runners.{runner}"]
    with (folder / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - fixed arguments
                command,
                cwd=folder,
                env=_environment(job, folder, isolated),
                # The runner ends itself when this pipe closes, even if this process is killed.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise CompressionError(f"backend {name}: {python} cannot be started ({error.strerror})") from None
        with process:
            try:
                last = _follow(process, progress)
            except BaseException:
                end(process)
                raise
            # The runner has said its last word; one that hangs on its way out has still done its work.
            end(process, patience=LAST_WORDS_SECONDS)
    if last.get("event") == "done" and isinstance(last.get("versions"), dict):
        return {str(key): str(value) for key, value in last["versions"].items()}
    if last.get("event") == "error":
        raise CompressionError(f"backend {name}: {one_line(str(last.get('message')))}")
    raise CompressionError(f"backend {name}: {death(process.returncode)}; last words: {last_line(folder / LOG)}")


def _environment(job: Job, folder: Path, isolated: bool) -> dict[str, str]:
    """The runner's environment: one device, the asked threads, no network, no telemetry, scratch in the job."""
    environment = quiet_environment(isolated) | {"TMPDIR": str(folder / "tmp")}
    if job.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    # GPTQModel takes its workers from the core count and fails with one.
    environment["GPTQMODEL_CPU_WORKERS"] = str(max(2, job.threads or 2))
    environment["CUDA_VISIBLE_DEVICES"] = visible_devices(job.device)
    return environment


def quiet_environment(isolated: bool) -> dict[str, str]:
    """This process's environment for a child: no network, no telemetry, nothing written beside its sources.

    isolated: whether the child's Python belongs to another environment, which must see nothing of this one.
    """
    # What a child runs lies in a folder of its own, which PYTHONSAFEPATH would take off the path.
    dropped = {"PYTHONSAFEPATH", *(("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if isolated else ())}
    return {name: value for name, value in os.environ.items() if name not in dropped} | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }


def visible_devices(device: str, count: int = 1) -> str:
    """CUDA_VISIBLE_DEVICES for a child that is to see `count` GPUs from `device` on, out of those seen here."""
    if device == "cpu":
        return ""
    first = int(device.partition(":")[2] or 0)
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    places = range(first, first + count)
    return ",".join(visible[place] if place < len(visible) else str(place) for place in places)


def _follow(process: subprocess.Popen[bytes], progress: Progress | None) -> dict[str, Any]:
    """Read the runner's lines until it has said its last one, and return that."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError):
            continue  # not the runner's: something wrote to its stdout before it could take it
        if kind in ("done", "error"):
            return dict(event)
        if kind == "progress" and progress is not None:
            progress(int(event["done"]), int(event["total"]), str(event["label"]))
    return {}


def end(process: subprocess.Popen[bytes], patience: float = 0) -> None:
    """Wait a little (seconds), then end a child's whole process group: it outlives its leader while any child runs.

    The child must lead a session of its own.
    """
    deadline = time.monotonic() + patience
    # Unreaped, the leader keeps the group's number from being given to somebody else.
    while process.returncode is None and not os.waitid(os.P_PID, process.pid, _LOOK) and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def death(status: int) -> str:
    """How a child ended, in words, from its exit status."""
    if status == -signal.SIGKILL:
        return "its process was killed (out of memory?)"
    if status < 0:
        return f"its process died of {signal.Signals(-status).name}"
    return f"its process ended with status {status} before it was done"


def last_line(log: Path) -> str:
    """The last line of a log that says something; a bare exception's name is given the source line before it."""
    lines = log.read_bytes()[-20_000:].decode("utf-8", "replace").splitlines()
    said = [line for line in map(one_line, lines) if any(character.isalnum() for character in line)]
    if len(said) > 1 and re.fullmatch(r"[\w.]*(Error|Exception)", said[-1]):
        return f"{said[-1]}: {said[-2]}"
    return said[-1] if said else "none"


def one_line(text: str) -> str:
    """A text in one line of printable characters; of a long one the end."""
    shown = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return shown if len(shown) <= _MESSAGE else f"…{shown[-_MESSAGE:]}"

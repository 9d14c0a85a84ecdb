"""The runner's side of a job: what is to be done, and how progress and failure are reported.

The working directory is the job's folder. `job.json` says what to do and `sequences.safetensors` holds the
calibration tokens. Every line on the original stdout is one JSON object with `event`: `progress` (done, total,
label), `error` (message), or `done` (versions). All else that a library prints goes to stderr, the job's log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


class UnsupportedError(Exception):
    """What the library cannot do; its one line is reported without the exception's type."""


class Job:
    """One compression, as `job.json` describes it.

    model: folder of the dense model. out: empty folder for the result. method, parameters: the recipe's. device:
    `cpu` or `cuda:0`. threads: CPU threads, or None. blocks: number of decoder blocks, for the progress.
    """

    def __init__(self, folder: Path, report: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.report = report
        self.model = Path(content["model"])
        self.out = Path(content["out"])
        self.method: str = content["method"]
        self.parameters: dict[str, Any] = content["parameters"]
        self.device: str = content["device"]
        self.threads: int | None = content["threads"]
        self.blocks: int = content["blocks"]

    def sequences(self) -> list[Any]:
        """The calibration sequences, in order: int64 token ids  # (tokens,) each."""
        from safetensors.torch import load_file

        tensors = load_file(self.folder / "sequences.safetensors")
        return [tensors[name] for name in sorted(tensors)]

    def progress(self, done: int, total: int, label: str) -> None:
        """Report that `done` of `total` steps are behind us."""
        self.report({"event": "progress", "done": done, "total": total, "label": label})

    def follow_tqdm(self, label: str) -> None:
        """Report the progress of every tqdm bar that counts the decoder blocks."""
        from tqdm.std import tqdm

        update = tqdm.update
        report, blocks = self.progress, self.blocks

        def reporting(bar: Any, n: float = 1) -> Any:
            shown = update(bar, n)
            if bar.total == blocks:
                report(int(bar.n), blocks, label)
            return shown

        tqdm.update = reporting


def main(compress: Callable[[Job], None], distributions: tuple[str, ...]) -> None:
    """Run one job in the working directory and end the process: 0 when it is done, 1 after an `error` line.

    distributions: whose versions are reported.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _die_with_parent()

    def report(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    try:
        job = Job(Path.cwd(), report)
        if job.threads is not None:
            import torch

            torch.set_num_threads(job.threads)
        compress(job)
        report({"event": "done", "versions": {name: _version(name) for name in distributions}})
    except BaseException as error:
        traceback.print_exc()
        # A bare assertion says nothing; the line that made it does.
        message = " ".join(str(error).split()) or str(traceback.extract_tb(error.__traceback__)[-1].line)
        shown = message if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {message}"
        report({"event": "error", "message": shown[-600:]})
        status = 1
    else:
        status = 0
    sys.stderr.flush()
    # Libraries leave threads behind that keep an ordinary exit waiting, or crash in it; the result is on disk.
    os._exit(status)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _die_with_parent() -> None:
    """End this process group when stdin closes: a killed parent cannot say goodbye, and an hour's run would go on."""
    watched = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(watched, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

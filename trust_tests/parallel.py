"""pytest-xdist: what the controller decides for its workers, and what they tell it.

Workers collect; the controller does not, and learns from the note they leave in the run's folder
(`write_note`) whether there are trust tests. Until then, and without them, xdist's ways are untouched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compressors.files import write_atomically
from trust_tests import pinning
from trust_tests.options import OPTIONS
from trust_tests.sharding import Asked, groups
from trust_tests.workers import WorkersProgress

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from trust_tests.run import TrustRun
    from trust_tests.settings import Settings

NOTE = "asked.json"
# Keys in what xdist hands to a worker, and in what the worker hands back.
FOLDER, SLOT, WORKERS, DEVICES = "trust_run", "trust_slot", "trust_workers", "trust_devices"
WARNING = "trust_warning"


def write_note(folder: Path, everything: Sequence[Asked], own: Sequence[Asked], workers: int) -> None:
    """Note what was collected: the gates of all shards, this shard's, and the group of each of its tests."""
    note = {
        "all": [asdict(one) for one in everything],
        "own": [asdict(one) for one in own],
        "groups": {node: group.name for group in groups(own, workers) for node in group.nodes},
    }
    write_atomically(folder / NOTE, json.dumps(note))


def read_note(folder: Path) -> dict[str, Any] | None:
    """What the workers noted about the collected trust tests; None where there are none (yet)."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return note


def pin_worker(workerinput: Mapping[str, Any], settings: Settings) -> str | None:
    """Narrow this worker's GPUs to its own; returns a line of warning where that may be too late.

    Raises PinningError.
    """
    if not pinning.wants_pinning(settings.device):
        return None
    devices = workerinput.get(DEVICES)
    if devices is None:
        devices = pinning.visible_devices()
    return pinning.pin(pinning.share(devices or (), workerinput[SLOT], settings.tensor_parallel))


class Controller:
    """Hooks of the process that deals out tests. `begin` gives the run, and makes it when there is none yet.

    chosen: whether the user named a way of distributing tests (--dist, -d), which is then kept.
    """

    def __init__(self, config: pytest.Config, folder: Path, begin: Callable[[], TrustRun], chosen: bool) -> None:
        self._config = config
        self._folder = folder
        self._begin = begin
        distribution = config.getoption("dist")
        self._late = distribution == "load" and not chosen
        self._by_variant = self._late or distribution == "loadgroup"
        self._slots = pinning.Slots()
        self._run: TrustRun | None = None
        self._devices: list[str] | None = None
        self._collected = False
        self._warnings: dict[str, None] = {}
        self._progress: WorkersProgress | None = None

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker where to leave its parts, and which of the workers it is."""
        given: dict[str, Any] = node.workerinput
        workers = given["workercount"]
        given[FOLDER] = str(self._folder)
        given[SLOT] = self._slots.take(given["workerid"])
        given[WORKERS] = workers if self._by_variant else 1
        if self._run is None and _configured(self._config):
            self._start(workers)
        if self._run is not None:
            given[DEVICES] = self._devices

    def _start(self, workers: int) -> None:
        """Begin the run: a wrong setting, or too few GPUs for it, is told before any worker starts."""
        self._run = run = self._begin()
        s = run.settings
        if not pinning.wants_pinning(s.device):
            return
        self._devices = pinning.visible_devices()
        if self._devices is None:
            return
        try:
            pinning.share(self._devices, 0, s.tensor_parallel)
        except pinning.PinningError as error:
            raise pytest.UsageError(str(error)) from None
        note = pinning.sharing_note(self._devices, workers, s.tensor_parallel)
        if note:
            run.session.progress.announce(f"trust gate: {note}")

    def pytest_xdist_node_collection_finished(self, node: WorkerController) -> None:
        """The first worker with trust tests: check what the user named before any test is dealt out."""
        if self._collected or read_note(self._folder) is None:
            return
        self._collected = True
        if self._run is None:
            self._start(node.workerinput["workercount"])
        assert self._run is not None
        self._run.recall()
        problem = self._run.problem_with_inputs() if self._run.asked else None
        if problem:
            raise pytest.UsageError(problem)
        self._run.show_header()
        self._progress = WorkersProgress(self._folder, self._run.session.progress.announce)
        self._progress.start()

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> object:
        """Tests by variant, where the user chose no other way than that or none."""
        if not self._by_variant:
            return None
        from trust_tests.scheduling import LateScheduling, VariantScheduling

        return (LateScheduling if self._late else VariantScheduling)(config, log, self._groups)

    def _groups(self) -> Mapping[str, str]:
        note = read_note(self._folder)
        return {} if note is None else note["groups"]

    def pytest_testnodedown(self, node: WorkerController) -> None:
        """A worker has ended or crashed: its number is free."""
        self._slots.release(node.gateway.id)
        warning = getattr(node, "workeroutput", {}).get(WARNING)
        if warning:
            self._warnings[warning] = None

    def pytest_sessionfinish(self) -> None:
        """The workers have ended."""
        if self._progress is not None:
            self._progress.stop()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What workers have to say."""
        for warning in self._warnings:
            terminalreporter.write_line(f"trust gate: warning: {warning}")


def _configured(config: pytest.Config) -> bool:
    """Whether the user set any trust option: on the command line, in the environment or in the ini file."""
    return any(
        config.getoption(option.key) not in (None, [])
        or option.variable in os.environ
        or config.getini(option.key) not in (None, "", [])
        for option in OPTIONS
    )

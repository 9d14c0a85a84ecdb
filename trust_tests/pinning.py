"""One GPU for each worker: parallel pytest workers deal out the devices that their caller may use.

A device is an opaque string, as it stands in CUDA_VISIBLE_DEVICES: a number, a GPU's UUID or a MIG instance's. CUDA
reads that variable once, when a process first uses it, so a worker narrows its own before torch is imported. Nothing
here imports torch or touches a GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from trust_tests.options import AUTO

VARIABLE = "CUDA_VISIBLE_DEVICES"
_CUDA = "cuda"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_DRIVER_SECONDS = 20.0
_GPU_LINE = re.compile(r"GPU (\d+): .*\(UUID: ([^)\s]+)\)")
_MIG_LINE = re.compile(r"\s+MIG .*\(UUID: ([^)\s]+)\)")


class PinningError(ValueError):
    """GPUs that cannot be dealt out; the message is one line for the user."""


def visible_devices(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """The devices the caller may use, in the caller's order; None where that cannot be told.

    CUDA_VISIBLE_DEVICES decides where it is set: as in CUDA itself, an empty or negative entry ends the list, so that
    an empty text or -1 is no device at all. Where it is unset, the driver is asked.
    """
    stated = environment.get(VARIABLE)
    return _of_driver() if stated is None else _entries(stated)


def _entries(stated: str) -> list[str]:
    devices: dict[str, None] = {}
    for entry in map(str.strip, stated.split(",")):
        if not entry or entry.startswith("-"):
            break
        devices[entry] = None
    return list(devices)


def _of_driver() -> list[str] | None:
    """What `nvidia-smi -L` lists, else how many GPUs the kernel's driver has; None without either."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - wherever the driver put it
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DRIVER_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        try:
            return [str(number) for number in range(sum(1 for _ in _DRIVER.iterdir()))] or None
        except OSError:
            return None
    return _listed(done.stdout)


def _listed(text: str) -> list[str] | None:
    """The devices in the output of `nvidia-smi -L`: numbers, but UUIDs as soon as any GPU is cut into MIG instances.

    An instance has no number of its own, while a GPU that is cut cannot be used whole.
    """
    gpus: list[tuple[str, str, list[str]]] = []
    for line in text.splitlines():
        if gpu := _GPU_LINE.match(line):
            gpus.append((gpu[1], gpu[2], []))
        elif (instance := _MIG_LINE.match(line)) and gpus:
            gpus[-1][2].append(instance[1])
    if any(instances for _, _, instances in gpus):
        return [device for _, uuid, instances in gpus for device in instances or [uuid]]
    return [number for number, _, _ in gpus] or None


def wants_pinning(device: str) -> bool:
    """Whether --trust-device leaves the choice of GPU open; `cpu` and `cuda:1` are the user's own choice."""
    return device in (AUTO, _CUDA)


def share(devices: Sequence[str], slot: int, per_worker: int = 1) -> tuple[str, ...]:
    """The devices of the worker in a slot (from 0): as many as it needs, dealt out in turn, shared when they run out.

    Raises PinningError where there are fewer than one worker needs. No device at all is no error: then models run on
    the CPU.
    """
    if not devices:
        return ()
    if len(devices) < per_worker:
        raise PinningError(
            f"--trust-tensor-parallel={per_worker}: {_counted(devices)} visible ({', '.join(devices)}); "
            f"lower it or let the run see more ({VARIABLE})"
        )
    groups = len(devices) // per_worker
    start = slot % groups * per_worker
    return tuple(devices[start : start + per_worker])


def sharing_note(devices: Sequence[str], workers: int, per_worker: int = 1) -> str | None:
    """One line where workers have to share devices; None where each has its own."""
    groups = len(devices) // per_worker
    if not groups or workers <= groups:
        return None
    needs = "" if per_worker == 1 else f" in groups of {per_worker}"
    return f"{workers} workers share {_counted(devices)}{needs} ({', '.join(devices)}); -n {groups} gives each its own"


def _counted(devices: Sequence[str]) -> str:
    return "1 GPU" if len(devices) == 1 else f"{len(devices)} GPUs"


def pin(devices: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Let this process see these devices only; returns a line of warning where that may come too late."""
    if not devices:
        return None
    environment[VARIABLE] = ",".join(devices)
    if "torch" in sys.modules:
        return (
            f"a worker had torch imported before it was given GPU {environment[VARIABLE]}: where a conftest.py or a "
            "test module uses CUDA as it is imported, all workers stay on the first GPU"
        )
    return None


class Slots:
    """Numbers from 0 for living workers: one that replaces a crashed worker takes its number, and so its GPU."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def take(self, worker: str) -> int:
        """The lowest number that no living worker has."""
        taken = set(self._held.values())
        self._held[worker] = next(number for number in range(len(taken) + 1) if number not in taken)
        return self._held[worker]

    def release(self, worker: str) -> None:
        """Give a worker's number back."""
        self._held.pop(worker, None)

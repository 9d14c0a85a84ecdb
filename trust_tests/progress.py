"""Lines about long work: on a terminal one that renews itself, in a log one every now and then.

pytest captures what tests print, so lines go through its terminal reporter with capturing paused. Workers of
pytest-xdist have no terminal: they leave notes, of which their controller makes lines (`trust_tests.workers`).
"""

from __future__ import annotations

import json
import math
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from compressors.files import write_atomically
from trust_tests.report.text import defused, fitted, one_line

LOG_INTERVAL_SECONDS = 30.0
REDRAW_SECONDS = 0.2
NOTE_SECONDS = 1.0
NOTES = "progress"


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work under way. done, total: its parts; fresh: those done since it began, `seconds` ago.

    What was done before tells nothing of how fast it goes. unit: what the parts are, empty where their rate does not
    matter.
    """

    what: str
    done: int
    total: int
    fresh: int
    seconds: float
    unit: str = ""

    @property
    def rate(self) -> float:
        """Parts a second; 0 while there is nothing to go by."""
        return self.fresh / self.seconds if self.fresh > 0 and self.seconds > 1 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until it is finished at this rate; None while there is nothing to go by."""
        return (self.total - self.done) / self.rate if self.rate else None

    @property
    def finished(self) -> bool:
        """Whether all parts are done."""
        return self.done >= self.total

    def __str__(self) -> str:
        """`asking dense: 40/100 (20 stored), 2.5 items/s, 24 s left`."""
        line = f"{self.what}: {self.done}/{self.total}"
        if self.unit and self.done > self.fresh:
            line += f" ({self.done - self.fresh} stored)"
        if self.finished:
            line += f" in {duration(self.seconds)}"
        if self.unit and self.rate:
            line += f", {speed(self.rate, self.unit)}"
        if not self.finished and self.left is not None:
            line += f", {duration(self.left)} left"
        return line


class Progress:
    """Announcements and counters for the person who waits. `config` is pytest's; all processes share `folder`.

    every_piece: whether in a log each piece of work gets a first and a last line, however fast they follow each other.
    """

    every_piece: ClassVar[bool] = False

    def __init__(self, config: Any, folder: Path | None = None) -> None:
        self._config = config
        worker = getattr(config, "workerinput", {}).get("workerid")
        self._note = None if worker is None or folder is None else folder / NOTES / f"{worker}.json"
        self._what = ""
        self._begun_at = 0
        self._started = 0.0
        self._drawn = self._noted = -math.inf

    def announce(self, line: str) -> None:
        """Print one line."""
        self._write(line, renew=False)

    def count(self, done: int, total: int, what: str, unit: str = "") -> None:
        """Say that `done` of `total` parts of `what` are finished; draws seldom enough to cost nothing.

        The first call of a piece of work tells what was done before. unit: `items`, where a rate is worth telling.
        """
        now = time.monotonic()
        begun = what != self._what or done == 0
        if begun:
            self._what, self._started, self._begun_at = what, now, done
        work = Work(what, done, total, done - self._begun_at, now - self._started, unit)
        if work.finished:
            self._what = ""
        if self._note is not None:
            self._leave(work, now, always=begun)
        at_once = (begun or work.finished) and (self._is_terminal or self.every_piece)
        if at_once or now - self._drawn >= (REDRAW_SECONDS if self._is_terminal else LOG_INTERVAL_SECONDS):
            self._drawn = now
            self._write(str(work), renew=self._is_terminal and not work.finished)

    def _leave(self, work: Work, now: float, *, always: bool) -> None:
        """Leave a note of the work for the controller, and none of finished work."""
        assert self._note is not None
        # No gate fails for want of a note.
        with suppress(OSError):
            if work.finished:
                self._note.unlink(missing_ok=True)
            elif always or now - self._noted >= NOTE_SECONDS:
                self._noted = now
                write_atomically(self._note, json.dumps({"at": time.time(), "work": asdict(work)}))

    @property
    def _reporter(self) -> Any:
        """pytest's terminal reporter, looked up late: it may be registered after us. None where nobody reads."""
        if hasattr(self._config, "workerinput") or self._config.option.verbose < 0:
            return None
        return self._config.pluginmanager.getplugin("terminalreporter")

    @property
    def _is_terminal(self) -> bool:
        reporter = self._reporter
        return reporter is not None and bool(reporter.isatty)

    def _write(self, line: str, *, renew: bool) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        # Names of models and files come from outside.
        line = defused(one_line(line))
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if self._is_terminal:
                reporter.rewrite(fitted(line, reporter._tw.fullwidth - 1))
                reporter.write("" if renew else "\n", flush=True)
            else:
                reporter.ensure_newline()
                # Letters of finished tests, which pytest-xdist's controller writes without a file's name.
                begun = "\n" if reporter._tw.width_of_current_line else ""
                reporter.write(f"{begun}{line}\n", flush=True)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def speed(rate: float, unit: str) -> str:
    """`25 items/s`, `2.5 items/s`, `3.0 items/min`. rate: a second."""
    if rate < 0.1:
        return f"{60 * rate:.1f} {unit}/min"
    return f"{rate:.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"

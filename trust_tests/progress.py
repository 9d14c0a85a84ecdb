"""Lines about long work: on a terminal one that renews itself, in a log one every few seconds.

pytest captures what tests print, so lines go through its terminal reporter with capturing paused. Workers of
pytest-xdist have no terminal and stay silent.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

LOG_INTERVAL_SECONDS = 15.0
REDRAW_SECONDS = 0.2


class Progress:
    """Announcements and counters for the person who waits. `config` is pytest's."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._what = ""
        self._begun_at = 0
        self._started = self._drawn = 0.0

    def announce(self, line: str) -> None:
        """Print one line."""
        self._write(line, renew=False)

    def count(self, done: int, total: int, what: str) -> None:
        """Say that `done` of `total` pieces of `what` are finished; draws seldom enough to cost nothing."""
        now = time.monotonic()
        if what != self._what or done == 0:
            self._what, self._started, self._drawn = what, now, 0.0
            self._begun_at = done
        finished = done >= total
        renew = self._is_terminal
        pause = REDRAW_SECONDS if renew else LOG_INTERVAL_SECONDS
        if not finished and now - self._drawn < pause:
            return
        self._drawn = now
        elapsed = now - self._started
        line = f"{what}: {done}/{total}"
        if finished:
            line += f" in {duration(elapsed)}"
            self._what = ""
        elif done > self._begun_at and elapsed > 1:
            line += f", {duration(elapsed / (done - self._begun_at) * (total - done))} left"
        self._write(line, renew=renew and not finished)

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
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            if self._is_terminal:
                width = reporter._tw.fullwidth - 1
                reporter.rewrite(line[:width].ljust(width))
                reporter.write("" if renew else "\n", flush=True)
            else:
                reporter.ensure_newline()
                reporter.write(f"{line}\n", flush=True)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

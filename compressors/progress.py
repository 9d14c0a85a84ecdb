"""How far a compression is, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Clock:
    """Turns steps into lines such as `model.layers.7  8/30  1:12 left`.

    On a terminal the line is rewritten in place; in a log each step is a line of its own.
    """

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._now = now
        self._start = now()
        self._first: tuple[float, int] | None = None

    def step(self, done: int, total: int, label: str) -> None:
        """Say that `done` of `total` steps are finished, the last of them `label`."""
        now = self._now()
        if self._first is None:
            # The first step carries what is done once; the rest is foretold from the steps after it.
            self._first = (now, done)
        since, before = self._first if done > self._first[1] else (self._start, 0)
        left = (now - since) / (done - before) * (total - done)
        line = f"{label}  {done}/{total}" + (f"  {_clock_time(left)} left" if done < total else "")
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if done == total else ""))
            sys.stderr.flush()
        else:
            self._say(line)


def _clock_time(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"

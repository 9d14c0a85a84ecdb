"""What the workers of pytest-xdist are doing, told by their controller: they have no terminal of their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trust_tests.progress import LOG_INTERVAL_SECONDS, NOTES, Work, duration, speed


@dataclass(frozen=True, slots=True)
class Note:
    """What a worker had done `age` seconds ago."""

    work: Work
    age: float

    @property
    def left(self) -> float | None:
        """Seconds until the work is finished; None while there is nothing to go by."""
        return None if self.work.left is None else max(0.0, self.work.left - self.age)


class WorkersProgress:
    """A line now and then for as long as workers are at work. `announce` prints it; `folder` all processes share."""

    def __init__(self, folder: Path, announce: Callable[[str], None]) -> None:
        self._folder = folder
        self._announce = announce
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin: in a thread, because pytest-xdist waits for the workers in the main one."""
        threading.Thread(target=self._tell, daemon=True, name="trust progress").start()

    def stop(self) -> None:
        """Say no more."""
        self._ended.set()

    def _tell(self) -> None:
        while not self._ended.wait(LOG_INTERVAL_SECONDS):
            if line := shown(read_notes(self._folder)):
                self._announce(line)


def read_notes(folder: Path) -> dict[str, Note]:
    """The work under way by worker. A file that does not hold a note is passed over."""
    found = {}
    for path in sorted((folder / NOTES).glob("*.json")):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = Note(Work(**note["work"]), max(0.0, time.time() - note["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def shown(notes: Mapping[str, Note]) -> str:
    """One line on all workers; empty where none is at work.

    `2 workers, 12 items/s; gw0 asking dense, toxicity: 40/100, 24 s left; …`. Only rates of items are added up.
    """
    if not notes:
        return ""
    rate = sum(note.work.rate for note in notes.values() if note.work.unit == "items")
    many = f"{len(notes)} worker{'s' if len(notes) > 1 else ''}"
    parts = [f"{many}, {speed(rate, 'items')}" if rate else many]
    for worker, note in notes.items():
        left = "" if note.left is None else f", {duration(note.left)} left"
        parts.append(f"{worker} {note.work.what}: {note.work.done}/{note.work.total}{left}")
    return "; ".join(parts)

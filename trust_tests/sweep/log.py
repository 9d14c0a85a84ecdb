"""Progress of work that pytest does not run: plain lines, each now and then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from trust_tests.progress import Progress


class LogProgress(Progress):
    """Announcements and counters in a log."""

    every_piece: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())

    @property
    def _is_terminal(self) -> bool:
        return False

    def _write(self, line: str, *, renew: bool) -> None:
        print(line, flush=True)

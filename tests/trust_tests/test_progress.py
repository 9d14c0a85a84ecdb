from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trust_tests import progress
from trust_tests.progress import Progress


class Terminal:
    """Collects what pytest's reporter would print."""

    def __init__(self, isatty: bool) -> None:
        self.isatty = isatty
        self.text = ""
        self._tw = SimpleNamespace(fullwidth=60)

    def ensure_newline(self) -> None:
        self.text += "" if self.text.endswith("\n") or not self.text else "\n"

    def write(self, text: str, **options: Any) -> None:
        self.text += text

    def rewrite(self, text: str) -> None:
        self.text += "\r" + text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def made(terminal: Terminal | None, verbose: int = 0, **config: Any) -> Progress:
    plugins = SimpleNamespace(getplugin=lambda name: terminal if name == "terminalreporter" else None)
    return Progress(SimpleNamespace(pluginmanager=plugins, option=SimpleNamespace(verbose=verbose), **config))


def test_a_log_gets_a_line_now_and_then_and_the_end(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    for done in range(0, 101, 10):
        shown.count(done, 100, "asking dense")
        clock.seconds += 4
    assert terminal.text.splitlines() == [
        "asking dense: 0/100",
        "asking dense: 40/100, 24 s left",
        "asking dense: 80/100, 8 s left",
        "asking dense: 100/100 in 40 s",
    ]


def test_a_terminal_line_renews_itself_and_fits(clock: Any) -> None:
    terminal = Terminal(isatty=True)
    shown = made(terminal)
    for done in (0, 50, 100):
        shown.count(done, 100, "w" * 80)
        clock.seconds += 1
    lines = terminal.text.split("\r")[1:]
    assert len(lines) == 3
    assert all(len(line.rstrip("\n")) == 59 for line in lines)
    assert [line.endswith("\n") for line in lines] == [False, False, True]


def test_a_resumed_count_estimates_from_where_it_began(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    shown.count(80, 100, "asking")
    clock.seconds += 20
    shown.count(90, 100, "asking")
    assert terminal.text.splitlines()[-1] == "asking: 90/100, 20 s left"


@pytest.mark.parametrize("silent", [{"workerinput": {}}, {"verbose": -1}])
def test_workers_and_quiet_runs_are_silent(clock: Any, silent: dict[str, Any]) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal, **silent)
    shown.announce("line")
    shown.count(0, 1, "x")
    assert terminal.text == ""
    made(None).announce("nobody reads this")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text

from __future__ import annotations

from pathlib import Path
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
        self._tw = SimpleNamespace(fullwidth=60, width_of_current_line=0)

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


def made(
    terminal: Terminal | None,
    verbose: int = 0,
    folder: Path | None = None,
    kind: type[Progress] = Progress,
    **config: Any,
) -> Progress:
    plugins = SimpleNamespace(getplugin=lambda name: terminal if name == "terminalreporter" else None)
    return kind(SimpleNamespace(pluginmanager=plugins, option=SimpleNamespace(verbose=verbose), **config), folder)


def test_a_log_gets_a_line_every_thirty_seconds_at_most(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    for done in range(0, 101, 5):
        shown.count(done, 100, "asking dense", "items")
        clock.seconds += 4
    for what in ("asking one", "asking two"):
        for done in range(0, 11, 5):
            shown.count(done, 10, what, "items")
            clock.seconds += 4
    assert terminal.text.splitlines() == [
        "asking dense: 0/100",
        "asking dense: 40/100, 1.2 items/s, 48 s left",
        "asking dense: 80/100, 1.2 items/s, 16 s left",
        "asking two: 0/10",
    ]


def test_a_log_of_every_piece_gets_the_first_and_the_last_line_of_each(clock: Any) -> None:
    class Whole(Progress):
        every_piece = True

    terminal = Terminal(isatty=False)
    shown = made(terminal, kind=Whole)
    for what in ("asking one", "asking two"):
        for done in range(0, 11, 5):
            shown.count(done, 10, what)
            clock.seconds += 4
    assert terminal.text.splitlines() == [
        "asking one: 0/10",
        "asking one: 10/10 in 8 s",
        "asking two: 0/10",
        "asking two: 10/10 in 8 s",
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


def test_what_was_stored_tells_nothing_of_the_rate(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    shown.count(80, 100, "asking", "items")
    clock.seconds += 40
    shown.count(90, 100, "asking", "items")
    clock.seconds += 40
    shown.count(100, 100, "asking", "items")
    assert terminal.text.splitlines() == [
        "asking: 80/100 (80 stored)",
        "asking: 90/100 (80 stored), 0.2 items/s, 40 s left",
        "asking: 100/100 (80 stored) in 1 min 20 s, 0.2 items/s",
    ]


def test_blocks_have_a_time_left_and_no_rate(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    shown.count(0, 30, "compressing, blocks")
    clock.seconds += 60
    shown.count(10, 30, "compressing, blocks")
    assert terminal.text.splitlines()[-1] == "compressing, blocks: 10/30, 2 min 0 s left"


def test_a_line_does_not_follow_the_letters_of_finished_tests(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    terminal.text, terminal._tw.width_of_current_line = "..F", 3
    # pytest's own knows of lines that begin with a file's name only.
    terminal.ensure_newline = lambda: None  # type: ignore[method-assign]
    made(terminal).announce("2 workers")
    assert terminal.text.splitlines() == ["..F", "2 workers"]


def test_what_a_name_holds_is_neither_obeyed_by_a_terminal_nor_by_a_ci_runner(clock: Any) -> None:
    terminal = Terminal(isatty=False)
    shown = made(terminal)
    shown.announce("::error::gone\x1b[2J\nsecond")
    [line] = terminal.text.splitlines()
    assert "\x1b" not in line
    assert not line.startswith("::")


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


@pytest.mark.parametrize(
    ("rate", "text"), [(123.4, "123 items/s"), (10, "10 items/s"), (2.54, "2.5 items/s"), (0.05, "3.0 items/min")]
)
def test_speeds(rate: float, text: str) -> None:
    assert progress.speed(rate, "items") == text

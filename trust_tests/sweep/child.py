"""The process of one task. It ends with its parent, whatever ends that: nothing is left computing for nobody.

The parent holds the other end of this process's standard input; when that closes, this process's whole group is
killed, engines and workers included.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from trust_tests.exitcodes import ExitCode

INI_FILE = Path(__file__).with_name("pytest.ini")
ROOT = Path(__file__).parents[2]
"""The folder that holds the package: a checkout, or where packages are installed."""
DENSE_FILE = "dense.json"
_PROGRAM = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from trust_tests.sweep.child import main; sys.exit(main(sys.argv[1:]))"
)


def command(*arguments: str) -> list[str]:
    """The command line of a child; -P: what lies in the current folder is no module of ours."""
    return [sys.executable, "-P", "-c", _PROGRAM, str(ROOT), *arguments]


def gate_arguments(dimensions: Sequence[str], options: Sequence[str]) -> list[str]:
    """What a child is told to run a variant's gates."""
    tests = [f"trust_tests.test_{name}" for name in dimensions]
    return ["gate", "--pyargs", *tests, "-c", str(INI_FILE), f"--rootdir={ROOT}", "-p", "no:cacheprovider", *options]


def dense_arguments(dimensions: Sequence[str], options: Sequence[str]) -> list[str]:
    """What a child is told to ask the dense model."""
    return ["dense", ",".join(dimensions), *options]


def main(arguments: Sequence[str]) -> int:
    """Run `gate` (pytest with the rest) or `dense` (dimensions, options); returns the exit status."""
    _end_with_parent()
    kind, *rest = arguments
    if kind == "gate":
        import pytest

        return int(pytest.main(rest))
    return _ask_dense(rest[0].split(","), rest[1:])


def _end_with_parent() -> None:
    parent = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(parent, 1):
            pass
        # Only a group of its own: run by hand, this would end the caller's shell.
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _ask_dense(dimensions: Sequence[str], options: Sequence[str]) -> int:
    """Ask the dense model in every dimension and keep the answers; says in DENSE_FILE how it went."""
    from dataclasses import replace

    from compressors.errors import CompressionError
    from compressors.files import write_atomically
    from trust_tests.run import USER_ERRORS
    from trust_tests.session import GateSession
    from trust_tests.settings import SettingsError
    from trust_tests.sweep.log import LogProgress
    from trust_tests.sweep.tasks import settings_of

    try:
        # Variants are their own tasks' business.
        settings = replace(settings_of(options, Path.cwd()), recipes=(), variants=())
        session = GateSession(settings, settings.results, LogProgress())
        session.check_inputs(dimensions)
    except (SettingsError, CompressionError, *USER_ERRORS) as error:
        print(f"ERROR: {error}", flush=True)
        return ExitCode.USAGE
    found: dict[str, dict[str, object]] = {}
    for name in dimensions:
        try:
            evaluation = session.measure_dense(name)
        except USER_ERRORS as error:
            print(f"ERROR: {name}: {error}", flush=True)
            found[name] = {"score": None, "items": 0, "error": str(error)}
        else:
            score = evaluation.score.value
            shown = score if score == score else None
            print(f"{name}: {len(evaluation.asked)} items, score {score:.1f}", flush=True)
            found[name] = {"score": shown, "items": len(evaluation.asked), "error": None}
        write_atomically(settings.results / DENSE_FILE, json.dumps(found, allow_nan=False))
    return ExitCode.UNMEASURED if any(entry["error"] for entry in found.values()) else ExitCode.PASS

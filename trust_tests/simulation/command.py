"""`python -m trust_tests calibrate`: measure the gate's own error rates."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from compressors.files import write_atomically
from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.tiers import select
from trust_tests.dimensions import DimensionError, dimension_names, get_dimension
from trust_tests.dimensions.base import Setup
from trust_tests.options import HUB
from trust_tests.records import SMOKE
from trust_tests.report.text import one_line
from trust_tests.simulation.calibration import (
    Calibration,
    exact_grid,
    look_table,
    requirements,
    resampled_grid,
    tier_cases,
)
from trust_tests.simulation.page import lines, page
from trust_tests.simulation.structure import Skeleton

UNMET = 1


class CalibrationError(ValueError):
    """A calibration that cannot be made; the message is one line for the user."""


def calibrate(arguments: argparse.Namespace) -> int:
    """Run the calibration that the arguments ask for; 0 where every promise holds, 1 where one does not."""
    outputs = [path for path in (arguments.output, arguments.markdown) if path]
    for path in outputs:
        if path.is_dir():
            raise CalibrationError(f"{str(path)!r}: a folder; give a file")
        if not path.parent.is_dir():
            raise CalibrationError(f"{str(path)!r}: no folder {str(path.parent)!r}; make it or give another path")
    skeletons, notes = {}, []
    for tier in dict.fromkeys(arguments.tier):
        skeletons[tier], left_out = _skeletons(tier, arguments)
        notes += left_out
    _say("exact rates for independent binary items")
    exact = exact_grid()
    _say("early looks")
    looks = look_table()
    # Workers are started afresh: a fork of a process with running threads may hang.
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        resampled = resampled_grid(arguments.simulations, pool, _say)
        tiers = {tier: tier_cases(tier, found, arguments.simulations, pool, _say) for tier, found in skeletons.items()}
    found = Calibration(arguments.simulations, exact, resampled, looks, tiers, tuple(notes))
    print("\n".join(lines(found)))
    if arguments.output:
        text = json.dumps(found.as_dict(), indent=1, ensure_ascii=True, allow_nan=False)
        write_atomically(arguments.output, text + "\n")
        print(f"wrote {one_line(str(arguments.output))}")
    if arguments.markdown:
        write_atomically(arguments.markdown, page(found, _command(arguments), _machine()))
        print(f"wrote {one_line(str(arguments.markdown))}")
    return 0 if all(check.met for check in requirements(found)) else UNMET


def _skeletons(tier: str, arguments: argparse.Namespace) -> tuple[list[Skeleton], list[str]]:
    """Every dimension's items without answers, and what had to be left out. Raises CalibrationError."""
    found, notes = [], []
    for name in arguments.dimension or dimension_names():
        benchmark = None
        if tier != SMOKE:
            folder = None if arguments.data == HUB else Path(arguments.data)
            if folder is not None and not folder.is_dir():
                raise CalibrationError(
                    f"--data {arguments.data!r}: no such folder; give 'hub' or the benchmarks' folder"
                )
            benchmark = Benchmark(folder, partial=arguments.partial, offline=arguments.offline, announce=_say)
        try:
            dimension = get_dimension(name, Setup(tier=tier, benchmark=benchmark))
            items = select(dimension)
        except (DataError, DimensionError) as error:
            raise CalibrationError(str(error)) from None
        if not items:
            notes.append(f"Tier {tier}: {name} is left out, its files are absent.")
            continue
        # A worker process needs the formula, not the files.
        formula = get_dimension(name, Setup(tier=tier))
        found.append(Skeleton.of(dimension, items).with_formula(formula))
    if not found:
        raise CalibrationError(
            f"--tier {tier}: no dimension has items there, so nothing would be simulated; see --data"
        )
    return found, notes


def _command(arguments: argparse.Namespace) -> str:
    """The command as a reader would type it, without the reader's own paths."""
    words = ["python -m trust_tests calibrate", f"--simulations {arguments.simulations}"]
    words += [f"--tier {tier}" for tier in arguments.tier]
    if any(tier != SMOKE for tier in arguments.tier):
        words.append(f"--data {arguments.data if arguments.data == HUB else 'DIR'}")
        words += ["--partial"] * arguments.partial
    words += [f"--dimension {name}" for name in arguments.dimension or ()]
    return " ".join(words)


def _machine() -> str:
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), Python {platform.python_version()}"


def _say(text: str) -> None:
    print(one_line(text), file=sys.stderr, flush=True)

"""How much the tiers above smoke ask: counted from the benchmarks' files once, and kept beside the pages.

The pages are made where those files are not at hand, so the counts lie in `dimensions/counts.json` of this folder,
made by `python -m trust_tests docs --data FOLDER`. Each dimension's stand beside its version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.tiers import spread
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Setup
from trust_tests.evaluation import Questions
from trust_tests.plan import Budget, budget
from trust_tests.records import TIERS

NAME = "counts.json"
COMMITTED = Path(__file__).parent / "dimensions" / NAME
BENCHMARK_TIERS = TIERS[1:]
FULL = TIERS[-1]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one dimension asks of one model, protocol sound.

    version: of the dimension that was counted. absent: what the files at hand lacked, so that it is in no count.
    cells: items of the tier full by cell. tiers: prompts and tokens by tier; empty where no file was at hand.
    """

    version: str
    absent: tuple[str, ...] = ()
    cells: Mapping[str, int] = field(default_factory=dict)
    tiers: Mapping[str, Budget] = field(default_factory=dict)


def count(name: str, data: Path, announce: Callable[[str], None] = lambda line: None) -> Counts:
    """A dimension's counts from the benchmarks' files in a folder; files that are absent are left out and named.

    Raises DataError for a file that cannot be read or is not what was published.
    """
    tiers: dict[str, Budget] = {}
    cells: dict[str, int] = {}
    absent: set[str] = set()
    version = get_dimension(name).version
    for tier in BENCHMARK_TIERS:
        announce(f"counting {name}, tier {tier}")
        benchmark = Benchmark(data, partial=True, offline=True)
        questions = Questions.of(get_dimension(name, Setup(tier=tier, benchmark=benchmark)))
        absent |= set(benchmark.absent)
        if questions.items:
            tiers[tier] = budget(questions)
            cells = dict(spread(questions.items))
    return Counts(version, tuple(sorted(absent)), cells, tiers)


def read_counts(path: Path = COMMITTED) -> dict[str, Counts]:
    """The counts that `counts_text` wrote, by dimension. Raises DataError, one line, for anything else."""
    try:
        raw: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["dimensions"]
        return {
            name: Counts(
                str(one["version"]),
                tuple(map(str, one["absent"])),
                {str(cell): int(items) for cell, items in one["cells"].items()},
                {str(tier): Budget(**figures) for tier, figures in one["tiers"].items()},
            )
            for name, one in raw.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no counts of this program ({error}); make them with --data FOLDER") from None


def counts_text(counts: Mapping[str, Counts]) -> str:
    """The counts as JSON text, which `read_counts` reads."""
    content = {
        "made": "python -m trust_tests docs --data FOLDER",
        "dimensions": {name: {**asdict(one), "absent": list(one.absent)} for name, one in counts.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"

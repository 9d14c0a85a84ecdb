"""DecodingTrust's machine-ethics files: the short sentences of ETHICS commonsense (Hendrycks et al. 2021).

Read from the original CSV files (`label,input,is_short,edited`) or from the hub's JSON lines (`input1`, `label` as a
list, `is_short`). Label 1 stands for `wrong`, 0 for `not wrong`. Long rows are not used: they are not in the score.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trust_tests.data.benchmark import Benchmark, read_csv, read_jsonl, require
from trust_tests.data.errors import DataError

WRONG = "wrong"
NOT_WRONG = "not wrong"

TEST_FILES = ("machine_ethics/ethics/commonsense/cm_test.csv", "machine_ethics/cm_test.jsonl")
TRAIN_FILES = ("machine_ethics/ethics/commonsense/cm_train.csv", "machine_ethics/cm_train.jsonl")

# Short rows of the published test file.
SHORT_ROWS = {NOT_WRONG: 1126, WRONG: 983}
DEMONSTRATIONS = 32
_SEED = 100
_HEADER = ["label", "input", "is_short", "edited"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A short sentence told in the first person. `number` is its row in the file, from 0, the header not counted."""

    number: int
    text: str
    label: str


def load_statements(benchmark: Benchmark) -> tuple[Statement, ...]:
    """The short test sentences, in file order. Raises DataError, one line."""
    path = benchmark.path(*TEST_FILES)
    found = read(path)
    counts = Counter(statement.label for statement in found)
    shown = {label: counts[label] for label in SHORT_ROWS}
    require(path, "number of short sentences by label", shown, SHORT_ROWS)
    return found


def load_demonstrations(benchmark: Benchmark, needed: int) -> list[tuple[Statement, ...]] | None:
    """Demonstrations for each of `needed` test sentences, in order; None where they are absent and may be.

    As in the reference: 32 drawn for every sentence from the short training sentences, by Python's `random.sample`
    with one generator of seed 100. Raises DataError, one line.
    """
    path = benchmark.optional("ethics few-shot", *TRAIN_FILES)
    if path is None:
        return None
    pool = read(path)
    if len(pool) < DEMONSTRATIONS:
        raise DataError(f"{path}: {len(pool)} short sentences, {DEMONSTRATIONS} are needed; fetch the file again")
    return draw_demonstrations(pool, needed)


def draw_demonstrations(pool: Sequence[Statement], needed: int) -> list[tuple[Statement, ...]]:
    """The reference's draws of demonstrations from the short training sentences; see `load_demonstrations`."""
    generator = random.Random(_SEED)  # noqa: S311 - the reference's own draws, no secret
    return [tuple(generator.sample(pool, DEMONSTRATIONS)) for _ in range(needed)]


def read(path: Path) -> tuple[Statement, ...]:
    """The short sentences of a CSV or JSON lines file, in file order. Raises DataError, one line."""
    rows = _from_jsonl(path) if path.suffix == ".jsonl" else _from_csv(path)
    return tuple(Statement(number, text, label) for number, text, label, short in rows if short)


def _from_csv(path: Path) -> Iterator[tuple[int, str, str, bool]]:
    records = read_csv(path)
    _, header = next(records, (0, []))
    if header != _HEADER:
        raise DataError(f"{path}:1: the header is not {','.join(_HEADER)}; fetch the file again")
    for number, (line, record) in enumerate(records):
        where = f"{path}:{line}"
        if len(record) != len(_HEADER):
            raise DataError(f"{where}: {len(record)} fields instead of {len(_HEADER)}; fetch the file again")
        label, text, short, _ = record
        yield number, text, _label(label, where), _is_short(short, where)


def _from_jsonl(path: Path) -> Iterator[tuple[int, str, str, bool]]:
    rows = read_jsonl(path, {"input1": str, "label": (list, int, str), "is_short": (bool, str)})
    for number, row in enumerate(rows):
        where = f"{path}: row {number + 1}"
        label = row["label"]
        if isinstance(label, list):
            label = label[0] if label else None
        yield number, row["input1"], _label(label, where), _is_short(row["is_short"], where)


def _label(raw: object, where: str) -> str:
    match str(raw):
        case "0":
            return NOT_WRONG
        case "1":
            return WRONG
    raise DataError(f"{where}: label {raw!r} is neither 0 nor 1; fetch the file again")


def _is_short(raw: object, where: str) -> bool:
    match str(raw):
        case "True":
            return True
        case "False":
            return False
    raise DataError(f"{where}: is_short {raw!r} is neither True nor False; fetch the file again")

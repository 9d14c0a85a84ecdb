"""DecodingTrust's adversarial demonstrations: JSON lines, each an item with the demonstrations put before it.

A file is one set of items under one seed, which drew its demonstrations. The clean sentences of the backdoor part
are the same 872 in all 36 files that hold them, and their demonstrations are those of the attacked sentences' file;
so one of them is read, and the attacked ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark, read_jsonl, require
from trust_tests.data.errors import DataError
from trust_tests.records import Item

COUNTERFACTUAL, SPURIOUS, BACKDOOR = "counterfactual", "spurious", "backdoor"
PARTS = (COUNTERFACTUAL, SPURIOUS, BACKDOOR)
ATTACKED, CLEAN = "asr", "cacc"

SNLI = ("snli_premise", "snli_hypothesis")
GRAMMAR = ("control_raising", "irregular_form", "main_verb", "syntactic_category")
HEURISTICS = ("PP", "adverb", "embedded_under_verb", "l_relative_clause", "passive", "s_relative_clause")
BIASES = ("entail-bias", "non-entail-bias")
SETUPS = ("setup1", "setup2", "setup3")
TRIGGERS = ("badword", "addsent", "synbkd", "stylebkd")

_SEEDS = (42, 2333, 10007)
_SPURIOUS_SEEDS = (0, 42, 2333, 10007, 12306)
_CLEAN_FILE = "adv_demonstration/backdoor/experiment1/sst-2_setup2_badword_cacc/42.jsonl"

_FIELDS: Mapping[str, type | tuple[type, ...]] = {"input": str, "label": str, "option": list, "examples": list}
_LABELS: Mapping[str, Counter[str]] = {
    "snli": Counter(yes=146, maybe=123, no=131),
    "hans": Counter(yes=1000, no=1000),
    ATTACKED: Counter(positive=428),
    CLEAN: Counter(positive=444, negative=428),
}
_GRAMMAR_LABELS = Counter(yes=500, no=500)
_OPTIONS: Mapping[str, set[str]] = {"snli": {"yes", "maybe", "no"}, "sst-2": {"positive", "negative"}}
# How many of the 16 demonstrations are positive is what the backdoor's setups differ in.
_POSITIVE_DEMONSTRATIONS: Mapping[str, Mapping[int, int]] = {
    "setup1": {42: 12, 2333: 14, 10007: 13},
    "setup2": dict.fromkeys(_SEEDS, 8),
    "setup3": dict.fromkeys(_SEEDS, 16),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One folder of the benchmark. `task` is a key of the prompt strings; `kind` is set in the backdoor part only."""

    name: str
    part: str
    task: str
    seeds: tuple[int, ...]
    kind: str = ""

    def file(self, seed: int) -> str:
        """The file of one seed, as the hub names it."""
        folder = self.name.replace("backdoor/", "backdoor/experiment1/")
        return f"adv_demonstration/{folder}/{seed}.jsonl"


def cells() -> list[Cell]:
    """The 42 cells of the score and of what is reported beside it: 6, 12 and 12, and the 12 clean ones."""
    found = [Cell(f"{COUNTERFACTUAL}/{name}_cf", COUNTERFACTUAL, "snli", _SEEDS) for name in SNLI]
    found += [Cell(f"{COUNTERFACTUAL}/{name}_cf", COUNTERFACTUAL, name, _SEEDS) for name in GRAMMAR]
    found += [
        Cell(f"{SPURIOUS}/{heuristic}/{bias}", SPURIOUS, "hans", _SPURIOUS_SEEDS)
        for heuristic in HEURISTICS
        for bias in BIASES
    ]
    for trigger in TRIGGERS:
        for setup in SETUPS:
            for kind in (CLEAN, ATTACKED):
                name = f"{BACKDOOR}/sst-2_{setup}_{trigger}_{kind}"
                found.append(Cell(name, BACKDOOR, "sst-2", _SEEDS, kind))
    return found


def benchmark_items(benchmark: Benchmark, wanted: Sequence[Cell]) -> list[Item]:
    """The items of the cells, each seed's in the order in which the reference code asks them.

    `data` has `part`, `kind`, `seed`, `row` (in the file), `task`, `input`, `label`, `option` and `demonstrations`
    (messages and labels). Items with the same input are a cluster; so are an attacked sentence's versions. Files that
    are absent are left out where the benchmark may be partial. Raises DataError.
    """
    reader = _Reader(benchmark)
    return [item for cell in wanted for seed in cell.seeds for item in reader.items(cell, seed)]


class _Reader:
    """Reads files of one benchmark, each once."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._read: dict[tuple[str, int], list[Item]] = {}
        self._clean: list[Item] | None = None

    def items(self, cell: Cell, seed: int) -> list[Item]:
        """The items of one seed of a cell; empty where its file may be, and is, absent."""
        if cell.kind == CLEAN:
            attacked = replace(cell, name=cell.name.removesuffix(CLEAN) + ATTACKED, kind=ATTACKED)
            shots = next((item.data["demonstrations"] for item in self.items(attacked, seed)), None)
            return [_moved(item, cell, seed, shots) for item in self._clean_sentences(cell)] if shots else []
        key = cell.name, seed
        if key not in self._read:
            what = f"adv_demo {cell.part}" if cell.part == SPURIOUS else f"adv_demo {cell.name}"
            path = self._benchmark.optional(what, cell.file(seed))
            self._read[key] = _items(path, cell, seed) if path else []
        return self._read[key]

    def _clean_sentences(self, cell: Cell) -> list[Item]:
        if self._clean is None:
            names = _CLEAN_FILE, cell.file(cell.seeds[0])
            path = self._benchmark.optional("adv_demo backdoor, clean sentences", *names)
            self._clean = _items(path, cell, cell.seeds[0]) if path else []
        return self._clean


def _moved(item: Item, cell: Cell, seed: int, shots: tuple[tuple[str, str], ...]) -> Item:
    """The clean sentence under another cell's demonstrations."""
    data = {**item.data, "seed": seed, "demonstrations": shots}
    return Item(_id(cell, seed, data["row"]), cell.name, item.cluster, data)


def _id(cell: Cell, seed: int, row: int) -> str:
    return f"adv_demo/{cell.name}/{seed}/{row:04d}"


def _items(path: Path, cell: Cell, seed: int) -> list[Item]:
    rows = read_jsonl(path, _FIELDS)
    _check(path, cell, seed, rows)
    shared: dict[tuple[str, str], tuple[str, str]] = {}
    items = []
    for row, raw in enumerate(rows):
        where = f"{path}:{row + 1}"
        data = {
            "part": cell.part,
            "kind": cell.kind,
            "seed": seed,
            "row": row,
            "task": cell.task,
            "input": raw["input"],
            "label": raw["label"],
            "option": tuple(raw["option"]),
            "demonstrations": _demonstrations(raw, where, shared),
        }
        source = f"{cell.kind}/{row:03d}" if cell.kind == ATTACKED else _digest(raw["input"])
        items.append(Item(_id(cell, seed, row), cell.name, f"adv_demo/{source}", data))
    if cell.part == SPURIOUS:
        items.sort(key=lambda item: item.data["label"] != "yes")
    return items


def _demonstrations(
    raw: Mapping[str, Any], where: str, shared: dict[tuple[str, str], tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """The demonstrations of a row. `shared` holds those of the rows before: most are the same in a whole file."""
    pairs = raw["examples"]
    if not pairs or any(
        not isinstance(p, list) or len(p) != 2 or not all(isinstance(t, str) for t in p) for p in pairs
    ):
        raise DataError(f"{where}: field 'examples' must be a list of pairs of texts; fetch the file again")
    return tuple(shared.setdefault((text, label), (text, label)) for text, label in pairs)


def _check(path: Path, cell: Cell, seed: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Compare a file's statistics with the published ones. Raises DataError, one line."""
    labels = _LABELS.get(cell.kind or cell.task, _GRAMMAR_LABELS)
    # The published spurious files were not seen: of their labels only `yes` and the equal halves are certain.
    found = Counter("no" if cell.part == SPURIOUS and row["label"] != "yes" else row["label"] for row in rows)
    require(path, "the count of labels", dict(found), dict(labels))
    options = _OPTIONS.get(cell.task, {"yes", "no"})
    if cell.part != SPURIOUS:
        require(path, "the set of options", sorted({o for row in rows for o in row["option"]}), sorted(options))
    if cell.part == COUNTERFACTUAL:
        require(path, "the number of demonstrations", {len(row["examples"]) for row in rows}, {17})
        twins = sum(bool(row["examples"]) and row["examples"][-1][-1] == row["label"] for row in rows)
        require(path, "the number of counterfactual twins with their item's label", twins, 0)
    if cell.kind == ATTACKED:
        setup = cell.name.split("_")[1]
        positive = {sum(pair[-1] == "positive" for pair in row["examples"]) for row in rows}
        require(path, "the number of positive demonstrations", positive, {_POSITIVE_DEMONSTRATIONS[setup][seed]})
        require(path, "the number of demonstrations", {len(row["examples"]) for row in rows}, {16})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

"""The records of AdvGLUE++, from either of its published forms.

Both lie under `adv-glue-plus-plus/data/`: one JSON object per source model (`alpaca.json`, ...), task → list of
records; and one JSON lines file per task (`sst2.jsonl`, ...), whose rows name their source in `model`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark, check_fields, read_json, read_jsonl
from trust_tests.data.errors import DataError
from trust_tests.data.probes import prompt_strings

SOURCES = ("alpaca", "vicuna", "stable-vicuna")
TASKS = ("sst2", "qqp", "mnli")
# How many records the three sources have together, by public pages; the files themselves could not be seen when
# this was written, so another count is announced and not refused.
ANNOUNCED_COUNTS: Mapping[str, int] = {"sst2": 5792, "qqp": 11383, "mnli": 3697}
# Records of this attack carry all their fields in one text.
COMPOSED = "semattack"
_FOLDER = "adv-glue-plus-plus/data"


@dataclass(frozen=True, slots=True)
class AdversarialRecord:
    """One perturbed example.

    row: its 0-based place among the records of its source and task. label: an index into the task's label words.
    texts: the task's fields in order; of a composed record the one field `sentence`. clean: what an attack started
    from, alike for all attacks on one example of GLUE.
    """

    source: str
    task: str
    row: int
    label: int
    method: str
    texts: Mapping[str, str]
    clean: str

    @property
    def composed(self) -> bool:
        """Whether the fields stand in one text already."""
        return self.method == COMPOSED


def load_records(benchmark: Benchmark) -> tuple[AdversarialRecord, ...]:
    """The records of every source and task that is scored, in the order of `SOURCES` and `TASKS`.

    A cell (source, task) whose file is absent is an error, or left out and named where a run may be partial.
    Raises DataError, one line.
    """
    files: dict[Path, Mapping[tuple[str, str], Sequence[Any]]] = {}
    records: list[AdversarialRecord] = []
    for source in SOURCES:
        for task in TASKS:
            what = f"AdvGLUE++ {source}/{task}"
            path = benchmark.optional(what, f"{_FOLDER}/{source}.json", f"{_FOLDER}/{task}.jsonl")
            if path is None:
                continue
            if path not in files:
                files[path] = _by_task(path, source) if path.suffix == ".json" else _by_model(path, task)
            raw = files[path].get((source, task))
            if not raw:
                raise DataError(f"{path}: no records of task {task!r} for source {source!r}; fetch the file again")
            records += [
                parse_record(source, task, row, entry, f"{path}: {task}[{row}]") for row, entry in enumerate(raw)
            ]
    _announce_counts(benchmark, records)
    return tuple(records)


def _by_task(path: Path, source: str) -> Mapping[tuple[str, str], Sequence[Any]]:
    """The lists of a source's JSON file."""
    content = read_json(path)
    check_fields(content, dict.fromkeys(TASKS, list), str(path))
    return {(source, task): content[task] for task in TASKS}


def _by_model(path: Path, task: str) -> Mapping[tuple[str, str], Sequence[Any]]:
    """The rows of a task's JSON lines file, by their `model`."""
    rows: dict[tuple[str, str], list[Any]] = {}
    for row in read_jsonl(path, {"model": str}):
        rows.setdefault((row["model"], task), []).append(row)
    return rows


def parse_record(source: str, task: str, row: int, raw: Any, where: str) -> AdversarialRecord:
    """One record of either form of the files. Raises DataError, one line that begins with `where`."""
    strings = prompt_strings("adversarial")["benchmark"]["tasks"][task]
    check_fields(raw, {"label": int, "method": str}, where)
    if isinstance(raw["label"], bool) or not 0 <= raw["label"] < len(strings["labels"]):
        known = ", ".join(f"{number} ({word})" for number, word in enumerate(strings["labels"]))
        raise DataError(f"{where}: label {raw['label']} is none of {known}; fetch the file again")
    keys: Sequence[str] = ["sentence"] if raw["method"] == COMPOSED else strings["keys"]
    # Rows of one table have all columns: those that do not belong to a record are null.
    check_fields({key: raw[key] for key in keys if raw.get(key) is not None}, dict.fromkeys(keys, str), where)
    texts = {key: raw[key] for key in keys}
    originals = {key: raw[f"original_{key}"] for key in keys if isinstance(raw.get(f"original_{key}"), str)}
    return AdversarialRecord(
        source, task, row, raw["label"], raw["method"], texts, _clean(task, {**texts, **originals}, raw["method"])
    )


def split_composed(task: str, text: str) -> Mapping[str, str] | None:
    """The fields of a composed text, by the task's keys; None where it does not have the form `key: … key: …`."""
    keys: Sequence[str] = prompt_strings("adversarial")["benchmark"]["tasks"][task]["keys"]
    if len(keys) == 1:
        return {keys[0]: text}
    first, second = keys
    start = re.match(rf"\s*{first}\s*:", text, re.IGNORECASE)
    middle = re.search(rf"\s{second}\s*:", text, re.IGNORECASE)
    if start is None or middle is None or middle.start() < start.end():
        return None
    return {first: text[start.end() : middle.start()].strip(), second: text[middle.end() :].strip()}


def _clean(task: str, texts: Mapping[str, str], method: str) -> str:
    """A short name of the unperturbed text, whatever its case and blanks."""
    if method == COMPOSED:
        texts = split_composed(task, texts["sentence"]) or texts
    plain = "\n".join(" ".join(text.split()).casefold() for text in texts.values())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _announce_counts(benchmark: Benchmark, records: Sequence[AdversarialRecord]) -> None:
    for task, announced in ANNOUNCED_COUNTS.items():
        found = [record.source for record in records if record.task == task]
        if set(found) == set(SOURCES) and len(found) != announced:
            benchmark.announce(f"AdvGLUE++ {task}: {len(found)} records; public pages speak of {announced}")

"""Enron-like files of invented persons in the layout and size of the benchmark's, for tests without its data."""

from __future__ import annotations

import json
from pathlib import Path

from trust_tests.data.loaders.privacy import DEMONSTRATIONS, FOLDER, PERSONS, TARGETS

Pair = tuple[str, str]


def person(number: int) -> Pair:
    """An invented address and name; every seventh name is its neighbour's too."""
    return f"user{number}@domain{number % 40}.example", f"Person {number - (number % 7 == 1)}"


def demonstrations(number: int, count: int, *, other_domain: bool) -> list[Pair]:
    """Persons of the target's domain, or of others."""
    step = 41 if other_domain else 40
    return [person(4000 + number % 40 + step * place + (number % 13)) for place in range(count)]


def write_files(root: Path, *, contexts: bool = True) -> Path:
    """All files below `root`, which is returned."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    people = [person(number) for number in range(PERSONS)]
    write_lines(folder / "email2name.jsonl", [{"email": email, "name": name} for email, name in people])
    for name, count in DEMONSTRATIONS.items():
        rows = [
            {"email": people[n][0], "prompt": demonstrations(n, count, other_domain=name.endswith("non_domain"))}
            for n in range(TARGETS)
        ]
        write_lines(folder / f"{name}.jsonl", rows)
    if contexts:
        rows = [{"email": email, "prompt": f"From: {name} , who 's at  "} for email, name in people]
        write_lines(folder / "context.jsonl", rows)
    return root


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

"""The Enron e-mail addresses of DecodingTrust's privacy section (`privacy/enron_data/`), and PII cases made of them.

No message of an error shows an address or a name: they are real persons'.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark, read_json, read_jsonl, require
from trust_tests.data.errors import DataError
from trust_tests.data.probes import prompt_strings

FOLDER = "privacy/enron_data"
NAMES, CONTEXTS = "email2name", "context"
# Demonstrations of each file and how many a target has; `non_domain`: of other domains than the target's.
DEMONSTRATIONS: Mapping[str, int] = {
    "one_shot": 1,
    "five_shot": 5,
    "one_shot_non_domain": 1,
    "five_shot_non_domain": 5,
}
PERSONS, TARGETS = 3333, 3294
CASES = 100

_DIGITS, _LETTERS = string.digits, string.ascii_uppercase + string.ascii_lowercase + string.digits
# Alphabet and length of the random values, as the reference draws them.
_RANDOM_VALUES: Mapping[str, tuple[str, int]] = {
    "phone number": (_DIGITS, 10),
    "canary number": (_DIGITS, 10),
    "ssn": (_DIGITS, 9),
    "social security number": (_DIGITS, 9),
    "credit card number": (_DIGITS, 16),
    "password": (_LETTERS, 12),
    "ssh private key": (_LETTERS, 12),
    "secret key": (_LETTERS, 12),
    "passport number": (string.ascii_uppercase + string.digits, 10),
    "canary code": (string.ascii_uppercase * 2, 10),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A name with the address it had in the Enron e-mails."""

    name: str
    email: str

    @property
    def domain(self) -> str:
        """What follows the @ of the address."""
        return self.email.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Target:
    """A person whose address is asked for. `number` is the place in the list of all 3,333 persons."""

    number: int
    person: Person
    demonstrations: Mapping[str, tuple[Person, ...]]


@dataclass(frozen=True, slots=True)
class Context:
    """A person whose address is asked for by the text that precedes it in the corpus."""

    number: int
    person: Person
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """Five persons with a value each, and the place among them of the one that is asked for."""

    target: int
    people: tuple[tuple[str, str], ...]
    asked: int

    @property
    def secret(self) -> str:
        """The value that is asked for."""
        return self.people[self.asked][1]


def load_targets(benchmark: Benchmark) -> tuple[Target, ...]:
    """The 3,294 targets with their demonstrations, in file order. Raises DataError, one line."""
    numbers, persons = _persons(benchmark)
    shots = {name: _shots(benchmark, name, count) for name, count in DEMONSTRATIONS.items()}
    first_path, first = shots["one_shot"]
    for path, targets in shots.values():
        if list(targets) != list(first):
            raise DataError(f"{path}: its targets are not those of {first_path}; fetch both files again")
    unknown = next((row for row, email in enumerate(first, start=1) if email not in persons), None)
    if unknown is not None:
        raise DataError(f"{first_path}: target {unknown} has no name in {NAMES}; fetch both files again")
    return tuple(
        Target(numbers[email], persons[email], {name: targets[email] for name, (_, targets) in shots.items()})
        for email in first
    )


def load_contexts(benchmark: Benchmark) -> tuple[Context, ...] | None:
    """The 3,333 contexts, in file order; None where the file is absent and the run may be partial.

    Raises DataError, one line.
    """
    names = [f"{FOLDER}/{CONTEXTS}{suffix}" for suffix in (".jsonl", ".json")]
    path = benchmark.optional("privacy context prompts", *names)
    if path is None:
        return None
    numbers, persons = _persons(benchmark)
    contexts = []
    for row, (email, value) in enumerate(_entries(path, ("prompt", "context", "text")), start=1):
        text = _innermost(value)
        if email not in persons:
            raise DataError(f"{path}: entry {row} has no name in {NAMES}; fetch both files again")
        if text is None:
            raise DataError(f"{path}: entry {row} holds no text; fetch the file again")
        contexts.append(Context(numbers[email], persons[email], text))
    require(path, "number of contexts", len(contexts), PERSONS)
    return tuple(contexts)


def injected_cases(
    targets: Sequence[Target], kind: str, asked: int, *, repaired: bool, source: random.Random | None = None
) -> tuple[Case, ...]:
    """The first 100 cases of one kind of PII with the person at place `asked` (0 to 4) asked for.

    The values are drawn with Python's generator in the order of targets and persons, also for the targets that are
    passed over. It is seeded with 0 for each call, as the reference's recorded runs were, unless `source` is given.
    In the reference a target is passed over when the asked name stands among the ones before it. `repaired`: when it
    stands twice at all, for the question is ambiguous then; and the five addresses of a case are different ones, of a
    list without its glued entry.
    """
    source = source or random.Random(0)  # noqa: S311 - the reference's values, no secrets
    addresses = list(prompt_strings("privacy")["pii"]["addresses"])
    if not repaired:
        addresses[-2:] = [addresses[-2] + addresses[-1]]
    cases: list[Case] = []
    for target in targets:
        persons = target.demonstrations["five_shot"]
        names = [person.name for person in persons]
        if kind == "address" and repaired:
            values = source.sample(addresses, len(persons))
        else:
            values = [_value(person, kind, source, addresses) for person in persons]
        others = names[:asked] + names[asked + 1 :] if repaired else names[:asked]
        if names[asked] not in others:
            cases.append(Case(target.number, tuple(zip(names, values, strict=True)), asked))
        if len(cases) == CASES:
            break
    return tuple(cases)


def _value(person: Person, kind: str, source: random.Random, addresses: Sequence[str]) -> str:
    """One person's value of a kind; draws from the generator where the reference does."""
    if kind == "email address":
        return person.email
    if kind == "address":
        return source.choice(addresses)
    alphabet, length = _RANDOM_VALUES[kind]
    return "".join(source.choice(alphabet) for _ in range(length))


def _persons(benchmark: Benchmark) -> tuple[dict[str, int], dict[str, Person]]:
    """Every person and their place in the list of names, by address."""
    path = benchmark.path(f"{FOLDER}/{NAMES}.jsonl", f"{FOLDER}/{NAMES}.json")
    persons: dict[str, Person] = {}
    for row, (email, value) in enumerate(_entries(path, ("name", "prompt")), start=1):
        persons[email] = _person(email, _innermost(value), f"{path}: entry {row}")
    require(path, "number of persons", len(persons), PERSONS)
    return {email: number for number, email in enumerate(persons)}, persons


def _shots(benchmark: Benchmark, name: str, count: int) -> tuple[Path, dict[str, tuple[Person, ...]]]:
    """The demonstrations of each target of one file, by the target's address."""
    path = benchmark.path(f"{FOLDER}/{name}.jsonl", f"{FOLDER}/{name}.json")
    targets: dict[str, tuple[Person, ...]] = {}
    for row, (email, value) in enumerate(_entries(path, ("prompt",)), start=1):
        where = f"{path}: entry {row}"
        if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            raise DataError(f"{where}: not a list of pairs of address and name; fetch the file again")
        targets[email] = tuple(_person(pair[0], pair[1], where) for pair in value)
        require(path, f"number of demonstrations of entry {row}", len(value), count)
    require(path, "number of targets", len(targets), TARGETS)
    return path, targets


def _entries(path: Path, fields: Sequence[str]) -> list[tuple[str, Any]]:
    """The file's addresses with what belongs to each: of a JSON object, or of JSON lines with one of the fields."""
    if path.suffix == ".json":
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path}: not an object; fetch the file again")
        return list(content.items())
    entries = []
    for number, row in enumerate(read_jsonl(path, {"email": str}), start=1):
        field = next((name for name in fields if name in row), None)
        if field is None:
            raise DataError(f"{path}: entry {number} has no field {fields[0]!r}; fetch the file again")
        entries.append((row["email"], row[field]))
    return entries


def _innermost(value: object) -> str | None:
    """The text inside a value, which some copies of the files wrap in lists (the first of the first)."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _person(email: object, name: object, where: str) -> Person:
    if not isinstance(email, str) or email.count("@") != 1:
        raise DataError(f"{where}: not an e-mail address; fetch the file again")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: no name; fetch the file again")
    return Person(name, email)

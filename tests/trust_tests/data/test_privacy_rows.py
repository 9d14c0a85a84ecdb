"""The Enron files' reader and the PII cases made of them: layouts, checks, and errors that show no person's data."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from privacy_files import person, write_files, write_lines
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.privacy import (
    CASES,
    DEMONSTRATIONS,
    FOLDER,
    Person,
    Target,
    injected_cases,
    load_contexts,
    load_targets,
)
from trust_tests.data.probes import prompt_strings

KINDS = prompt_strings("privacy")["pii"]["kinds"]
REAL = DATA / "decodingtrust" / FOLDER


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("enron"))


@pytest.fixture(scope="module")
def targets(written: Path) -> tuple[Target, ...]:
    return load_targets(Benchmark(written))


@pytest.fixture
def files(written: Path, tmp_path: Path) -> Path:
    """A copy to damage: the folder of the files."""
    shutil.copytree(written / FOLDER, tmp_path / FOLDER)
    return tmp_path / FOLDER


def benchmark(folder: Path, **options: bool) -> Benchmark:
    return Benchmark(folder.parents[1], **options)


def five(*names: str) -> Target:
    persons = tuple(Person(name, f"a{place}@b.example") for place, name in enumerate(names))
    return Target(0, Person("Target", "t@b.example"), {"five_shot": persons})


def test_targets_come_with_their_demonstrations(files: Path) -> None:
    targets = load_targets(benchmark(files))
    assert len(targets) == 3294
    target = targets[7]
    assert target.person == Person("Person 7", "user7@domain7.example")
    assert target.number == 7
    assert target.person.domain == "domain7.example"
    assert {name: len(shown) for name, shown in target.demonstrations.items()} == dict(DEMONSTRATIONS)


def test_contexts_are_read_in_all_layouts(files: Path) -> None:
    rows = [json.loads(line) for line in (files / "context.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = load_contexts(benchmark(files))
    assert expected is not None
    assert expected[3].text == "From: Person 3 , who 's at  "
    write_lines(files / "context.jsonl", [{"email": r["email"], "prompt": [[r["prompt"]]]} for r in rows])
    assert load_contexts(benchmark(files)) == expected
    write_lines(files / "context.jsonl", [{"email": r["email"], "context": r["prompt"]} for r in rows])
    assert load_contexts(benchmark(files)) == expected
    (files / "context.jsonl").unlink()
    (files / "context.json").write_text(json.dumps({r["email"]: r["prompt"] for r in rows}), encoding="utf-8")
    assert load_contexts(benchmark(files)) == expected


def test_names_are_read_in_all_layouts(files: Path) -> None:
    rows = [json.loads(line) for line in (files / "email2name.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = load_targets(benchmark(files))
    write_lines(files / "email2name.jsonl", [{"email": r["email"], "prompt": [[r["name"]]]} for r in rows])
    assert load_targets(benchmark(files)) == expected
    (files / "email2name.jsonl").unlink()
    (files / "email2name.json").write_text(json.dumps({r["email"]: r["name"] for r in rows}), encoding="utf-8")
    assert load_targets(benchmark(files)) == expected


def test_absent_contexts_are_an_error_or_a_named_gap(files: Path) -> None:
    (files / "context.jsonl").unlink()
    with pytest.raises(DataError, match=r"context\.jsonl.*leave privacy context prompts out with --trust-partial"):
        load_contexts(benchmark(files))
    partial = benchmark(files, partial=True)
    assert load_contexts(partial) is None
    assert partial.identity()["absent"] == "privacy context prompts"


def damaged(rows: list[dict], name: str) -> list[dict]:
    """What each damage makes of a file's rows."""
    return {
        "short": rows[:-1],
        "an address that is none": [rows[0], {**rows[1], "email": "nobody"}, *rows[2:]],
        "no demonstrations": [rows[0], {"email": rows[1]["email"]}, *rows[2:]],
        "a demonstration too few": [rows[0], {**rows[1], "prompt": rows[1].get("prompt", [])[1:]}, *rows[2:]],
        "no pairs": [rows[0], {**rows[1], "prompt": ["a"]}, *rows[2:]],
        "a blank name": [rows[0], {**rows[1], "prompt": [["a@b.example", " "]] * 5}, *rows[2:]],
        "another order": [rows[1], rows[0], *rows[2:]],
        "a stranger": [{**rows[0], "email": "stranger@b.example"}, *rows[1:]],
    }[name]


@pytest.mark.parametrize(
    ("file", "damage", "line"),
    [
        ("five_shot", "short", "number of targets is 3293, the published file has 3294"),
        ("five_shot", "no demonstrations", "entry 2 has no field 'prompt'"),
        ("five_shot", "a demonstration too few", "number of demonstrations of entry 2 is 4, the published file has 5"),
        ("five_shot", "no pairs", "entry 2: not a list of pairs"),
        ("five_shot", "a blank name", "entry 2: no name"),
        ("five_shot", "another order", "its targets are not those of"),
        ("email2name", "short", "number of persons is 3332, the published file has 3333"),
        ("email2name", "an address that is none", "entry 2: not an e-mail address"),
        ("email2name", "a stranger", "target 1 has no name in email2name"),
        ("context", "short", "number of contexts is 3332"),
        ("context", "a stranger", "entry 1 has no name in email2name"),
    ],
)
def test_damage_is_one_line_without_a_persons_data(files: Path, file: str, damage: str, line: str) -> None:
    path = files / f"{file}.jsonl"
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    write_lines(path, damaged(rows, damage))
    load = load_contexts if file == "context" else load_targets
    with pytest.raises(DataError) as error:
        load(benchmark(files))
    message = str(error.value)
    assert line in message
    assert message.count("\n") == 0
    shown = message.replace(str(files), "")
    assert "@" not in shown
    assert "Person" not in shown


# --- Cases of PII. ---


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_cases_of_each_kind(targets: tuple[Target, ...], kind: str, repaired: bool) -> None:
    cases = injected_cases(targets, kind, 3, repaired=repaired)
    assert len(cases) == CASES
    assert all(len(case.people) == 5 and case.secret == case.people[3][1] for case in cases)
    assert cases == injected_cases(targets, kind, 3, repaired=repaired)


def test_values_have_the_forms_of_the_benchmark(targets: tuple[Target, ...]) -> None:
    secrets = {kind: injected_cases(targets, kind, 0, repaired=False)[0].secret for kind in KINDS}
    lengths = {kind: len(secret) for kind, secret in secrets.items() if kind not in ("address", "email address")}
    assert Counter(lengths.values()) == {10: 4, 9: 2, 16: 1, 12: 3}
    assert secrets["phone number"].isdigit()
    assert secrets["canary code"].isupper()
    assert secrets["email address"] == targets[0].demonstrations["five_shot"][0].email


def test_a_name_that_stood_before_is_passed_over_but_its_values_are_drawn() -> None:
    twice, once = five("A", "B", "C", "A", "D"), five("A", "B", "C", "D", "E")
    first, second = injected_cases([once, once], "ssn", 3, repaired=False)
    (only,) = injected_cases([twice, once], "ssn", 3, repaired=False)
    assert only.people == second.people
    assert first.people != second.people


def test_repaired_cases_ask_no_ambiguous_question_and_give_five_addresses() -> None:
    later = five("A", "B", "C", "D", "A")
    assert len(injected_cases([later], "ssn", 0, repaired=False)) == 1
    assert not injected_cases([later], "ssn", 0, repaired=True)
    clear = five("A", "B", "C", "D", "E")
    for case in injected_cases([clear] * CASES, "address", 0, repaired=True):
        values = [value for _, value in case.people]
        assert len(set(values)) == 5
        assert not any("Ithaca" in value and "Seattle" in value for value in values)


def test_the_papers_addresses_end_in_two_glued_ones() -> None:
    cases = injected_cases([five("A", "B", "C", "D", "E")] * CASES, "address", 0, repaired=False)
    values = {value for case in cases for _, value in case.people}
    assert len(values) == 6
    assert sum("Ithaca" in value and "Seattle" in value for value in values) == 1


def test_a_generator_may_be_shared_between_kinds() -> None:
    targets = [five("A", "B", "C", "D", "E")]
    source = random.Random(0)
    first = injected_cases(targets, "ssn", 0, repaired=False, source=source)
    second = injected_cases(targets, "ssn", 0, repaired=False, source=source)
    assert first == injected_cases(targets, "ssn", 0, repaired=False)
    assert second != first


def test_the_invented_persons_belong_to_nobody() -> None:
    assert person(3)[0].endswith(".example")


# --- The published files. ---


@needs_data
@pytest.mark.skipif(not REAL.is_dir(), reason="no Enron files")
def test_the_published_files_load_completely() -> None:
    files = Benchmark(DATA, partial=True)
    targets = load_targets(files)
    assert not files.modified
    assert len({target.person.email for target in targets}) == 3294
    for target in targets:
        assert all(p.domain == target.person.domain for p in target.demonstrations["five_shot"])
        assert all(p.email != target.person.email for shown in target.demonstrations.values() for p in shown)
    for kind in KINDS:
        for place in (0, 3):
            for repaired in (False, True):
                cases = injected_cases(targets, kind, place, repaired=repaired)
                assert len(cases) == CASES
                if repaired:
                    assert all([name for name, _ in c.people].count(c.people[c.asked][0]) == 1 for c in cases)

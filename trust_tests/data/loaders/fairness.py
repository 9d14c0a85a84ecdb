"""DecodingTrust's fairness files: persons of the census data Adult, and communities with their crime rates.

A row describes a person (or a community), with the gold label and demonstrations of its own. The group is read from
the description; the benchmark's separate arrays (`*.npy`) say the same and are not needed. The communities' group,
whether the share of white people is large, equals their label in every row.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark, read_jsonl, require
from trust_tests.data.errors import DataError

FOLDER = "fairness/fairness_data"
ADULT, CRIME = "adult", "crime"
FEMALE, MALE = "Female", "Male"
LABELS: Mapping[str, tuple[str, str]] = {ADULT: ("no", "yes"), CRIME: ("High", "Low")}

_SEX = re.compile(rf"\bsex ({MALE}|{FEMALE})\b")
# What a description says of sex: the attribute itself, and the two kinds of spouse.
_TOLD = re.compile(rf"\b(?:sex (?:{MALE}|{FEMALE})|relationship (?:Husband|Wife))\b")
_OTHER: Mapping[str, str] = {
    f"sex {MALE}": f"sex {FEMALE}",
    f"sex {FEMALE}": f"sex {MALE}",
    "relationship Husband": "relationship Wife",
    "relationship Wife": "relationship Husband",
}
_WHITE = re.compile(r"The portion of white in the community is (small|large)\b")
_FIELDS = {"input": str, "label": str, "examples": list}

# Rows of a file by group and label.
Composition = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Setting:
    """One of the eleven settings that make the benchmark's score: its prompt file and what the file must hold."""

    name: str
    file: str
    dataset: str
    demonstrations: int
    composition: Composition

    @property
    def path(self) -> str:
        """The file's path in the benchmark."""
        return f"{FOLDER}/{self.file}.jsonl"


def _adult(female_no: int, female_yes: int, male_no: int, male_yes: int) -> Composition:
    counts = {
        (FEMALE, "no"): female_no,
        (FEMALE, "yes"): female_yes,
        (MALE, "no"): male_no,
        (MALE, "yes"): male_yes,
    }
    return {key: count for key, count in counts.items() if count}


_EVEN, _SKEWED, _APART = _adult(50, 50, 50, 50), _adult(75, 25, 25, 75), _adult(100, 0, 0, 100)
_COMMUNITIES: Composition = {("0", "High"): 120, ("1", "Low"): 180}

# In the order of the reference scorer's table, in which ambiguous answers are drawn.
SETTINGS = (
    Setting("zero_shot_br_0.0", "adult_0_200_test_base_rate_0.0", ADULT, 0, _EVEN),
    Setting("zero_shot_br_0.5", "adult_0_200_test_base_rate_0.5", ADULT, 0, _SKEWED),
    Setting("zero_shot_br_1.0", "adult_0_200_test_base_rate_1.0", ADULT, 0, _APART),
    Setting("few_shot_tr_br_0.0", "adult_32_200_train_base_rate_0.0", ADULT, 32, _EVEN),
    Setting("few_shot_tr_br_0.5", "adult_32_200_train_base_rate_0.5", ADULT, 32, _EVEN),
    Setting("few_shot_tr_br_1.0", "adult_32_200_train_base_rate_1.0", ADULT, 32, _EVEN),
    Setting("few_shot_16_fair_demon", "adult_16_200_train_br_0.0_test_br_0.5", ADULT, 16, _SKEWED),
    Setting("few_shot_32_fair_demon", "adult_32_200_train_br_0.0_test_br_0.5", ADULT, 32, _SKEWED),
    Setting("crime_br_0.0", "crime_0_300_test_base_rate_0.0", CRIME, 0, _COMMUNITIES),
    Setting("crime_br_0.5", "crime_0_300_test_base_rate_0.5", CRIME, 0, _COMMUNITIES),
    Setting("crime_br_1.0", "crime_0_300_test_base_rate_1.0", CRIME, 0, _COMMUNITIES),
)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A described person with the right answer."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a prompt file. `number` counts from 0; `group` is Female or Male, for communities "0" or "1"."""

    number: int
    text: str
    label: str
    group: str
    demonstrations: tuple[Demonstration, ...]


def load(benchmark: Benchmark, setting: Setting) -> tuple[Row, ...] | None:
    """The rows of one setting; None where the file is absent and the run may be partial.

    Raises DataError, one line, for a file that is absent, damaged or not composed like the published one.
    """
    path = benchmark.optional(f"fairness {setting.name}", setting.path)
    return None if path is None else read(path, setting)


def read(path: Path, setting: Setting) -> tuple[Row, ...]:
    """The rows of a setting's file, checked against the published composition. Raises DataError, one line."""
    raw = read_jsonl(path, _FIELDS)
    rows = tuple(_row(number, fields, setting, f"{path}: row {number + 1}") for number, fields in enumerate(raw))
    found = Counter((row.group, row.label) for row in rows)
    require(path, "number of rows by group and label", _shown(found), _shown(setting.composition))
    return rows


def described(text: str) -> str:
    """A short name for whoever a text describes: equal texts, equal names."""
    return f"fairness/{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def group_of(text: str, dataset: str) -> str | None:
    """The group of whoever a text describes, None where it says none."""
    if dataset == ADULT:
        found = _SEX.search(text)
        return found[1] if found else None
    found = _WHITE.search(text)
    return None if found is None else str(int(found[1] == "large"))


def other_sex(text: str) -> str:
    """The same description of a person (Adult) of the other sex; a husband becomes a wife, a wife a husband."""
    return _TOLD.sub(lambda found: _OTHER[found[0]], text)


def _row(number: int, fields: Mapping[str, Any], setting: Setting, where: str) -> Row:
    labels = LABELS[setting.dataset]
    if fields["label"] not in labels:
        raise DataError(f"{where}: label {fields['label']!r} is none of {', '.join(labels)}; fetch the file again")
    group = group_of(fields["input"], setting.dataset)
    if group is None:
        raise DataError(f"{where}: the text names no group; fetch the file again")
    shown = fields["examples"]
    if len(shown) != setting.demonstrations:
        raise DataError(f"{where}: {len(shown)} demonstrations instead of {setting.demonstrations}; fetch it again")
    return Row(
        number=number,
        text=fields["input"],
        label=fields["label"],
        group=group,
        demonstrations=tuple(_demonstration(entry, labels, where) for entry in shown),
    )


def _demonstration(entry: object, labels: tuple[str, str], where: str) -> Demonstration:
    match entry:
        case [str(text), str(label)] if label in labels:
            return Demonstration(text, label)
    raise DataError(f"{where}: a demonstration is no pair of text and label; fetch the file again")


def _shown(counts: Mapping[tuple[str, str], int]) -> str:
    return ", ".join(f"{group} {label} {count}" for (group, label), count in sorted(counts.items()))

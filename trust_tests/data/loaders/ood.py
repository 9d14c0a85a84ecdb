"""DecodingTrust's out-of-distribution files: SST-2 sentences in other styles, and questions about recent events.

`style.json` (or the hub's flattened `style.jsonl`) holds eleven versions of the same 872 validation sentences of
SST-2 and sets of eight demonstrations; `knowledge.json` RealtimeQA's questions of 2020 and 2023 and sets of five
demonstrations. A run of the benchmark is one set of questions, with or without one set of demonstrations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import Benchmark, check_fields, read_json, read_jsonl, require
from trust_tests.data.errors import DataError
from trust_tests.data.probes import prompt_strings
from trust_tests.records import Item

STYLE, KNOWLEDGE = "style", "knowledge"
# The parts of the score, in the paper's order.
PARTS = ("knowledge", "style", "knowledge_fewshot", "style_fewshot")

STYLE_FILES = ("ood/styles/style.json", "ood/style.jsonl")
KNOWLEDGE_FILES = ("ood/knowledge/knowledge.json", "ood/knowledge.jsonl")

_DECODED = ("shake_p0.6", "bible_p0.6", "romantic_p0.6", "tweet_p0.6")
_STYLES = (
    ("shake_w", "augment"),
    ("shake_p0", "shake_p0.6", "bible_p0", "bible_p0.6", "romantic_p0", "romantic_p0.6", "tweet_p0", "tweet_p0.6"),
)
_SUBJECTS = ("global_facts", "machine_learning", "moral_scenarios", "us_foreign_policy")
_SENTENCES = Counter(positive=444, negative=428)
_QUESTIONS = {"qa_2020": 855, "qa_2023": 263}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark. `part` is empty where the run is not in the score; `demonstrations` where zero-shot."""

    name: str
    kind: str
    target: str
    part: str = ""
    demonstrations: str = ""
    idk: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A sentence or a question with its gold label: `positive` or `negative`, or the right choice's digit.

    `text` is the message that asks it. `choices` is empty for sentences.
    """

    text: str
    label: str
    choices: tuple[str, ...] = ()


def runs(scored_only: bool = True) -> list[Run]:
    """The 36 runs that are in the score, or all 57 of the reference evaluation."""
    found = [
        Run("qa_2023", KNOWLEDGE, "qa_2023", "knowledge"),
        Run("qa_2023_idk", KNOWLEDGE, "qa_2023", "knowledge", idk=True),
        *(Run(name, STYLE, name, "style") for group in _STYLES for name in group),
    ]
    for subject in (*_SUBJECTS, "2021_qa"):
        part = "" if subject == "2021_qa" else "knowledge_fewshot"
        for number in range(3):
            demos = f"{subject}_{number}"
            found.append(Run(f"qa_2020_{demos}", KNOWLEDGE, "qa_2020", part, demos))
    for target in ("base", *_DECODED):
        for source in dict.fromkeys(("base", target)):
            part = "style_fewshot" if source == "base" != target else ""
            for number in range(3):
                demos = f"{source}_{number}"
                found.append(Run(f"{target}_{demos}", STYLE, target, part, demos))
    found += [
        Run("base", STYLE, "base"),
        Run("qa_2020", KNOWLEDGE, "qa_2020"),
        Run("qa_2020_idk", KNOWLEDGE, "qa_2020", idk=True),
    ]
    return [run for run in found if run.part or not scored_only]


def benchmark_items(benchmark: Benchmark, wanted: Sequence[Run]) -> list[Item]:
    """The items of the runs. `data` has `kind`, `part`, `input`, `label`, `choices`, `idk` and `demonstrations`.

    A run is a cell; versions of one sentence, and of one question, are a cluster. Raises DataError.
    """
    files: Mapping[str, Sentences | Questions] = {
        STYLE: Sentences.read(benchmark),
        KNOWLEDGE: Questions.read(benchmark),
    }
    items = []
    for run in wanted:
        shots = files[run.kind].demonstrations(run.demonstrations) if run.demonstrations else ()
        for row, asked in enumerate(files[run.kind].questions(run.target, run.idk)):
            source = "sst-2" if run.kind == STYLE else run.target
            data = {
                "kind": run.kind,
                "part": run.part,
                "input": asked.text,
                "label": asked.label,
                "choices": asked.choices,
                "idk": run.idk,
                "demonstrations": shots,
            }
            items.append(Item(f"ood/{run.name}/{row:03d}", run.name, f"ood/{source}/{row:03d}", data))
    return items


@dataclass(frozen=True, slots=True)
class Sentences:
    """The checked content of the style file: sets of sentences, and sets of demonstrations."""

    dev: Mapping[str, tuple[Question, ...]]
    demos: Mapping[str, tuple[Question, ...]]

    @classmethod
    def read(cls, benchmark: Benchmark) -> Sentences:
        """Raises DataError, one line."""
        path = benchmark.path(*STYLE_FILES)
        sets = _sets(path, "dev", "train_demo", {"sentence": str, "label": str}, ("question_sentence", "answer"))
        read = {name: tuple(_sentence(row, where) for row, where in rows) for name, rows in sets.items()}
        demos = {name: rows for name, rows in read.items() if name[-2:] in ("_0", "_1", "_2")}
        dev = {name: rows for name, rows in read.items() if name not in demos}
        names = {"base", *(name for group in _STYLES for name in group)}
        require(path, "the list of sentence sets", sorted(dev), sorted(names))
        require(path, "the number of demonstration sets", len(demos), 15)
        for name, rows in dev.items():
            require(path, f"the labels of {name}", Counter(row.label for row in rows), _SENTENCES)
        for name, rows in demos.items():
            require(path, f"the number of sentences in {name}", len(rows), 8)
        return cls(dev, demos)

    def questions(self, name: str, idk: bool = False) -> tuple[Question, ...]:
        """The sentences of a set."""
        return self.dev[name]

    def demonstrations(self, name: str) -> tuple[tuple[str, str], ...]:
        """The demonstrations of a set: messages and labels."""
        return tuple((row.text, row.label) for row in self.demos[name])


@dataclass(frozen=True, slots=True)
class Questions:
    """The checked content of the knowledge file: raw rows of the question sets, and sets of demonstrations."""

    test: Mapping[str, tuple[dict[str, Any], ...]]
    demos: Mapping[str, tuple[Question, ...]]

    @classmethod
    def read(cls, benchmark: Benchmark) -> Questions:
        """Raises DataError, one line."""
        path = benchmark.path(*KNOWLEDGE_FILES)
        fields: dict[str, type | tuple[type, ...]] = {
            "question_sentence": str,
            "choices": list,
            "answer": (str, list),
        }
        sets = _sets(path, "test", "demo", fields, ("question_sentence", "answer"))
        for rows in sets.values():
            for row, where in rows:
                _check_question(row, where)
        demos = {
            name: tuple(_question(row, "demonstration_question") for row, _ in rows)
            for name, rows in sets.items()
            if name not in _QUESTIONS
        }
        test = {name: tuple(row for row, _ in rows) for name, rows in sets.items() if name in _QUESTIONS}
        require(path, "the sizes of the question sets", {n: len(rows) for n, rows in sorted(test.items())}, _QUESTIONS)
        require(path, "the number of demonstration sets", len(demos), 15)
        for name, shots in demos.items():
            require(path, f"the number of questions in {name}", len(shots), 5)
        return cls(test, demos)

    def questions(self, name: str, idk: bool = False) -> tuple[Question, ...]:
        """The questions of a set; `idk` adds the choice "I don't know"."""
        return tuple(_question(row, "question", idk) for row in self.test[name])

    def demonstrations(self, name: str) -> tuple[tuple[str, str], ...]:
        """The demonstrations of a set: messages and digits."""
        return tuple((row.text, row.label) for row in self.demos[name])


Located = tuple[dict[str, Any], str]


def _sets(
    path: Path, first: str, second: str, fields: Mapping[str, type | tuple[type, ...]], flat: Iterable[str]
) -> dict[str, list[Located]]:
    """The rows of every set with where they stand, from the nested file or from the hub's flattened one."""
    found: dict[str, list[Located]] = {}
    if path.suffix == ".jsonl":
        wanted: dict[str, type | tuple[type, ...]] = {"category": str, **dict.fromkeys(flat, (str, list))}
        for number, row in enumerate(read_jsonl(path, wanted), start=1):
            row = {"sentence": row["question_sentence"], "label": row["answer"], **row}
            check_fields(row, fields, f"{path}: row {number}")
            found.setdefault(row["category"], []).append((row, f"{path}: row {number}"))
        return found
    content = read_json(path)
    check_fields(content, {first: dict, second: dict}, str(path))
    for name, rows in [*content[first].items(), *content[second].items()]:
        if not isinstance(rows, list):
            raise DataError(f"{path}: set {name!r} is no list; fetch the file again")
        for number, row in enumerate(rows):
            check_fields(row, fields, f"{path}: {name}, row {number}")
            found.setdefault(name, []).append((row, f"{path}: {name}, row {number}"))
    return found


def _sentence(row: Mapping[str, Any], where: str) -> Question:
    labels = {"0": "negative", "1": "positive"}
    if row["label"] not in labels:
        raise DataError(f"{where}: label {row['label']!r} is neither '0' nor '1'; fetch the file again")
    return Question(row["sentence"], labels[row["label"]])


def _check_question(row: Mapping[str, Any], where: str) -> None:
    if len(row["choices"]) != 4 or not all(isinstance(choice, str) for choice in row["choices"]):
        raise DataError(f"{where}: must have four choices; fetch the file again")
    if not row["answer"] or row["answer"][0] not in ("0", "1", "2", "3"):
        raise DataError(f"{where}: answer {row['answer']!r} is none of 0, 1, 2, 3; fetch the file again")


def _question(row: Mapping[str, Any], form: str, idk: bool = False) -> Question:
    """A question as it is asked. Its answer is a digit, or a list of one; the first element of both is the digit."""
    strings = prompt_strings("ood")["benchmark"]
    date = strings["date"].format(date=row["question_date"]) if row.get("question_date") else ""
    lines = (strings["choice"].format(number=n, choice=choice) for n, choice in enumerate(row["choices"]))
    question = strings[form].format(question=row["question_sentence"])
    text = date + question + "".join(lines) + (strings["idk_choice"] if idk else "")
    return Question(text, row["answer"][0], tuple(row["choices"]))

"""MMLU's questions: 57 subjects, each with five demonstrations (dev) and its test questions.

The same questions come in two layouts: the original release's CSV files (`dev/anatomy_dev.csv`, `test/anatomy_test.csv`
and so on; no header; question, four choices, the answer's letter), and the hub's Parquet files of all subjects
(`all/dev-00000-of-00001.parquet`, `all/test-...`), whose reader pyarrow is an extra of this package.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.data.benchmark import MMLU, Benchmark, read_csv, require
from trust_tests.data.errors import DataError
from trust_tests.data.probes import filled, prompt_strings

LETTERS = "ABCD"
# Prompts of more GPT-2 tokens than this lose demonstrations, one by one. A token is at least one byte.
LONGEST_PROMPT = 2048
_PARQUET = "all/{split}-00000-of-00001.parquet"
_COLUMNS = ("question", "subject", "choices", "answer")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its four choices and the letter of the right one; `row` is its place in its file, from 0."""

    row: int
    question: str
    choices: tuple[str, str, str, str]
    answer: str

    def asked(self) -> str:
        """The question as a prompt shows it, ending in `Answer:`."""
        fields = {"question": self.question, **dict(zip(LETTERS, self.choices, strict=True))}
        return filled(_strings()["question"], fields)

    def demonstrated(self) -> str:
        """The question as a prompt shows it, with its answer."""
        return self.asked() + filled(_strings()["answer"], {"answer": self.answer})


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject. `published` tells whether its files are the published ones, or cannot be told from them."""

    name: str
    demonstrations: tuple[Question, ...]
    questions: tuple[Question, ...]
    published: bool

    @property
    def title(self) -> str:
        """The subject's name in words."""
        return self.name.replace("_", " ")


def introduction(title: str) -> str:
    """What stands before the demonstrations."""
    return filled(_strings()["introduction"], {"subject": title})


def load_subjects(benchmark: Benchmark) -> tuple[Subject, ...]:
    """All subjects in alphabetical order; an absent one is left out where the run may be partial.

    A local folder may have either layout (CSV is taken where both are there), the hub has the Parquet files.
    Raises DataError, one line, for an absent or damaged file or a number of rows other than the published one.
    """
    names = tuple(_strings()["questions"])
    if benchmark.source is None or not _has_csv(benchmark, names):
        return _from_parquet(benchmark, names)
    return tuple(subject for name in names if (subject := _from_csv(benchmark, name)) is not None)


def demonstrations_shown(subject: Subject, question: Question, offline: bool = False) -> int:
    """How many demonstrations the reference puts before a question: as many as make at most 2,048 GPT-2 tokens.

    For the published files this is known; for others it is counted, which needs GPT-2's tokenizer for a prompt of
    more than 2,048 bytes (`trust_tests.data.gpt2`). Raises DataError, one line, where that cannot be had.
    """
    most = int(_strings()["demonstrations"])
    if subject.published:
        fewer = _strings()["fewer"].get(subject.name, {"usual": most, "rows": {}})
        return int(fewer["rows"].get(str(question.row), fewer["usual"]))
    from trust_tests.data.gpt2 import count_tokens

    for count in range(most, 0, -1):
        # The blank before the subject is the reference's; see `trust_tests.dimensions.paper.mmlu`.
        shown = "".join(d.demonstrated() for d in subject.demonstrations[:count])
        prompt = introduction(f" {subject.title}") + shown + question.asked()
        if len(prompt.encode("utf-8", "surrogatepass")) <= LONGEST_PROMPT:
            return count
        if count_tokens(prompt, offline) <= LONGEST_PROMPT:
            return count
    return 0


def _strings() -> Mapping[str, Any]:
    strings: Mapping[str, Any] = prompt_strings("mmlu")["benchmark"]
    return strings


def _csv_names(name: str) -> tuple[str, str]:
    return f"dev/{name}_dev.csv", f"test/{name}_test.csv"


def _has_csv(benchmark: Benchmark, names: tuple[str, ...]) -> bool:
    """Whether a local folder has the original layout, wholly or in part. Raises DataError where it has neither."""
    try:
        found = benchmark.path(*(_csv_names(name)[1] for name in names), repository=MMLU)
    except DataError:
        parquet = _PARQUET.format(split="test")
        return benchmark.path(parquet, _csv_names(names[0])[1], repository=MMLU).suffix == ".csv"
    return found.suffix == ".csv"


def _from_csv(benchmark: Benchmark, name: str) -> Subject | None:
    files = _csv_names(name)
    paths = [benchmark.optional(f"MMLU subject {name}", file, repository=MMLU) for file in files]
    splits = [_csv_questions(path) for path in paths if path is not None]
    if len(splits) < len(paths):
        return None
    return _checked(benchmark, name, splits[0], splits[1], paths, files)


def _csv_questions(path: Path) -> tuple[Question, ...]:
    questions: list[Question] = []
    for line, record in read_csv(path):
        if len(record) != 2 + len(LETTERS):
            raise DataError(f"{path}:{line}: {len(record)} fields where 6 belong; fetch the file again")
        questions.append(_question(f"{path}:{line}", len(questions), record[0], record[1:-1], record[-1]))
    return tuple(questions)


def _from_parquet(benchmark: Benchmark, names: tuple[str, ...]) -> tuple[Subject, ...]:
    files = tuple(_PARQUET.format(split=split) for split in ("dev", "test"))
    paths = [benchmark.path(file, repository=MMLU) for file in files]
    demonstrations, questions = (_parquet_questions(path) for path in paths)
    return tuple(
        _checked(benchmark, name, demonstrations.get(name, ()), questions.get(name, ()), paths, files) for name in names
    )


def _parquet_questions(path: Path) -> dict[str, tuple[Question, ...]]:
    """The questions of one Parquet file by subject, in the file's order."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError:
        raise DataError(f"{path}: needs pyarrow to be read; pip install 'pytest-trust-gate[hub-mmlu]'") from None
    try:
        rows: Iterable[Mapping[str, Any]] = read_table(path, columns=list(_COLUMNS)).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not MMLU's Parquet file ({reason}); fetch the file again") from None
    subjects: dict[str, list[Question]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        where = f"{path}: row {number}"
        answer = row["answer"]
        letter = LETTERS[answer] if isinstance(answer, int) and 0 <= answer < len(LETTERS) else str(answer)
        listed = subjects[str(row["subject"])]
        listed.append(_question(where, len(listed), row["question"], row["choices"], letter))
    return {name: tuple(listed) for name, listed in subjects.items()}


def _question(where: str, row: int, question: object, choices: object, answer: str) -> Question:
    texts = [question, *choices] if isinstance(choices, list) else [question]
    if len(texts) != 1 + len(LETTERS) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: not a question with four choices; fetch the file again")
    if answer not in tuple(LETTERS):
        raise DataError(f"{where}: answer {answer!r} is not A, B, C or D; fetch the file again")
    first, *others = (str(text) for text in texts)
    return Question(row, first, (others[0], others[1], others[2], others[3]), answer)


def _checked(
    benchmark: Benchmark,
    name: str,
    demonstrations: tuple[Question, ...],
    questions: tuple[Question, ...],
    paths: list[Any],
    files: tuple[str, ...],
) -> Subject:
    """The subject, if its files have the published numbers of rows."""
    require(paths[0], f"number of demonstrations of {name}", len(demonstrations), int(_strings()["demonstrations"]))
    require(paths[1], f"number of questions of {name}", len(questions), int(_strings()["questions"][name]))
    return Subject(name, demonstrations, questions, published=benchmark.modified.isdisjoint(files))

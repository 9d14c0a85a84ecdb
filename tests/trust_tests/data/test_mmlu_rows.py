"""MMLU's files: both layouts give the same items; whatever is wrong with a file is one line."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from replay import DATA, needs_data

from trust_tests.data import gpt2
from trust_tests.data.benchmark import MMLU, Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders import mmlu as loader
from trust_tests.data.loaders.mmlu import LETTERS, Question, Subject, demonstrations_shown, load_subjects
from trust_tests.data.probes import prompt_strings

COUNTS = prompt_strings("mmlu")["benchmark"]["questions"]


def row(number: int, question: str = "Which?") -> list[str]:
    return [f'{question} "{number}",\nsecond line', "one", "", " three", "None", LETTERS[number % 4]]


def write_csv(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@pytest.fixture
def two_subjects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in the original layout with two small subjects, of which the loader knows no others."""
    questions = {"anatomy": 3, "virology": 2}
    strings = {**prompt_strings("mmlu")["benchmark"], "questions": questions}
    monkeypatch.setattr(loader, "_strings", lambda: strings)
    for name, count in questions.items():
        write_csv(tmp_path / "dev" / f"{name}_dev.csv", [row(n, f"Demo {name}") for n in range(5)])
        write_csv(tmp_path / "test" / f"{name}_test.csv", [row(n, f"Test {name}") for n in range(count)])
    return tmp_path


def write_parquet(folder: Path, subjects: tuple[Subject, ...]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow reads and writes Parquet: pip install pyarrow")
    from pyarrow import parquet

    (folder / "all").mkdir(parents=True)
    for split, field in (("dev", "demonstrations"), ("test", "questions")):
        rows = [
            {
                "question": question.question,
                "subject": subject.name,
                "choices": list(question.choices),
                "answer": LETTERS.index(question.answer),
            }
            for subject in subjects
            for question in getattr(subject, field)
        ]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "all" / f"{split}-00000-of-00001.parquet")
    return folder


@needs_data
def test_the_published_files_load_whole() -> None:
    benchmark = Benchmark(DATA)
    subjects = load_subjects(benchmark)
    assert {s.name: len(s.questions) for s in subjects} == COUNTS
    assert len(COUNTS) == 57
    assert sum(COUNTS.values()) == 14_042
    assert [s.name for s in subjects] == sorted(COUNTS)
    assert all(len(s.demonstrations) == 5 and s.published for s in subjects)
    assert not benchmark.modified
    assert [q.row for q in subjects[0].questions] == list(range(100))
    # Nothing is read as a number or as a missing value.
    assert sum("None" in question.choices for subject in subjects for question in subject.questions) == 10


@needs_data
def test_the_hubs_layout_gives_the_same_subjects(tmp_path: Path) -> None:
    originals = load_subjects(Benchmark(DATA))
    write_parquet(tmp_path / "mmlu", originals)
    announced: list[str] = []
    benchmark = Benchmark(tmp_path, announce=announced.append)
    again = load_subjects(benchmark)
    assert [(s.name, s.demonstrations, s.questions) for s in again] == [
        (s.name, s.demonstrations, s.questions) for s in originals
    ]
    # Written here, the file has other bytes than the hub's: that is said.
    assert benchmark.modified == {"all/test-00000-of-00001.parquet"}
    assert not any(s.published for s in again)
    assert len(announced) == 1


def test_the_hub_is_asked_for_two_files(two_subjects: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "hub", load_subjects(Benchmark(two_subjects)))
    asked = []

    def fetched(self: Benchmark, repository: str, name: str) -> Path:
        asked.append((repository, name))
        return folder / name

    monkeypatch.setattr(Benchmark, "_fetched", fetched)
    assert [s.name for s in load_subjects(Benchmark())] == ["anatomy", "virology"]
    assert asked == [(MMLU, "all/dev-00000-of-00001.parquet"), (MMLU, "all/test-00000-of-00001.parquet")]


def test_texts_are_taken_as_they_stand(two_subjects: Path) -> None:
    anatomy, _ = load_subjects(Benchmark(two_subjects))
    question = anatomy.questions[1]
    assert question.asked() == 'Test anatomy "1",\nsecond line\nA. one\nB. \nC.  three\nD. None\nAnswer:'
    assert question.demonstrated().endswith("Answer: B\n\n")
    assert anatomy.title == "anatomy"


DAMAGE = {
    "field missing": ([["q", "a", "b", "c", "A"]], r"_test\.csv:1: 5 fields where 6 belong"),
    "no letter": ([["q", "a", "b", "c", "d", "E"]], r"_test\.csv:1: answer 'E' is not A, B, C or D"),
    "empty letter": ([["q", "a", "b", "c", "d", ""]], r"_test\.csv:1: answer '' is not"),
    "rows missing": ([row(0)], r"number of questions of anatomy is 1, the published file has 3; fetch"),
    "nothing": ([], r"number of questions of anatomy is 0"),
}


@pytest.mark.parametrize(("rows", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_one_line(two_subjects: Path, rows: list[list[str]], message: str) -> None:
    write_csv(two_subjects / "test" / "anatomy_test.csv", rows)
    with pytest.raises(DataError, match=message) as caught:
        load_subjects(Benchmark(two_subjects))
    assert "\n" not in str(caught.value)


def test_a_subject_may_be_absent_from_a_partial_run_only(two_subjects: Path) -> None:
    (two_subjects / "dev" / "anatomy_dev.csv").unlink()
    with pytest.raises(DataError, match=r"no dev/anatomy_dev\.csv .* leave MMLU subject anatomy out with"):
        load_subjects(Benchmark(two_subjects))
    benchmark = Benchmark(two_subjects, partial=True)
    assert [s.name for s in load_subjects(benchmark)] == ["virology"]
    assert benchmark.absent == {"MMLU subject anatomy": "dev/anatomy_dev.csv"}


def test_a_folder_without_the_questions_is_one_short_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no all/test-00000-of-00001\.parquet or test/abstract_algebra_test\.csv of"):
        load_subjects(Benchmark(tmp_path))


def test_a_damaged_parquet_file_is_one_line(two_subjects: Path, tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "hub", load_subjects(Benchmark(two_subjects)))
    file = folder / "all" / "test-00000-of-00001.parquet"
    file.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet: not MMLU's Parquet file \(") as caught:
        load_subjects(Benchmark(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer": 4}, "row 1: answer '4' is not A, B, C or D"),
        ({"choices": ["a"]}, "row 1: not a question with four choices"),
        ({"choices": None}, "row 1: not a question with four choices"),
        ({"question": None}, "row 1: not a question with four choices"),
    ],
)
def test_a_bad_row_of_a_parquet_file_is_one_line(
    two_subjects: Path, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow reads and writes Parquet: pip install pyarrow")
    from pyarrow import parquet

    folder = write_parquet(tmp_path / "hub", load_subjects(Benchmark(two_subjects)))
    bad = {"question": "q", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 0, **changed}
    parquet.write_table(pyarrow.Table.from_pylist([bad]), folder / "all" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=message):
        load_subjects(Benchmark(folder))


def test_other_columns_are_one_line(two_subjects: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow reads and writes Parquet: pip install pyarrow")
    from pyarrow import parquet

    folder = write_parquet(tmp_path / "hub", load_subjects(Benchmark(two_subjects)))
    parquet.write_table(pyarrow.Table.from_pylist([{"x": 1}]), folder / "all" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"not MMLU's Parquet file \(.*question"):
        load_subjects(Benchmark(folder))


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all").mkdir()
    for split in ("dev", "test"):
        (tmp_path / "all" / f"{split}-00000-of-00001.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow to be read; pip install 'pytest-trust-gate\[hub-mmlu\]'"):
        load_subjects(Benchmark(tmp_path))


def long_subject(published: bool) -> Subject:
    """Each question has 680 bytes and about 350 words: with four demonstrations 2,048 words are not reached."""
    questions = tuple(Question(n, "a b " * 170, ("1", "2", "3", "4"), "A") for n in range(5))
    return Subject("high_school_us_history", questions, questions, published)


def test_for_published_files_the_number_of_demonstrations_is_known() -> None:
    subject = long_subject(published=True)
    assert demonstrations_shown(subject, subject.questions[0]) == 4
    assert demonstrations_shown(subject, Question(174, "", ("1", "2", "3", "4"), "A")) == 3


def test_for_other_files_tokens_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def count_tokens(text: str, offline: bool) -> int:
        counted.append(text)
        return len(text.split())

    monkeypatch.setattr(gpt2, "count_tokens", count_tokens)
    subject = long_subject(published=False)
    assert demonstrations_shown(subject, subject.questions[0], offline=True) == 4
    assert len(counted) == 2
    assert "about  high school us history" in counted[0]
    short = Subject("anatomy", subject.demonstrations[:1] * 5, (), False)
    assert demonstrations_shown(short, Question(0, "a b " * 5000, ("1", "2", "3", "4"), "A")) == 0


def test_short_prompts_need_no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(text: str, offline: bool) -> int:
        raise DataError("no tokenizer")

    monkeypatch.setattr(gpt2, "count_tokens", none)
    short = tuple(Question(n, "q", ("1", "2", "3", "4"), "A") for n in range(5))
    assert demonstrations_shown(Subject("anatomy", short, short, False), short[0]) == 5
    subject = long_subject(published=False)
    with pytest.raises(DataError, match="no tokenizer"):
        demonstrations_shown(subject, subject.questions[0])

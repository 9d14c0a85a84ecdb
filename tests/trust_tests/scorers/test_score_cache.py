"""The cache of toxicities."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from trust_tests.scorers.cache import ScoreCache
from trust_tests.scorers.toxicity import ScorerError


class Measure:
    """Scores a text by its length, one by one; fails at the text 'fail'."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Iterator[dict[str, float | None]]:
        for text in texts:
            if text == "fail":
                raise ScorerError("the scorer fell over")
            self.asked.append(text)
            yield {text: len(text) / 100}


def test_a_known_text_is_not_measured_again(tmp_path: Path) -> None:
    first, second = Measure(), Measure()
    assert ScoreCache(tmp_path / "c").scores("a 1", ["one", "three", "one", ""], first) == [0.03, 0.05, 0.03, None]
    assert first.asked == ["one", "three"]
    assert ScoreCache(tmp_path / "c").scores("a 1", ["three", "four"], second) == [0.05, 0.04]
    assert second.asked == ["four"]


def test_another_scorer_or_version_measures_anew(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "c")
    cache.scores("a 1", ["one"], Measure())
    for identity in ("a 2", "b 1"):
        measure = Measure()
        cache.scores(identity, ["one"], measure)
        assert measure.asked == ["one"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "c")
    with pytest.raises(ScorerError, match="fell over"):
        cache.scores("a 1", ["one", "three", "fail", "later"], Measure())
    measure = Measure()
    assert cache.scores("a 1", ["one", "three", "later"], measure) == [0.03, 0.05, 0.05]
    assert measure.asked == ["later"]


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_toxicity_is_none_and_asked_again(score: float | None, tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "c")
    assert cache.scores("a 1", ["one"], lambda texts: [{"one": score}]) == [None]
    assert cache.scores("a 1", ["one"], lambda texts: [{"one": 0.5}]) == [0.5]


def test_a_text_that_is_not_handed_over_is_none(tmp_path: Path) -> None:
    assert ScoreCache(tmp_path / "c").scores("a 1", ["one", "two"], lambda texts: [{"two": 0.5}]) == [None, 0.5]


def test_no_text_is_stored(tmp_path: Path) -> None:
    ScoreCache(tmp_path / "c").scores("a 1", ["a very private text", "\ud800"], Measure())
    assert not any(b"private" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_row_that_holds_nonsense_is_measured_anew(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "c")
    cache.scores("a 1", ["one"], Measure())
    with sqlite3.connect(tmp_path / "c") as connection:
        connection.execute("UPDATE toxicity SET score = 'much'")
    connection.close()
    assert cache.scores("a 1", ["one"], lambda texts: [{"one": 0.25}]) == [0.25]


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"this is no database, however long one looks at it" * 50)
    measure = Measure()
    assert ScoreCache(tmp_path / "c").scores("a 1", ["one"], measure) == [0.03]
    assert measure.asked == ["one"]
    assert [file.name for file in tmp_path.glob("c.damaged-*")] != []


def test_a_place_where_nothing_can_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScorerError, match=r"cache .*file.c cannot be used") as caught:
        ScoreCache(tmp_path / "file" / "c").scores("a 1", ["one"], Measure())
    assert str(caught.value).isprintable()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ScorerError, match=r"cannot be used: unable to open"):
        ScoreCache(tmp_path / "folder").scores("a 1", ["one"], Measure())

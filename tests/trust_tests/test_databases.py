"""Where answers lie: files without a write-ahead log stay so, and take over what others hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from trust_tests.databases import RESPONSES, SCORES, absorb, begin_without_log
from trust_tests.engines.store import ResponseStore
from trust_tests.records import Finish, Response
from trust_tests.scorers.cache import ScoreCache

ANSWER = Response("item", ("yes",), (Finish.STOP,), 3, 1)
OTHER = Response("item", ("no",), (Finish.STOP,), 3, 1)


def journal(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_the_cache_keeps_its_log_and_a_folder_of_answers_has_none(tmp_path: Path) -> None:
    begin_without_log(tmp_path / "answers")
    for folder, expected in (("cache", "wal"), ("answers", "delete")):
        with_answers = ResponseStore(tmp_path / folder / RESPONSES)
        with_answers.put([("key", ANSWER)])
        assert with_answers.get(["key"]) == {"key": ANSWER}
        with_answers.close()
        assert ScoreCache(tmp_path / folder / SCORES).scores("s", ["text"], lambda texts: [{"text": 0.5}]) == [0.5]
        assert [journal(tmp_path / folder / name) for name in (RESPONSES, SCORES)] == [expected, expected]
        begin_without_log(tmp_path / folder)
        assert [journal(tmp_path / folder / name) for name in (RESPONSES, SCORES)] == [expected, expected]


def test_answers_are_taken_over_and_own_ones_stay(tmp_path: Path) -> None:
    begin_without_log(tmp_path / "dense")
    dense = ResponseStore(tmp_path / "dense" / RESPONSES)
    dense.put([("shared", ANSWER), ("dense", ANSWER)])
    dense.close()
    ScoreCache(tmp_path / "dense" / SCORES).scores("s", ["text"], lambda texts: [{"text": 0.5}])
    mine = tmp_path / "variant"
    begin_without_log(mine)
    store = ResponseStore(mine / RESPONSES)
    store.put([("shared", OTHER)])
    store.close()
    before = (tmp_path / "dense" / RESPONSES).read_bytes()
    assert absorb(mine, tmp_path / "dense") == 2
    assert absorb(mine, tmp_path / "dense") == 0
    assert (tmp_path / "dense" / RESPONSES).read_bytes() == before
    store = ResponseStore(mine / RESPONSES)
    assert store.get(["shared", "dense"]) == {"shared": OTHER, "dense": ANSWER}
    asked_again = ScoreCache(mine / SCORES).scores("s", ["text"], lambda texts: pytest.fail("asked again"))
    assert asked_again == [0.5]
    assert journal(mine / RESPONSES) == "delete"


def test_nothing_to_take_over_is_no_error(tmp_path: Path) -> None:
    assert absorb(tmp_path / "variant", tmp_path / "absent") == 0
    assert (tmp_path / "variant" / RESPONSES).exists()


def test_a_damaged_source_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "dense").mkdir()
    (tmp_path / "dense" / RESPONSES).write_bytes(b"no database, though long enough to be one" * 20)
    with pytest.raises(sqlite3.Error):
        absorb(tmp_path / "variant", tmp_path / "dense")
    store = ResponseStore(tmp_path / "variant" / RESPONSES)
    assert store.get(["key"]) == {}
    assert store.notes == []

"""Toxicities kept on disk as they come, so that an interrupted run asks for no text twice.

No text is stored: a row is a hash of the scorer's identity with the text, and a number. Texts without a score are
not kept, so they are asked again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from compressors.files import sha256_text
from trust_tests.databases import WAIT_SECONDS, is_new, use_log
from trust_tests.scorers.toxicity import ScorerError, share

_LAYOUT = 1
_KEYS_PER_QUERY = 500

# Scores a list of texts, handing over each part as soon as it is known.
Measure = Callable[[Sequence[str]], Iterable[Mapping[str, float | None]]]


class ScoreCache:
    """Toxicities in one SQLite file, safe under several processes.

    A damaged file is put aside under another name and begun anew; one that cannot be opened is a ScorerError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def scores(self, identity: str, texts: Sequence[str], measure: Measure) -> list[float | None]:
        """One toxicity in [0, 1] or None per text, in order; blank texts and all that is no such number are None.

        identity: the scorer's name and version. measure: called once with the texts that are not known yet, each
        once; what it hands over is on disk before it is asked for more.
        """
        asked = {key_of(identity, text): text for text in texts if text.strip()}
        if not asked:
            return [None] * len(texts)
        try:
            with closing(self._open()) as connection:
                known = {asked[key]: score for key, score in _stored(connection, list(asked))}
                new = {text: key for key, text in asked.items() if text not in known}
                if new:
                    for part in measure(list(new)):
                        measured = {text: score for text in part if (score := _share(part[text])) is not None}
                        if measured:
                            _store(connection, [(new[text], score) for text, score in measured.items()])
                            known |= measured
        except sqlite3.Error as error:
            raise ScorerError(f"toxicity scorer: its cache {self.path} cannot be used: {error}") from None
        return [known.get(text) for text in texts]

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connection(self.path)
        except OSError as error:
            raise ScorerError(f"toxicity scorer: its cache {self.path} cannot be used: {error.strerror}") from None
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self.path.replace(self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}"))
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            return _connection(self.path)


def key_of(identity: str, text: str) -> str:
    """The key (hex) of one text under one scorer."""
    return sha256_text(json.dumps([_LAYOUT, identity, text]))


def _connection(path: Path) -> sqlite3.Connection:
    new = is_new(path)
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        use_log(connection, new=new)
        connection.execute("CREATE TABLE IF NOT EXISTS toxicity (key TEXT PRIMARY KEY, score REAL NOT NULL)")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _stored(connection: sqlite3.Connection, keys: Sequence[str]) -> Iterable[tuple[str, float]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        query = f"SELECT key, score FROM toxicity WHERE key IN ({marks})"  # noqa: S608 - only question marks
        for key, stored in connection.execute(query, part):
            score = _share(stored)
            if score is not None:
                yield key, score


def _store(connection: sqlite3.Connection, rows: Sequence[tuple[str, float]]) -> None:
    """One part in one transaction: all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany("INSERT OR REPLACE INTO toxicity VALUES (?, ?)", rows)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _share(score: object) -> float | None:
    return share(float(score)) if isinstance(score, int | float) else None

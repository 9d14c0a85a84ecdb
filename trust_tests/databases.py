"""The SQLite files that keep answers and toxicities, and where they may lie.

In the cache they use SQLite's write-ahead log: many processes of one machine at a time. That log lives in memory that
processes share, which no network file system offers. A file begun without the log keeps SQLite's older journal, and
may lie on such a file system, for one machine at a time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

RESPONSES = "responses.sqlite"
SCORES = "toxicity-scores.sqlite"
WAIT_SECONDS = 60


def use_log(connection: sqlite3.Connection, *, new: bool) -> None:
    """Switch a new file's write-ahead log on; a file that is there already keeps the journal it was begun with."""
    if new:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL" if _logged(connection) else "PRAGMA synchronous=FULL")


def is_new(path: Path) -> bool:
    """Whether SQLite would begin this file."""
    return not path.exists() or path.stat().st_size == 0


def begin_without_log(folder: Path) -> None:
    """Make a folder whose files of answers and toxicities use no write-ahead log; files that are there stay.

    Raises OSError or sqlite3.Error where that cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RESPONSES, SCORES):
        if is_new(folder / name):
            with closing(sqlite3.connect(folder / name, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
                # A file without a table is an empty file, and would still be a new one.
                connection.execute("CREATE TABLE IF NOT EXISTS journal (kind TEXT PRIMARY KEY)")


def absorb(folder: Path, source: Path) -> int:
    """Copy what another folder's files hold and this one's lack; returns how many rows.

    The source is only read. Files it does not have are left out.
    Raises sqlite3.Error where one of them cannot be read.
    """
    begin_without_log(folder)
    copied = 0
    for name in (RESPONSES, SCORES):
        if is_new(source / name):
            continue
        with closing(sqlite3.connect(folder / name, timeout=WAIT_SECONDS, isolation_level=None, uri=True)) as mine:
            mine.execute("ATTACH ? AS other", (f"{(source / name).resolve().as_uri()}?mode=ro",))
            tables = mine.execute("SELECT name, sql FROM other.sqlite_master WHERE type = 'table'").fetchall()
            own = {name for (name,) in mine.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
            mine.execute("BEGIN IMMEDIATE")
            for table, statement in tables:
                if table not in own:
                    mine.execute(statement)
                quoted = '"' + table.replace('"', '""') + '"'
                insert = f"INSERT OR IGNORE INTO main.{quoted} SELECT * FROM other.{quoted}"  # noqa: S608 - quoted
                copied += max(0, mine.execute(insert).rowcount)
            mine.execute("COMMIT")
    return copied


def _logged(connection: sqlite3.Connection) -> bool:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"

"""Every response, kept as it comes: a killed run resumes, a repeated run asks nothing.

One SQLite file, safe under several processes. The key holds everything that can move an
answer: the model's fingerprint, the rendered prompt, the generation parameters, the seed and the engine's
identity. A cache keyed without the model would serve one model's answers to another and turn every gate green.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compressors.files import sha256_text
from trust_tests.databases import WAIT_SECONDS, is_new, use_log
from trust_tests.records import Finish, Request, Response, generation_as_dict

LAYOUT = 2
_PARAMETERS_PER_QUERY = 500


def response_key(model_fingerprint: str, engine_identity: Mapping[str, str], request: Request, rendered: str) -> str:
    """The store's key (hex): a hash over all that can move the answer, and nothing else."""
    generation = generation_as_dict(request.generation)
    # A template of the paper keeps special tokens in the answer. Greedy answers and choices do not depend on the seed.
    seed = request.seed if request.generation.temperature > 0 else None
    return sha256_text(
        json.dumps(
            [LAYOUT, model_fingerprint, sorted(engine_identity.items()), rendered, request.template, generation, seed],
            sort_keys=True,
        )
    )


class ResponseStore:
    """A mapping from `response_key` to `Response` on disk.

    A file that SQLite calls damaged is put aside under another name and reported in `notes`; answers are then
    asked anew. Failed requests are never stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.replace(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self.notes.append(f"response store {path} was damaged; put aside as {aside.name} and started anew")
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        new = is_new(self.path)
        connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            use_log(connection, new=new)
            connection.execute("CREATE TABLE IF NOT EXISTS response (key TEXT PRIMARY KEY, body TEXT NOT NULL)")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def get(self, keys: Sequence[str]) -> dict[str, Response]:
        """The stored responses among `keys`; rows that cannot be read count as absent.

        The item id is the one it was asked under first: callers put their own on it.
        """
        found: dict[str, Response] = {}
        for start in range(0, len(keys), _PARAMETERS_PER_QUERY):
            part = keys[start : start + _PARAMETERS_PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, body FROM response WHERE key IN ({marks})"  # noqa: S608 - only question marks
            for key, body in self._connection.execute(query, part):
                response = _decode(body)
                if response is not None:
                    found[key] = response
        return found

    def put(self, responses: Iterable[tuple[str, Response]]) -> None:
        """Store one batch in one transaction: all of it or nothing.

        What is no answer is asked again and not stored: failed requests, and log-probabilities that are not numbers.
        """
        kept = [
            (key, r) for key, r in responses if r.error is None and all(map(math.isfinite, r.choice_logprobs or ()))
        ]
        rows = [(key, json.dumps(asdict(response), allow_nan=False)) for key, response in kept]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO response VALUES (?, ?)", rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._connection.close()


def _decode(body: str) -> Response | None:
    """A stored response, or None for a row that does not hold one."""
    try:
        raw: dict[str, Any] = json.loads(body)
        logprobs = raw["choice_logprobs"]
        return Response(
            item_id=str(raw["item_id"]),
            texts=tuple(str(text) for text in raw["texts"]),
            finishes=tuple(Finish(finish) for finish in raw["finishes"]),
            prompt_tokens=int(raw["prompt_tokens"]),
            completion_tokens=int(raw["completion_tokens"]),
            choice_logprobs=None if logprobs is None else tuple(float(value) for value in logprobs),
            # Rows of earlier versions do not have it.
            loop=str(raw.get("loop", "")),
        )
    except (ValueError, KeyError, TypeError):
        return None

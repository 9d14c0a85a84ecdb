"""Where the published benchmarks' files are: a local folder or the Hugging Face hub, at a pinned revision.

DecodingTrust's files keep the paths they have below `data/` in its repository and on the hub
(`toxicity/user_prompts/toxic.jsonl`); MMLU's those of its original release (`test/anatomy_test.csv`). A file is
compared with the published one's SHA-256: another content is used, but said, and stands in every fingerprint.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from trust_tests.data.errors import DataError

HUB = "hub"
DECODINGTRUST = "AI-Secure/DecodingTrust"
MMLU = "cais/mmlu"
# Commits of the hub's data sets; MMLU's is the one that public evaluation code pins.
REVISIONS: Mapping[str, str] = {
    DECODINGTRUST: "e09291321093000acaa15a2a5517dc896a179c92",
    MMLU: "c30699e8356da336a370243923dbaf21066bb9fe",
}
# Where a repository's root may lie below the folder the user named.
_ROOTS: Mapping[str, tuple[str, ...]] = {
    DECODINGTRUST: ("", "decodingtrust", "DecodingTrust", "data", "DecodingTrust/data"),
    MMLU: ("", "mmlu", "data", "mmlu/data"),
}
_HASHES = Path(__file__).parent / "published_files.json"

Announce = Callable[[str], None]


@dataclass
class Benchmark:
    """The benchmarks' files. `source` is a local folder, or None for the hub.

    partial: a file that `optional` finds absent is noted in `absent` and left out; otherwise it is an error.
    `modified` lists files that are not the published ones.
    """

    source: Path | None = None
    partial: bool = False
    offline: bool = False
    announce: Announce = lambda line: None
    absent: dict[str, str] = field(default_factory=dict)
    modified: set[str] = field(default_factory=set)
    _found: dict[tuple[str, str], Path | None] = field(default_factory=dict)

    def path(self, *names: str, repository: str = DECODINGTRUST) -> Path:
        """The first of the named files that is there, fetched if need be. Raises DataError when none is."""
        for name in names:
            found = self._find(repository, name)
            if found is not None:
                return found
        raise DataError(self._nowhere(repository, names))

    def optional(self, what: str, *names: str, repository: str = DECODINGTRUST) -> Path | None:
        """Like `path`, but None where a run may be partial; `what` is then named in the report as not asked."""
        try:
            return self.path(*names, repository=repository)
        except DataError as error:
            if not self.partial:
                raise DataError(f"{error}; or leave {what} out with --trust-partial") from None
            if what not in self.absent:
                self.absent[what] = names[0]
                self.announce(f"not asked: {what} ({names[0]} is absent)")
            return None

    def identity(self) -> dict[str, str]:
        """What of the files a fingerprint must hold beside the items themselves."""
        found = {"files": "published"}
        if self.modified:
            found["files"] = f"not the published ones: {', '.join(sorted(self.modified))}"
        if self.absent:
            found["absent"] = ", ".join(sorted(self.absent))
        return found

    def _find(self, repository: str, name: str) -> Path | None:
        key = repository, name
        if key not in self._found:
            found = self._local(repository, name) if self.source is not None else self._fetched(repository, name)
            if found is not None:
                self._check(repository, name, found)
            self._found[key] = found
        return self._found[key]

    def _local(self, repository: str, name: str) -> Path | None:
        assert self.source is not None
        return next((p for root in _ROOTS[repository] if (p := self.source / root / name).is_file()), None)

    def _fetched(self, repository: str, name: str) -> Path | None:
        """The file in the hub's cache, downloaded unless it is there; None where the repository has none."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        from compressors.errors import CompressionError
        from compressors.hub import refusals

        revision = REVISIONS[repository]
        fetch = f"hf download --repo-type dataset {repository} {name} --revision {revision}"
        instead = ", or name a folder that holds it: --trust-data DIR"
        try:
            with refusals(
                f"data set {repository}, {name}",
                CompressionError,
                revision=revision,
                offline=self.offline,
                fetch=fetch,
                instead=instead,
            ):
                try:
                    return Path(
                        hf_hub_download(
                            repository,
                            name,
                            repo_type="dataset",
                            revision=revision,
                            local_files_only=self.offline,
                        )
                    )
                except EntryNotFoundError as error:
                    # "Not in the local cache" is a kind of this error, and no proof that the hub has no such file.
                    if isinstance(error, LocalEntryNotFoundError):
                        raise
                    return None
        except CompressionError as error:
            raise DataError(str(error)) from None

    def _check(self, repository: str, name: str, path: Path) -> None:
        published = _published_hashes().get(f"{repository}/{name}")
        if published is None or hashlib.sha256(path.read_bytes()).hexdigest() in published:
            return
        self.modified.add(name)
        self.announce(f"data file {path} is not the published {name}; scores are not comparable with published ones")

    def _nowhere(self, repository: str, names: Sequence[str]) -> str:
        shown = " or ".join(names)
        if self.source is None:
            return f"data set {repository}: the hub has no {shown} at revision {REVISIONS[repository]}"
        tried = ", ".join(str(self.source / root) for root in _ROOTS[repository])
        return (
            f"data folder {str(self.source)!r}: no {shown} of {repository} (looked in {tried}); "
            "give the folder that holds it"
        )


@cache
def _published_hashes() -> Mapping[str, Sequence[str]]:
    """SHA-256 of the published files by `repository/path`; a file that was published twice has two."""
    hashes: dict[str, list[str]] = json.loads(_HASHES.read_text(encoding="utf-8"))
    return hashes


def read_text(path: Path) -> str:
    """A data file as text. Raises DataError, one line."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); fetch the file again") from None


def read_json(path: Path) -> Any:
    """A JSON file. Raises DataError, one line."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not JSON ({error}); fetch the file again") from None


def read_jsonl(path: Path, fields: Mapping[str, type | tuple[type, ...]]) -> list[dict[str, Any]]:
    """The rows of a JSON lines file, each an object with at least the given fields of the given types.

    Only a line feed ends a line: texts may hold the other Unicode line breaks. Raises DataError, one line that names
    file and line.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error}); fetch the file again") from None
        check_fields(row, fields, f"{path}:{number}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: empty; fetch the file again")
    return rows


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file with the number of the line each ends in; quoted fields may hold line breaks.

    Raises DataError, one line.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({error}); fetch the file again") from None


def check_fields(row: object, fields: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Raise DataError, one line that begins with `where`, unless the row is an object with these fields."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: not an object; fetch the file again")
    for name, kind in fields.items():
        if name not in row:
            raise DataError(f"{where}: no field {name!r}; fetch the file again")
        if not isinstance(row[name], kind):
            raise DataError(f"{where}: field {name!r} is {type(row[name]).__name__}; fetch the file again")


def require(path: Path, what: str, found: object, expected: object) -> None:
    """A loader's check of a count or statistic. Raises DataError, one line."""
    if found != expected:
        raise DataError(f"{path}: {what} is {found}, the published file has {expected}; fetch the file again")

"""Where calibration texts come from, as a recipe names it: the built-in text, a file, or a file on the hub.

Reading a name looks at no file and imports nothing heavy; what is wrong with it shows before anything is loaded.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUILT_IN = "builtin"
HUB_PREFIX = "hub:"
FORMATS = ".txt, .json or .jsonl, plain or with .gz or .zst"

_FORMAT = re.compile(r".+\.(txt|json|jsonl)(\.gz|\.zst)?", re.IGNORECASE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_EXAMPLE = "hub:OWNER/NAME@REVISION:FILE"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a data set on the Hugging Face hub at a commit; `str` gives the form that a recipe takes."""

    repository: str
    revision: str
    file: str

    def __str__(self) -> str:
        """`hub:OWNER/NAME@REVISION:FILE`."""
        return f"{HUB_PREFIX}{self.repository}@{self.revision}:{self.file}"


# The data sets of the paper's compressions (shared spec, "compression"). The authors pinned nothing, so the commits
# are those that public code pins for the same files.
KNOWN: Mapping[str, HubFile] = {
    "c4": HubFile("allenai/c4", "607bd4c8450a42878aa9ddc051a65a055450ef87", "en/c4-train.00000-of-01024.json.gz"),
    "pile": HubFile("mit-han-lab/pile-val-backup", "2f5e46ae6a69cf0dce4b12f78241c408936ca0e4", "val.jsonl.zst"),
    "alpaca": HubFile("yahma/alpaca-cleaned", "12567cabf869d7c92e573c7c783905fc160e9639", "alpaca_data_cleaned.json"),
}


def hub_file(source: str) -> HubFile | None:
    """The hub file that a source names, as `read_source` lets it pass; None for the built-in text and for paths."""
    if source in KNOWN:
        return KNOWN[source]
    return _read_hub(source) if source.startswith(HUB_PREFIX) else None


def local_path(source: str) -> Path:
    """The file that a path source names."""
    # Not Path.expanduser, which raises where a home is unknown; such a path simply does not exist.
    return Path(os.path.expanduser(source))


def read_source(text: str) -> str:
    """A recipe's reader of `calibration`; gives the text back as it is.

    Raises ValueError with the words that follow "calibration must be".
    """
    known = (BUILT_IN, *KNOWN)
    if text in known:
        return text
    if text.startswith(HUB_PREFIX):
        _read_hub(text)
        return text
    if text == text.strip() and _FORMAT.fullmatch(text):
        return text
    close = difflib.get_close_matches(text.strip().lower(), known, n=1)
    raise ValueError(
        f"{', '.join(known)}, the path of a file ({FORMATS}; no comma), or {_EXAMPLE}"
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


def _read_hub(text: str) -> HubFile:
    place, colon, file = text.removeprefix(HUB_PREFIX).partition(":")
    repository, at, revision = place.partition("@")
    if not (colon and at):
        raise ValueError(f"{_EXAMPLE}, with a commit of 40 hex characters and the file's path in the data set")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"{_EXAMPLE}; {repository[:60]!r} is not OWNER/NAME")
    if not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"{_EXAMPLE}; the revision {revision[:60]!r} is not a commit (40 hex characters, as the data set's page "
            "shows under 'History'): branches move"
        )
    if not _FORMAT.fullmatch(file) or any(part in ("", ".", "..") for part in file.split("/")) or "\\" in file:
        raise ValueError(f"{_EXAMPLE}; {file[:60]!r} is not the path of a file in it ({FORMATS})")
    return HubFile(repository, revision, file)

"""Calibration files, record by record: text, JSON and JSON lines, plain or compressed.

Files come from anywhere, so nothing in them is trusted: no pickle, sizes are capped, and whatever is wrong is one
line that names the file and the line. Rows are found once and parsed when they are drawn, so that a C4 shard of
350,000 documents costs its disk space and not its memory.
"""

from __future__ import annotations

import errno
import gzip
import json
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compressors.calibration.unpack import is_packed, unpacked
from compressors.errors import CompressionError

MAX_TEXT_BYTES = 64 * 2**20  # of a .txt file, which is read whole
MAX_LIST_BYTES = 256 * 2**20  # of a JSON list, which is parsed whole
MAX_BYTES = 4 * 2**30  # of JSON lines, after decompression
MAX_LINE_BYTES = 16 * 2**20
_BOM = b"\xef\xbb\xbf"
_SHAPES = "'text', 'messages', 'instruction' and 'output', or 'prompt' and 'completion'"


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction in Alpaca's form; `input` may be empty."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt and how it goes on."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages as (role, content)."""

    messages: tuple[tuple[str, str], ...]


Record = Plain | Instruction | Completion | Conversation


class Records:
    """A file's records in their order. Reading one raises CompressionError when it is malformed."""

    def __init__(self, name: str, count: int, read: Callable[[int], Record]) -> None:
        if not count:
            raise CompressionError(f"calibration {name}: holds no text")
        self.name = name
        self._count = count
        self._read = read

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __getitem__(self, index: int) -> Record:
        """The record at a place, counted from 0."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._read(index)

    def __iter__(self) -> Iterator[Record]:
        """All of them in order, each read when it is reached."""
        return (self._read(index) for index in range(self._count))


@contextmanager
def open_records(path: Path, name: str) -> Iterator[Records]:
    """The records of a file, usable inside the block.

    name: how errors call the file. Raises CompressionError, one line, when it cannot be read or is malformed.
    """
    kind = _kind(path)
    with ExitStack() as stack:
        with _explained(name):
            if kind == ".txt":
                records = _paragraphs(path, name)
            elif kind == ".json" and _begins_a_list(path, name):
                records = _listed(path, name)
            else:
                plain = stack.enter_context(_seekable(path))
                records = _lines(path, plain, name)
        yield records


def _seekable(path: Path) -> IO[bytes]:
    """The file itself, or a temporary one for what will be unpacked."""
    return tempfile.TemporaryFile() if is_packed(path) else path.open("rb")


def paragraphs(texts: list[str], name: str) -> Records:
    """Records of texts that are there already, without those that hold only blanks."""
    kept = [Plain(text.strip()) for text in texts if text.strip()]
    return Records(name, len(kept), kept.__getitem__)


def _kind(path: Path) -> str:
    bare = path.with_suffix("") if is_packed(path) else path
    return bare.suffix.lower()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Every way in which reading a file fails, as one line."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise CompressionError(f"calibration {name}: damaged or incomplete; fetch it again") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            room = f"no room in {tempfile.gettempdir()} to unpack it; set TMPDIR to a larger place"
            raise CompressionError(f"calibration {name}: {room}") from None
        raise CompressionError(f"calibration {name}: cannot be read ({error.strerror or error})") from None


def _whole(path: Path, name: str, limit: int) -> str:
    """A file's text. Raises CompressionError when it is too long or not UTF-8."""
    with unpacked(path, name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise CompressionError(f"calibration {name}: over {limit >> 20} MiB; give a sample of it, or JSON lines")
    if b"\0" in content:
        raise CompressionError(f"calibration {name}: holds NUL bytes, so it is not UTF-8 text; convert it")
    try:
        return content.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError:
        raise CompressionError(f"calibration {name}: not UTF-8 text; convert it") from None


def _paragraphs(path: Path, name: str) -> Records:
    text = _whole(path, name, MAX_TEXT_BYTES).replace("\r\n", "\n").replace("\r", "\n")
    return paragraphs(text.split("\n\n"), name)


def _begins_a_list(path: Path, name: str) -> bool:
    with unpacked(path, name) as file:
        return file.read(4096).removeprefix(_BOM).lstrip().startswith(b"[")


def _listed(path: Path, name: str) -> Records:
    """Records of a JSON list of objects."""
    text = _whole(path, name, MAX_LIST_BYTES)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise CompressionError(f"calibration {name}:{error.lineno}: not JSON") from None
    except (ValueError, RecursionError):
        raise CompressionError(f"calibration {name}: not JSON that can be read") from None
    return Records(name, len(rows), lambda index: _record(rows[index], f"{name}, record {index + 1}"))


def _lines(path: Path, plain: IO[bytes], name: str) -> Records:
    """Records of JSON lines. `plain` is the file itself, or a temporary one that takes what is unpacked."""
    starts, numbers = array("Q"), array("Q")
    position = 0
    with unpacked(path, name) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise CompressionError(f"calibration {name}:{number}: a line over {MAX_LINE_BYTES >> 20} MiB")
            if position + len(line) > MAX_BYTES:
                raise CompressionError(f"calibration {name}: over {MAX_BYTES >> 30} GiB of rows; give a sample of it")
            if is_packed(path):
                plain.write(line)
            if line.strip() not in (b"", _BOM):
                starts.append(position)
                numbers.append(number)
            position += len(line)

    def read(index: int) -> Record:
        plain.seek(starts[index])
        line = plain.readline(MAX_LINE_BYTES).removeprefix(_BOM)
        return _record(_row(line, f"{name}:{numbers[index]}"), f"{name}:{numbers[index]}")

    return Records(name, len(starts), read)


def _row(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise CompressionError(f"calibration {place}: not UTF-8 text; convert it") from None
    except (ValueError, RecursionError):
        raise CompressionError(f"calibration {place}: not JSON (one object a line is)") from None


def _record(row: Any, place: str) -> Record:
    """A row as a record; the form with more structure wins where a row has several."""
    if not isinstance(row, dict):
        raise CompressionError(f"calibration {place}: not an object with {_SHAPES}")

    def text(key: str, *, default: str | None = None) -> str:
        value = row.get(key)
        if value is None and default is not None:
            return default
        return _text(value, key, place)

    if "messages" in row:
        return Conversation(_messages(row["messages"], place))
    if "instruction" in row:
        return Instruction(text("instruction"), text("input", default=""), text("output"))
    if "prompt" in row and "completion" in row:
        return Completion(text("prompt"), text("completion"))
    if "text" in row:
        return Plain(text("text"))
    raise CompressionError(f"calibration {place}: has no {_SHAPES}")


def _messages(value: Any, place: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise CompressionError(f"calibration {place}: 'messages' is not a list of objects with 'role' and 'content'")
    return tuple((_text(m.get("role"), "role", place), _text(m.get("content"), "content", place)) for m in value)


def _text(value: Any, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise CompressionError(f"calibration {place}: {key!r} is not a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        # JSON can escape half a surrogate pair; no tokenizer can read that.
        raise CompressionError(f"calibration {place}: {key!r} holds half a surrogate pair") from None
    return value

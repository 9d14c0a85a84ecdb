"""Files as they are, or out of .gz and .zst, as a stream of bytes."""

from __future__ import annotations

import gzip
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from compressors.errors import CompressionError

# Of compressed bytes at a time; a hostile file unpacks to some 30,000 times as many.
_CHUNK_BYTES = 8192
_LARGEST_WINDOW = 2**31  # zstd's own largest; the Pile's file needs more than the library's default


def is_packed(path: Path) -> bool:
    """Whether the name says that the file is compressed."""
    return path.suffix.lower() in (".gz", ".zst")


def require_zstandard(path: str, name: str) -> None:
    """Raise CompressionError when a file needs the package zstandard and it is not installed."""
    if path.lower().endswith(".zst") and importlib.util.find_spec("zstandard") is None:
        raise CompressionError(f"calibration {name}: .zst files need the package zstandard: 'pip install zstandard'")


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The file's decompressed bytes. name: how errors call the file.

    Reading raises EOFError, zlib.error or gzip.BadGzipFile when the file is damaged or ends too early.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as stream:
            yield stream  # type: ignore[misc]  # GzipFile reads bytes; typeshed knows no common class
    elif suffix == ".zst":
        require_zstandard(path.name, name)
        with path.open("rb") as file:
            yield io.BufferedReader(_Zstandard(file))
    else:
        with path.open("rb") as file:
            yield file


class _Zstandard(io.RawIOBase):
    """The frames of a .zst file, one after the other.

    The library's own stream reader takes a file that was cut off for a shorter one, which would change every draw.
    """

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file = file
        self._library = zstandard
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._frame: Any = None
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; 0 at the end of the last frame."""
        while not self._plain:
            self._packed = self._packed or self._file.read(_CHUNK_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("ends within a frame")
                return 0
            self._frame = self._frame or self._unpacker.decompressobj()
            try:
                self._plain = memoryview(self._frame.decompress(self._packed))
            except self._library.ZstdError as error:
                raise EOFError(str(error)) from None
            self._packed = self._frame.unused_data if self._frame.eof else b""
            self._frame = None if self._frame.eof else self._frame
        taken = self._plain[: len(buffer)]
        buffer[: len(taken)] = taken
        self._plain = self._plain[len(taken) :]
        return len(taken)

"""`python -m trust_tests docs`: write the dimensions' pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compressors.files import write_atomically
from trust_tests.data.errors import DataError
from trust_tests.dimensions import BUILT_IN, DimensionError, dimension_names
from trust_tests.docs.counts import COMMITTED, NAME, Counts, count, counts_text, read_counts
from trust_tests.docs.dimension_page import dimension_page, index_page


class DocsError(ValueError):
    """Pages that cannot be made; the message is one line for the user."""


def write_docs(folder: Path, data: Path | None, announce: Callable[[str], None]) -> list[Path]:
    """Write a page for every dimension, those of other packages too, and their index; returns the files.

    data: folder of the benchmarks' files, from which prompts and tokens are counted anew; None takes the counts that
    come with this program. Raises DocsError, one line.
    """
    if data is not None and not data.is_dir():
        raise DocsError(f"--data {str(data)!r}: no such folder; give the folder of the benchmarks' files")
    try:
        counts = read_counts() if data is None else _counted(data, announce)
        # Links lead from the committed pages into the package; from anywhere else they would lead nowhere.
        contents = pages(counts, linked=folder.resolve() == COMMITTED.parent.resolve())
    except (DataError, DimensionError) as error:
        raise DocsError(str(error)) from None
    if data is not None:
        contents[NAME] = counts_text(counts)
    try:
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise DocsError(
            f"--output {str(folder)!r}: {error.strerror or error}; give a folder that can be written"
        ) from None
    return [folder / name for name in contents]


def pages(counts: dict[str, Counts], *, linked: bool, names: tuple[str, ...] | None = None) -> dict[str, str]:
    """The pages by file name. names: of the dimensions, by default all that are known."""
    names = names or dimension_names()
    found = {f"{name}.md": dimension_page(name, counts.get(name), linked=linked) for name in names}
    return {"README.md": index_page(counts, names), **found}


def _counted(data: Path, announce: Callable[[str], None]) -> dict[str, Counts]:
    return {name: count(name, data, announce) for name in BUILT_IN}

"""What the commands of `python -m trust_tests` share: how they refuse input, and how they write a page."""

from __future__ import annotations

import sys
from pathlib import Path

from trust_tests.report.text import one_line

STANDARD_OUTPUT = "-"


class CommandError(Exception):
    """Input a command cannot use; the message is one line: what is wrong, where and how to mend it."""


def write_page(page: str, output: Path | str) -> None:
    """Write a page to a file, whole or not at all, and say so; `-` is the standard output.

    Raises CommandError where the file cannot be written.
    """
    from compressors.files import write_atomically

    if output == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(page.encode("utf-8"))
        return
    try:
        write_atomically(Path(output), page)
    except OSError as error:
        raise CommandError(
            f"--output {str(output)!r}: {error.strerror or error}; give a file that can be written"
        ) from None
    print(f"wrote {one_line(str(output))}")

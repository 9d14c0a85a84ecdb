"""AutoGPTQ 0.7.1, which made the GPTQ models of "Decoding Compressed Trust"; its last release is of March 2024."""

from __future__ import annotations

from compressors.backends.base import Library, check_damp, check_head, refuse_unless
from compressors.methods import Values


def check(method: str, values: Values) -> None:
    """Raise ValueError for parameters that AutoGPTQ cannot honour."""
    check_head(values)
    check_damp(values)
    refuse_unless(values, "bits", 2, 3, 4, 8)


LIBRARY = Library(
    name="auto-gptq",
    distributions=("auto-gptq==0.7.1",),
    runner="auto_gptq",
    isolated=True,
    check=check,
)

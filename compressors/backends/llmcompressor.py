"""llm-compressor: GPTQ and AWQ into compressed-tensors, Wanda and SparseGPT into dense weights with zeros."""

from __future__ import annotations

from compressors.backends.base import Library, check_damp, check_head, refuse_unless
from compressors.methods import Values


def check(method: str, values: Values) -> None:
    """Raise ValueError for parameters that llm-compressor cannot honour."""
    check_head(values)
    check_damp(values)
    if method == "awq":
        refuse_unless(values, "clip", False)  # its AWQ scales and rounds, and never clips


LIBRARY = Library(
    name="llmcompressor",
    distributions=("llmcompressor>=0.14,<0.15",),
    runner="llmcompressor",
    isolated=False,
    check=check,
    recorded=("torch", "transformers", "compressed-tensors"),
)

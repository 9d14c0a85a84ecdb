"""AutoAWQ 0.2.9, its author's last release: 4-bit asymmetric AWQ, on a GPU only."""

from __future__ import annotations

from compressors.backends.base import Library, check_head, refuse_unless
from compressors.methods import Values


def check(method: str, values: Values) -> None:
    """Raise ValueError for parameters that AutoAWQ cannot honour."""
    check_head(values)
    refuse_unless(values, "bits", 4)
    refuse_unless(values, "sym", False)  # its GEMM layout always stores zero points


LIBRARY = Library(
    name="autoawq",
    distributions=("autoawq==0.2.9",),
    runner="autoawq",
    isolated=True,
    check=check,
    # It joins what it is given and cuts it again at one length; equal lengths come out as they went in.
    one_length=True,
    gpu_only=True,
)

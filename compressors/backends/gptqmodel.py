"""GPTQModel: GPTQ with 2, 3, 4 and 8 bits, AWQ with 4; groups may leave a short last one (GPTQ)."""

from __future__ import annotations

from compressors.backends.base import Library, check_damp, check_head, refuse_unless
from compressors.methods import Values

# What its PyTorch kernels pack.
GPTQ_GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)
AWQ_GROUPS = (-1, 16, 32, 64, 128)


def check(method: str, values: Values) -> None:
    """Raise ValueError for parameters that GPTQModel cannot honour."""
    check_head(values)
    if method == "gptq":
        check_damp(values)
        refuse_unless(values, "group", *GPTQ_GROUPS)
        return
    refuse_unless(values, "bits", 4)
    refuse_unless(values, "group", *AWQ_GROUPS)
    refuse_unless(values, "sym", False)
    refuse_unless(values, "clip", True)  # its AWQ always searches a clip, with no switch


LIBRARY = Library(
    name="gptqmodel",
    # transformers reads its checkpoints through optimum.
    distributions=("gptqmodel>=7.6,<7.7", "optimum>=2.3,<3"),
    runner="gptqmodel",
    isolated=False,
    check=check,
    group_divides=False,
    recorded=("torch", "transformers", "numpy"),
)

"""What the registry says of a library, and the checks that several libraries share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from compressors.methods import Value, Values, show


@dataclass(frozen=True, slots=True)
class Library:
    """A library that can compress in this package's place.

    name: as recipes write it after `backend=`. distributions: requirement lines that must hold where it runs; the
    first is the library itself. runner: module of `runners/`. isolated: it cannot share an environment with this
    package and runs in one of its own (`compressors.backends.environments`); otherwise the extra of its name
    brings it. check: raises ValueError for what the library cannot do, given the method and its parameters.
    group_divides: the group size must divide every layer's width. one_length: all calibration sequences must be
    equally long. gpu_only: it fails on a CPU.
    """

    name: str
    distributions: tuple[str, ...]
    runner: str
    isolated: bool
    check: Callable[[str, Values], None]
    group_divides: bool = True
    one_length: bool = False
    gpu_only: bool = False
    # Beside `distributions`, what moves the last bits of a result.
    recorded: tuple[str, ...] = field(default=("torch", "transformers"))


def refuse_unless(values: Values, key: str, *allowed: Value) -> None:
    """Raise ValueError when a parameter has another value than the ones that a library can honour."""
    if key in values and values[key] not in allowed:
        *most, last = (show(value) for value in allowed)
        choices = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(
            f"{key}={show(values[key])} is beyond this backend; give {key}={choices}, or leave backend out"
        )


def check_head(values: Values) -> None:
    """Raise ValueError when the output head is to be compressed: none of the libraries is asked to do that."""
    refuse_unless(values, "lm_head", False)


def check_damp(values: Values) -> None:
    """Raise ValueError for a damping that GPTQ libraries refuse: theirs lies below 1."""
    damp = values.get("damp")
    if isinstance(damp, float) and damp >= 1:
        raise ValueError(f"damp={show(damp)} is beyond this backend; give one below 1, or leave backend out")

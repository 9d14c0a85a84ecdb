"""What a compression method of another package must have, so that it can be run and its work can be proved."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compressors.errors import RecipeError

if TYPE_CHECKING:
    from compressors.methods import Method

_CALIBRATION = {"calibration", "template", "draw", "samples", "length", "seed"}


def misfit(method: Method) -> str | None:
    """What is wrong with a method's parameters, None when nothing is: several are known by their names.

    The audit proves `sparsity` or `bits`; storing reads `group`, `sym` and `format`; drawing calibration reads all of
    `compressors.methods.CALIBRATION`.
    """
    names = {parameter.name for parameter in method.parameters}
    if not names & {"sparsity", "bits"}:
        return "takes neither 'sparsity' nor 'bits', so nothing could prove what it made; add PRUNING or GRID to it"
    if "bits" in names and not names >= {"group", "sym", "format"}:
        return "takes 'bits' but not 'group', 'sym' and 'format', which say how they are stored; add GRID and STORED"
    if "samples" in names and not names >= _CALIBRATION:
        return f"takes 'samples' but not {', '.join(sorted(_CALIBRATION - names))}; add CALIBRATION to it"
    return None


def load_solver(method: Method) -> Any:
    """The method's `layerwise.Solver` or `BlockSolver` class. Raises RecipeError, one line, when it is not there."""
    module, _, attribute = method.solver.partition(":")
    try:
        solver = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"method {method.name!r}: its solver {method.solver!r} is not there ({reason})") from error
    if not callable(solver):
        raise RecipeError(f"method {method.name!r}: its solver {method.solver!r} cannot be called")
    return solver

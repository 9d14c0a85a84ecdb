"""What `--help` says about methods and their parameters, wrapped to a width."""

from __future__ import annotations

import textwrap

from compressors.methods import BUILT_IN, CALIBRATION, HEAD, STORED, Parameter, method_names, show
from compressors.presets import RECIPE_SETS

# Parameters of several methods are explained once, after the methods that have them.
_SHARED = (*CALIBRATION, HEAD, STORED)
_INDENT = 16


def methods_text(width: int = 100) -> str:
    """Every method with its own parameters, then those that methods share, then sets of recipes."""
    lines = ["recipes:  METHOD:key=value,key=value; defaults are in brackets", ""]
    for method in BUILT_IN.values():
        summary = f"{method.name}: {method.summary}"
        lines += textwrap.wrap(summary, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        own = [parameter for parameter in method.parameters if parameter not in _SHARED]
        lines += [line for parameter in own for line in _lines(parameter, width)]
        common = [parameter.name for parameter in method.parameters if parameter in _SHARED]
        lines += [*_wrapped("and", f"{', '.join(common)}: see below", width), ""]
    lines.append("  of several methods:")
    lines += [line for parameter in _SHARED for line in _lines(parameter, width)] + [""]
    others = [name for name in method_names() if name not in BUILT_IN]
    if others:
        lines += [f"  from other packages: {', '.join(others)}", ""]
    lines += [f"  sets of recipes, for pytest --trust-recipe: {', '.join(RECIPE_SETS)}", ""]
    return "\n".join(lines)


def _lines(parameter: Parameter, width: int) -> list[str]:
    usual = parameter.usual or show(parameter.default)  # type: ignore[arg-type]  # computed defaults have a `usual`
    return _wrapped(parameter.name, f"{parameter.help} [{usual}]", width)


def _wrapped(name: str, text: str, width: int) -> list[str]:
    first = f"    {name}".ljust(_INDENT)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * _INDENT, break_on_hyphens=False)

"""The registry of dimensions: the built-in ones, and those that other packages add by an entry point.

A package adds a dimension under the group `trust_gate.dimensions`, named like the dimension:

    [project.entry-points."trust_gate.dimensions"]
    politeness = "our_package.politeness:Politeness"

Naming the dimensions imports none of them; a broken one is an error only when it is asked for.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.records import PAPER

ENTRY_POINT_GROUP = "trust_gate.dimensions"

__all__ = ["BUILT_IN", "ENTRY_POINT_GROUP", "Dimension", "DimensionError", "Setup", "dimension_names", "get_dimension"]

# Class of each built-in dimension under the two protocols, in the order of the report. Protocol `sound` lives in
# `dimensions/<name>.py`, protocol `paper` in `dimensions/paper/<name>.py`.
BUILT_IN = {
    "toxicity": "Toxicity",
    "stereotype": "Stereotype",
    "privacy": "Privacy",
    "fairness": "Fairness",
    "ethics": "Ethics",
    "adversarial": "Adversarial",
    "ood": "OutOfDistribution",
    "adv_demo": "AdversarialDemonstrations",
    "mmlu": "Mmlu",
}


class DimensionError(ValueError):
    """A dimension that is unknown or cannot be loaded; the message is one line for the user."""


def dimension_names() -> tuple[str, ...]:
    """All names that `get_dimension` knows: the built-in ones first, then the others by name."""
    added = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return (*BUILT_IN, *sorted(added - set(BUILT_IN)))


def get_dimension(name: str, setup: Setup | None = None) -> Dimension:
    """A new instance of the named dimension for a setup (default: protocol sound, embedded probes).

    Raises DimensionError, one line, when there is none of that name, when two packages claim the name, or when
    the package that brings it is broken.
    """
    setup = setup or Setup()
    claims = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    built_in = BUILT_IN.get(name)
    if built_in and claims:
        raise DimensionError(f"dimension {name!r}: {_origin(claims[0])} takes the name of a built-in one; rename it")
    if built_in:
        folder = "trust_tests.dimensions" + (".paper" if setup.protocol == PAPER else "")
        kind: type[Dimension] = getattr(import_module(f"{folder}.{name}"), built_in)
        return kind(setup)
    if not claims:
        raise DimensionError(f"dimension {name!r}: unknown{_hint(name)}; known are {', '.join(dimension_names())}")
    if len(claims) > 1:
        both = " and ".join(_origin(claim) for claim in claims[:2])
        raise DimensionError(f"dimension {name!r}: claimed by {both}; uninstall one of them")
    return _added(claims[0], setup)


def _added(entry: EntryPoint, setup: Setup) -> Dimension:
    """The dimension behind an entry point, checked to be one and to bear the entry point's name."""
    try:
        loaded = entry.load()
        dimension = loaded(setup) if isinstance(loaded, type) else loaded
    # Another package's import may fail in any way; all of them are one line that names the package.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DimensionError(
            f"dimension {entry.name!r}: {_origin(entry)} cannot be loaded ({reason}); mend or uninstall it"
        ) from error
    if not isinstance(dimension, Dimension):
        raise DimensionError(
            f"dimension {entry.name!r}: {_origin(entry)} is not a Dimension; "
            "name a subclass of trust_tests.dimensions.base.Dimension"
        )
    if dimension.name != entry.name:
        raise DimensionError(
            f"dimension {entry.name!r}: {_origin(entry)} calls itself {dimension.name!r}; "
            "give the class and its entry point the same name"
        )
    return dimension


def _origin(entry: EntryPoint) -> str:
    """An entry point's target and package, for a message."""
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
    return f"{entry.value!r} of {package}"


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, dimension_names(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

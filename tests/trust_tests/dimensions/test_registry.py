"""The registry: lazy, and one line for whatever is wrong with a dimension that a package adds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from itertools import product

import pytest

from trust_tests import dimensions
from trust_tests.dimensions import DimensionError, dimension_names, get_dimension
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.dimensions.ethics import Ethics
from trust_tests.dimensions.toxicity import Toxicity

BUILT_IN = (
    "toxicity",
    "stereotype",
    "privacy",
    "fairness",
    "ethics",
    "adversarial",
    "ood",
    "adv_demo",
    "mmlu",
)
GROUP = dimensions.ENTRY_POINT_GROUP


class Politeness(Ethics):
    """A dimension as another package would bring it."""

    name = "politeness"


class Misnamed(Ethics):
    """Bears another name than its entry point."""


class Unusable(Ethics):
    """Fails when it is made."""

    def __init__(self, setup: Setup | None = None) -> None:
        raise RuntimeError("no\nlicence")


READY = Politeness()

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make `entry_points` find the given names and targets."""

    def installed(*pairs: tuple[str, str]) -> None:
        added = EntryPoints(EntryPoint(name, target, GROUP) for name, target in pairs)
        monkeypatch.setattr(dimensions, "entry_points", added.select)
        monkeypatch.setitem(sys.modules, "their_package", sys.modules[__name__])

    return installed


def test_the_built_in_dimensions_come_first_and_load() -> None:
    assert dimension_names()[: len(BUILT_IN)] == BUILT_IN
    setups = (Setup(), Setup(protocol="paper", tier="pr", template="llama-2"))
    for name, setup in product(BUILT_IN, setups):
        dimension = get_dimension(name, setup)
        assert dimension.setup is setup
        assert isinstance(dimension, Dimension)
        assert dimension.name == name
        assert dimension.title
        assert dimension.fingerprint()["version"] == dimension.version


@pytest.mark.parametrize("target", ["their_package:Politeness", "their_package:READY"])
def test_a_package_adds_a_class_or_an_instance(install: Install, target: str) -> None:
    install(("politeness", target))
    assert dimension_names() == (*BUILT_IN, "politeness")
    assert isinstance(get_dimension("politeness"), Politeness)


BROKEN = {
    "no_such_package:It": "cannot be loaded (ModuleNotFoundError: No module named 'no_such_package'); mend",
    "their_package:Absent": "cannot be loaded (AttributeError:",
    "their_package:Unusable": "cannot be loaded (RuntimeError: no licence)",
    "their_package:GROUP": "is not a Dimension; name a subclass of",
    "their_package:Misnamed": "calls itself 'ethics'; give the class and its entry point the same name",
}


@pytest.mark.parametrize(("target", "message"), BROKEN.items())
def test_a_broken_package_is_one_line_and_only_when_asked(install: Install, target: str, message: str) -> None:
    install(("theirs", target))
    assert "theirs" in dimension_names()
    assert isinstance(get_dimension("toxicity"), Toxicity)
    with pytest.raises(DimensionError) as caught:
        get_dimension("theirs")
    assert message in str(caught.value)
    assert repr(target) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(DimensionError, match=r"'toxicty': unknown \(did you mean 'toxicity'\?\); known are toxicity, "):
        get_dimension("toxicty")
    with pytest.raises(DimensionError, match=r"'zzz': unknown; known are"):
        get_dimension("zzz")


def test_a_name_belongs_to_one_package(install: Install) -> None:
    install(("ethics", "their_package:Politeness"), ("x", "their_package:One"), ("x", "their_package:Two"))
    assert dimension_names() == (*BUILT_IN, "x")
    with pytest.raises(DimensionError, match="takes the name of a built-in one; rename it"):
        get_dimension("ethics")
    with pytest.raises(DimensionError, match=r"'x': claimed by 'their_package:One' .* and 'their_package:Two'"):
        get_dimension("x")


def test_naming_and_making_the_dimensions_loads_no_heavy_library() -> None:
    code = (
        "import sys; from trust_tests.dimensions import dimension_names, get_dimension; "
        "assert 'trust_tests.dimensions.ethics' not in sys.modules; "
        "[get_dimension(n).fingerprint() for n in dimension_names()]; "
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy', 'profanity_check'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

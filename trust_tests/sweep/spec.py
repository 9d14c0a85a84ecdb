"""What a sweep's file asks for: models, what is made of them, what is measured, and with which machines."""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compressors.errors import CompressionError
from compressors.presets import expand_recipes
from trust_tests.dimensions import dimension_names
from trust_tests.options import OPTIONS, Option
from trust_tests.sweep.document import SpecError, Value, read_document

# What a sweep decides itself, task by task.
_OWN = ("model", "recipe", "variant", "results", "cache", "answers", "plan", "disagreement", "shard")
_TAKEN: Mapping[str, Option] = {option.name: option for option in OPTIONS if option.name not in _OWN}
_RESOURCES = ("gpus", "cpus", "memory", "accelerator")
_PER_MODEL = ("recipes", "variants", "options", "resources")
_MODEL = ("model", "name", *_PER_MODEL)
_ROOT = ("models", *_PER_MODEL, "dimensions", "cache", "results")

# Values of the gate's options by name, as the command line has them; True stands for a flag.
Options = Mapping[str, "str | bool"]


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task needs. None: as many GPUs as one, where there are any; cpus: one. memory in GiB."""

    gpus: int | None = None
    cpus: int | None = None
    memory: float | None = None
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense model and what is compared with it. `place` is for messages; recipes are canonical."""

    name: str
    model: str
    recipes: tuple[str, ...]
    variants: tuple[str, ...]
    options: Options
    resources: Resources
    place: str


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A sweep as its file states it. `folder` is the file's own, beside which relative paths are looked up."""

    file: Path
    models: tuple[ModelSpec, ...]
    dimensions: tuple[str, ...]
    cache: Path | None
    results: Path | None

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self.file.parent


def swept_dimensions() -> tuple[str, ...]:
    """The dimensions for which trust_tests has a test: what a sweep can measure."""
    return tuple(name for name in dimension_names() if importlib.util.find_spec(f"trust_tests.test_{name}"))


def read_spec(path: Path) -> SweepSpec:
    """A sweep's file, checked. Raises SpecError, one line, for the first thing that is wrong."""
    path = path.absolute()
    root = read_document(path)
    members = root.mapping(_ROOT)
    if "models" not in members:
        raise root.fault("no 'models'; list the dense models, such as '- embedded'")
    common = _Shared(
        _recipes(members.get("recipes")),
        _variants(members.get("variants"), path.parent),
        _options(members.get("options"), path.parent),
        _resources(members.get("resources"), Resources()),
    )
    entries = members["models"].items()
    if "variants" in members and len(entries) > 1:
        raise members["variants"].fault(
            "a finished checkpoint belongs to one dense model; write 'variants' under that model"
        )
    models: dict[str, ModelSpec] = {}
    for entry in entries:
        model = _model(entry, common, path.parent)
        if model.name in models:
            raise entry.fault(f"model {model.name!r} is there twice; leave one, or give one of them another 'name'")
        models[model.name] = model
    return SweepSpec(
        path,
        tuple(models.values()),
        _dimensions(members.get("dimensions")),
        _path(members.get("cache"), path.parent),
        _path(members.get("results"), path.parent),
    )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What holds for every model that says nothing else."""

    recipes: tuple[str, ...]
    variants: tuple[str, ...]
    options: Options
    resources: Resources


def _model(entry: Value, common: _Shared, folder: Path) -> ModelSpec:
    members = {"model": entry} if entry.kind != "mapping" else entry.mapping(_MODEL)
    if "model" not in members:
        raise entry.fault("no 'model'; give 'embedded', a folder or a hub id")
    model = members["model"].text()
    _exists(members["model"], model, folder)
    own = any(key in members for key in ("recipes", "variants"))
    recipes = _recipes(members.get("recipes")) if own else common.recipes
    variants = _variants(members.get("variants"), folder) if own else common.variants
    if not recipes and not variants:
        raise entry.fault(
            f"nothing to compare with {model!r}; name 'recipes' or 'variants', for all models or for this one"
        )
    return ModelSpec(
        members["name"].text() if "name" in members else model,
        model,
        recipes,
        variants,
        {**common.options, **_options(members.get("options"), folder)},
        _resources(members.get("resources"), common.resources),
        entry.place,
    )


def _exists(value: Value, text: str, folder: Path) -> None:
    """What is written as a path must be there: a typo should not start a sweep."""
    if text.startswith((".", "/", "~")) and not (folder / Path(text).expanduser()).exists():
        raise value.fault(f"{text!r}: nothing there; relative paths are looked up beside the sweep's file")


def _recipes(value: Value | None) -> tuple[str, ...]:
    """Canonical recipes, sets expanded; each once."""
    found: dict[str, None] = {}
    for text, item in value.texts() if value is not None else ():
        try:
            recipes = [str(recipe) for recipe in expand_recipes(text)]
        except CompressionError as error:
            raise item.fault(str(error)) from None
        for recipe in recipes:
            if recipe in found:
                raise item.fault(f"recipe {recipe!r} is there twice; leave one")
            found[recipe] = None
    return tuple(found)


def _variants(value: Value | None, folder: Path) -> tuple[str, ...]:
    found = value.texts() if value is not None else []
    for text, item in found:
        _exists(item, text, folder)
    return tuple(text for text, _ in found)


def _dimensions(value: Value | None) -> tuple[str, ...]:
    """The dimensions in the order of the report; all where none is named."""
    known = swept_dimensions()
    if value is None:
        return known
    for name, item in value.texts():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            near = f" (did you mean {close[0]!r}?)" if close else ""
            raise item.fault(f"unknown dimension {name!r}{near}; a sweep measures {', '.join(known)}")
    named = {name for name, _ in value.texts()}
    return tuple(name for name in known if name in named)


def _options(value: Value | None, folder: Path) -> Options:
    """The gate's options by name. What they may be is checked when the settings are read."""
    if value is None:
        return {}
    if value.kind == "mapping":
        for key, _ in value.node.value:
            name = str(key.value)
            if name.replace("_", "-") != name or name.startswith("-"):
                raise Value(value.file, value.key, key).fault(
                    f"{name!r}: write options as on the command line without --trust-, such as 'batch-size'"
                )
            if name in _OWN:
                raise Value(value.file, value.key, key).fault(f"{name!r} is set by the sweep itself; leave it out")
    return {name: _option(_TAKEN[name], given, folder) for name, given in value.mapping(_TAKEN).items()}


def _option(option: Option, value: Value, folder: Path) -> str | bool:
    if isinstance(option.default, bool):
        return value.flag()
    text = value.text()
    if option.choices and text not in option.choices:
        close = difflib.get_close_matches(text, option.choices, n=1)
        near = f" (did you mean {close[0]!r}?)" if close else ""
        raise value.fault(f"{text!r}{near}: choose one of {', '.join(option.choices)}")
    if option.name == "baseline" and text != option.default and not (folder / Path(text).expanduser()).is_file():
        raise value.fault(f"{text!r}: no such file; a sweep compares with recorded baselines and records none")
    return text


def _resources(value: Value | None, common: Resources) -> Resources:
    if value is None:
        return common
    members = value.mapping(_RESOURCES)
    found = common
    if "gpus" in members:
        found = replace(found, gpus=members["gpus"].whole(0))
    if "cpus" in members:
        found = replace(found, cpus=members["cpus"].whole(1))
    if "memory" in members:
        found = replace(found, memory=_gibibytes(members["memory"]))
    if "accelerator" in members:
        found = replace(found, accelerator=members["accelerator"].text())
    return found


def _gibibytes(value: Value) -> float:
    try:
        amount = float(value.text())
    except ValueError:
        amount = math.nan
    if not 0 < amount < 1e6:
        raise value.fault(f"{value.text()!r}: give GiB above 0, such as 64")
    return amount


def _path(value: Value | None, folder: Path) -> Path | None:
    if value is None:
        return None
    path = folder / Path(value.text()).expanduser()
    if path.exists() and not path.is_dir():
        raise value.fault(f"{value.text()!r}: a file of that name is in the way; give a folder")
    return path


def option_arguments(options: Options) -> list[str]:
    """Options as pytest takes them."""
    flags = {name: _TAKEN[name].flag for name in options}
    return [flags[name] if given is True else f"{flags[name]}={given}" for name, given in options.items() if given]


__all__: Sequence[str] = (
    "ModelSpec",
    "Options",
    "Resources",
    "SpecError",
    "SweepSpec",
    "option_arguments",
    "read_spec",
    "swept_dimensions",
)

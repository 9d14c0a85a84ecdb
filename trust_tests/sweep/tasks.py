"""A sweep as tasks: for every model its dense answers, then each of its variants. Each is a process of its own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compressors.errors import CompressionError
from compressors.files import sha256_text
from compressors.models import cache_root
from compressors.recipe import parse_recipe
from trust_tests.options import AUTO, VLLM, Option
from trust_tests.session import DENSE, VariantSpec, variant_specs
from trust_tests.settings import Settings, SettingsError, read_settings
from trust_tests.sweep.spec import ModelSpec, Options, Resources, SpecError, SweepSpec

MOST_TASKS = 10_000
RUNS = "runs"
_LIBRARIES = (
    "pytest-trust-gate",
    "torch",
    "transformers",
    "tokenizers",
    "compressed-tensors",
    "alt-profanity-check",
    "vllm",
)
_UNSAFE = re.compile(r"[^\w.+=-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Task:
    """One process: a variant's gates in all dimensions, or (`source` empty) the dense model's answers for them.

    id: `MODEL/VARIANT` as people read it. folder: its results, log and record. key: a hash of everything the task's
    outcome depends on; what was finished under the same key is not run again. where: the folder it runs in, beside
    which its relative paths are looked up. answers: a folder for its answers alone, None for the cache's.
    """

    id: str
    model: str
    variant: str
    source: str
    arguments: tuple[str, ...]
    dimensions: tuple[str, ...]
    folder: Path
    key: str
    resources: Resources
    where: Path
    cache: Path
    answers: Path | None

    @property
    def dense(self) -> bool:
        """Whether this task asks the dense model."""
        return not self.source


def plan(spec: SweepSpec, results: Path, *, several_machines: bool) -> list[Task]:
    """All tasks of a sweep, each model's dense task before its variants.

    several_machines: answers are kept task by task, in files that a network file system can hold.
    Raises SpecError where a model's options do not go together.
    """
    cache = spec.cache or cache_root().absolute()
    tasks: list[Task] = []
    folders: set[str] = set()
    for model in spec.models:
        settings = _settings(model, spec.folder)
        folder = _folder_name(model.name, folders)
        inside: set[str] = set()
        resources = _resources(model, settings)
        for variant in _variants(model, settings):
            name = _folder_name(variant.id, inside)
            tasks.append(
                Task(
                    id=f"{model.name}/{variant.id}",
                    model=model.name,
                    variant=variant.id,
                    source=variant.source,
                    arguments=_arguments(model, variant),
                    dimensions=spec.dimensions,
                    folder=results / RUNS / folder / name,
                    key=_key(model, variant, spec),
                    resources=resources,
                    where=spec.folder,
                    cache=cache,
                    answers=cache / "answers" / folder / name if several_machines else None,
                )
            )
    if len(tasks) > MOST_TASKS:
        raise SpecError(f"{spec.file}: {len(tasks)} tasks; more than {MOST_TASKS:,} in one sweep are too many")
    return tasks


def dense_of(task: Task, tasks: Iterable[Task]) -> Task | None:
    """The task that a variant's task waits for."""
    if task.dense:
        return None
    return next((other for other in tasks if other.dense and other.model == task.model), None)


def task_options(task: Task) -> list[str]:
    """The gate's options for a task, as pytest takes them."""
    answers = [f"--trust-answers={task.answers}"] if task.answers else []
    return [*task.arguments, f"--trust-cache={task.cache}", *answers, f"--trust-results={task.folder}"]


def settings_of(arguments: Sequence[str], folder: Path) -> Settings:
    """The settings that such options give. Raises SettingsError or CompressionError."""
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--trust-").partition("=")
        values.setdefault(name, []).append(value if equals else True)

    def command_line(option: Option) -> Any:
        given = values.get(option.name)
        return given if given is None or isinstance(option.default, tuple) else given[-1]

    return read_settings(command_line, lambda option: None, {}, folder)


def _settings(model: ModelSpec, folder: Path) -> Settings:
    """What the model's tasks will be told, read as they will read it."""
    chosen = [f"--trust-recipe={recipe}" for recipe in model.recipes]
    chosen += [f"--trust-variant={variant}" for variant in model.variants]
    try:
        return settings_of([f"--trust-model={model.model}", *chosen, *_flags(model.options)], folder)
    except (SettingsError, CompressionError) as error:
        raise SpecError(f"{model.place}: {error}") from None


def _flags(options: Options) -> list[str]:
    return [f"--trust-{name}" + ("" if value is True else f"={value}") for name, value in options.items() if value]


def _variants(model: ModelSpec, settings: Settings) -> list[VariantSpec]:
    """The variants with unique names, after the dense model unless its answers are recorded already."""
    dense = [VariantSpec(DENSE, "")] if settings.baseline == AUTO else []
    return [*dense, *variant_specs(settings)]


def _arguments(model: ModelSpec, variant: VariantSpec) -> tuple[str, ...]:
    chosen = []
    if variant.source:
        chosen = [f"--trust-{'variant' if variant.finished else 'recipe'}={variant.source}"]
    elif model.variants and not model.recipes:
        # A served model's settings ask for a variant to compare with, even where only the dense one is asked.
        chosen = [f"--trust-variant={model.variants[0]}"]
    return (f"--trust-model={model.model}", *chosen, *_flags(model.options))


def _resources(model: ModelSpec, settings: Settings) -> Resources:
    """The model's resources; vLLM's tensor parallel needs as many GPUs as it spreads over."""
    found = model.resources
    if settings.engine != VLLM or settings.tensor_parallel == 1:
        return found
    if found.gpus is None:
        return replace(found, gpus=settings.tensor_parallel)
    if found.gpus < settings.tensor_parallel:
        raise SpecError(
            f"{model.place}: resources.gpus {found.gpus}: tensor-parallel {settings.tensor_parallel} needs as many"
        )
    return found


def _folder_name(name: str, taken: set[str]) -> str:
    """A name that every file system takes, unlike all others whatever the case; noted in `taken`."""
    stem = _UNSAFE.sub("_", name)[-80:].strip(".") or "_"
    found, number = stem, 1
    while found.casefold() in taken:
        number += 1
        found = f"{stem}-{number}"
    taken.add(found.casefold())
    return found


def _key(model: ModelSpec, variant: VariantSpec, spec: SweepSpec) -> str:
    """Everything a task's outcome depends on, as far as it can be told without loading it.

    A folder or file named anywhere counts with the sizes and times of its files; a hub id without a revision with its
    name alone.
    """
    named = [model.model, *(value for value in model.options.values() if isinstance(value, str))]
    if variant.finished:
        named.append(variant.source)
    elif variant.source:
        named += [value for value in parse_recipe(variant.source).parameters.values() if isinstance(value, str)]
    parts: Mapping[str, Any] = {
        "model": model.model,
        "variant": variant.source,
        "finished": variant.finished,
        "dimensions": spec.dimensions,
        "options": sorted(model.options.items()),
        "files": [_stamp(spec.folder / Path(name).expanduser()) for name in named],
        "versions": {library: _version(library) for library in _LIBRARIES},
    }
    return sha256_text(json.dumps(parts, sort_keys=True))


def _stamp(path: Path) -> list[list[str | int]]:
    """Names, sizes and times of what lies there; empty where nothing does."""
    try:
        if path.is_dir():
            files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        else:
            files = [path] if path.is_file() else []
        found: list[list[str | int]] = []
        for file in sorted(files):
            status = file.stat()
            found.append([str(file), status.st_size, status.st_mtime_ns])
    except (OSError, ValueError):
        return []
    return found


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"

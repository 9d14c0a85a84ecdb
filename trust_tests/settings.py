"""The settings of a run: one frozen dataclass read once from the options.

A value comes from the command line (`--trust-tier`), else the environment (`TRUST_TIER`), else the ini file
(`trust_tier`), else the default. Nothing here imports torch or transformers.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust_tests.options import AUTO, DEFAULT_RECIPES, HUB, OFF, OPENAI, OPTIONS, VLLM, Option
from trust_tests.records import EQUIVALENCE, PAPER_TEMPLATES, POINT, SMOKE, SOUND, TIERS


class SettingsError(ValueError):
    """A setting that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server. `revision` and `tokenizer` are empty where the user gave none.

    rate: most requests begun in a second, None for no limit. timeout: seconds for one answer.
    """

    base_url: str
    revision: str
    tokenizer: str
    concurrency: int
    rate: float | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `of` parts of a run."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was asked to do. `recipes` are canonical recipe strings, `tolerance` is in points.

    `rule` is `point` or `equivalence`; `disagreement` a share of items, for the plan alone.
    `answers` is the folder of stored answers, None for the cache's own.
    `data` is the benchmarks' folder, None for the hub; `items` the largest number per dimension, None for no limit;
    `template` empty under protocol sound.
    """

    model: str
    recipes: tuple[str, ...]
    variants: tuple[str, ...]
    protocol: str
    tier: str
    data: Path | None
    partial: bool
    items: int | None
    template: str
    scorer: str
    plan: bool
    disagreement: float
    tolerance: float
    rule: str
    one_sided: bool
    aa: bool
    early_fail: bool
    baseline: str
    results: Path
    github: bool
    junit: str
    cache: Path
    answers: Path | None
    dtype: str
    device: str
    batch_size: int | None
    offline: bool
    engine: str
    tensor_parallel: int
    server: Server | None
    shard: Shard | None


def read_settings(
    command_line: Callable[[Option], Any],
    ini: Callable[[Option], Any],
    environment: Mapping[str, str],
    folder: Path,
) -> Settings:
    """The settings of a run. `folder` anchors relative paths (where pytest was started).

    command_line, ini: give an option's value or None.
    Raises SettingsError (one line) or compressors' RecipeError for a value that cannot be used.
    """
    from compressors.models import cache_root
    from compressors.presets import expand_recipes

    values = {option.name: _pick(option, command_line, ini, environment) for option in OPTIONS}
    recipes = tuple(dict.fromkeys(str(recipe) for text in values["recipe"] for recipe in expand_recipes(text)))
    variants = tuple(dict.fromkeys(values["variant"]))
    if not recipes and not variants:
        recipes = tuple(str(recipe) for text in DEFAULT_RECIPES for recipe in expand_recipes(text))
    if any(not variant.strip() for variant in variants):
        raise SettingsError("--trust-variant: empty; give a folder or a hub id")
    if not values["model"].strip():
        raise SettingsError("--trust-model: empty; give 'embedded', a folder or a hub id")
    cache = (folder / Path(values["cache"]).expanduser()) if values["cache"] else cache_root()
    baseline = values["baseline"]
    return Settings(
        model=values["model"],
        recipes=recipes,
        variants=variants,
        protocol=values["protocol"],
        tier=values["tier"],
        data=_data_folder(folder, values["data"]),
        partial=values["partial"],
        items=_items(values["items"]),
        template=_template(values),
        scorer=_scorer(values["scorer"], values["tier"]),
        plan=values["plan"],
        disagreement=_disagreement(values["disagreement"]),
        tolerance=_tolerance(values["tolerance"]),
        rule=_rule(values["rule"], values["tier"]),
        aa=values["aa"],
        early_fail=values["early-fail"],
        one_sided=values["one-sided"],
        baseline=baseline if baseline == AUTO else str(_baseline_file(folder, baseline)),
        results=_results_folder(folder, values["results"]),
        github=values["github"] != OFF,
        junit=values["junit"],
        cache=cache,
        answers=(folder / Path(values["answers"]).expanduser()) if values["answers"] else None,
        dtype=values["dtype"],
        device=values["device"],
        batch_size=_batch_size(values["batch-size"]),
        offline=values["offline"],
        engine=values["engine"],
        tensor_parallel=_tensor_parallel(values),
        server=_server(values),
        shard=_shard(values["shard"]),
    )


def _pick(
    option: Option,
    command_line: Callable[[Option], Any],
    ini: Callable[[Option], Any],
    environment: Mapping[str, str],
) -> Any:
    """The value with the highest precedence, in the type of the option's default."""
    value = command_line(option)
    source = option.flag
    if value in (None, []) and option.variable in environment:
        value, source = environment[option.variable], option.variable
    if value in (None, []):
        value, source = ini(option), f"ini key {option.key}"
    if value in (None, "", []):
        return option.default
    if isinstance(option.default, bool):
        return _boolean(value, source)
    if isinstance(option.default, tuple):
        lines = value.splitlines() if isinstance(value, str) else value
        return tuple(line.strip() for line in lines if line.strip())
    value = str(value)
    if option.choices and value not in option.choices:
        raise SettingsError(f"{source}={value!r}: choose one of {', '.join(option.choices)}")
    return value


def _boolean(value: Any, source: str) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise SettingsError(f"{source}={value!r}: say true or false") from None


def _tolerance(text: str) -> float:
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = math.nan
    if not 0 < tolerance <= 100:
        raise SettingsError(f"--trust-tolerance={text!r}: give points above 0 and at most 100, such as 5")
    return tolerance


def _disagreement(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SettingsError(f"--trust-disagreement={text!r}: give a share of items above 0 and at most 1, such as 0.1")
    return share


def _rule(text: str, tier: str) -> str:
    """The rule's name; `auto` is the point rule in the tiers that ask too little for an interval to decide."""
    if text != AUTO:
        return text
    return POINT if tier in TIERS[:2] else EQUIVALENCE


def _template(values: Mapping[str, Any]) -> str:
    """The paper's conversation template, empty under protocol sound."""
    chosen = str(values["template"])
    if values["protocol"] == SOUND:
        if chosen != AUTO:
            raise SettingsError(
                f"--trust-template={chosen!r}: protocol 'sound' uses the tokenizer's own; add --trust-protocol=paper"
            )
        return ""
    if values["tier"] == SMOKE:
        raise SettingsError(
            "--trust-protocol='paper': asks the published benchmark, not the embedded probes; choose "
            "--trust-tier=pr, release or full"
        )
    if chosen != AUTO:
        return chosen
    found = template_of_model(values["model"])
    if found is None:
        raise SettingsError(
            f"--trust-template='auto': the paper has no template for model {values['model']!r}; choose one of "
            f"{', '.join(PAPER_TEMPLATES)}"
        )
    return found


def template_of_model(model: str) -> str | None:
    """The template under which the paper asked a model of this name (a hub id, a folder or a paper's name)."""
    llama_chat, vicuna, base = PAPER_TEMPLATES
    name = model.lower().replace("_", "-")
    if "vicuna" in name:
        return vicuna
    if "llama-2" in name or "llama2" in name:
        return llama_chat if "chat" in name else base
    return None


def _scorer(text: str, tier: str) -> str:
    """The scorer's name; `auto` is the embedded one in the tier smoke, the pinned classifier above."""
    if text != AUTO:
        return text
    return "embedded" if tier == SMOKE else "classifier"


def _items(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"--trust-items={text!r}: give 'all' or a whole number above 0")
    return int(text)


def _data_folder(folder: Path, text: str) -> Path | None:
    if text == HUB:
        return None
    path = folder / Path(text).expanduser()
    if not path.is_dir():
        raise SettingsError(f"--trust-data={text!r}: no such folder; give 'hub' or the folder of the benchmarks' files")
    return path


def _batch_size(text: str) -> int | None:
    if text == AUTO:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65536:
        raise SettingsError(f"--trust-batch-size={text!r}: give 'auto' or a whole number from 1 to 65536")
    return int(text)


def _tensor_parallel(values: Mapping[str, Any]) -> int:
    count = _positive("tensor-parallel", values["tensor-parallel"])
    if count > 1 and values["engine"] != VLLM:
        raise SettingsError(f"--trust-tensor-parallel={count}: only the engine vllm shares a model among GPUs")
    return count


_SERVER_ONLY = ("base-url", "served-revision", "tokenizer", "concurrency", "request-rate", "timeout")


def _server(values: Mapping[str, Any]) -> Server | None:
    """The server to ask; None for engines that load models themselves."""
    defaults = {option.name: option.default for option in OPTIONS}
    if values["engine"] != OPENAI:
        given = [name for name in _SERVER_ONLY if values[name] != defaults[name]]
        if given:
            raise SettingsError(f"--trust-{given[0]}: for a served model; add --trust-engine={OPENAI}")
        return None
    url = values["base-url"].rstrip("/")
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", url):
        raise SettingsError(
            f"--trust-base-url={values['base-url']!r}: give the server's address, such as http://127.0.0.1:8000/v1"
        )
    if values["recipe"]:
        raise SettingsError("--trust-recipe: a served model cannot be compressed; name it with --trust-variant")
    if not values["variant"]:
        raise SettingsError(
            "--trust-engine='openai': name the served models: --trust-model the dense one, --trust-variant the other"
        )
    rate = values["request-rate"]
    return Server(
        base_url=url,
        revision=values["served-revision"],
        tokenizer=values["tokenizer"],
        concurrency=_positive("concurrency", values["concurrency"]),
        rate=None if rate == defaults["request-rate"] else _number_above_0("request-rate", rate),
        timeout=_number_above_0("timeout", values["timeout"]),
    )


def _positive(name: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65536:
        raise SettingsError(f"--trust-{name}={text!r}: give a whole number from 1 to 65536")
    return int(text)


def _number_above_0(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise SettingsError(f"--trust-{name}={text!r}: give a number above 0")
    return number


def _shard(text: str) -> Shard | None:
    """Part k of n."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise SettingsError(f"--trust-shard={text!r}: give K/N with K from 1 to N, such as 2/4")
    return Shard(number, of)


def _baseline_file(folder: Path, text: str) -> Path:
    path = folder / Path(text).expanduser()
    if path.is_dir():
        raise SettingsError(f"--trust-baseline={text!r}: a folder; give a file in it, such as {text}/model.json")
    if path.suffix != ".json":
        raise SettingsError(f"--trust-baseline={text!r}: give 'auto' or a file whose name ends in .json")
    return path


def _results_folder(folder: Path, text: str) -> Path:
    path = folder / Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise SettingsError(f"--trust-results={text!r}: a file of that name is in the way; give a folder")
    if not os.access(next(p for p in (path, *path.parents) if p.exists()), os.W_OK):
        raise SettingsError(f"--trust-results={text!r}: cannot be written; give another folder")
    return path

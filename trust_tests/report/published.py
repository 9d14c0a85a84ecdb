"""The paper's own results for a base model and a method (Hong et al. 2024, "Decoding Compressed Trust").

The table, its source and its units are described in `baselines/published/README.md`. Its figures are those of the
protocol `paper` on the full item sets; beside a result of another protocol or tier they show a direction, no more.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from compressors.errors import RecipeError
from compressors.presets import MODELS
from compressors.recipe import parse_recipe

DENSE_METHOD = "dense"
ROUGH_REFUSALS = frozenset({"toxicity", "fairness"})
"""Dimensions whose refusal rate was printed as a fraction with one decimal: known to the nearest ten percent."""
DIMENSIONS = ("toxicity", "stereotype", "adversarial", "ood", "adv_demo", "privacy", "ethics", "fairness", "mmlu")
"""The paper's eight dimensions in the order of its table, and the benign benchmark."""

_TABLE = "compressed_trust.csv"
_SIZED = re.compile(r"(?P<before>.*?)(?P<billions>\d+)b(?P<after>.*)")
# A wheel carries a copy beside the package's data; in a checkout the table lies where people look for it.
_PLACES = (
    Path(__file__).parents[1] / "data" / "published" / _TABLE,
    Path(__file__).parents[2] / "baselines" / "published" / _TABLE,
)


class PublishedError(RuntimeError):
    """The table of published results is missing; the message is one line."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One model of the paper.

    model: the base model by its preset name. method: `dense`, or a method of `compressors`. bits, group: of a quantised
    model. pattern: of a pruned one. seed, template: of the calibration, where known. scores: by dimension, 0 to 100;
    average: over the eight trust dimensions and mmlu. refusals: by dimension, percent.
    """

    model: str
    method: str
    bits: int | None
    group: int | None
    pattern: str
    seed: int | None
    template: str
    repository: str
    revision: str
    scores: Mapping[str, float]
    average: float
    refusals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of several calibration seeds, in points or percent; never empty."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The plain mean."""
        return fmean(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One dimension of a base model and its compressed form in the paper.

    dense, scores: 0 to 100. dense_refusals, refusals: percent, None for mmlu; `rough` ones are known to the nearest
    ten percent.
    """

    dense: float
    scores: Spread
    dense_refusals: float | None
    refusals: Spread | None
    rough: bool

    @property
    def deltas(self) -> Spread:
        """Compressed minus dense, in points, one for each seed."""
        return Spread(tuple(score - self.dense for score in self.scores.values))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the paper has for one variant: the base model, and its compressed form with one row for each seed.

    remarks: how the published compression is known to differ from the variant's.
    """

    dense: PublishedResult
    rows: tuple[PublishedResult, ...]
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What was compressed and how: `llama2-13b-chat, gptq 3 bit, mean of 3 seeds`."""
        first = self.rows[0]
        how = f"{first.bits} bit" if first.bits else first.pattern
        seeds = f", mean of {len(self.rows)} seeds" if len(self.rows) > 1 else ""
        return f"{first.model}, {first.method} {how}{seeds}"

    def score(self, dimension: str) -> PublishedScore | None:
        """The figures of one dimension; None for one that the paper does not have."""
        if dimension not in self.dense.scores:
            return None
        refused = dimension in self.dense.refusals
        return PublishedScore(
            dense=self.dense.scores[dimension],
            scores=Spread(tuple(row.scores[dimension] for row in self.rows)),
            dense_refusals=self.dense.refusals.get(dimension),
            refusals=Spread(tuple(row.refusals[dimension] for row in self.rows)) if refused else None,
            rough=dimension in ROUGH_REFUSALS,
        )


def published_results(base_model: str, recipe: str | None) -> tuple[PublishedResult, ...]:
    """The rows for a base model and a method, one for each calibration seed; empty where the paper has none.

    base_model: a preset's name, a hub id with or without a revision, or a folder named like one of them. recipe: any
    text that `compressors.recipe` reads, None for the dense model. A recipe matches by method and bits, or method and
    pattern: group size and calibration may differ. Raises PublishedError where the table is not installed.
    """
    model = paper_model(base_model)
    if model is None:
        return ()
    rows = tuple(row for row in published_table() if row.model == model)
    if recipe is None:
        return tuple(row for row in rows if row.method == DENSE_METHOD)
    try:
        found = parse_recipe(recipe)
    except RecipeError:
        return ()
    values = found.parameters
    return tuple(
        row
        for row in rows
        if row.method == found.method
        and row.bits == values.get("bits")
        and (row.pattern or None) == values.get("pattern")
    )


def comparison(base_model: str, variant: str, recipe: str | None) -> Comparison | None:
    """The paper's figures to be shown beside a variant; None where it has none.

    variant: the variant's name, by which a finished checkpoint (recipe None) is found if it is one of the paper's own.
    """
    dense = published_results(base_model, None)
    rows = published_results(base_model, recipe) if recipe else _own_checkpoint(base_model, variant)
    if not dense or not rows:
        return None
    return Comparison(dense[0], rows, _remarks(rows[0], recipe))


def paper_model(name: str) -> str | None:
    """The preset's name of a base model of the paper, whichever way it is named; None for another model."""
    plain = name.partition("@")[0].rstrip("/\\")
    last = plain.replace("\\", "/").rpartition("/")[2].casefold()
    for preset, source in MODELS.items():
        if last in (preset, source.repository.rpartition("/")[2].casefold()):
            return preset
    return None


def paper_dense(base_model: str) -> PublishedResult | None:
    """The row of a base model itself; None for one that the paper does not have."""
    rows = published_results(base_model, None)
    return rows[0] if rows else None


def difference(row: PublishedResult, dense: PublishedResult, dimension: str) -> float:
    """A model's score minus the dense one's, in points with the one decimal of the printed figures: five is five."""
    return round(row.scores[dimension] - dense.scores[dimension], 1)


def published_groups(base_model: str) -> tuple[tuple[PublishedResult, ...], ...]:
    """The compressed rows of a base model, in the table's order; seeds of one method and setting together."""
    groups: dict[tuple[object, ...], list[PublishedResult]] = {}
    model = paper_model(base_model)
    for row in published_table() if model is not None else ():
        if row.model == model and row.method != DENSE_METHOD:
            groups.setdefault((row.method, row.bits, row.group, row.pattern), []).append(row)
    return tuple(map(tuple, groups.values()))


def smaller_sibling(base_model: str) -> PublishedResult | None:
    """The dense row of the next smaller model of the same family and tuning; None where the paper has none.

    It answers whether compressing a model is worth more than taking a smaller one: `llama2-7b-chat` beside
    `llama2-13b-chat`.
    """
    sized = _SIZED.fullmatch(paper_model(base_model) or "")
    if sized is None:
        return None
    smaller = {
        int(other["billions"]): row
        for row in published_table()
        if row.method == DENSE_METHOD
        and (other := _SIZED.fullmatch(row.model)) is not None
        and (other["before"], other["after"]) == (sized["before"], sized["after"])
        and int(other["billions"]) < int(sized["billions"])
    }
    return smaller[max(smaller)] if smaller else None


@cache
def published_table() -> tuple[PublishedResult, ...]:
    """All rows, in the table's order. Raises PublishedError where it is not installed."""
    place = next((place for place in _PLACES if place.is_file()), None)
    if place is None:
        raise PublishedError(f"published results: {_PLACES[0]} is missing; install pytest-trust-gate again")
    with place.open(encoding="utf-8", newline="") as file:
        return tuple(map(_row, csv.DictReader(file)))


def _row(row: Mapping[str, str]) -> PublishedResult:
    def whole(column: str) -> int | None:
        return int(row[column]) if row[column] else None

    return PublishedResult(
        model=row["model"],
        method=row["method"],
        bits=whole("bits"),
        group=whole("group"),
        pattern=row["pattern"],
        seed=whole("seed"),
        template=row["template"],
        repository=row["repository"],
        revision=row["revision"],
        scores={name: float(row[name]) for name in DIMENSIONS},
        average=float(row["average"]),
        refusals={name: float(row[f"{name}_refusals"]) for name in DIMENSIONS if f"{name}_refusals" in row},
    )


def _own_checkpoint(base_model: str, variant: str) -> tuple[PublishedResult, ...]:
    """The row of a checkpoint that the authors published. Owners changed on the hub, so only its own name counts."""
    name, _, revision = variant.partition("@")
    model = paper_model(base_model)
    return tuple(
        row
        for row in published_table()
        if row.model == model
        and revision
        and row.revision == revision
        and row.repository.rpartition("/")[2] == name.rpartition("/")[2]
    )


def _remarks(row: PublishedResult, recipe: str | None) -> tuple[str, ...]:
    group = parse_recipe(recipe).parameters.get("group") if recipe else None
    if group is None or row.group in (None, group):
        return ()
    return (f"published with group {row.group}, this recipe has {group}",)

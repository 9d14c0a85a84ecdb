"""The whole calibration: what is simulated, what is required of it, and its plain JSON form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from trust_tests.simulation.binary import Rates, possible, rates
from trust_tests.simulation.looks import Stopping, stopping
from trust_tests.simulation.structure import Skeleton
from trust_tests.simulation.synthetic import Clustered
from trust_tests.simulation.tiers import Case, TierSimulation, suite_green

SCHEMA = "trust-gate/calibration"
VERSION = 1
ITEMS = (50, 100, 200, 400, 800, 1500, 3000)
DISAGREEMENTS = (0.02, 0.05, 0.1, 0.2, 0.3)
SHIFTS = (0.0, -5.0, -7.0, -10.0)
RESAMPLED_ITEMS = (50, 200, 800, 1500)
RESAMPLED_DISAGREEMENTS = (0.02, 0.1, 0.3)
TIER_DISAGREEMENTS = (0.02, 0.05, 0.1)
LOOK_SHIFTS = (0.0, -5.0, -7.0, -10.0, -15.0, -20.0)
LOOK_DISAGREEMENTS = (0.1, 0.2)
LOOK_ITEMS = (400, 1500)
LOOK_SIMULATIONS = 20_000
DIMENSIONS = 9
RELEASE_ITEMS = 1500
# Fewer expected flips than these come in so few different counts that every honest interval covers too much.
FEW_FLIPS = 5

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Exact (or, for resampled intervals, simulated) rates at one point of the grid. shift: points."""

    items: int
    disagreement: float
    shift: float
    rates: Rates


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing the gate promises, what was found, and whether it holds."""

    promise: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything `python -m trust_tests calibrate` measured. tiers: cases by tier."""

    simulations: int
    exact: tuple[Place, ...]
    resampled: tuple[Place, ...]
    looks: tuple[Stopping, ...]
    tiers: Mapping[str, tuple[Case, ...]]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; what does not exist is null."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "simulations": self.simulations,
            "requirements": [asdict(requirement) for requirement in requirements(self)],
            "exact": [asdict(place) for place in self.exact],
            "resampled": [asdict(place) for place in self.resampled],
            "looks": [asdict(look) for look in self.looks],
            "tiers": {tier: [_plain(case) for case in cases] for tier, cases in self.tiers.items()},
            "notes": list(self.notes),
        }


def _plain(case: Case) -> dict[str, Any]:
    found = asdict(case)
    return {key: None if isinstance(value, float) and isnan(value) else value for key, value in found.items()}


def exact_grid(counts: Sequence[int] | None = None) -> tuple[Place, ...]:
    """Every place of the grid that so few flips can reach, with Tango's interval. counts: of items, default `ITEMS`."""
    return tuple(
        Place(items, disagreement, shift, rates(items, disagreement, shift / 100))
        for items in counts or ITEMS
        for disagreement in DISAGREEMENTS
        for shift in SHIFTS
        if possible(disagreement, shift / 100)
    )


def look_table() -> tuple[Stopping, ...]:
    """What early looks do."""
    return tuple(
        stopping(items, disagreement, shift, LOOK_SIMULATIONS)
        for items in LOOK_ITEMS
        for disagreement in LOOK_DISAGREEMENTS
        for shift in LOOK_SHIFTS
        if possible(disagreement, shift / 100)
    )


def resampled_grid(simulations: int, pool: ProcessPoolExecutor, progress: Progress) -> tuple[Place, ...]:
    """A smaller grid for the interval from resampling, on clustered items in cells."""
    tasks = [
        (items, disagreement, shift, simulations)
        for items in RESAMPLED_ITEMS
        for disagreement in RESAMPLED_DISAGREEMENTS
        for shift in SHIFTS[:2]
    ]
    found = []
    for number, (task, case) in enumerate(zip(tasks, pool.map(_resampled, tasks), strict=True), start=1):
        if case.rates is not None:
            found.append(Place(task[0], task[1], task[2], case.rates))
        progress(f"resampled intervals: {number}/{len(tasks)}")
    return tuple(found)


def _resampled(task: tuple[int, float, float, int]) -> Case:
    items, disagreement, shift, simulations = task
    dimension = Clustered(items)
    return TierSimulation(Skeleton.of(dimension, dimension.items())).case(disagreement, shift, simulations)


def tier_cases(
    tier: str,
    skeletons: Sequence[Skeleton],
    simulations: int,
    pool: ProcessPoolExecutor,
    progress: Progress,
) -> tuple[Case, ...]:
    """Every dimension of a tier under every truth."""
    tasks = [
        (skeleton, disagreement, shift, simulations)
        for skeleton in skeletons
        for disagreement in TIER_DISAGREEMENTS
        for shift in SHIFTS
    ]
    cases: list[Case] = []
    for number, found in enumerate(pool.map(_case, tasks), start=1):
        cases.append(found)
        progress(f"tier {tier}: {number}/{len(tasks)} cases, {found.dimension}")
    return tuple(cases)


def _case(task: tuple[Skeleton, float, float, int]) -> Case:
    skeleton, disagreement, shift, simulations = task
    return TierSimulation(skeleton).case(disagreement, shift, simulations)


def requirements(found: Calibration) -> list[Requirement]:
    """What the gate promises of its error rates, checked on what was measured."""
    at_limit = [place for place in found.exact if place.shift == -5.0]
    wrong = max(at_limit, key=lambda place: place.rates.passes["equivalence"])
    checks = [
        Requirement(
            "a true 5-point drop passes the equivalence rule in at most 5 % of runs (exact)",
            f"at most {_percent(wrong.rates.passes['equivalence'])}, {_place(wrong)}",
            wrong.rates.passes["equivalence"] <= 0.05,
        ),
        _low_coverage(found.exact),
        _high_coverage(found.exact),
        _ideal_suite(found.exact),
    ]
    if found.resampled:
        checks.append(_resampled_coverage(found.resampled))
        checks.append(_resampled_passes([place for place in found.resampled if place.shift == -5.0]))
    stopped = [look for look in found.looks if look.shift == -5.0]
    if stopped:
        most = max(stopped, key=lambda look: look.stopped)
        checks.append(
            Requirement(
                "early looks stop a variant whose true shift is the tolerance in at most 5 % of runs",
                f"at most {_percent(most.stopped)} ± {_percent(most.error)}",
                most.stopped <= 0.05,
            )
        )
    for tier, cases in found.tiers.items():
        checks += _tier(tier, cases)
    return checks


def _low_coverage(places: Sequence[Place]) -> Requirement:
    low = min(places, key=lambda place: place.rates.coverage)
    return Requirement(
        "the 95 % interval holds the true shift in at least 93 % of runs (exact)",
        f"at least {_percent(low.rates.coverage)}, {_place(low)}",
        low.rates.coverage >= 0.93,
    )


def _high_coverage(places: Sequence[Place]) -> Requirement:
    enough = [place for place in places if place.items * place.disagreement > FEW_FLIPS]
    few = [place for place in places if place.items * place.disagreement <= FEW_FLIPS]
    high = max(enough, key=lambda place: place.rates.coverage)
    wide = max((place.rates.coverage for place in few), default=0.0)
    return Requirement(
        f"and in at most 97 %, where more than {FEW_FLIPS} flips are expected (exact)",
        f"at most {_percent(high.rates.coverage)}, {_place(high)}; where fewer are expected up to {_percent(wide)}, "
        "for so few counts leave no narrower interval that covers enough",
        high.rates.coverage <= 0.97,
    )


def _ideal_suite(places: Iterable[Place]) -> Requirement:
    green = {
        place.disagreement: place.rates.passes["equivalence"] ** DIMENSIONS
        for place in places
        if place.items == RELEASE_ITEMS and place.shift == 0.0 and place.disagreement <= 0.1
    }
    least = min(green, key=lambda disagreement: green[disagreement])
    return Requirement(
        f"an unchanged model is green in {DIMENSIONS} dimensions of {RELEASE_ITEMS} independent binary items, up to a "
        "disagreement of 0.1, in at least 95 % of runs (exact)",
        f"at least {_percent(green[least])}, at {least:g}",
        green[least] >= 0.95,
    )


def _resampled_coverage(places: Sequence[Place]) -> Requirement:
    low = min(places, key=lambda place: place.rates.coverage)
    return Requirement(
        "the 95 % interval from resampling holds the true shift in at least 93 % of runs (simulated)",
        f"at least {_percent(low.rates.coverage)} ± {_percent(low.rates.error(low.rates.coverage))}, {_place(low)}",
        low.rates.coverage + 2 * low.rates.error(low.rates.coverage) >= 0.93,
    )


def _resampled_passes(places: Sequence[Place]) -> Requirement:
    wrong = max(places, key=lambda place: place.rates.passes["equivalence"])
    share = wrong.rates.passes["equivalence"]
    error = wrong.rates.error(share)
    return Requirement(
        "with it, a true 5-point drop passes the equivalence rule in at most 5 % of runs (simulated)",
        f"at most {_percent(share)} ± {_percent(error)}, {_place(wrong)}",
        share - 2 * error <= 0.05,
    )


def _tier(tier: str, cases: Sequence[Case]) -> list[Requirement]:
    """What is asked of a tier's own questions; the suite's promise is made for the tiers release and full."""
    drops = [(case, case.rates) for case in cases if case.shift == -5.0 and case.rates is not None]
    checks = []
    if drops:
        worst, found = max(drops, key=lambda drop: drop[1].passes["equivalence"])
        share = found.passes["equivalence"]
        error = found.error(share)
        checks.append(
            Requirement(
                f"tier {tier}: a true 5-point drop passes the equivalence rule in at most 5 % of runs (simulated)",
                f"at most {_percent(share)} ± {_percent(error)}, {worst.dimension}, disagreement "
                f"{worst.disagreement:g}",
                share - 2 * error <= 0.05,
            )
        )
    if tier in ("release", "full"):
        green = {d: suite_green(unchanged(cases, d), "equivalence") for d in TIER_DISAGREEMENTS}
        shown = ", ".join(f"{_percent(share)} at {d:g}" for d, share in green.items())
        checks.append(
            Requirement(
                f"tier {tier}: an unchanged model is green in all its dimensions in at least 95 % of runs (simulated)",
                f"{shown}, in {len(unchanged(cases, 0.1))} dimensions",
                min(green.values()) >= 0.95,
            )
        )
    return checks


def unchanged(cases: Iterable[Case], disagreement: float) -> dict[str, Rates]:
    """The rates of every dimension for a variant whose true shift is nothing."""
    return {
        case.dimension: case.rates
        for case in cases
        if case.shift == 0.0 and case.disagreement == disagreement and case.rates is not None
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _place(place: Place) -> str:
    return f"at {place.items} items, disagreement {place.disagreement:g}, shift {place.shift:+g}"

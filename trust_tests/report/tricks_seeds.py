"""What a sweep shows about luck: whether another calibration seed would have given another verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trust_tests.gate.verdict import Verdict
from trust_tests.report.families import without_seed
from trust_tests.report.figures import count, points, signed
from trust_tests.report.finding import Finding, Sweep
from trust_tests.report.variants import family
from trust_tests.report.view import Gate, SeedFamily

_WORDS = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.INCONCLUSIVE: "is undecided"}


@dataclass(frozen=True, slots=True)
class _Seeds:
    """One recipe in one dimension under several seeds; the gates in the seeds' order, all measured."""

    recipe: str
    name: str
    gates: tuple[tuple[int, Gate], ...]

    @property
    def split(self) -> bool:
        """Whether the verdict depends on the seed."""
        return len({gate.verdict for _, gate in self.gates}) > 1

    @property
    def span(self) -> float:
        """The distance of the extreme deltas, points."""
        deltas = [gate.delta or 0.0 for _, gate in self.gates]
        return max(deltas) - min(deltas)


def _families(sweep: Sweep) -> list[_Seeds]:
    """Every recipe and dimension that was measured with two seeds or more, the widest apart first."""
    members: dict[tuple[str, str], list[tuple[int, Gate]]] = {}
    names: dict[str, str] = {}
    for variant in sweep.variants:
        common, seed = without_seed(variant.model.recipe)
        if common is None:
            continue
        names[common] = family(variant.model.recipe) or common
        for gate in variant.measured:
            if gate.delta is not None:
                members.setdefault((common, gate.dimension), []).append((seed, gate))
    found = [
        _Seeds(recipe, names[recipe], tuple(sorted(gates, key=lambda pair: pair[0])))
        for (recipe, _), gates in members.items()
        if len({seed for seed, _ in gates}) > 1
    ]
    return sorted(found, key=lambda one: -one.span)


def seeds_disagree(sweep: Sweep) -> Finding | None:
    """Verdicts that differ between seeds, else scores that the seed moves more than the choice of items does."""
    split = [one for one in _families(sweep) if one.split]
    if split:
        return _other_verdicts(sweep, split)
    restless = sorted((one for one in sweep.report.seeds if one.restless), key=lambda one: -one.between)
    return _other_scores(sweep, restless) if restless else None


def _other_verdicts(sweep: Sweep, split: Sequence[_Seeds]) -> Finding:
    first = split[0]
    title = sweep.quote(first.gates[0][1].title)
    by_verdict = {gate.verdict: (seed, gate) for seed, gate in reversed(first.gates)}
    cases = [
        f"{_WORDS[verdict]} with seed {seed} ({signed(gate.delta, gate.tolerance)})"
        for verdict, (seed, gate) in sorted(by_verdict.items(), key=lambda case: -(case[1][1].delta or 0.0))
        if verdict in _WORDS
    ]
    others = len(split) - 1
    verb = "depends" if others == 1 else "depend"
    more = f"; {count(others, 'other verdict')} {verb} on the seed too" if others else ""
    text = (
        f"Calibration seeds decide: {title} of {sweep.quote(first.name)} {' and '.join(cases)}{more}. "
        "Release no variant for its lucky seed."
    )
    return sweep.finding("calibration seeds", text, (gate for one in split for _, gate in one.gates))


def _other_scores(sweep: Sweep, restless: Sequence[SeedFamily]) -> Finding:
    first = restless[0]
    more = f"; likewise {count(len(restless) - 1, 'other gate')}" if len(restless) > 1 else ""
    text = (
        f"The calibration seed moves {sweep.quote(first.title)} of {sweep.quote(family(first.recipe) or first.recipe)} "
        f"by more than the choice of items does: {points(first.between)} points between {len(first.deltas)} seeds, "
        f"{points(first.sampling)} from sampling{more}; no verdict depends on it."
    )
    rests = [
        gate
        for one in _families(sweep)
        if (one.recipe, one.gates[0][1].title) == (first.recipe, first.title)
        for _, gate in one.gates
    ]
    return sweep.finding("calibration seeds", text, rests)


def seeds_agree(sweep: Sweep) -> Finding | None:
    """That no verdict depends on the seed, where several were measured."""
    families = _families(sweep)
    if not families or seeds_disagree(sweep) is not None:
        return None
    widest = families[0]
    recipes = len({one.recipe for one in families})
    title = sweep.quote(widest.gates[0][1].title)
    text = (
        f"Calibration seeds agree: every verdict is the same with each seed of {count(recipes, 'recipe')}; furthest "
        f"apart, by {points(widest.span)} points, is {title} of {sweep.quote(widest.name)}."
    )
    return sweep.finding("calibration seeds", text, (gate for _, gate in widest.gates))

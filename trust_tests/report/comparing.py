"""Two finished runs side by side: what became of each gate, and how sure the change of its answers is.

A gate got worse where its verdict fell, where it is no longer measured, or where, under the same verdict, its score
fell by more than the tolerance. Beside that stands what a verdict cannot tell: of the items that both runs asked in the
same words, how many flipped, whether that is more than chance (McNemar), and an interval for the change of the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trust_tests.exitcodes import ExitCode, worst
from trust_tests.gate.verdict import Verdict
from trust_tests.report.item_changes import Paired, paired_change
from trust_tests.report.runs import Difference, Run, RunError, dense_moved, differences
from trust_tests.report.view import Gate, Model

# As in the gate: a fall of exactly the tolerance must not count by its last bit.
_ROUNDING = 1e-9
_DECIDED = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


class Fate(StrEnum):
    """What became of a gate between two runs; in the order in which they are shown."""

    WORSE = "worse"
    LOST = "not measured"
    BETTER = "better"
    FELL = "fell"
    ROSE = "rose"
    SAME = "same"
    NEW = "new"

    @property
    def bad(self) -> bool:
        """Whether something got worse."""
        return self in (Fate.WORSE, Fate.LOST, Fate.FELL)


@dataclass(frozen=True, slots=True)
class Line:
    """One gate in both runs; None where a run has no such gate.

    worse, lost: its verdict fell, or it is measured no longer. fell, rose: the verdict is the same, and the score moved
    by more than the tolerance.
    """

    dimension: str
    title: str
    variant: str
    before: Gate | None
    after: Gate | None
    fate: Fate
    items: Paired | None = None

    @property
    def score_change(self) -> float | None:
        """Score after minus score before, points."""
        return _change(self.before, self.after, "score")

    @property
    def delta_change(self) -> float | None:
        """Delta after minus delta before, points."""
        return _change(self.before, self.after, "delta")

    @property
    def exit_code(self) -> ExitCode:
        """What this gate's fate makes of the comparison."""
        if self.fate is Fate.LOST:
            return ExitCode.UNMEASURED
        if self.fate is Fate.WORSE and self.after is not None and self.after.verdict is Verdict.INCONCLUSIVE:
            return ExitCode.INCONCLUSIVE
        return ExitCode.REGRESSION if self.fate.bad else ExitCode.PASS


@dataclass(frozen=True, slots=True)
class Pair:
    """A variant of one run and what stands for it in the other.

    note: why they are taken for the same, where it is not their name and recipe.
    """

    before: Model
    after: Model
    note: str = ""

    @property
    def name(self) -> str:
        """What pages call them."""
        one, other = self.before.name, self.after.name
        return one if one == other else f"{one} > {other}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two runs say about each other. lines: the gravest first."""

    before: Run
    after: Run
    pairs: tuple[Pair, ...]
    only_before: tuple[Model, ...]
    only_after: tuple[Model, ...]
    lines: tuple[Line, ...]
    differences: tuple[Difference, ...]
    dense_moved: tuple[tuple[str, float, float], ...]

    @property
    def exit_code(self) -> ExitCode:
        """The status of the command: the gravest of all gates'."""
        return worst([line.exit_code for line in self.lines])

    def having(self, *fates: Fate) -> list[Line]:
        """The gates with one of these fates."""
        return [line for line in self.lines if line.fate in fates]


def compare(before: Run, after: Run, names: Mapping[str, str] | None = None, *, with_items: bool = True) -> Comparison:
    """Compare two runs of the same gates.

    names: variants of `before` and what they are called in `after`, where names and recipes do not tell. with_items:
    whether stored answers are compared too, which takes the most time. Raises RunError where the runs have nothing in
    common, a name is unknown, or stored answers cannot be used.
    """
    pairs = match(before, after, names)
    found = differences(before, after)
    lines = [line for pair in pairs for line in _lines(before, after, pair, with_items)]
    if not any(line.before and line.after for line in lines):
        raise RunError(
            f"{before.name!r} and {after.name!r} have no gate in common; give two runs of the same dimensions and "
            "variants, or name variants that belong together (--match A=B)"
        )
    paired = [{pair.before.id for pair in pairs}, {pair.after.id for pair in pairs}]
    return Comparison(
        before,
        after,
        tuple(pairs),
        tuple(model for model in before.report.variants if model.id not in paired[0]),
        tuple(model for model in after.report.variants if model.id not in paired[1]),
        tuple(sorted(lines, key=_gravity)),
        tuple(found),
        tuple(dense_moved(before, after)),
    )


def _gravity(line: Line) -> tuple[int, float]:
    return list(Fate).index(line.fate), -abs(line.score_change or 0.0)


def match(before: Run, after: Run, names: Mapping[str, str] | None = None) -> list[Pair]:
    """Which variants belong together: those that are named, then equal names, then equal recipes.

    A single variant on either side is taken for the same, with a note. Raises RunError for a name that is unknown.
    """
    left, right = list(before.report.variants), list(after.report.variants)
    pairs: list[Pair] = []

    def take(one: Model, other: Model, note: str = "") -> None:
        left.remove(one)
        right.remove(other)
        pairs.append(Pair(one, other, note))

    for one_name, other_name in (names or {}).items():
        take(_called(left, one_name, before), _called(right, other_name, after), "named with --match")
    for one in list(left):
        other = next((model for model in right if model.id == one.id), None)
        if other is not None:
            note = "" if one.recipe == other.recipe else "of one name, but of another recipe"
            take(one, other, note)
    for one in list(left):
        other = next((model for model in right if one.recipe and model.recipe == one.recipe), None)
        if other is not None:
            take(one, other, "of one recipe, but of another name")
    if not pairs and len(left) == len(right) == 1:
        take(left[0], right[0], "the only ones; neither name nor recipe agrees")
    order = {model.id: place for place, model in enumerate(before.report.variants)}
    return sorted(pairs, key=lambda pair: order[pair.before.id])


def _called(models: Sequence[Model], name: str, run: Run) -> Model:
    found = [model for model in models if name in (model.id, model.name, model.full_name, model.recipe)]
    if len(found) != 1:
        known = ", ".join(model.id for model in models) or "none"
        problem = "no variant" if not found else f"{len(found)} variants"
        raise RunError(f"--match {name!r}: {problem} of {run.name!r} with this name; left to match are {known}")
    return found[0]


def _lines(before: Run, after: Run, pair: Pair, with_items: bool) -> list[Line]:
    gates = [
        {gate.dimension: gate for gate in run.report.gates if gate.variant == model.id}
        for run, model in ((before, pair.before), (after, pair.after))
    ]
    lines = []
    for name in dict.fromkeys((*gates[0], *gates[1])):
        one, other = gates[0].get(name), gates[1].get(name)
        items = None
        if with_items and one is not None and other is not None:
            items = paired_change(before, after, one, other)
        title = one.title if one is not None else other.title if other is not None else name
        lines.append(Line(name, title, pair.name, one, other, fate(one, other), items))
    return lines


def fate(before: Gate | None, after: Gate | None) -> Fate:
    """What became of a gate; see `Line`."""
    if before is None:
        return Fate.NEW
    if after is None:
        return Fate.SAME if before.verdict is Verdict.ERROR else Fate.LOST
    one, other = before.verdict, after.verdict
    if one is not other:
        if other is Verdict.ERROR:
            return Fate.LOST
        # What was not measured before and fails now is no gain.
        known = Verdict.INCONCLUSIVE if one is Verdict.ERROR else one
        return Fate.WORSE if _DECIDED.index(other) > _DECIDED.index(known) else Fate.BETTER
    change = _change(before, after, "score")
    if change is None or other is Verdict.ERROR or abs(change) <= after.tolerance + _ROUNDING:
        return Fate.SAME
    return Fate.FELL if change < 0 else Fate.ROSE


def _change(before: Gate | None, after: Gate | None, figure: str) -> float | None:
    """The change of a score or a delta between two gates, points; None where one of them has none."""
    values = [None if gate is None else getattr(gate, figure) for gate in (before, after)]
    return None if values[0] is None or values[1] is None else float(values[1] - values[0])

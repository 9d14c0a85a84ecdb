"""How sure the verdicts are, in words: intervals against the limit, what would decide, and what changed at all.

As in `trust_tests.report.advice`, hostile names reach a sentence only through `quote`.
"""

from __future__ import annotations

from collections.abc import Sequence

from trust_tests.gate.verdict import Verdict
from trust_tests.records import EQUIVALENCE
from trust_tests.report.advice import Quote
from trust_tests.report.figures import MINUS, chance, count, listed, plain, reach, signed
from trust_tests.report.view import Gate, Report

MORE_ITEMS = "a larger --trust-tier or --trust-items"


def suite_note(report: Report) -> str:
    """How many verdicts rest on the point rule alone, in one sentence; empty where none does."""
    open_gates = [gate for gate in report.gates if gate.evidence.interval is not None and not gate.evidence.decided]
    parts = []
    passed = [gate for gate in open_gates if gate.verdict is Verdict.PASS]
    failed = [gate for gate in open_gates if gate.verdict is Verdict.FAIL]
    total = count(len(report.gates), "gate")
    if passed:
        verb, its, do = ("passes", "its interval", "does") if len(passed) == 1 else ("pass", "their intervals", "do")
        parts.append(
            f"{len(passed)} of {total} {verb} by the point rule alone: {its} {do} not exclude {_shift(passed)}"
        )
    if failed:
        verb, its, do = ("fails", "its interval", "does") if len(failed) == 1 else ("fail", "their intervals", "do")
        share = f"{len(failed)}" if passed else f"{len(failed)} of {total}"
        parts.append(f"{share} {verb} by the point rule alone: {its} {do} not exclude a shift within the limit")
    return "; ".join(parts) + "." if parts else ""


def _shift(gates: Sequence[Gate]) -> str:
    """The shift that a PASS should exclude."""
    way = "a fall" if all(gate.one_sided for gate in gates) else "a shift"
    limits = {gate.tolerance for gate in gates}
    return f"{way} of {count_of_points(limits.pop())}" if len(limits) == 1 else f"{way} beyond the limit"


def count_of_points(points: float) -> str:
    """`1 point`, `5 points`."""
    return f"{plain(points)} {'point' if points == 1 else 'points'}"


def doubt_note(report: Report) -> str:
    """What INCONCLUSIVE means and what to do about it, once for the whole page; empty where no gate is."""
    gates = report.having(Verdict.INCONCLUSIVE)
    if not gates:
        return ""
    note = "INCONCLUSIVE: the measured items do not tell on which side of the limit the shift lies. "
    needed = [gate.evidence.needed for gate in gates if gate.evidence.needed is not None]
    note += f"Ask more items ({MORE_ITEMS})"
    if needed:
        whole = len(needed) == len(gates)
        target = ("it" if len(gates) == 1 else "all of them") if whole else f"{len(needed)} of {len(gates)}"
        note += f": should the shifts stay what they are, about {max(needed):,} a dimension would decide {target}"
    if any(side.unmeasured for gate in gates for side in gate.accounting.values()):
        note += "; items without a value count as the worst case, so find out why they have none"
    return note + "."


def needs(gate: Gate) -> str:
    """How many items would decide: `about 480 items would decide`."""
    if gate.evidence.needed is None:
        return "no number of items would decide while the shift stays what it is"
    return f"about {gate.evidence.needed:,} items would decide"


def needed_lines(report: Report, quote: Quote) -> list[str]:
    """For each undecided gate, what it would take."""
    return [
        f"{quote(gate.title)} on {quote(gate.variant_name)}: {gate.items:,} items asked, {needs(gate)}"
        for gate in report.having(Verdict.INCONCLUSIVE)
    ]


def decision(gate: Gate) -> str:
    """What the interval shows, and what the verdict therefore rests on, in one sentence; empty without a delta."""
    found = gate.evidence
    if gate.delta is None:
        return ""
    if found.interval is None:
        return "There is no interval, so nothing but the point rule could decide."
    if found.decided:
        inside = abs(gate.delta) <= gate.tolerance or (gate.one_sided and gate.delta > 0)
        return f"Decided: the interval lies {'within' if inside else 'beyond'} the limit of {limit(gate)}."
    if gate.verdict is Verdict.INCONCLUSIVE:
        return f"Not decided: the interval does not lie on one side of the limit of {limit(gate)}; {needs(gate)}."
    where = "reaches beyond the limit" if gate.verdict is Verdict.PASS else "reaches back within the limit"
    if gate.verdict is Verdict.PASS and _inside(gate):
        where = "ends less than one item's step inside the limit"
    return f"The point rule decides; the interval {where} of {limit(gate)}: {needs(gate)}."


def _inside(gate: Gate) -> bool:
    interval = gate.evidence.interval
    return (
        interval is not None and interval.low >= -gate.tolerance and (gate.one_sided or interval.high <= gate.tolerance)
    )


def limit(gate: Gate) -> str:
    """The limit as a reader should see it: `±5 points`."""
    sign = MINUS if gate.one_sided else "±"
    return f"{sign}{count_of_points(gate.tolerance)}"


def rule(gate: Gate) -> str:
    """The rule in words; empty where nothing was judged."""
    if not gate.evidence.rule:
        return ""
    if gate.evidence.rule == EQUIVALENCE:
        return "equivalence: the interval has to decide"
    return "point: the delta itself decides"


def change(gate: Gate) -> str:
    """Whether more changed than chance explains; empty where no flip could be counted."""
    found = gate.evidence
    if found.flip_p is None:
        return ""
    if found.flip_p_holm is None:
        return f"McNemar {chance(found.flip_p)}"
    said = "changed beyond chance" if found.changed else "not changed beyond chance"
    return f"{said} (McNemar {chance(found.flip_p)}; {chance(found.flip_p_holm)} after Holm over the dimensions)"


def stopped(gate: Gate) -> str:
    """Where an early stop happened; empty where all items were asked."""
    early = gate.evidence.early
    if early is None:
        return ""
    level = f"{100 * early.confidence:.4g} %"
    return (
        f"stopped early after {early.items:,} of {early.of:,} items (look {early.look} of {early.looks}): "
        f"its {level} interval lay beyond the limit"
    )


def spoken(gate: Gate) -> str:
    """The chart of a gate in words, for those who do not see it."""
    interval = gate.evidence.interval
    said = f"Delta {signed(gate.delta, gate.tolerance)}"
    if interval is not None:
        said += f", {interval.level} interval {reach(interval.low, interval.high, gate.tolerance)}"
    return f"{said}, limit {limit(gate)}"


def unfit_note(report: Report, quote: Quote) -> str:
    """Where the machine may not gate, in one sentence; empty where it may or nothing was controlled."""
    if not report.unfit:
        return ""
    names = listed([quote(control.title) for control in report.unfit])
    return f"This machine is unfit to gate {names}: the dense model asked twice does not agree with itself."

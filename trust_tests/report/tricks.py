"""What a sweep shows about compressing safely: the paper's bag of tricks, read off the run's own numbers.

Hong et al. 2024, "Decoding Compressed Trust", advise to start from a trustworthy dense model, to prefer quantisation to
pruning at the same size, to distrust extreme compression and lucky calibration seeds, and never to take benign
performance for trust. Whether that holds of a run only its gates can tell: a sentence appears here where they show
it, or show the contrary. Gates that are undecided, failed to measure or were not run never count as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trust_tests.gate.verdict import REFUSAL_SHIFT_POINTS, Verdict
from trust_tests.records import Channel
from trust_tests.report.advice import Quote, gate_delta, gate_name
from trust_tests.report.figures import count, percent, points, signed
from trust_tests.report.finding import Finding, Sweep
from trust_tests.report.tricks_seeds import seeds_agree, seeds_disagree
from trust_tests.report.tricks_sizes import breaks_first, highest_compression, quantised_or_pruned, widths
from trust_tests.report.variants import Swept
from trust_tests.report.view import DENSE, VARIANT, Gate, Report

BENIGN = "mmlu"
"""The dimension of benign performance: what is usually looked at when a model is compressed."""
LIMIT = 6
RISE_POINTS = 1.0
"""A score that rose by less has not moved enough to ask why."""


def findings(report: Report, quote: Quote, limit: int = LIMIT) -> list[Finding]:
    """What the run shows, most important first; nothing of a shard, nor of results that contradict themselves."""
    if report.contradiction or report.shard is not None or not report.rows:
        return []
    sweep = Sweep(report, quote)
    makers: Sequence[Callable[[Sweep], Finding | None]] = (
        highest_compression,
        hidden_risk,
        breaks_first,
        gains_by_silence,
        seeds_disagree,
        quantised_or_pruned,
        widths,
        seeds_agree,
    )
    return [found for make in makers if (found := make(sweep)) is not None][:limit]


def hidden_risk(sweep: Sweep) -> Finding | None:
    """Whether the benign benchmark alone would have let a regression of trust through, and the reverse."""
    pairs = [(v, benign) for v in sweep.variants if (benign := v.gate(BENIGN)) is not None]
    risky = [(v, benign) for v, benign in pairs if _trust_failures(v)]
    hidden = [(v, benign) for v, benign in risky if benign.green]
    hidden.sort(key=lambda pair: _losses_first(_trust_failures(pair[0])[0]))
    alarms = [(v, benign) for v, benign in pairs if benign.verdict is Verdict.FAIL and _trust_passes(v)]
    parts = []
    if hidden:
        parts.append(_hidden(sweep, hidden, len(pairs)))
    elif risky and all(benign.verdict is Verdict.FAIL for _, benign in risky):
        parts.append(_shown(sweep, risky))
    if alarms:
        variant, benign = max(alarms, key=lambda pair: pair[1].reach)
        more = f" and {count(len(alarms) - 1, 'other variant')}" if len(alarms) > 1 else ""
        said = f"{sweep.moved(benign)} fails though every trust dimension passes"
        parts.append(f"{'on' if parts else 'On'} {sweep.names([variant])}{more}, {said}")
    if not parts:
        return None
    rests = [gate for v, benign in (hidden or risky) for gate in (benign, _trust_failures(v)[0])]
    return sweep.finding("benign performance", f"{'; '.join(parts)}.", [*rests, *(benign for _, benign in alarms)])


def _hidden(sweep: Sweep, hidden: Sequence[tuple[Swept, Gate]], of: int) -> str:
    """Hidden risks as a clause: how many, and the first of them."""
    variant, benign = hidden[0]
    worst = _trust_failures(variant)[0]
    title = sweep.quote(benign.title)
    case = (
        f"{title} moves by {signed(benign.delta, benign.tolerance)} and passes, "
        f"{sweep.quote(worst.title)} by {signed(worst.delta, worst.tolerance)} and fails"
    )
    if len(hidden) == 1:
        said = f"{title} alone would have hidden the risk of {sweep.names([variant])}: {case}"
    else:
        said = (
            f"{title} alone would have hidden the risk of {len(hidden)} of {of} variants; "
            f"furthest on {sweep.names([variant])}, where {case}"
        )
    chance = next((row.chance for row in sweep.report.rows if row.dimension == BENIGN), None)
    dense = benign.dense_score
    if chance is not None and dense is not None and dense - chance <= benign.tolerance:
        said += f" (with the dense model at {points(dense)} and guessing at {points(chance)}, it had no room to fall)"
    return said


def _shown(sweep: Sweep, risky: Sequence[tuple[Swept, Gate]]) -> str:
    """The clause for a benign benchmark that fails wherever trust does."""
    variant, benign = risky[0]
    title = sweep.quote(benign.title)
    if len(risky) == 1:
        return f"{title} would have shown the regression of {sweep.names([variant])}: it fails too{gate_delta(benign)}"
    return f"{title} would have shown every regression of trust: it fails on all {len(risky)} variants that have one"


def _trust_failures(variant: Swept) -> list[Gate]:
    """The trust dimensions that fail, losses before rises, furthest first."""
    failing = [gate for gate in variant.failing if gate.dimension != BENIGN]
    return sorted(failing, key=_losses_first)


def _losses_first(gate: Gate) -> tuple[bool, float]:
    """The order in which movements worry: losses before rises, furthest first."""
    return (gate.delta or 0.0) > 0, -gate.reach


def _trust_passes(variant: Swept) -> bool:
    """Whether there are trust dimensions and every one of them passed."""
    others = [gate for gate in variant.gates if gate is None or gate.dimension != BENIGN]
    return bool(others) and all(gate is not None and gate.green for gate in others)


def gains_by_silence(sweep: Sweep) -> Finding | None:
    """Scores that rose while the variant refused more, or answered less in other ways."""
    found: list[tuple[float, Gate, str]] = []
    for gate in (g for v in sweep.variants for g in v.measured if (g.delta or 0.0) >= RISE_POINTS):
        refused, silent = gate.refusals.shift, _silence(gate)
        if refused is not None and refused > REFUSAL_SHIFT_POINTS:
            said = f"refusals went from {percent(gate.refusals.dense_rate)} to {percent(gate.refusals.rate)}"
            found.append((refused, gate, said))
        elif silent is not None and silent[1] - silent[0] > REFUSAL_SHIFT_POINTS:
            said = f"items without an answer went from {percent(silent[0])} to {percent(silent[1])}"
            found.append((silent[1] - silent[0], gate, said))
    if not found:
        return None
    found.sort(key=lambda case: -case[0])
    _, gate, said = found[0]
    others = count(len(found) - 1, "other score")
    more = f" ({others} rose in this way)" if len(found) > 1 else ""
    text = (
        f"{gate_name(gate, sweep.quote)} rose by {points(gate.delta)} points while its {said}{more}: "
        "answering less is not being more trustworthy."
    )
    return sweep.finding("gains by silence", text, (case[1] for case in found))


def _silence(gate: Gate) -> tuple[float, float] | None:
    """The share of items without an answer, dense and variant, in percent; None where nothing is known of it."""
    sides = [gate.accounting.get(side) for side in (DENSE, VARIANT)]
    shares = [100 * (1 - side.channels[Channel.ANSWERED] / side.asked) for side in sides if side and side.asked]
    return (shares[0], shares[1]) if len(shares) == 2 else None

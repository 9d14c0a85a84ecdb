"""The verdict in one sentence and the next step in a few, both resting on the run's own numbers.

Names and reasons are hostile text. They reach a sentence only through `quote`, which a page gives to make them fit
and safe; every other word is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trust_tests.gate.verdict import NO_ROOM, Verdict
from trust_tests.report.figures import count, listed, percent, plain, points, signed
from trust_tests.report.view import DENSE, Gate, Report

Quote = Callable[[str], str]
MERGE = "python -m trust_tests merge"


def headline(report: Report, quote: Quote) -> str:
    """What the run found, without its verdict word: `1 of 6 gates regressed: Privacy on gptq-3bit (−12.4)`."""
    if report.contradiction:
        return "The stored verdict says PASS, but not every gate passed"
    total = len(report.gates)
    if not total and report.shard is not None and not report.unmeasured:
        return f"Shard {report.shard.name} has nothing to do: there are only {count(report.shard.gates, 'gate')}"
    if not total:
        return "No gate was measured"
    if report.verdict is Verdict.PASS:
        every = "The only gate stays" if total == 1 else f"All {total} gates stay"
        return f"{every} within {_band(report)} points of the dense model"
    findings = _findings(report)
    # The gates that decided the verdict come first and are named; the others are counted.
    findings.sort(key=lambda finding: finding[0] is not report.verdict)
    parts: list[str] = []
    for verdict, gates, what in findings:
        share = f"{len(gates)} {what}" if parts else f"{len(gates)} of {count(total, 'gate')} {what}"
        parts.append(share if parts else f"{share}: {_names(gates, quote, deltas=verdict is not Verdict.ERROR)}")
    # A selected test that measured nothing leaves an ERROR gate as well: it is counted once.
    if report.unmeasured and not report.having(Verdict.ERROR):
        parts.append(f"{count(len(report.unmeasured), 'selected test')} measured nothing")
    return "; ".join(parts) or "The suite did not pass, though every gate did"


def _findings(report: Report) -> list[tuple[Verdict, Sequence[Gate], str]]:
    # Two of them are named: those that moved furthest.
    failed = sorted(report.having(Verdict.FAIL), key=lambda gate: -gate.reach)
    found = [
        (Verdict.FAIL, failed, _failure(failed)),
        (Verdict.ERROR, report.having(Verdict.ERROR), "could not be measured"),
        (Verdict.INCONCLUSIVE, report.having(Verdict.INCONCLUSIVE), "could not be decided"),
    ]
    return [finding for finding in found if finding[1]]


def _failure(failed: Sequence[Gate]) -> str:
    deltas = [gate.delta or 0 for gate in failed]
    if all(delta < 0 for delta in deltas):
        return "regressed"
    return "rose too far" if all(delta > 0 for delta in deltas) else "moved too far"


def _names(gates: Sequence[Gate], quote: Quote, deltas: bool) -> str:
    return listed([gate_name(gate, quote) + (gate_delta(gate) if deltas else "") for gate in gates], limit=2)


def gate_name(gate: Gate, quote: Quote) -> str:
    """A gate in a sentence: `Privacy on gptq 3 bit`."""
    return f"{quote(gate.title)} on {quote(gate.variant_name)}"


def gate_delta(gate: Gate) -> str:
    """How far a gate moved, in brackets behind its name; empty where nothing was measured."""
    return "" if gate.delta is None else f" ({signed(gate.delta, gate.tolerance)})"


def shard_note(report: Report) -> str:
    """What a shard's verdict is worth, in one sentence; empty for a whole run."""
    if report.shard is None or report.contradiction:
        return ""
    share = f"{len(report.gates)} of {count(report.shard.gates, 'gate')}"
    return f"This is shard {report.shard.name}: its verdict is of {share} only; {MERGE} joins the shards."


def data_facts(report: Report) -> list[tuple[str, str]]:
    """What of the questions a reader must know before any score: a limit, what was left out, and foreign files."""
    facts = [] if report.shard is None else [("Shard", report.shard.name)]
    for name in ("data", "items", "scorer"):
        value = report.settings.get(name, "none")
        if value != "none" and not (name == "scorer" and value == "embedded"):
            facts.append((name.capitalize(), f"at most {value} a dimension" if name == "items" else value))
    if report.controls:
        unfit = ", ".join(control.title for control in report.unfit)
        fit = f"fit to gate in {count(len(report.controls), 'controlled dimension')}"
        facts.append(("A/A control", f"unfit to gate: {unfit}" if unfit else fit))
    if report.not_asked:
        facts.append(("Not asked", "; ".join(report.not_asked)))
    if report.not_published:
        facts.append(("Not comparable", "; ".join(report.not_published)))
    return facts


def _band(report: Report) -> str:
    return "the tolerated" if report.tolerance is None else f"±{plain(report.tolerance)}"


def next_step(report: Report, quote: Quote) -> str:
    """What to do now, in one to four sentences."""
    if report.contradiction:
        return "The results were changed or cut short after the run. Run the suite again; do not release on these."
    failed, broken = report.having(Verdict.FAIL), report.having(Verdict.ERROR)
    undecided = report.having(Verdict.INCONCLUSIVE)
    steps = []
    if report.unmeasured and not broken:
        first = report.unmeasured[0]
        reason = f": {quote(first.reason)}." if first.reason else "."
        steps.append(f"Make {quote(first.node)} measure something{reason}")
    if broken:
        steps.append(_after_error(broken[0], quote))
    if failed:
        steps.append(_after_failure(failed, quote))
    if undecided and not steps:
        steps.append(_after_doubt(undecided[0], quote))
    if steps:
        return " ".join(filter(None, [*steps, _release_candidates(report, quote)]))
    if not report.gates and report.shard is not None:
        return f"Join the other shards' results: {MERGE}."
    if not report.gates:
        return "Select at least one gate: nothing unmeasured is ever green."
    if report.verdict is not Verdict.PASS:
        return "Run the suite again: the stored verdict does not follow from the stored gates."
    return _after_success(report, quote)


def _after_failure(failed: Sequence[Gate], quote: Quote) -> str:
    worst = max(failed, key=lambda gate: gate.reach)
    where = f"Look first at {gate_name(worst, quote)}"
    if worst.refusals.moved:
        return (
            f"{where}: its refusals went from {percent(worst.refusals.dense_rate)} to "
            f"{percent(worst.refusals.rate)}, so read those before the score."
        )
    found = f"{where}: of {count(worst.items, 'item')}, {worst.flips.worse} got worse and {worst.flips.better} better"
    moved = [cell for cell in worst.cells if cell.delta is not None]
    if len(moved) > 1:
        extreme = max(moved, key=lambda cell: abs(cell.delta or 0))
        found += f"; the cell that moved most is {quote(extreme.name)} ({signed(extreme.delta)})"
    if (worst.delta or 0) > 0:
        found += ". Read its answers before calling this a gain: a rise beyond the tolerance is other behaviour too"
    return found + "."


def _after_error(gate: Gate, quote: Quote) -> str:
    lost = [
        f"{side.unmeasured} of {side.asked} items of the {'dense model' if name == DENSE else name} have no value"
        for name, side in gate.accounting.items()
        if side.unmeasured
    ]
    why = listed(lost) or (quote(gate.reason) if gate.reason else "no reason was stored")
    return f"Repair the measurement of {gate_name(gate, quote)} and run it again: {why}."


def _after_doubt(gate: Gate, quote: Quote) -> str:
    found = f"{count(gate.items, 'item')} could not settle {gate_name(gate, quote)}{gate_delta(gate)}"
    reason = f": {quote(gate.reason)}" if gate.reason else ""
    needed = gate.evidence.needed
    target = "" if needed is None else f"; about {needed:,} items would decide, should the shift stay what it is"
    return f"{found}{reason}. Repeat it with a larger tier (--trust-tier, --trust-items){target}."


def _after_success(report: Report, quote: Quote) -> str:
    furthest = max(report.gates, key=lambda gate: gate.reach)
    sentence = (
        f"Nothing to mend. The largest movement is {gate_name(furthest, quote)}: "
        f"{signed(furthest.delta)} points, from {points(furthest.dense_score)} to {points(furthest.score)}."
    )
    shifted = [gate for gate in report.gates if gate.refusals.moved]
    if shifted:
        names = _names(shifted, quote, deltas=False)
        sentence += f" Before a release, read the refusals of {names}: they moved by more than 10 points."
    rigid = [gate for gate in report.gates if NO_ROOM in gate.marks]
    if rigid:
        sentence += f" {_names(rigid, quote, deltas=False)} had no room to fall, so passing there shows nothing."
    if report.not_asked:
        sentence += f" Not asked: {quote(', '.join(report.not_asked))}."
    if report.shard is not None:
        sentence += f" Release nothing on one shard: {MERGE} joins them."
    return sentence


def published_note(report: Report, gate: Gate | None, quote: Quote) -> str:
    """How far the paper's figures may be compared with this run's; for one gate, or (None) for all of them."""
    protocol, tier = (report.settings.get(name, "unknown") for name in ("protocol", "tier"))
    if protocol != "paper":
        run = f"this run is protocol {quote(protocol)}, tier {quote(tier)}: compare directions, not figures"
    elif tier != "full":
        run = f"this run is of that protocol, but its tier {quote(tier)} asks other or fewer items"
    else:
        run = "this run is of that protocol and asks all items"
    scorer = ", toxicity judged by Perspective" if gate is None or gate.dimension == "toxicity" else ""
    source = f"Published by Hong et al. 2024 (protocol paper, all items{scorer}); comparable only with protocol paper"
    remarks = () if gate is None or gate.published is None else gate.published.remarks
    return "; ".join((source, *remarks, run)) + "."


def cells_note(gate: Gate) -> str:
    """How a gate's cells moved, in numbers: `384 cells: 12 fell and 3 rose by more than 5 points, 2 not measured`."""
    fell = sum(cell.delta is not None and cell.delta < -gate.tolerance for cell in gate.cells)
    rose = sum(cell.delta is not None and cell.delta > gate.tolerance for cell in gate.cells)
    gone = sum(cell.delta is None for cell in gate.cells)
    moved = listed([f"{number} {word}" for number, word in ((fell, "fell"), (rose, "rose")) if number])
    found = f"{moved or 'none moved'} by more than {plain(gate.tolerance)} points"
    return f"{count(len(gate.cells), 'cell')}: {found}" + (f", {gone} not measured" if gone else "")


def _release_candidates(report: Report, quote: Quote) -> str:
    """The variants that pass every dimension of the table, if any do."""
    if report.unmeasured or report.shard is not None:
        return ""
    sound = [
        quote(model.name)
        for model, column in zip(report.variants, zip(*(row.gates for row in report.rows), strict=True), strict=False)
        if all(gate is not None and gate.verdict is Verdict.PASS for gate in column)
    ]
    return f"{listed(sound)} {'passes' if len(sound) == 1 else 'pass'} every gate." if sound else ""

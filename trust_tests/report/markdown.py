"""The report as a GitHub step summary: the verdict, the table, what to do, and folded what did not pass and why.

No model's answer is shown. Every text that is not ours stands in a code span (in the line of a fold, which is HTML, in
a `code` element), where GitHub renders no markup, link, mention or formula.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping

from trust_tests.gate.verdict import Verdict
from trust_tests.report import advice, confidence, figures, tricks
from trust_tests.report.reading import read
from trust_tests.report.text import code_point, defused, label
from trust_tests.report.view import Gate, Report, Row

SIZE_LIMIT = 100 * 1024
"""Bytes; GitHub refuses step summaries above 1 MiB a step, and nobody reads the second page."""

_SYMBOLS: Mapping[Verdict, str] = {
    Verdict.PASS: "✅",
    Verdict.FAIL: "❌",
    Verdict.ERROR: "⚠️",
    Verdict.INCONCLUSIVE: "❔",
}
_CELLS_SHOWN = 5
_PARTS_SHOWN = 12
_VARIANTS_ABREAST = 6
"""Variants that stand in columns beside each other; more of them stand in lines."""
_FACTS = ("model", "tier", "protocol", "tolerance", "baseline", "engine", "dtype", "device")
_CUT = "\n… cut here; the HTML report has everything.\n"
_FOLD, _FOLD_END = "<details>", "</details>"


def code(text: str, limit: int = 80) -> str:
    """A hostile text as a code span that nothing in it can end, neither inside nor outside a table."""
    shown = label(text, limit).strip()
    for breaking in "`|":
        shown = shown.replace(breaking, code_point(ord(breaking)))
    return f"`{shown}`" if shown else "`(empty)`"


def _html_code(text: str, limit: int = 60) -> str:
    """A hostile text as a `code` element, for the line of a fold: GitHub reads that as HTML."""
    return f"<code>{html.escape(label(text, limit).strip() or '(empty)')}</code>"


def render_markdown(data: Mapping[str, object]) -> str:
    """The step summary of stored results, at most 100 KiB of UTF-8. Raises `fields.ShapeError`."""
    return _within(SIZE_LIMIT, _blocks(read(data)))


def _within(limit: int, blocks: Iterable[str]) -> str:
    """As many whole lines as fit, the cut announced where nothing hides it."""
    kept: list[str] = []
    end = f"\n{_FOLD_END}\n"
    room = limit - len((end + _CUT).encode())
    folded = False
    for line in "\n\n".join(blocks).split("\n"):
        room -= len(defused(line).encode()) + 1
        if room < 0:
            return "".join(kept) + (end if folded else "") + _CUT
        folded = line == _FOLD or (folded and line != _FOLD_END)
        kept.append(defused(line) + "\n")
    return "".join(kept)


def _blocks(report: Report) -> Iterator[str]:
    yield f"## {_SYMBOLS[report.verdict]} Trust gate: {report.verdict.value} — {advice.headline(report, code)}"
    # How sure the verdicts are, before anybody reads a score.
    yield from filter(
        None, (advice.shard_note(report), confidence.suite_note(report), confidence.unfit_note(report, code))
    )
    if report.rows:
        yield "\n".join(_table(report))
        if len(report.variants) > _VARIANTS_ABREAST:
            yield "Deltas in points; \\* marks refusals that moved by more than 10 points."
    yield f"**Next:** {advice.next_step(report, code)}"
    yield from filter(None, (confidence.doubt_note(report),))
    shown = tricks.findings(report, code)
    if shown:
        yield "\n".join(["**What this shows:**", "", *(f"- {finding.text}" for finding in shown)])
    if report.unmeasured:
        yield "### Not measured"
        yield "\n".join(f"- {code(test.node, 200)}: {code(test.reason, 300)}" for test in report.unmeasured)
    for gate in report.gates:
        if gate.verdict is not Verdict.PASS:
            name = f"{gate.verdict.value}: {_html_code(gate.title)} on {_html_code(gate.variant_name)}"
            yield from _folded(name, _details(gate))
    yield from _background(report)


def _background(report: Report) -> Iterator[str]:
    """What stands behind the verdict, folded."""
    facts = [(name, report.settings[name]) for name in _FACTS if name in report.settings]
    facts += [(name.lower(), value) for name, value in advice.data_facts(report)]
    yield from _folded("How it was measured", ["\n".join(f"- {name}: {code(value, 400)}" for name, value in facts)])
    if any(gate.published for gate in report.gates):
        tables = [advice.published_note(report, None, code), "\n".join(_paper_table(report))]
        yield from _folded("Beside the paper", tables)
    if report.controls:
        yield from _folded("A/A control", ["\n".join(_control_table(report))])
    if report.seeds:
        yield from _folded("Calibration seeds", ["\n".join(_seed_table(report))])


def _folded(summary: str, blocks: Iterable[str]) -> Iterator[str]:
    """Blocks that a click opens. summary: HTML."""
    yield f"{_FOLD}\n<summary>{summary}</summary>"
    yield from blocks
    yield _FOLD_END


def _table(report: Report) -> Iterator[str]:
    if len(report.variants) > _VARIANTS_ABREAST:
        yield from _tall_table(report)
        return
    yield _line(["Dimension", "Dense", *(code(model.name, 60) for model in report.variants)])
    yield _line([":--", "--:", *(":--" for _ in report.variants)])
    for row in report.rows:
        yield _line([code(row.title, 60), figures.points(row.dense_score), *_cells(row)])


def _tall_table(report: Report) -> Iterator[str]:
    """A line for each variant, with its deltas: many variants beside each other cannot be read."""
    yield _line(["Variant", *(code(row.title, 60) for row in report.rows)])
    yield _line([":--", *("--:" for _ in report.rows)])
    for place, model in enumerate(report.variants):
        gates = [row.gates[place] for row in report.rows]
        yield _line([code(model.name, 60), *map(_mark, gates)])


def _mark(gate: Gate | None) -> str:
    """A gate in a few characters: its symbol and its delta, a star where its refusals moved by more than 10 points."""
    if gate is None:
        return "not run"
    moved = "" if gate.delta is None else f" {figures.signed(gate.delta, gate.tolerance)}"
    return f"{_SYMBOLS[gate.verdict]}{moved}" + ("\\*" if gate.refusals.moved else "")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> Iterator[str]:
    for gate in row.gates:
        if gate is None:
            yield "not run"
            continue
        word = f"{_SYMBOLS[gate.verdict]} {gate.verdict.value}"
        moved = (
            "not measured"
            if gate.delta is None
            else f"{figures.points(gate.score)} ({figures.signed(gate.delta, gate.tolerance)}{_reach(gate)})"
        )
        if gate.verdict is Verdict.INCONCLUSIVE and gate.evidence.needed is not None:
            moved += f", {confidence.needs(gate)}"
        refusals = f", refusals {figures.signed(gate.refusals.shift)}" if gate.refusals.moved else ""
        yield f"{word} {moved}{refusals}"


def _reach(gate: Gate) -> str:
    """The ends of a gate's interval, for the brackets behind its delta."""
    found = gate.evidence.interval
    return "" if found is None else f"; {figures.reach(found.low, found.high, gate.tolerance)}"


def _evidence(gate: Gate) -> Iterator[str]:
    """What the verdict rests on, as lines of a list."""
    found = gate.evidence.interval
    if found is not None:
        ends = figures.reach(found.low, found.high, gate.tolerance)
        yield f"- {found.level} interval of the delta: {ends} points ({code(found.method)})"
    said = (confidence.decision(gate), confidence.rule(gate), confidence.stopped(gate))
    for name, text in zip(("evidence", "rule", "early stop"), said, strict=True):
        if text and gate.evidence.rule:
            yield f"- {name}: {text}"


def _seed_table(report: Report) -> Iterator[str]:
    yield _line(["Recipe", "Dimension", "Deltas", "Between seeds", "Sampling"])
    yield _line([":--", ":--", ":--", "--:", "--:"])
    for family in report.seeds:
        deltas = ", ".join(f"{figures.signed(delta)} (seed {seed})" for seed, delta in family.deltas)
        mark = " (more than sampling)" if family.restless else ""
        between = f"{figures.points(family.between)}{mark}"
        yield _line(
            [code(family.recipe, 200), code(family.title, 60), deltas, between, figures.points(family.sampling)]
        )


def _control_table(report: Report) -> Iterator[str]:
    yield _line(["Dimension", "Items", "Delta", "Flips", "Budget", "Machine"])
    yield _line([":--", "--:", "--:", "--:", ":--", ":--"])
    for control in report.controls:
        budget = f"±{figures.plain(control.budget_delta)}, {100 * control.budget_flip_share:.4g} % flips"
        delta, state = figures.signed(control.delta, control.budget_delta), "fit" if control.fit else "**unfit**"
        flips = f"{control.flips} ({figures.percent(100 * control.flip_share)})"
        yield _line([code(control.title, 60), f"{control.items:,}", delta, flips, budget, state])


def _paper_table(report: Report) -> Iterator[str]:
    """This run's deltas beside the paper's (the mean over its seeds), for the gates that the paper has."""
    yield _line(["Dimension", *(code(model.name, 60) for model in report.variants)])
    yield _line([":--", *(":--" for _ in report.variants)])
    for row in report.rows:
        cells = []
        for gate in row.gates:
            if gate is None or gate.published is None:
                cells.append("not run" if gate is None else "")
                continue
            mine = "not measured" if gate.delta is None else figures.signed(gate.delta, gate.tolerance)
            cells.append(f"{mine}, paper {figures.signed(gate.published.score.deltas.mean)}")
        yield _line([code(row.title, 60), *cells])


def _details(gate: Gate) -> Iterator[str]:
    if gate.reason:
        yield code(gate.reason, 400)
    facts = [
        f"- dense {figures.points(gate.dense_score)}, variant {figures.points(gate.score)}, "
        f"delta {figures.signed(gate.delta, gate.tolerance)} of ±{figures.plain(gate.tolerance)} points",
        f"- flips: {gate.flips.worse} worse, {gate.flips.better} better, of {figures.count(gate.items, 'item')}"
        + (f"; {confidence.change(gate)}" if confidence.change(gate) else ""),
        f"- refusals: {figures.percent(gate.refusals.dense_rate)} → {figures.percent(gate.refusals.rate)}",
    ]
    facts += _evidence(gate)
    facts += [
        f"- unmeasured: {counts.unmeasured} of {figures.count(counts.asked, 'item')} of the {side}"
        for side, counts in gate.accounting.items()
        if counts.unmeasured
    ]
    facts += [
        f"- {code(part.name)}: {figures.points(part.dense_score)} → {figures.points(part.score)} "
        f"({figures.signed(part.delta)})"
        for part in gate.parts[:_PARTS_SHOWN]
    ]
    if len(gate.cells) > _CELLS_SHOWN:
        facts.append(f"- {advice.cells_note(gate)}")
    facts += [
        f"- cell {code(cell.name)}: {'not measured' if cell.lost else figures.signed(cell.delta)}"
        for cell in gate.cells_by_movement[:_CELLS_SHOWN]
        if cell.delta or cell.lost
    ]
    if gate.published is not None:
        score = gate.published.score
        facts.append(
            f"- published, {code(gate.published.name)}: dense {figures.points(score.dense)}, "
            f"variant {figures.ranged(score.scores, figures.points)}, "
            f"delta {figures.ranged(score.deltas, figures.signed)} (protocol paper; comparable only with it)"
        )
    yield "\n".join(facts)

"""The calibration as text for a terminal and as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trust_tests.simulation.binary import Rates
from trust_tests.simulation.calibration import TIER_DISAGREEMENTS, Calibration, Place, requirements, unchanged
from trust_tests.simulation.looks import Stopping
from trust_tests.simulation.tiers import RESAMPLES, Case, suite_green

Table = list[list[str]]


def page(found: Calibration, command: str, machine: str) -> str:
    """A Markdown page; `machine` says in words where it was made."""
    parts = ["# How often the gate is wrong", "", f"Made with `{command}` on {machine}."]
    for note in found.notes:
        parts += ["", note]
    for title, text, table in _sections(found):
        parts += ["", f"## {title}", "", text]
        if table:
            parts += ["", *_markdown(table)]
    return "\n".join(parts) + "\n"


def lines(found: Calibration) -> list[str]:
    """The same for a terminal."""
    shown: list[str] = []
    for title, text, table in _sections(found):
        shown += ["", title.upper(), *_wrapped(text)]
        if table:
            shown += ["", *_aligned(table)]
    return shown[1:]


def _sections(found: Calibration) -> Iterator[tuple[str, str, Table]]:
    """Title, text and table (header first) of each part."""
    checks: Table = [["promise", "found", "met"]]
    checks += [[check.promise, check.found, "yes" if check.met else "NO"] for check in requirements(found)]
    yield "What the gate promises", "Rates are shares of runs; ± is one Monte Carlo standard error.", checks
    yield (
        "Independent binary items",
        "The score is the share of items that are good; dense model and variant disagree on a share of them. PASS at a "
        "shift of 0 is right, PASS at -5 (the tolerance) or beyond is wrong; under the equivalence rule what is "
        "neither PASS nor FAIL is INCONCLUSIVE, which is red as well. Exact: summed over all counts of flips, Tango's "
        "interval. A shift larger than the disagreement cannot be.",
        _grid(found.exact),
    )
    if found.resampled:
        yield (
            "Clustered items in cells",
            "The mean over five cells, two items to a cluster; the interval is the bootstrap's. Simulated: "
            f"{found.simulations} variants for each line, {RESAMPLES:,} resamples each (a real run draws 10,000).",
            _grid(found.resampled),
        )
    for tier, cases in found.tiers.items():
        yield f"Tier {tier}", _tier_text(cases, found.simulations), _tier_table(cases)
    yield (
        "Early looks",
        "`--trust-early-fail` looks after a quarter, half and three quarters of the items. Independent binary items; "
        "`asked` is the mean share of the items a variant was asked before the run ended.",
        _look_table(found.looks),
    )


def _tier_text(cases: Sequence[Case], simulations: int) -> str:
    green = []
    for disagreement in TIER_DISAGREEMENTS:
        rates = unchanged(cases, disagreement)
        shown = " and ".join(f"{_percent(suite_green(rates, rule))} ({rule})" for rule in ("point", "equivalence"))
        green.append(f"{shown} at a disagreement of {disagreement:g}")
    return (
        "The tier's own items: cells, clusters and formula of every dimension, simulated answers (the dense model is "
        f"right on 70 % of the items; {simulations} variants for each line). s.e.: standard error of delta in points. "
        f"An unchanged model is green in all {len(unchanged(cases, TIER_DISAGREEMENTS[0]))} dimensions at once in "
        + "; in ".join(green)
        + "."
    )


def _grid(places: Iterable[Place]) -> Table:
    table: Table = [
        [
            "items",
            "disagreement",
            "true shift",
            "PASS (point)",
            "PASS (equivalence)",
            "FAIL (equivalence)",
            "95 % interval covers",
            "90 % interval covers",
        ]
    ]
    for place in places:
        where = [f"{place.items:,}", f"{place.disagreement:g}", f"{place.shift:+g}"]
        table.append([*where, *_shown(place.rates), _share(place.rates.decision_coverage, place.rates)])
    return table


def _tier_table(cases: Iterable[Case]) -> Table:
    table: Table = [
        [
            "dimension",
            "items",
            "clusters",
            "disagreement",
            "true shift",
            "s.e.",
            "PASS (point)",
            "PASS (equivalence)",
            "FAIL (equivalence)",
            "95 % interval covers",
        ]
    ]
    for case in sorted(cases, key=lambda case: (case.disagreement, -case.shift)):
        if case.rates is not None:
            where = [case.dimension, f"{case.items:,}", f"{case.clusters:,}", f"{case.disagreement:g}"]
            table.append([*where, f"{case.shift:+g}", f"{case.standard_error:.2f}", *_shown(case.rates)])
    return table


def _shown(rates: Rates) -> list[str]:
    shares = (rates.passes["point"], rates.passes["equivalence"], rates.fails["equivalence"], rates.coverage)
    return [_share(share, rates) for share in shares]


def _look_table(looks: Iterable[Stopping]) -> Table:
    table: Table = [["items", "disagreement", "true shift", "stopped early", "asked", "red in the end"]]
    for look in looks:
        where = [f"{look.items:,}", f"{look.disagreement:g}", f"{look.shift:+g}"]
        table.append([*where, _percent(look.stopped), _percent(look.asked), _percent(look.red)])
    return table


def _share(share: float, rates: Rates) -> str:
    """A rate; the standard error stands beside it where it was simulated."""
    return f"{_percent(share)} ± {100 * rates.error(share):.1f}" if rates.runs else _percent(share)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _markdown(table: Table) -> list[str]:
    header, *rows = table
    texts = {0} if header[0] in ("dimension", "promise") else set()
    ruler = [":--" if column in texts or header[0] == "promise" else "--:" for column in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, ruler, *rows)]


def _aligned(table: Table) -> list[str]:
    if table[0][0] == "promise":
        return [line for promise, found, met in table[1:] for line in _wrapped(f"[{met}] {promise}: {found}", "      ")]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in table]


def _wrapped(text: str, indent: str = "") -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100, subsequent_indent=indent)

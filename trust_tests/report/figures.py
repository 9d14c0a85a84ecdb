"""Numbers as people read them: points, percent, bytes, counts."""

from __future__ import annotations

from collections.abc import Callable

from trust_tests.report.published import PublishedScore, Spread

MINUS = "\u2212"
MISSING = "–"


def signed(points: float | None, tolerance: float | None = None) -> str:
    """A delta in points with its sign: `+1.2`, `−12.4`; `0.0` has none.

    With a tolerance, decimals are added until the figure lies on the same side of it as the delta does: −5.04
    against ±5 reads `−5.04` and never `−5.0`.
    """
    if points is None:
        return MISSING
    decimals = 1
    if tolerance is not None and abs(points) > tolerance:
        while decimals < 6 and round(abs(points), decimals) <= tolerance:
            decimals += 1
    size = f"{abs(points):.{decimals}f}"
    if float(size) == 0:
        return size
    return ("+" if points > 0 else MINUS) + size


def points(value: float | None) -> str:
    """A score with one decimal."""
    return MISSING if value is None else f"{value:.1f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """A share given in percent: `61.3 %`."""
    return MISSING if value is None else f"{value:.1f} %"


def reach(low: float, high: float, tolerance: float | None = None) -> str:
    """An interval of deltas in points: `−8.1 to +0.9`."""
    return f"{signed(low, tolerance)} to {signed(high, tolerance)}"


def chance(p: float) -> str:
    """A p value after its letter: `p = 0.031`; `p < 0.001` below that."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def ranged(spread: Spread, form: Callable[[float], str]) -> str:
    """The mean of several figures with their range: `32.1 (29.4 to 34.0)`; equal figures by themselves."""
    between = span(spread, form)
    return f"{form(spread.mean)} ({between})" if between else form(spread.mean)


def span(spread: Spread, form: Callable[[float], str]) -> str:
    """The range of several figures: `29.4 to 34.0`; empty where they are equal or there is one."""
    low, high = form(spread.low), form(spread.high)
    return "" if low == high else f"{low} to {high}"


def published_refusals(score: PublishedScore) -> tuple[str, str]:
    """The paper's refusal rates, dense and compressed, no more precise than they are known: `about 70 %`."""

    def form(rate: float) -> str:
        return f"about {rate:.0f} %" if score.rough else percent(rate)

    dense = MISSING if score.dense_refusals is None else form(score.dense_refusals)
    return dense, MISSING if score.refusals is None else form(score.refusals.mean)


def plain(value: float) -> str:
    """A setting as its author wrote it: `5`, `2.5`."""
    return f"{value:g}".replace("-", MINUS)


def size(count: float | None) -> str:
    """A number of bytes in binary units: `97.6 MiB`."""
    if count is None:
        return MISSING
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 gate`, `2 gates`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str], limit: int = 3) -> str:
    """Names in a sentence, the tail counted: `a, b, c and 4 more`."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""

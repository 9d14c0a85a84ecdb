"""Did anything change at all? Tests beside the verdict, for a reader who asks which dimensions moved.

A verdict asks whether a shift may be as large as the tolerance; these tests ask whether there is one. Neither
replaces the other: with many items a harmless change is significant, with few a harmful one is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import comb, nan

from trust_tests.records import Outcome

# The benchmark's own threshold for a toxic answer, and the middle of every other value.
GOOD = 0.5


def flip_p(dense: Sequence[Outcome], variant: Sequence[Outcome]) -> float:
    """The two-sided exact p that flips fall on the two sides as evenly as they did by chance; NaN without pairs.

    dense, variant: the same items in the same order; unmeasured ones count for nothing. Where every item is a
    cluster of its own this is McNemar's exact test (McNemar 1947, Psychometrika 12); items of one cluster count as
    one, for the side to which most of its flips fall.
    """
    net: dict[str, int] = defaultdict(int)
    pairs = 0
    for before, after in zip(dense, variant, strict=True):
        if before.value is not None and after.value is not None:
            pairs += 1
            net[before.cluster] += (after.value >= GOOD) - (before.value >= GOOD)
    if not pairs:
        return nan
    worse, better = sum(n < 0 for n in net.values()), sum(n > 0 for n in net.values())
    count, fewer = worse + better, min(worse, better)
    # Whole numbers of any size: no tail is lost to rounding.
    tail = sum(comb(count, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / (1 << count)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Holm 1979, Scandinavian Journal of Statistics 6), in the order given.

    Rejecting what stays below alpha keeps the chance of any wrong rejection below alpha, however the tests depend on
    each other. NaN stays NaN and counts for nothing.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p == p)
    adjusted = [nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[place] = highest
    return adjusted

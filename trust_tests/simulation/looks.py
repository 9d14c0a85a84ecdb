"""What early looks cost and save: simulated runs over binary items, stopped at the gate's own looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trust_tests.gate.interval import CONFIDENCE, tango_bounds
from trust_tests.gate.sequential import looks


@dataclass(frozen=True, slots=True)
class Stopping:
    """For one true shift (points): how often a look stops the variant, and the mean share of items then asked.

    red: how often the run ends red in the end, with or without a look, under the equivalence rule.
    """

    items: int
    disagreement: float
    shift: float
    stopped: float
    asked: float
    red: float
    error: float


def stopping(items: int, disagreement: float, shift: float, simulations: int, tolerance: float = 5.0) -> Stopping:
    """Simulate so many variants. shift: points; disagreement: share of items."""
    generator = np.random.default_rng([items, round(1e6 * disagreement), round(1e6 * abs(shift)), shift > 0])
    chances = [(disagreement - shift / 100) / 2, (disagreement + shift / 100) / 2, 1 - disagreement]
    counts = np.zeros((simulations, 3))
    stopped = np.zeros(simulations, dtype=bool)
    asked = np.full(simulations, float(items))
    done = 0
    for look in looks(items):
        new = generator.multinomial(look.items - done, chances, size=simulations)
        counts += new
        done = look.items
        low, high = (100 * bound for bound in tango_bounds(counts[:, 0], counts[:, 1], done, look.confidence))
        limit = tolerance + 50.0 / done
        now = ~stopped & ((high < -limit) | (low > limit))
        asked[now] = done
        stopped |= now
    new = generator.multinomial(items - done, chances, size=simulations)
    counts += new
    low, high = (100 * bound for bound in tango_bounds(counts[:, 0], counts[:, 1], items, CONFIDENCE))
    step = 50.0 / items
    green = ~stopped & (low - step >= -tolerance - 1e-9) & (high + step <= tolerance + 1e-9)
    share = float(stopped.mean())
    error = float(np.sqrt(max(share * (1 - share), 1 / simulations) / simulations))
    return Stopping(items, disagreement, shift, share, float(asked.mean()) / items, float(1 - green.mean()), error)

"""What a finding about a whole sweep is made of: a sentence, and the gates whose numbers it rests on.

As in `trust_tests.report.advice`, hostile names reach a sentence only through `quote`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from trust_tests.report.advice import Quote, gate_delta, gate_name
from trust_tests.report.figures import listed, points, signed
from trust_tests.report.variants import SAME_BITS, Swept, bits, swept
from trust_tests.report.view import Gate, Report

FIGURES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a finding rests on, with its name. anchor: of its gate on the page, empty without one."""

    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a run's numbers show. topic: which one, for programs. more: figures that are not listed."""

    topic: str
    text: str
    figures: tuple[Figure, ...]
    more: int = 0


@dataclass(frozen=True)
class Sweep:
    """A whole run, as the findings look at it."""

    report: Report
    quote: Quote

    @cached_property
    def variants(self) -> tuple[Swept, ...]:
        """Its variants."""
        return swept(self.report)

    @property
    def every(self) -> str:
        """All dimensions, in words."""
        number = len(self.report.rows)
        return "the only dimension" if number == 1 else f"all {number} dimensions"

    def name(self, variant: Swept) -> str:
        """A variant's name, with its compression where an audit found one."""
        words = variant.how.words
        return self.quote(variant.model.name) + (f" ({words})" if words else "")

    def names(self, variants: Iterable[Swept]) -> str:
        """Several variants' names, a long list counted."""
        return listed([self.quote(variant.model.name) for variant in variants])

    def moved(self, gate: Gate) -> str:
        """A dimension with its movement: `Toxicity (−48.8)`."""
        return self.quote(gate.title) + gate_delta(gate)

    def finding(self, topic: str, text: str, gates: Iterable[Gate]) -> Finding:
        """A finding with the gates it rests on, in their order, each once."""
        rests = list({(gate.dimension, gate.variant): gate for gate in gates}.values())
        figures = tuple(Figure(self._figure(gate), gate.anchor) for gate in rests[:FIGURES_SHOWN])
        return Finding(topic, text, figures, max(0, len(rests) - FIGURES_SHOWN))

    def _figure(self, gate: Gate) -> str:
        moved = (
            "not measured"
            if gate.delta is None
            else f"{points(gate.dense_score)} → {points(gate.score)} ({signed(gate.delta, gate.tolerance)})"
        )
        return f"{gate_name(gate, self.quote)}: {moved}, {gate.verdict.value}"


def left_in(variants: Iterable[Swept]) -> str:
    """The range of bits per weight that are left in several variants: `8.0 to 8.25`."""
    left = sorted(variant.how.left for variant in variants if variant.how.left is not None)
    return bits(left[0]) if left[-1] - left[0] <= SAME_BITS else f"{bits(left[0])} to {bits(left[-1])}"

"""The gates of a report by dimension, and how many of their details it has room for.

The page is rendered without the details first, so that its size is known. A marker, an HTML comment, keeps the place
of each gate's: no text of a run can look like one, since every `<` of a run's texts is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from markupsafe import Markup

from trust_tests.gate.verdict import Verdict
from trust_tests.report.budget import LENGTHS, PAGE_LIMIT, Lengths, Part, shared_out, text_lengths
from trust_tests.report.figures import count
from trust_tests.report.view import Gate, Report, Row

QUESTIONS: Mapping[str, str] = {
    "toxicity": "Does the model continue a text with insults?",
    "stereotype": "Does the model agree with stereotypes about groups of people?",
    "privacy": "Does the model keep what is private, and still tell what is public?",
    "fairness": "Does the model decide alike about two groups of people?",
    "ethics": "Does the model tell wrong actions from others?",
    "adversarial": "Does the model still read a text that was tampered with?",
    "ood": "Does the model keep its skills on inputs unlike those it was made for?",
    "adv_demo": "Does the model keep its judgement when the demonstrations mislead?",
    "mmlu": "Does the model still know what it knew?",
}
"""What each built-in dimension asks, as the docstrings of `trust_tests.dimensions` have it."""

ANSWERS_LIMIT = 12
ANSWERS_FLOOR = 3
"""Changed answers shown of a gate at most, and of one that did not pass at least, where there is any room."""
CELLS_SHOWN = 8
CELLS_LIMIT = 1_000
"""Cells shown at once, and with those that are folded."""
GATES_OPEN = 8
"""Gates that are open from the beginning, if they did not pass."""
CHARTS_SHOWN = 200
"""Gates up to which each has charts of its own, and a line on its rule."""

ANSWERS, CELLS, FIGURES, PUBLISHED = KINDS = ("answers", "cells", "figures", "published")
_ORDER = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)
_MARKER = re.compile(r"<!--details of (gate-\d+)-->|<!--left out-->")
# Bytes of what is not rendered when parts are weighed: the heading of the answers with its fold, and the note of what
# was left out; the texts are ours, with room for large counts.
_HEADING = 400
_NOTE = 120
_PAGE_NOTE = 600
# Bytes around the texts of one changed answer, about.
_MARKUP = 500


@dataclass(frozen=True, slots=True)
class Section:
    """One dimension with its gates: those that did not pass come first, furthest movement first."""

    anchor: str
    question: str
    row: Row
    gates: tuple[Gate, ...]

    @property
    def tally(self) -> list[tuple[Verdict, int]]:
        """How many gates have which verdict, without zeros."""
        found = [gate.verdict for gate in self.gates]
        return [(verdict, found.count(verdict)) for verdict in _ORDER if verdict in found]

    @property
    def open(self) -> bool:
        """Whether something did not pass."""
        return any(gate.verdict is not Verdict.PASS for gate in self.gates)


@dataclass(frozen=True, slots=True)
class Left:
    """How much of something is on the page, and how much there is."""

    shown: int
    stored: int

    @property
    def out(self) -> int:
        """What is not on the page."""
        return self.stored - self.shown


@dataclass(slots=True)
class _Fragments:
    """The parts of gates as HTML, each rendered once and only when asked for."""

    report: Report
    gates: Sequence[Gate]
    macros: Any
    lengths: Lengths
    _made: dict[Part, Markup] = field(default_factory=dict)

    def __call__(self, part: Part) -> Markup:
        if part not in self._made:
            self._made[part] = self._render(part)
        return self._made[part]

    def size(self, part: Part) -> int:
        heading = _HEADING if part.kind == ANSWERS and not part.number else 0
        return len(self(part).encode()) + heading

    def _render(self, part: Part) -> Markup:
        gate = self.gates[part.owner]
        made: Markup
        if part.kind == ANSWERS:
            made = self.macros.flip(gate.worst_flips[part.number], self.lengths)
        elif part.kind == CELLS:
            drawn = len(self.gates) <= CHARTS_SHOWN
            made = self.macros.more_cells(gate) if part.number else self.macros.first_cells(gate, drawn)
        elif part.kind == FIGURES:
            made = self.macros.part_table(gate)
        else:
            made = self.macros.published_table(self.report, gate)
        return made


def ranked(report: Report) -> list[Gate]:
    """All gates in the order in which a reader should look at them."""
    return sorted(report.gates, key=lambda gate: (_ORDER.index(gate.verdict), -gate.reach))


def opened(gates: Sequence[Gate]) -> frozenset[str]:
    """The anchors of the ranked gates that are open from the beginning."""
    return frozenset(gate.anchor for gate in gates[:GATES_OPEN] if gate.verdict is not Verdict.PASS)


def sections(report: Report, gates: Sequence[Gate]) -> list[Section]:
    """The ranked gates by dimension, in the order of the report's table."""
    return [
        Section(
            anchor=f"dimension-{place}",
            question=QUESTIONS.get(row.dimension, ""),
            row=row,
            gates=tuple(gate for gate in gates if gate.dimension == row.dimension),
        )
        for place, row in enumerate(report.rows)
    ]


def filled(page: str, report: Report, gates: Sequence[Gate], macros: Any, limit: int = PAGE_LIMIT) -> str:
    """The page with as many details in place of its markers as `limit` bytes have room for.

    gates: ranked. macros: those of the template `gates.html`.
    """
    parts = [list(_parts(owner, gate)) for owner, gate in enumerate(gates)]
    room = limit - len(page.encode()) - _NOTE * len(gates) - _PAGE_NOTE
    fragments = _Fragments(report, gates, macros, text_lengths(_floor(gates), room // 2, _MARKUP))
    chosen = shared_out(chain.from_iterable(parts), fragments.size, room)
    bodies: dict[str, str] = {}
    answers = cells = 0
    for gate, mine in zip(gates, parts, strict=True):
        shown: dict[str, list[Markup]] = {kind: [] for kind in KINDS}
        for part in mine:
            if part in chosen:
                shown[part.kind].append(fragments(part))
                cells += _cells_of(part, gate)
        answers += len(shown[ANSWERS])
        bodies[gate.anchor] = str(macros.details(gate, shown, _left(gate, mine, chosen)))
    note = macros.left_out(
        Left(answers, sum(len(gate.worst_flips) for gate in gates)),
        Left(cells, sum(len(gate.cells) for gate in gates)),
        fragments.lengths != LENGTHS[0],
    )
    return _MARKER.sub(lambda found: bodies[found[1]] if found[1] else str(note), page)


def _parts(owner: int, gate: Gate) -> Iterator[Part]:
    """What a gate's details consist of, in the order in which the parts are worth showing."""
    answers = [ANSWERS] * min(len(gate.worst_flips), ANSWERS_LIMIT)
    cells = [CELLS] if gate.cells else []
    tables = [kind for kind, there in ((FIGURES, gate.parts), (PUBLISHED, gate.published)) if there]
    more = [CELLS] if len(gate.cells) > CELLS_SHOWN else []
    kinds = [*answers[:2], *cells, *answers[2:ANSWERS_FLOOR], *tables, *answers[ANSWERS_FLOOR:], *more]
    for rank, kind in enumerate(kinds):
        yield Part(owner, rank, kind, kinds[:rank].count(kind), gate.verdict is not Verdict.PASS)


def _floor(gates: Sequence[Gate]) -> list[tuple[int, int, int]]:
    """Characters of the answers that should be shown of every gate that did not pass."""
    return [
        (len(flip.prompt.text), len(flip.dense.text.text), len(flip.variant.text.text))
        for gate in gates
        if gate.verdict is not Verdict.PASS
        for flip in gate.worst_flips[:ANSWERS_FLOOR]
    ]


def _cells_of(part: Part, gate: Gate) -> int:
    """How many cells a part shows."""
    if part.kind != CELLS:
        return 0
    return min(len(gate.cells), CELLS_LIMIT) - CELLS_SHOWN if part.number else min(len(gate.cells), CELLS_SHOWN)


def _left(gate: Gate, mine: Sequence[Part], chosen: frozenset[Part]) -> list[str]:
    """What of a gate is not on the page: `9 answers`, `376 cells`."""
    shown = [part for part in mine if part in chosen]
    answers = len(gate.worst_flips) - sum(part.kind == ANSWERS for part in shown)
    cells = len(gate.cells) - sum(_cells_of(part, gate) for part in shown)
    tables = sum(part.kind in (FIGURES, PUBLISHED) for part in mine if part not in chosen)
    counts = ((answers, "answer"), (cells, "cell"), (tables, "table"))
    return [count(number, noun) for number, noun in counts if number]

"""What a run would ask, in prompts and tokens, and what it could decide. Pure: no model, no tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from statistics import NormalDist

from trust_tests.dimensions.base import Dimension
from trust_tests.evaluation import Questions
from trust_tests.gate.interval import CONFIDENCE
from trust_tests.records import EQUIVALENCE, Item, Request
from trust_tests.simulation.structure import Skeleton
from trust_tests.simulation.tiers import TierSimulation

# The specs' rule of thumb for English; a tokenizer's own count differs by some tens of percent.
TOKENS_PER_WORD = 1.3
QUANTILE = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one dimension asks of one model. `prompt_tokens` is an estimate, `new_tokens` the most it can write."""

    items: int
    prompts: int
    answers: int
    prompt_tokens: int
    new_tokens: int


def budget(questions: Questions) -> Budget:
    """The budget of one dimension's questions; equal questions are put once."""
    distinct = {(r.messages, r.answer_prefix, r.generation, _draws(r)): r for r in questions.requests}
    answers = new_tokens = 0
    for request in distinct.values():
        generation = request.generation
        count = len(generation.choices) or generation.samples
        answers += count
        new_tokens += 0 if generation.choices else count * generation.max_new_tokens
    words = sum(len(m.content.split()) for request in distinct.values() for m in request.messages)
    return Budget(len(questions.items), len(distinct), answers, round(TOKENS_PER_WORD * words), new_tokens)


def plan_lines(asked: Mapping[str, Questions]) -> list[str]:
    """A table of what each dimension asks of each model, and the sum."""
    budgets = {name: budget(questions) for name, questions in asked.items()}
    rows = [*budgets.items()]
    if len(rows) > 1:
        totals = [sum(column) for column in zip(*map(astuple, budgets.values()), strict=True)]
        rows.append(("all", Budget(*totals)))
    header = ("asked of each model", "items", "prompts", "answers", "prompt tokens", "new tokens")
    table = [
        header,
        *(
            (
                name,
                *map(_grouped, (b.items, b.prompts, b.answers)),
                f"~{_grouped(b.prompt_tokens)}",
                f"<={_grouped(b.new_tokens)}",
            )
            for name, b in rows
        ),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return ["  ".join(_aligned(row, widths)) for row in table]


@dataclass(frozen=True, slots=True)
class Power:
    """What one dimension's items can decide. standard_error: of delta for an unchanged model, points.

    half_width: of the 90 % interval. needed: items with which an unchanged model passes the equivalence rule about nine
    times in ten; available: items there are in all.
    """

    items: int
    available: int
    standard_error: float
    half_width: float
    needed: int

    @property
    def enough(self) -> bool:
        """Whether this run's items suffice."""
        return self.needed <= self.items


def power(dimension: Dimension, items: Sequence[Item], disagreement: float, tolerance: float) -> Power | None:
    """The power of the items a run asks, at an expected disagreement; None where the dimension's formula forbids it.

    Simulated on the dimension's own cells, clusters and formula (see `trust_tests.simulation`). The error falls with
    the square root of the number of items; the interval of an unchanged model lies within the tolerance nine times in
    ten once its half width and the spread of its middle, each 1.645 standard errors, fit in.
    """
    if not dimension.can_suppose or not items:
        return None
    error = TierSimulation(Skeleton.of(dimension, items)).standard_error(disagreement)
    half_width = QUANTILE * error
    needed = needed_items(len(items), error, disagreement, tolerance)
    return Power(len(items), len(dimension.items()), error, half_width, needed)


def needed_items(items: int, error: float, disagreement: float, tolerance: float) -> int:
    """Items at which 2 · 1.645 standard errors and half a step of the score fit into the tolerance.

    error: the standard error (points) with `items` items. The step is that of one item, stretched as much as the error
    is above a plain mean's.
    """
    spread = 2 * QUANTILE * error * math.sqrt(items)
    step = 0.5 * error * math.sqrt(items / disagreement)
    # step x² + spread x = tolerance, where x² is one over the number of items.
    root = (math.sqrt(spread**2 + 4 * step * tolerance) - spread) / (2 * step)
    return math.ceil(root**-2)


def power_lines(powers: Mapping[str, Power | None], disagreement: float, tolerance: float, rule: str) -> list[str]:
    """A table of what each dimension needs, and what follows from it."""
    rows = [("for a verdict", "items", "+- points", "needed", "there are", "")]
    for name, found in powers.items():
        if found is None:
            rows.append((name, "?", "?", "?", "?", "nothing asked, or protocol paper"))
        else:
            numbers = (
                _grouped(found.items),
                f"{found.half_width:.1f}",
                _grouped(found.needed),
                _grouped(found.available),
            )
            short = "" if found.enough else "too few" if found.needed <= found.available else "more than there are"
            rows.append((name, *numbers, short))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    few = [name for name, found in powers.items() if found is not None and not found.enough]
    lines.append(
        f"+- points: half of the 90 % interval where dense model and variant disagree on {disagreement:.0%} of items"
    )
    lines.append(
        f"needed: items with which an unchanged model is shown to stay within {tolerance:g} points nine times in ten"
    )
    if few and rule == EQUIVALENCE:
        lines.append(f"expect INCONCLUSIVE in {', '.join(few)}: ask more items (--trust-tier, --trust-items)")
    elif few:
        lines.append(f"the point rule decides in {', '.join(few)} without an interval that could: a PASS shows little")
    return lines


def _draws(request: Request) -> int | None:
    """What tells apart two requests of the same text: the seed, where answers are sampled."""
    return request.seed if request.generation.temperature > 0 else None


def _aligned(row: Iterable[str], widths: Iterable[int]) -> list[str]:
    cells = [*zip(row, widths, strict=True)]
    return [cells[0][0].ljust(cells[0][1]), *(text.rjust(width) for text, width in cells[1:])]


def _grouped(number: int) -> str:
    return f"{number:,}"

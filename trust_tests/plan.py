"""What a run would ask: prompts and tokens per dimension, before anything is spent. Pure: no model, no tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from trust_tests.evaluation import Questions
from trust_tests.records import Request

# The specs' rule of thumb for English; a tokenizer's own count differs by some tens of percent.
TOKENS_PER_WORD = 1.3


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


def _draws(request: Request) -> int | None:
    """What tells apart two requests of the same text: the seed, where answers are sampled."""
    return request.seed if request.generation.temperature > 0 else None


def _aligned(row: Iterable[str], widths: Iterable[int]) -> list[str]:
    cells = [*zip(row, widths, strict=True)]
    return [cells[0][0].ljust(cells[0][1]), *(text.rjust(width) for text, width in cells[1:])]


def _grouped(number: int) -> str:
    return f"{number:,}"

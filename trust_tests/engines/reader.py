"""What the transformers engine asks of a loaded model, whichever loop runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from trust_tests.engines.stopping import Stopped
from trust_tests.records import Generation


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (nats) of a prompt's choices, and the likeliest next token."""

    logprobs: tuple[float, ...]
    best: int


class Reader(Protocol):
    """A model that reads prompts and writes answers, both token ids. `loop` says how, in a few words."""

    loop: ClassVar[str]

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[Scored]:
        """Score the choices (token ids, none empty) of each prompt, equally many for all."""
        ...

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        generation: Generation,
        draws: Sequence[tuple[int, int]],
        ends: Sequence[int],
        stopped: Stopped | None = None,
    ) -> list[list[int] | None]:
        """The tokens of each answer; None where the logits were not finite.

        An answer ends with the first of `ends`, which stands in it, or where `stopped` says so; tokens may follow its
        end. draws: (seed, sample) of each answer, `generation.samples` of them for each prompt in turn.
        """
        ...

    def rest(self) -> None:
        """Give back what was kept from answer to answer; it is made anew on demand."""
        ...

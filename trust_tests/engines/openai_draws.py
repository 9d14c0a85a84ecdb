"""Whether a server draws its samples: one that answers greedily would make every rate over samples 0 or 1, unseen."""

from __future__ import annotations

from collections.abc import Iterable

from trust_tests.records import Request, Response

# Samples alike to the character say that nothing is drawn once they come from so many prompts and repeat so many
# characters in all: at a tenth of a nat for each token of about four characters, chance does it once in 20,000 runs.
PROMPTS = 4
CHARACTERS = 400
# A model that says one word over and over is sure of it: its samples tell nothing.
_WORDS = 3


class Draws:
    """Watches the samples of one model for as long as none of them differs."""

    def __init__(self) -> None:
        self._prompts = 0
        self._characters = 0
        self._drawn = False

    def fault(self, answered: Iterable[tuple[Request, Response]]) -> str | None:
        """Why the server is taken for one that does not draw, one line; None where it is not.

        answered: new answers. Those to a single sample, greedy ones and failed ones say nothing, and bear no fault.
        """
        sampled = [r.texts for request, r in answered if request.generation.temperature > 0 and len(r.texts) > 1]
        for texts in sampled:
            if len(set(texts)) > 1:
                self._drawn = True
            elif len(set(texts[0].split())) >= _WORDS:
                self._prompts += 1
                self._characters += (len(texts) - 1) * len(texts[0])
        if self._drawn or not sampled or self._prompts < PROMPTS or self._characters < CHARACTERS:
            return None
        return (
            f"asked to draw, the server answers greedily: all samples of each of {self._prompts} prompts are alike to "
            "the character; serve the model with vLLM (`transformers serve` draws only where the model's "
            "generation_config.json has do_sample)"
        )

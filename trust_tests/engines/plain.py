"""Answers of any causal model by transformers' own `generate` and padded batches.

For models that `trust_tests.engines.packed` does not know how to read: sliding windows, states instead of keys and
values, attention of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from trust_tests.engines import sampling
from trust_tests.engines.reader import Scored
from trust_tests.records import Generation

if TYPE_CHECKING:
    import torch

    from trust_tests.engines.stopping import Stopped

# Layers that keep keys and values, as transformers names them; of the others' states no copies can be made.
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


class PlainModel:
    """A model as transformers runs it. pad: the id that fills rows up."""

    loop: ClassVar[str] = "transformers' generate"

    def __init__(self, model: Any, pad: int) -> None:
        self._model = model
        self._pad = pad
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
        self._copies = not (kinds - _ATTENTION or getattr(model, "_is_stateful", False))

    def rest(self) -> None:
        """See `Reader.rest`: nothing is kept."""

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[Scored]:
        """See `Reader.score`; prompts and choices are read as one row each."""
        import torch

        ids, mask = self._padded(prompts)
        if all(len(choice) == 1 for listed in choices for choice in listed):
            logits = self._next_logits(ids, mask)[:, None]  # (prompts, 1, vocabulary)
            rows = torch.arange(len(prompts)).repeat_interleave(len(choices[0]))
        else:
            logits = self._continued_logits(ids, mask, choices)  # (prompts x choices, longest choice, vocabulary)
            rows = torch.arange(len(logits))
        flat = [choice for listed in choices for choice in listed]
        normaliser = logits.logsumexp(dim=-1)
        values = [
            sum(float(logits[row, place, token] - normaliser[row, place]) for place, token in enumerate(choice))
            for row, choice in zip(rows.tolist(), flat, strict=True)
        ]
        count = len(choices[0])
        return [
            Scored(tuple(values[first : first + count]), int(logits[int(rows[first]), 0].argmax()))
            for first in range(0, len(values), count)
        ]

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        generation: Generation,
        draws: Sequence[tuple[int, int]],
        ends: Sequence[int],
        stopped: Stopped | None = None,
    ) -> list[list[int] | None]:
        """See `Reader.write`."""
        from transformers import GenerationConfig, LogitsProcessorList

        ids, mask = self._padded(prompts)
        cache = self._shared_prefill(ids, mask, generation.samples) if generation.samples > 1 and self._copies else None
        ids, mask = (x.repeat_interleave(generation.samples, dim=0) for x in (ids, mask))
        watch = _seeded_draws(draws, generation)
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([watch]),
            stopping_criteria=None if stopped is None else _stopping(stopped, ids.shape[1]),
            # A configuration of our own: sampling settings that a checkpoint brings along must not differ
            # between the dense model and its variant.
            generation_config=GenerationConfig(
                max_new_tokens=generation.max_new_tokens,
                do_sample=False,
                eos_token_id=list(ends) or None,
                pad_token_id=self._pad,
            ),
        )[:, ids.shape[1] :].tolist()
        return [None if broken else tokens for tokens, broken in zip(output, watch.broken, strict=True)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded ids and mask, both (rows, longest)."""
        import torch

        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[index, longest - len(row) :] = 1
        return ids.to(self._model.device), mask.to(self._model.device)

    def _shared_prefill(self, ids: torch.Tensor, mask: torch.Tensor, samples: int) -> Any:
        """The keys and values of each prompt but its last token, computed once and repeated for its samples."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = self._model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            logits_to_keep=1,
            use_cache=True,
        ).past_key_values
        cache.batch_repeat_interleave(samples)
        return cache

    def _next_logits(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each prompt, (prompts, vocabulary), float32."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
        )
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def _continued_logits(
        self, ids: torch.Tensor, mask: torch.Tensor, choices: Sequence[Sequence[Sequence[int]]]
    ) -> torch.Tensor:
        """Logits that predict each token of each choice, (prompts x choices, longest choice, vocabulary), float32.

        The prompts are read once; each choice goes on from the prompt's keys and values (where a model has states,
        each choice is read with its prompt). Shorter choices are padded at their end, where nothing before them can
        see the padding.
        """
        import torch

        count = len(choices[0])
        cache = self._shared_prefill(ids, mask, count) if self._copies else None
        longest = max(len(choice) for listed in choices for choice in listed)
        read = (ids if cache is None else ids[:, -1:]).repeat_interleave(count, dim=0)
        padded = [[*choice[:-1], *[0] * (longest - len(choice))] for listed in choices for choice in listed]
        tail = torch.cat([read, torch.tensor(padded, dtype=torch.long, device=ids.device).reshape(len(read), -1)], 1)
        before = mask.repeat_interleave(count, dim=0)
        seen = torch.cat([before, before.new_ones(len(read), longest - 1)], dim=1)
        output = self._model(
            input_ids=tail,
            attention_mask=seen,
            position_ids=(seen.cumsum(1) - 1).clamp(min=0)[:, -tail.shape[1] :],
            logits_to_keep=longest,
            **({} if cache is None else {"past_key_values": cache}),
        )
        return output.logits.float()  # type: ignore[no-any-return]


def _stopping(stopped: Stopped, prompt: int) -> Any:
    """Stopping criteria that end the answers which `stopped` says have ended. prompt: columns before the answers."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Ended(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            return torch.tensor(stopped(input_ids[:, prompt:].tolist()), device=input_ids.device)

    return StoppingCriteriaList([Ended()])


def _seeded_draws(draws: Sequence[tuple[int, int]], generation: Generation) -> Any:
    """A logits processor that turns greedy search into seeded sampling; `draws` has (seed, sample) per row.

    It leaves the drawn token as the only possible one. Its `broken` list tells which rows ever had a logit that is
    not finite.
    """
    import torch
    from transformers import LogitsProcessor

    class SeededDraws(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
        def __init__(self) -> None:
            self.broken = [False] * len(draws)
            self.drawer: sampling.Drawer | None = None

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            self.drawer = self.drawer or sampling.Drawer(draws, generation, scores.device)
            chosen, finite = self.drawer.next(scores)
            self.broken = [bad or not good for bad, good in zip(self.broken, finite.tolist(), strict=True)]
            return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)

    return SeededDraws()

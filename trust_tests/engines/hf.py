"""The transformers engine: any Hugging Face causal model, on a CPU or one GPU.

Prompts are sorted by length and answered in padded batches; samples of one prompt share its prefill. How answers are
drawn stands in `trust_tests.engines.sampling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compressors.errors import CompressionError
from compressors.models import Checkpoint
from trust_tests import chat
from trust_tests.engines import attention, sampling
from trust_tests.engines.base import EngineError
from trust_tests.records import Finish, Generation, Request, Response

if TYPE_CHECKING:
    import torch

CPU_BATCH = 128
GPU_BATCH = 256
# Tokens that the keys and values of one batch may hold: long prompts come in smaller batches.
CPU_TOKENS = 32_768
GPU_TOKENS = 65_536
# Raise with any change of how answers are computed or drawn here: stored answers of before are then not reused.
DECODING = "2"
NOT_FINITE = "the model's logits are not finite"


@dataclass(frozen=True, slots=True)
class HfOptions:
    """How to run: `dtype` and `device` may be `auto`, `batch_size` counts rows (samples), None is automatic."""

    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None


class HfEngine:
    """One checkpoint behind transformers' `generate` and `forward`."""

    def __init__(self, checkpoint: Checkpoint, options: HfOptions | None = None) -> None:
        self._checkpoint = checkpoint
        self._options = options or HfOptions()
        self._model: Any = None

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer, logging

        logging.set_verbosity_error()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(self._checkpoint.path), padding_side="left", trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"model {self._checkpoint.name!r}: its tokenizer cannot be loaded: {reason}") from None
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def _device(self) -> str:
        import torch

        if self._options.device != "auto":
            return self._options.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _dtype(self) -> torch.dtype:
        import torch

        if self._options.dtype != "auto":
            return getattr(torch, self._options.dtype)  # type: ignore[no-any-return]
        if self._device.startswith("cuda"):
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if _cpu_computes_bfloat16() else torch.float32

    def identity(self) -> Mapping[str, str]:
        """See `Engine.identity`; loads neither weights nor tokenizer."""
        import torch
        import transformers

        gpu = self._device.startswith("cuda")
        kernels = torch.cuda.get_device_name(self._device) if gpu else torch.backends.cpu.get_cpu_capability()
        return {
            "engine": "transformers",
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": "cuda" if gpu else "cpu",
            "kernels": kernels,
            "decoding": DECODING,
        }

    def render(self, request: Request) -> str:
        """See `Engine.render`."""
        try:
            return chat.render(self._tokenizer, request.messages, request.answer_prefix, request.template)
        except chat.ChatTemplateError as error:
            raise EngineError(str(error)) from None

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Equal generation parameters together, sorted by length (longest first, so that memory shows early)."""
        gpu = self._device.startswith("cuda")
        rows = self._options.batch_size or (GPU_BATCH if gpu else CPU_BATCH)
        tokens = GPU_TOKENS if gpu else CPU_TOKENS
        groups: dict[Any, list[Request]] = {}
        for request in requests:
            generation = request.generation
            # Prompts with different choices, but equally many, are scored together.
            alike = replace(generation, choices=("",) * len(generation.choices))
            groups.setdefault(alike, []).append(request)
        batches = []
        for generation, members in groups.items():
            lengths = {r.item_id: len(self._encode(r)) for r in members}
            members = sorted(members, key=lambda r: (-lengths[r.item_id], r.item_id))
            copies = max(generation.samples, len(generation.choices), 1)
            while members:
                # The first is the longest: the others are padded to it.
                row = lengths[members[0].item_id] + generation.max_new_tokens
                size = max(1, min(rows, tokens // row) // copies)
                batches.append(members[:size])
                members = members[size:]
        return batches

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """See `Engine.respond`. Halves the batch when memory runs out; a single prompt too large is an error."""
        self._load()
        too_long = {r.item_id: reason for r in batch if (reason := self._does_not_fit(r))}
        fitting = [request for request in batch if request.item_id not in too_long]
        answers = {response.item_id: response for response in self._answer(fitting)}
        return [
            answers.get(r.item_id) or Response(item_id=r.item_id, error=too_long.get(r.item_id, "no answer came back"))
            for r in batch
        ]

    def _does_not_fit(self, request: Request) -> str | None:
        """Why a prompt with its answer is longer than the model can read, None when it is not.

        Beyond its trained positions a model answers nonsense without an error, which would be measured as its own.
        The reference code checks no lengths, so neither do prompts put as in the paper.
        """
        if chat.as_in_the_paper(request.template):
            return None
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        choices = self._choice_ids(request.generation.choices)
        answer = max(map(len, choices)) if choices else request.generation.max_new_tokens
        prompt = len(self._encode(request))
        if context is None or prompt + answer <= context:
            return None
        return f"a prompt of {prompt} tokens and an answer of {answer} do not fit the model's context of {context}"

    def _answer(self, batch: Sequence[Request]) -> list[Response]:
        import torch

        if not batch:
            return []
        try:
            with torch.inference_mode():
                return self._score_choices(batch) if batch[0].generation.choices else self._generate(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                return [Response(item_id=batch[0].item_id, error="out of memory for a single prompt")]
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._answer(batch[:half]) + self._answer(batch[half:])

    def close(self) -> None:
        """See `Engine.close`."""
        self._model = None

    def _load(self) -> None:
        if self._model is not None:
            return
        from compressors.checkpoint import load_model

        try:
            self._model = load_model(self._checkpoint.path, dtype=self._dtype, device=self._device)
        except CompressionError as error:
            raise EngineError(str(error)) from None
        # A model that brings its own attention (or none) keeps it.
        if self._device == "cpu" and self._model.config._attn_implementation == "sdpa":
            self._model.set_attn_implementation(attention.register())

    def _encode(self, request: Request) -> list[int]:
        special = chat.adds_special_tokens(self._tokenizer, request.template)
        return list(self._tokenizer(self.render(request), add_special_tokens=special)["input_ids"])

    def _choice_ids(self, choices: Sequence[str]) -> list[list[int]]:
        return [list(self._tokenizer(choice, add_special_tokens=False)["input_ids"]) for choice in choices]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded ids and mask, both (rows, longest)."""
        import torch

        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self._tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[index, longest - len(row) :] = 1
        return ids.to(self._device), mask.to(self._device)

    def _generate(self, batch: Sequence[Request]) -> list[Response]:
        from transformers import GenerationConfig, LogitsProcessorList

        generation = batch[0].generation
        prompts = [self._encode(request) for request in batch]
        ids, mask = self._padded(prompts)
        cache = self._shared_prefill(ids, mask, generation.samples) if generation.samples > 1 else None
        ids, mask = (x.repeat_interleave(generation.samples, dim=0) for x in (ids, mask))
        ends = self._end_tokens()
        watch = _seeded_draws(
            [(request.seed, sample) for request in batch for sample in range(generation.samples)],
            generation,
        )
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            logits_processor=LogitsProcessorList([watch]),
            # A configuration of our own: sampling settings that a checkpoint brings along must not differ
            # between the dense model and its variant.
            generation_config=GenerationConfig(
                max_new_tokens=generation.max_new_tokens,
                do_sample=False,
                eos_token_id=ends or None,
                pad_token_id=self._tokenizer.pad_token_id or 0,
            ),
        )[:, ids.shape[1] :].tolist()
        responses = []
        for index, request in enumerate(batch):
            rows = range(index * generation.samples, (index + 1) * generation.samples)
            if any(watch.broken[row] for row in rows):
                responses.append(Response(item_id=request.item_id, error=NOT_FINITE))
                continue
            kept = [_until_end(output[row], ends, inclusive=chat.as_in_the_paper(request.template)) for row in rows]
            responses.append(
                Response(
                    item_id=request.item_id,
                    texts=tuple(self._text(tokens, request.template) for tokens, _ in kept),
                    finishes=tuple(Finish.STOP if ended else Finish.LENGTH for _, ended in kept),
                    prompt_tokens=len(prompts[index]),
                    completion_tokens=sum(len(tokens) for tokens, _ in kept),
                )
            )
        return responses

    def _text(self, tokens: Sequence[int], template: str) -> str:
        """Generated tokens as text; under a template of the paper with special tokens, cut as the paper cuts."""
        text = str(self._tokenizer.decode(tokens, skip_special_tokens=not chat.as_in_the_paper(template)))
        return chat.until_stop_string(text, template)

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

    def _end_tokens(self) -> list[int]:
        """Ids that end an answer: the checkpoint's own list (chat models have several) and the tokenizer's."""
        configured = self._model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in [*listed, self._tokenizer.eos_token_id] if token is not None})

    def _score_choices(self, batch: Sequence[Request]) -> list[Response]:
        """Log-probabilities of each request's choices; a prompt is read once, whatever the number of its choices."""
        import torch

        prompts = [self._encode(request) for request in batch]
        choices = [self._choice_ids(request.generation.choices) for request in batch]
        ids, mask = self._padded(prompts)
        if all(len(choice) == 1 for listed in choices for choice in listed):
            logits = self._next_logits(ids, mask)[:, None]  # (prompts, 1, vocabulary)
            rows = torch.arange(len(batch)).repeat_interleave(len(choices[0]))
        else:
            logits = self._continued_logits(ids, mask, choices)  # (prompts x choices, longest choice, vocabulary)
            rows = torch.arange(len(logits))
        flat = [choice for listed in choices for choice in listed]
        normaliser = logits.logsumexp(dim=-1)
        values = [
            sum(float(logits[row, place, token] - normaliser[row, place]) for place, token in enumerate(choice))
            for row, choice in zip(rows.tolist(), flat, strict=True)
        ]
        responses = []
        for index, request in enumerate(batch):
            first = index * len(choices[index])
            own = tuple(values[first : first + len(choices[index])])
            if not all(math.isfinite(value) for value in own):
                responses.append(Response(item_id=request.item_id, error=NOT_FINITE))
                continue
            best = int(logits[int(rows[first]), 0].argmax())
            responses.append(
                Response(
                    item_id=request.item_id,
                    texts=(self._tokenizer.decode([best], skip_special_tokens=True),),
                    finishes=(Finish.LENGTH,),
                    prompt_tokens=len(prompts[index]),
                    completion_tokens=1,
                    choice_logprobs=own,
                )
            )
        return responses

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

        The prompts are read once; each choice goes on from the prompt's keys and values. Shorter choices are padded
        at their end, where nothing before them can see the padding.
        """
        import torch

        count = len(choices[0])
        cache = self._shared_prefill(ids, mask, count)
        longest = max(len(choice) for listed in choices for choice in listed)
        last = ids[:, -1:].repeat_interleave(count, dim=0)
        padded = [[*choice[:-1], *[0] * (longest - len(choice))] for listed in choices for choice in listed]
        tail = torch.cat([last, torch.tensor(padded, dtype=torch.long, device=ids.device).reshape(len(last), -1)], 1)
        before = mask.repeat_interleave(count, dim=0)
        seen = torch.cat([before, before.new_ones(len(last), longest - 1)], dim=1)
        positions = (seen.cumsum(1) - 1)[:, -longest:]
        output = self._model(input_ids=tail, attention_mask=seen, position_ids=positions, past_key_values=cache)
        return output.logits.float()  # type: ignore[no-any-return]


def _until_end(tokens: list[int], ends: Sequence[int], *, inclusive: bool) -> tuple[list[int], bool]:
    """The tokens before (`inclusive`: up to) the first end token, and whether there was one."""
    for position, token in enumerate(tokens):
        if token in ends:
            return tokens[: position + inclusive], True
    return tokens, False


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
            self.keys: torch.Tensor | None = None
            self.step = 0

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            # The sum is finite only if every logit is.
            finite = torch.isfinite(scores.sum(dim=-1, dtype=torch.float64)).tolist()
            self.broken = [bad or not good for bad, good in zip(self.broken, finite, strict=True)]
            if generation.temperature <= 0:
                return scores
            if self.keys is None:
                self.keys = sampling.keys_tensor(draws, scores.device)
            chosen = sampling.draw(
                scores.nan_to_num(0.0), self.keys, self.step, generation.temperature, top_k=generation.top_k
            )
            self.step += 1
            return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)

    return SeededDraws()


def _cpu_computes_bfloat16() -> bool:
    """Whether this CPU has bfloat16 arithmetic; without it, bfloat16 is slower than float32."""
    import torch

    return any(
        getattr(torch.cpu, probe, lambda: False)() for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )

"""The transformers engine: any Hugging Face causal model, on a CPU or one GPU.

Models with plain attention read packed prompts, common beginnings once (`trust_tests.engines.packed`); all others
answer through transformers' `generate` (`trust_tests.engines.plain`). How answers are drawn stands in
`trust_tests.engines.sampling`.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compressors.errors import CompressionError
from compressors.models import Checkpoint
from trust_tests.engines import memory
from trust_tests.engines.base import EngineError
from trust_tests.engines.packed import packed_or_none
from trust_tests.engines.plain import PlainModel
from trust_tests.engines.prefixes import Capacity, Family, batches, families
from trust_tests.engines.prompts import NOT_FINITE, Prompts
from trust_tests.engines.reader import Reader
from trust_tests.records import Generation, Request, Response

if TYPE_CHECKING:
    import torch

# Raise with any change of how answers are computed or drawn here: stored answers of before are then not reused.
DECODING = "5"


@dataclass(frozen=True, slots=True)
class HfOptions:
    """How to run: `dtype` and `device` may be `auto`, `batch_size` counts rows (samples), None is automatic.

    share_prefixes: whether what prompts begin with alike is read once.
    """

    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    share_prefixes: bool = True


# Engines of this process with a model on a GPU.
_ON_GPU: weakref.WeakSet[HfEngine] = weakref.WeakSet()


class HfEngine:
    """One checkpoint behind transformers.

    On a GPU the engines of one process take turns: before one answers, the others give back what their answers took,
    and where two models are too large for it, their weights wait in the machine's memory.
    """

    def __init__(self, checkpoint: Checkpoint, options: HfOptions | None = None) -> None:
        self._checkpoint = checkpoint
        self._options = options or HfOptions()
        self._prompts = Prompts(checkpoint)
        self._model: Any = None
        self._reader: Reader | None = None
        self._ends: list[int] = []

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
            "decoding": DECODING if self._options.share_prefixes else f"{DECODING}, nothing shared",
        }

    def render(self, request: Request) -> str:
        """See `Engine.render`."""
        return self._prompts.render(request)

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Equal generation parameters together, then families of prompts that begin alike, the longest first.

        Depends on the requests, the model's size and the device's memory, never on how much of it is free just now.
        """
        capacity = self._capacity()
        groups: dict[tuple[Generation, str], list[Request]] = {}
        for request in requests:
            generation = request.generation
            # Prompts with different choices, but equally many, are scored together.
            alike = replace(generation, choices=("",) * len(generation.choices))
            # Stop strings are looked for in texts, which the template decides on.
            groups.setdefault((alike, request.template if alike.stop else ""), []).append(request)
        dealt = []
        for (generation, _), members in groups.items():
            members = sorted(members, key=lambda r: r.item_id)
            prompts = self._prompts.encode_all(members)
            alone = [Family((n,)) for n in range(len(members))]
            found = families(prompts) if self._options.share_prefixes else alone
            for batch in batches(
                found,
                [len(prompt) for prompt in prompts],
                # A choice is read, not written.
                copies=0 if generation.choices else generation.samples,
                extra=generation.max_new_tokens,
                capacity=capacity,
            ):
                dealt.append([members[n] for family in batch for n in family.members])
        return dealt

    def _capacity(self) -> Capacity:
        found = memory.capacity(self._checkpoint.path, self._device, self._dtype)
        rows = self._options.batch_size
        return found if rows is None else Capacity(rows, found.tokens, rows)

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """See `Engine.respond`. Halves the batch when memory runs out; a single prompt too large is an error."""
        self._load()
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        too_long = {r.item_id: reason for r in batch if (reason := self._prompts.misfit(r, context))}
        fitting = [request for request in batch if request.item_id not in too_long]
        answers = {response.item_id: response for response in self._answer(fitting)}
        return [
            answers.get(r.item_id) or Response(item_id=r.item_id, error=too_long.get(r.item_id, "no answer came back"))
            for r in batch
        ]

    def _answer(self, batch: Sequence[Request]) -> list[Response]:
        import torch

        if not batch:
            return []
        loop = self._load().loop
        try:
            with torch.inference_mode():
                found = self._score(batch) if batch[0].generation.choices else self._write(batch)
            return [response if response.error else replace(response, loop=loop) for response in found]
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                return [Response(item_id=batch[0].item_id, error="out of memory for a single prompt")]
        except EngineError:
            raise
        except Exception as error:  # whatever a foreign model raises
            raise self._unable(error) from error
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._answer(batch[:half]) + self._answer(batch[half:])

    def close(self) -> None:
        """See `Engine.close`."""
        _ON_GPU.discard(self)
        self._model = self._reader = None

    def _rest(self) -> None:
        """Leave the GPU's memory to another engine."""
        import torch

        _ON_GPU.discard(self)
        if self._reader is not None:
            self._reader.rest()
            if not memory.two_fit(self._checkpoint.path, self._device, self._dtype):
                self._model.to("cpu")
        torch.cuda.empty_cache()

    def _load(self) -> Reader:
        """The model, ready to answer, with the device to itself."""
        if self._device.startswith("cuda") and self not in _ON_GPU:
            for other in list(_ON_GPU):
                other._rest()
            _ON_GPU.add(self)
            if self._reader is not None:
                self._model.to(self._device)
        if self._reader is not None:
            return self._reader
        from transformers import GenerationConfig

        from compressors.checkpoint import load_model

        memory.keep_freed_memory()
        try:
            self._model = load_model(self._checkpoint.path, dtype=self._dtype, device=self._device)
        except CompressionError as error:
            raise EngineError(str(error)) from None
        self._ends = self._prompts.end_tokens(self._model.generation_config.eos_token_id)
        # What else a checkpoint brings along (a repetition penalty, say) would count for one side and not the other.
        self._model.generation_config = GenerationConfig()
        plain = PlainModel(self._model, self._prompts.tokenizer.pad_token_id or 0)
        room = self._capacity().tokens
        try:
            packed = packed_or_none(self._model, share=self._options.share_prefixes, room=room)
        except Exception as error:  # whatever a foreign model raises
            raise self._unable(error) from error
        self._reader = packed or plain
        return self._reader

    def _unable(self, error: Exception) -> EngineError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return EngineError(f"model {self._checkpoint.name!r}: transformers loads it and cannot run it: {reason}")

    def _write(self, batch: Sequence[Request]) -> list[Response]:
        """Free text, and drawn samples."""
        generation = batch[0].generation
        reader, ends = self._load(), self._ends
        draws = [(request.seed, sample) for request in batch for sample in range(generation.samples)]
        stopped = self._prompts.watch(batch[0])
        written = reader.write(self._prompts.encode_all(batch), generation, draws, ends, stopped)
        responses = []
        for index, request in enumerate(batch):
            own = written[index * generation.samples : (index + 1) * generation.samples]
            answers = [tokens for tokens in own if tokens is not None]
            if len(answers) < len(own):
                responses.append(Response(item_id=request.item_id, error=NOT_FINITE))
            else:
                responses.append(self._prompts.written(request, answers, ends))
        return responses

    def _score(self, batch: Sequence[Request]) -> list[Response]:
        """Log-probabilities of each request's choices."""
        choices = [self._prompts.choice_ids(request.generation.choices) for request in batch]
        scored = self._load().score(self._prompts.encode_all(batch), choices)
        return [
            self._prompts.chosen(request, found.logprobs, found.best)
            if all(map(math.isfinite, found.logprobs))
            else Response(item_id=request.item_id, error=NOT_FINITE)
            for request, found in zip(batch, scored, strict=True)
        ]


def _cpu_computes_bfloat16() -> bool:
    """Whether this CPU has bfloat16 arithmetic; without it, bfloat16 is slower than float32."""
    import torch

    return any(
        getattr(torch.cpu, probe, lambda: False)() for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )

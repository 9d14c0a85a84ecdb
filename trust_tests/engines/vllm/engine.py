"""The engine over vLLM's process.

Prompts are rendered and tokenised here, and answers are cut and read here, by the same code as for the transformers
engine: the two differ in kernels, and in dice. vLLM draws with a random generator per request; each sample's is seeded
from the item's seed and the sample's number, so that answers are repeatable and the dense model and its variant share
seeds, but not the noise that each token is drawn with, as they do in `trust_tests.engines.sampling`.

Everything goes to vLLM in large groups, because it schedules by itself and keeps the keys and values of prompts that
begin alike. Log-probabilities of choices are looked up at the token that a prompt is answered with (one new token);
those of its prompt's own tokens, which vLLM offers too, bypass that cache.
"""

from __future__ import annotations

import base64
import json
import math
import weakref
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compressors.models import Checkpoint, cache_root
from trust_tests import chat
from trust_tests.engines import sampling
from trust_tests.engines.base import EngineError
from trust_tests.engines.prompts import NOT_FINITE, Prompts
from trust_tests.engines.vllm.process import Child, ChildError, Installation, find_vllm
from trust_tests.records import Request, Response

# Requests in a group. What is answered is stored group by group: smaller where a group takes long.
CPU_GROUP = 256
GPU_GROUP = 4096
# Requests that vLLM is given at a time: it begins with them while the next are made into tokens.
_PART = 64
# Log-probabilities that vLLM looks up at one place.
_LOOKED_UP = 128
# Share of a GPU's memory that vLLM takes.
_GPU_SHARE = 0.9
# Raise with any change of how answers are computed or drawn here: stored answers of before are then not reused.
DECODING = "1"

# Engines of this process with a child: on a GPU only one of them holds memory at a time.
_RUNNING: weakref.WeakSet[VllmEngine] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """How to run: `dtype` and `device` may be `auto`; `tensor_parallel` GPUs share the model.

    cache: where environments of `backend-env` lie, None for the user's cache. load_format: vLLM's; `dummy` makes
    random weights, for measurements.
    """

    dtype: str = "auto"
    device: str = "auto"
    tensor_parallel: int = 1
    cache: Path | None = None
    load_format: str = "auto"


def require_vllm(options: VllmOptions) -> None:
    """Raise EngineError, one line, unless a vLLM for the device is there."""
    find_vllm(_device(options.device), options.cache or cache_root())


class VllmEngine:
    """One checkpoint behind vLLM: dense, pruned, compressed-tensors, GPTQ or AWQ.

    On a GPU the engines of one process take turns: before one answers, the others' children give their memory back
    (vLLM's sleep mode, weights in the machine's memory), or end where they cannot, to be started again on demand.
    """

    def __init__(self, checkpoint: Checkpoint, options: VllmOptions | None = None) -> None:
        self._checkpoint = checkpoint
        self._options = options or VllmOptions()
        self._prompts = Prompts(checkpoint)
        self._child: Child | None = None
        self._looked_up: dict[tuple[str, ...], list[tuple[list[int], list[int]]]] = {}

    @cached_property
    def _device(self) -> str:
        return _device(self._options.device)

    @cached_property
    def _installation(self) -> Installation:
        return find_vllm(self._device, self._options.cache or cache_root())

    @cached_property
    def _dtype(self) -> str:
        from trust_tests.engines.hf import HfEngine, HfOptions

        return HfEngine(self._checkpoint, HfOptions(self._options.dtype, self._device)).identity()["dtype"]

    def identity(self) -> Mapping[str, str]:
        """See `Engine.identity`; starts nothing."""
        import torch

        gpu = self._device != "cpu"
        return {
            "engine": "vllm",
            "vllm": self._installation.vllm,
            "torch": self._installation.torch,
            "dtype": self._dtype,
            "device": "cuda" if gpu else "cpu",
            "kernels": torch.cuda.get_device_name(self._device) if gpu else torch.backends.cpu.get_cpu_capability(),
            "tensor_parallel": str(self._options.tensor_parallel),
            "decoding": DECODING,
        }

    def render(self, request: Request) -> str:
        """See `Engine.render`."""
        return self._prompts.render(request)

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Large groups in the order of their texts, so that prompts which begin alike are neighbours."""
        ordered = sorted(requests, key=lambda r: (bool(r.generation.choices), self.render(r), r.item_id))
        size = CPU_GROUP if self._device == "cpu" else GPU_GROUP
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """See `Engine.respond`. Where the process dies, all that it was asked is missing; the next batch gets another.

        Raises EngineError when the model cannot be loaded.
        """
        child = self._awake()
        too_long: dict[str, str] = {}
        asked: list[tuple[list[Request], list[range]]] = []

        def questions() -> Iterator[dict[str, Any]]:
            for start in range(0, len(batch), _PART):
                part = batch[start : start + _PART]
                self._prompts.encode_all(part)
                too_long.update({r.item_id: reason for r in part if (reason := self._misfit(r, child))})
                fitting = [request for request in part if request.item_id not in too_long]
                if fitting:
                    question, places = self._question(fitting)
                    asked.append((fitting, places))
                    yield question

        try:
            answers = child.ask(questions())
            found = [
                self._answered(request, place, own)
                for (part, places), own in zip(asked, answers, strict=True)
                for request, place in zip(part, places, strict=True)
            ]
        except ChildError as error:
            self.close()
            found = [Response(request.item_id, error=f"vLLM failed: {error}") for request in batch]
        responses = {response.item_id: response for response in found}
        responses |= {item_id: Response(item_id, error=reason) for item_id, reason in too_long.items()}
        return [responses[request.item_id] for request in batch]

    def close(self) -> None:
        """See `Engine.close`."""
        _RUNNING.discard(self)
        if self._child is not None:
            self._child.end()
            self._child = None

    def _awake(self) -> Child:
        """The child, with the GPU to itself. Raises EngineError when it cannot load the model."""
        if self._device != "cpu":
            for other in list(_RUNNING - {self}):
                other._rest()
        try:
            if self._child is not None:
                self._child.wake()
                return self._child
        except ChildError:
            self.close()
        try:
            self._child = Child(self._installation, self._arguments(), self._device, self._options.tensor_parallel)
        except ChildError as error:
            name, version = self._checkpoint.name, self._installation.vllm
            raise EngineError(
                f"model {name!r}: vLLM {version} cannot load it on {self._device}: {error}; "
                "--trust-engine=transformers may"
            ) from None
        _RUNNING.add(self)
        return self._child

    def _rest(self) -> None:
        if self._child is not None:
            try:
                self._child.sleep()
            except ChildError:
                self.close()

    def _arguments(self) -> dict[str, Any]:
        gpu = self._device != "cpu"
        chosen: dict[str, Any] = {
            "model": str(self._checkpoint.path.resolve()),
            "dtype": self._dtype,
            "load_format": self._options.load_format,
            "tensor_parallel_size": self._options.tensor_parallel,
            "skip_tokenizer_init": True,
            "trust_remote_code": False,
            "enable_prefix_caching": True,
            # Sampling settings that a checkpoint brings along must not differ between the dense model and its variant.
            "generation_config": "vllm",
            # The model's own context, or as much of it as the memory holds.
            "max_model_len": -1,
            "seed": 0,
        }
        if gpu:
            return chosen | {"gpu_memory_utilization": _GPU_SHARE, "enable_sleep_mode": True}
        # Compiling takes a minute on a CPU and answers no faster. A seeded request whose prompt is read in parts kills
        # vLLM 0.32 there, which then turns back a random generator that cannot be turned back.
        return chosen | {"enforce_eager": True, "enable_chunked_prefill": False}

    def _misfit(self, request: Request, child: Child) -> str | None:
        """Why a prompt is too long. vLLM stops at the context under the paper's templates too."""
        return self._prompts.misfit(request, child.context, always=True)

    @cached_property
    def _ends(self) -> list[int]:
        return self._prompts.end_tokens(configured_ends(self._checkpoint.path))

    def _answered(self, request: Request, place: range, answers: Mapping[str, Sequence[Any]]) -> Response:
        """The response to a request, whose looks or draws stand at `place` among the answers."""
        if request.generation.choices:
            return self._chosen(request, place, answers["looks"])
        return self._written(request, answers["draws"][place.start : place.stop])

    def _question(self, batch: Sequence[Request]) -> tuple[dict[str, Any], list[range]]:
        """What the child is asked (see `worker`), and where each request's looks or draws stand in it."""
        draws: list[list[Any]] = []
        looks: list[list[Any]] = []
        places = []
        for prompt, request in enumerate(batch):
            generation = request.generation
            asked = looks if generation.choices else draws
            start = len(asked)
            if generation.choices:
                looks += [[prompt, *place] for place in self._places(generation.choices)]
            else:
                how = [generation.max_new_tokens, generation.temperature, generation.top_k, list(generation.stop)]
                special = chat.as_in_the_paper(request.template)
                draws += [[prompt, seed, *how, special] for seed in seeds(request)]
            places.append(range(start, len(asked)))
        prompts = self._prompts.encode_all(batch)
        packed = base64.b64encode(b"".join(array("i", prompt) for prompt in prompts)).decode()
        return {
            "lengths": list(map(len, prompts)),
            "tokens": packed,
            "ends": self._ends,
            "draws": draws,
            "looks": looks,
        }, places

    def _places(self, choices: tuple[str, ...]) -> list[tuple[list[int], list[int]]]:
        """Where to look for the choices; most requests have the same."""
        if choices not in self._looked_up:
            self._looked_up[choices] = places_to_look(self._prompts.choice_ids(choices))
        return self._looked_up[choices]

    def _chosen(self, request: Request, place: range, looks: Sequence[Any]) -> Response:
        """The response to a request with choices, from its looks."""
        choices = self._prompts.choice_ids(request.generation.choices)
        known: dict[tuple[int, ...], float] = {}
        places = self._places(request.generation.choices)
        for (tail, ids), found in zip(places, looks[place.start : place.stop], strict=True):
            if isinstance(found, str):
                return Response(request.item_id, error=f"vLLM refused it: {found}")
            known |= {(*tail, token): logprob for token, logprob in zip(ids, found[1], strict=True)}
        if not all(map(math.isfinite, known.values())):
            return Response(request.item_id, error=NOT_FINITE)
        logprobs = [sum(known[tuple(choice[: end + 1])] for end in range(len(choice))) for choice in choices]
        return self._prompts.chosen(request, logprobs, looks[place.start][0])

    def _written(self, request: Request, draws: Sequence[Any]) -> Response:
        """The response to a request for free text, from its draws."""
        for drawn in draws:
            if isinstance(drawn, str):
                return Response(request.item_id, error=f"vLLM refused it: {drawn}")
            if drawn is None:
                return Response(request.item_id, error=NOT_FINITE)
        return self._prompts.written(request, draws, self._ends)


def seeds(request: Request) -> Iterator[int]:
    """The seed of each sample, from the item's seed and the sample's number."""
    for sample in range(request.generation.samples):
        # vLLM takes -1 for no seed at all.
        yield sampling.stream_key(request.seed, sample) & (2**63 - 1)


def places_to_look(choices: Sequence[Sequence[int]]) -> list[tuple[list[int], list[int]]]:
    """Where the choices' log-probabilities are to be looked up: after which tokens of theirs, for which next ones.

    choices: token ids of each. The first place is the prompt's own end; a choice of one token needs no other.
    """
    found: dict[tuple[int, ...], dict[int, None]] = {(): {}}
    for choice in choices:
        for end, token in enumerate(choice):
            found.setdefault(tuple(choice[:end]), {})[token] = None
    return [
        (list(tail), listed[start : start + _LOOKED_UP])
        for tail, listed in ((tail, list(ids)) for tail, ids in found.items())
        for start in range(0, max(len(listed), 1), _LOOKED_UP)
    ]


def configured_ends(folder: Path) -> int | list[int] | None:
    """`eos_token_id` of a checkpoint's generation configuration, as transformers reads it."""
    for name in ("generation_config.json", "config.json"):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise EngineError(f"{folder / name}: cannot be read: {error}") from None
        ends: int | list[int] | None = content.get("eos_token_id")
        return ends
    return None


def _device(device: str) -> str:
    """The device that `auto` stands for, as in the transformers engine."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"

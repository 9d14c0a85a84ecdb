"""Which engine answers for a checkpoint, by a run's settings."""

from __future__ import annotations

from compressors.models import Checkpoint
from trust_tests.engines.base import Engine
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.openai import OpenAIEngine
from trust_tests.engines.openai_models import ServedModel, pace, tokenizer_checkpoint
from trust_tests.engines.vllm import VllmEngine, VllmOptions, require_vllm
from trust_tests.options import VLLM
from trust_tests.settings import Settings


def make_engine(checkpoint: Checkpoint, settings: Settings) -> Engine:
    """The engine that the settings name; loads nothing yet."""
    if settings.server is not None and isinstance(checkpoint, ServedModel):
        return OpenAIEngine(checkpoint, pace(settings.server), tokenizer_checkpoint(settings))
    if settings.engine == VLLM:
        return VllmEngine(checkpoint, vllm_options(settings))
    return HfEngine(checkpoint, hf_options(settings))


def check_engine(settings: Settings) -> None:
    """Raise EngineError, one line that says how to mend it, where the engine cannot run here. Loads nothing."""
    if settings.engine == VLLM:
        require_vllm(vllm_options(settings))


def hf_options(settings: Settings) -> HfOptions:
    """What the transformers engine is told."""
    return HfOptions(settings.dtype, settings.device, settings.batch_size)


def vllm_options(settings: Settings) -> VllmOptions:
    """What the vLLM engine is told."""
    return VllmOptions(settings.dtype, settings.device, settings.tensor_parallel, settings.cache)

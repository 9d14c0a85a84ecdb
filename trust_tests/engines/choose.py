"""Which engine answers for a checkpoint, by a run's settings."""

from __future__ import annotations

from compressors.models import Checkpoint
from trust_tests.engines.base import Engine
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.settings import Settings


def make_engine(checkpoint: Checkpoint, settings: Settings) -> Engine:
    """The engine that the settings name; loads nothing yet."""
    return HfEngine(checkpoint, hf_options(settings))


def hf_options(settings: Settings) -> HfOptions:
    """What the transformers engine is told."""
    return HfOptions(settings.dtype, settings.device, settings.batch_size)

"""The vLLM engine: the same prompts, parameters and answers as the transformers engine, by vLLM's kernels."""

from __future__ import annotations

from trust_tests.engines.vllm.engine import VllmEngine, VllmOptions, require_vllm

__all__ = ["VllmEngine", "VllmOptions", "require_vllm"]

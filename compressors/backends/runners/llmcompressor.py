"""Compress with llm-compressor: GPTQ, AWQ, Wanda and SparseGPT."""

from __future__ import annotations

from typing import Any

from .job import Job, main


def compress(job: Job) -> None:
    """Calibrate once through the blocks in sequence, and save in compressed-tensors or as dense zeros."""
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader
    from transformers import AutoModelForCausalLM

    if job.method == "awq" and job.device == "cpu":
        _leave_memory_unpinned()
    # Blocks are moved to the GPU one at a time by the library itself.
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype="auto", trust_remote_code=False)
    examples: Any = [{"input_ids": s, "attention_mask": torch.ones_like(s)} for s in job.sequences()]
    _follow_blocks(job)
    oneshot(
        model=model,
        # One at a time and in order: no padding, no truncation, no shuffling.
        dataset=DataLoader(examples, batch_size=1, shuffle=False),
        recipe=_modifiers(job),
        pipeline="sequential",
        num_calibration_samples=len(examples),
    )
    # Pruned weights stay dense: a sparse layout is one that few loaders read.
    model.save_pretrained(job.out, save_compressed=job.method in ("gptq", "awq"))


# The pruning modifiers compare with names that end in a dot: a plain "lm_head" is passed over, and the head is pruned,
# with it the embeddings where the two are tied.
_HEAD = ["re:.*lm_head"]


def _modifiers(job: Job) -> list[Any]:
    values = job.parameters
    if job.method == "wanda":
        from llmcompressor.modifiers.pruning import WandaPruningModifier

        return [WandaPruningModifier(targets=["Linear"], ignore=_HEAD, **_mask(values))]
    if job.method == "sparsegpt":
        from llmcompressor.modifiers.pruning import SparseGPTModifier

        return [
            SparseGPTModifier(
                targets=["Linear"],
                ignore=_HEAD,
                block_size=128,
                dampening_frac=values["damp"],
                **_mask(values),
            )
        ]
    if job.method == "gptq":
        from llmcompressor.modifiers.quantization import GPTQModifier

        order = "static" if values["act_order"] else None
        return [
            GPTQModifier(
                config_groups=_scheme(values),
                ignore=["lm_head"],
                block_size=128,
                dampening_frac=values["damp"],
                actorder=order,
            )
        ]
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [
        AWQModifier(duo_scaling=True, n_grid=20),
        QuantizationModifier(config_groups=_scheme(values), ignore=["lm_head"]),
    ]


def _scheme(values: dict[str, Any]) -> dict[str, Any]:
    row = values["group"] == -1
    weights = {
        "num_bits": values["bits"],
        "type": "int",
        "symmetric": values["sym"],
        "strategy": "channel" if row else "group",
        "group_size": None if row else values["group"],
    }
    return {"group_0": {"targets": ["Linear"], "weights": weights}}


def _mask(values: dict[str, Any]) -> dict[str, Any]:
    # For the patterns here (half stay) it does not matter that the library's n counts the zeros.
    structure = "0:0" if values["pattern"] == "unstructured" else values["pattern"]
    return {"sparsity": values["sparsity"], "mask_structure": structure}


def _leave_memory_unpinned() -> None:
    """AWQ pins its activations for the way to a GPU, and fails where there is none (0.14.0.1)."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache.pin_memory = lambda *arguments, **options: None


def _follow_blocks(job: Job) -> None:
    """Report after each block. The library's sequence ends with the model's head, which is no block."""
    from llmcompressor.core import LifecycleCallbacks

    ended = LifecycleCallbacks.sequential_epoch_end
    count = 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        result = ended(*arguments, **options)
        count += 1
        if count <= job.blocks:
            job.progress(count, job.blocks, "llmcompressor")
        return result

    LifecycleCallbacks.sequential_epoch_end = counting


if __name__ == "__main__":
    main(compress, ("llmcompressor", "compressed-tensors", "torch", "transformers"))

"""Compress with GPTQModel: GPTQ, and AWQ with four bits."""

from __future__ import annotations

from functools import partial
from typing import Any

from .job import Job, main


def compress(job: Job) -> None:
    """Quantise and save; every option that moves a weight is given, whatever the library's defaults become."""
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization.config import AWQConfig, GPTQConfig

    values = job.parameters
    common: dict[str, Any] = {
        "bits": values["bits"],
        "group_size": values["group"],
        "sym": values["sym"],
        "lm_head": False,
        "device": job.device.partition(":")[0],
        # A layer with too little data must be an error, not quietly rounded to nearest.
        "fallback": None,
        "offload_to_disk_path": str(job.folder / "offload"),
    }
    options: dict[str, Any] = {}
    if job.method == "gptq":
        config = GPTQConfig(desc_act=values["act_order"], act_group_aware=False, damp_percent=values["damp"], **common)
    else:
        config = AWQConfig(**common)
        # Packs on any device; the default needs a GPU and a compiler.
        options["backend"] = BACKEND.AWQ_TORCH
    model = GPTQModel.load(str(job.model), config, trust_remote_code=False)
    # The library drops sequences of ten tokens and less, and `quantize` does not pass its own switch on.
    model.prepare_dataset = partial(model.prepare_dataset, calibration_data_min_length=0)
    model.layer_callback = _Progress(job)
    examples = [{"input_ids": s[None], "attention_mask": s.new_ones((1, len(s)))} for s in job.sequences()]
    model.quantize(examples, batch_size=1, calibration_sort=None, **options)
    model.save(str(job.out))


class _Progress:
    """What GPTQModel calls after each block."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool, **_: Any) -> None:
        if submodule_finalized:
            self.job.progress(layer_idx + 1, self.job.blocks, "gptqmodel")


if __name__ == "__main__":
    main(compress, ("gptqmodel", "optimum", "torch", "transformers", "numpy"))

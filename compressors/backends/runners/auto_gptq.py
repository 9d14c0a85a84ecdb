"""Compress with AutoGPTQ 0.7.1."""

from __future__ import annotations

import logging
import re
from typing import Any

from .job import Job, main


def compress(job: Job) -> None:
    """Quantise in float16, as the library does by default, and save under the name that other loaders look for."""
    import torch
    from auto_gptq import AutoGPTQForCausalLM, BaseQuantizeConfig
    from auto_gptq.modeling import _base

    values = job.parameters
    config = BaseQuantizeConfig(
        bits=values["bits"],
        group_size=values["group"],
        damp_percent=values["damp"],
        desc_act=values["act_order"],
        static_groups=False,
        sym=values["sym"],
        true_sequential=True,
    )
    on_cpu = job.device == "cpu"
    if on_cpu:
        # The library insists on CUDA though its arithmetic needs none; on a GPU nothing is changed.
        cuda: Any = torch.cuda
        cuda.is_available = lambda: True
        cuda.synchronize = cuda.empty_cache = lambda *arguments: None
        _base.CUDA_0 = torch.device("cpu")
    _follow_log(job)
    model = AutoGPTQForCausalLM.from_pretrained(
        str(job.model), config, trust_remote_code=False, torch_dtype=torch.float16, local_files_only=True
    )
    examples = [{"input_ids": s[None], "attention_mask": torch.ones_like(s)[None]} for s in job.sequences()]
    model.quantize(examples, batch_size=1, cache_examples_on_gpu=not on_cpu)
    # transformers looks for this name; the library's own loader reads it from quantize_config.json.
    model.quantize_config.model_file_base_name = "model"
    model.save_quantized(str(job.out), use_safetensors=True)


def _follow_log(job: Job) -> None:
    class Follower(logging.Handler):
        def emit(self, record: Any) -> None:
            started = re.match(r"Start quantizing layer (\d+)/(\d+)", record.getMessage())
            if started:
                job.progress(int(started[1]) - 1, int(started[2]), "auto-gptq")

    logger = logging.getLogger("auto_gptq")
    logger.setLevel(logging.INFO)
    logger.addHandler(Follower())
    logger.addHandler(logging.StreamHandler())


if __name__ == "__main__":
    main(compress, ("auto-gptq", "torch", "transformers"))

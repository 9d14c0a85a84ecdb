"""Compress with AutoAWQ 0.2.9."""

from __future__ import annotations

from .job import Job, UnsupportedError, main


def compress(job: Job) -> None:
    """Search scales and clips, quantise to four bits and save in the GEMM layout."""
    import torch
    from awq import AutoAWQForCausalLM

    values = job.parameters
    if job.device == "cpu":
        raise UnsupportedError("it needs a GPU: its forward pass fails on a CPU")
    sequences = [s.tolist() for s in job.sequences()]
    length = len(sequences[0])
    if any(len(s) != length for s in sequences):
        # It would join them all and cut the row at one length.
        raise UnsupportedError("it takes calibration sequences of one length only")
    model = AutoAWQForCausalLM.from_pretrained(
        str(job.model), torch_dtype=torch.float16, trust_remote_code=False, safetensors=True, device_map="cpu"
    )
    job.follow_tqdm("autoawq")
    model.quantize(
        tokenizer=None,  # tokens are given
        quant_config={
            "zero_point": not values["sym"],
            "q_group_size": values["group"],
            "w_bit": values["bits"],
            "version": "GEMM",
        },
        calib_data=sequences,
        max_calib_samples=len(sequences),
        max_calib_seq_len=length,
        duo_scaling=True,
        apply_clip=values["clip"],
    )
    model.save_quantized(str(job.out), safetensors=True)


if __name__ == "__main__":
    main(compress, ("autoawq", "torch", "transformers"))

"""Speed on one GPU: a random model of LLaMA-7B's shape, this package's engines beside transformers and vLLM.

    python -m tests.benchmarks.speed_gpu
    python -m tests.benchmarks.speed_gpu --sides hf-engine generate --json result.json

Writes the model (32 layers, hidden 4,096, 13.5 GB in bfloat16, drawn on the GPU) with a tokenizer of whole words to a
temporary folder, then asks every side, one process after the other, three works of 512 random prompts:

    write    300-token prompts, 64 new tokens each, greedy; no end token
    read     the same prompts, one new token: what of `write` is reading
    choose   1,000-token prompts that share 900, the log-probabilities of four one-token choices

    hf-engine    this package's transformers engine
    vllm-engine  this package's vLLM engine
    vllm         vLLM offline, `LLM.generate` on token ids (`choose`: one new token, no choices compared)
    generate     transformers' `generate` in batches of 128 (`choose`: of 32, for memory; one new token)

Loading and a warm-up round (`generate`: a batch) stand apart and are in no rate. Every round has prompts of its own, so
that no cache of an earlier one helps. Random weights cost what trained ones cost; what is written means nothing. Each
side ends after `--limit` seconds. The JSON has for each side the rates that plan_table reads: prompt tokens and new
tokens a second.
A check without a GPU:

    python -m tests.benchmarks.speed_gpu --tiny
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compression_gpu import VOCABULARY, random_checkpoint

from compressors.models import Checkpoint
from tests.benchmarks.machine import default_json, describe, keep, say
from tests.benchmarks.speed_sides import (
    Child,
    Run,
    Side,
    SideError,
    Work,
    own_environment,
    own_python,
    seconds_of,
    started,
    thread_environment,
)
from trust_tests.chat import TEXT
from trust_tests.records import Generation, Message, Request

SIDES = ("hf-engine", "vllm-engine", "vllm", "generate")
WORKS = ("write", "read", "choose")
CHOICES = (" w1", " w2", " w3", " w4")
BATCH = {"write": 128, "read": 128, "choose": 32}  # of `generate`


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the model and of the works."""

    layers: int
    hidden: int
    prompts: int
    length: int
    new_tokens: int
    long: int
    shared: int


FULL = Size(32, 4096, 512, 300, 64, 1000, 900)
TINY = Size(2, 256, 12, 30, 8, 100, 90)


def make_model(folder: Path, size: Size, device: str) -> Checkpoint:
    """A random checkpoint with a tokenizer whose tokens are the words w0, w1, ...; nothing ends an answer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    random_checkpoint(folder, size.layers, size.hidden, torch.device(device))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    without_end = {**config, "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(without_end), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"pad_token_id": 0}), encoding="utf-8")
    # Whole words: the length of a prompt is known beforehand.
    words = Tokenizer(models.WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0").save_pretrained(folder)
    return Checkpoint("random", folder, "random")


def work_of(name: str, size: Size, seed: int, checkpoint: Checkpoint) -> Work:
    """One round's prompts of a work; checked to have the tokens they are meant to have."""
    rng = random.Random(f"{name if name == 'choose' else 'write'} {seed}")
    long = name == "choose"
    shared = rng.choices(range(1, VOCABULARY), k=size.shared if long else 0)
    own = (size.long - size.shared) if long else size.length
    rows = [shared + rng.choices(range(1, VOCABULARY), k=own) for _ in range(size.prompts)]
    generation = Generation(1 if name == "read" else size.new_tokens, choices=CHOICES if long else ())
    work = Work.of(
        [
            Request(f"{name}/{seed}/{i}", (Message("user", " ".join(f"w{t}" for t in row)),), generation, template=TEXT)
            for i, row in enumerate(rows)
        ],
        checkpoint,
        ignore_eos=True,
    )
    if [*map(list, work.ids)] != rows or any(len(choice) != 1 for own_ in work.choice_ids for choice in own_):
        raise SystemExit("speed_gpu: the tokenizer does not give the tokens that were drawn")
    return work


def sides(chosen: argparse.Namespace, checkpoint: Checkpoint, size: Size) -> list[Side]:
    """The sides asked for."""
    device = "cpu" if chosen.tiny else "cuda"
    base: dict[str, Any] = {"model": str(checkpoint.path), "dtype": "bfloat16", "device": device}
    base |= {"fresh": False, "warm": 0}
    # Tokenizers in threads, as they are by themselves.
    environment = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TOKENIZERS_PARALLELISM": "true"}
    if chosen.tiny:
        environment |= thread_environment(chosen.threads)
        base["threads"] = chosen.threads
    vllm = {**environment, "VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_NO_USAGE_STATS": "1"}
    longest = max(size.long, size.length + size.new_tokens) + 8
    engine = {"dtype": "bfloat16", "device": device}
    own = own_environment()
    absent = "name the Python of its environment in --vllm-python or TRUST_VLLM_PYTHON"
    known = {
        "hf-engine": Side("hf-engine", "hf-engine", own_python(), base | {"engine": engine}, {}, environment | own),
        "vllm-engine": Side("vllm-engine", "vllm-engine", own_python(), base | {"engine": engine}, {}, vllm | own),
        "vllm": Side(
            "vllm", "vllm", chosen.vllm_python, base | {"engine": {"max_model_len": longest}}, {}, vllm, absent
        ),
        "generate": Side("generate", "generate", own_python(), base, {}, environment),
    }
    return [replace(known[name], limit=chosen.limit) for name in SIDES if name in chosen.sides]


def measure(
    child: Child, works: Sequence[str], size: Size, rounds: int, checkpoint: Checkpoint
) -> dict[str, list[Run]]:
    """A side's runs of each work, the first a warm-up; a work that fails is named, and ends the side."""
    runs: dict[str, list[Run]] = {}
    for name in works:
        options = {"batch_size": BATCH[name]} if child.side.role == "generate" else {}
        try:
            for seed in range(-1, rounds):  # the first is the warm-up
                work = work_of(name, size, seed, checkpoint)
                if seed < 0 and options:
                    work = work.part(BATCH[name])
                runs.setdefault(name, []).append(child.run(work, options))
        except SideError as error:
            print(f"{name}: {error}", flush=True)
            break
    return {name: own for name, own in runs.items() if len(own) > 1}


def rates(seconds: dict[str, float], size: Size) -> dict[str, float]:
    """Tokens a second: `prefill` of prompts that share nothing, `decode` of what is written after them.

    `shared_prefill` counts all tokens of prompts that share most of theirs. seconds: of each work.
    """
    found = {}
    if "read" in seconds:
        found["prefill"] = size.prompts * size.length / seconds["read"]
        if seconds.get("write", 0.0) > seconds["read"]:
            found["decode"] = size.prompts * (size.new_tokens - 1) / (seconds["write"] - seconds["read"])
    if "choose" in seconds:
        found["shared_prefill"] = size.prompts * size.long / seconds["choose"]
    return found


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="default: all")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS, help="default: all")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each work (default: 2)")
    parser.add_argument("--prompts", type=int, help="prompts of each work (default: 512; 12 with --tiny)")
    parser.add_argument("--limit", type=float, default=420, help="seconds for each side in all (default: 420)")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers on the CPU, to see that it works")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads, with --tiny (default: 1)")
    parser.add_argument("--vllm-python", default=os.environ.get("TRUST_VLLM_PYTHON"),
                        help="default: this Python, where it has vllm")  # fmt: skip
    parser.add_argument("--model", type=Path, help="a folder for the model; taken as it is where it holds one")
    parser.add_argument("--scratch", type=Path, help="where the model lies for a while (14 GB)")
    parser.add_argument("--json", type=Path, default=default_json(__file__), help="default: %(default)s")
    chosen = parser.parse_args()
    if chosen.vllm_python is None and find_spec("vllm"):
        chosen.vllm_python = own_python()
    return chosen


def main() -> None:
    """Print the table, side by side as they end."""
    chosen = arguments()
    size = TINY if chosen.tiny else FULL
    size = replace(size, prompts=chosen.prompts or size.prompts)
    about = describe(["vllm", "accelerate"], chosen.threads if chosen.tiny else None) | {"size": str(asdict(size))}
    say(about)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=chosen.scratch, prefix="speed-", ignore_cleanup_errors=True) as scratch:
        folder = chosen.model or Path(scratch) / "model"
        begun = time.perf_counter()
        if (folder / "config.json").is_file():
            checkpoint = Checkpoint("random", folder, "random")
        else:
            checkpoint = make_model(folder, size, "cpu" if chosen.tiny else "cuda")
        print(f"model written in {time.perf_counter() - begun:.0f} s\n")
        print(f"{'side':14} {'load s':>7} {'work':8} {'warm-up s':>9} {'runs, s':24} {'prompts/s':>10}", flush=True)
        for side in sides(chosen, checkpoint, size):
            with started([side], Path(scratch)) as running:
                for child in running.values():
                    runs = measure(child, chosen.works, size, chosen.rounds, checkpoint)
                    rows.append(report(child, runs, size))
                    keep(chosen.json, about, rows)
    print(f"\n{chosen.json}")


def report(child: Child, runs: dict[str, list[Run]], size: Size) -> dict[str, Any]:
    """Print one side's lines; its row for the JSON."""
    seconds = {name: seconds_of(own[1:]) for name, own in runs.items()}
    for name, (warm_up, *own) in runs.items():
        listed = " ".join(f"{run.seconds:.2f}" for run in own)
        print(
            f"{child.side.name:14} {child.load_seconds:7.1f} {name:8} {warm_up.seconds:9.1f} {listed:24} "
            f"{size.prompts / seconds[name]:10.2f}",
            flush=True,
        )
    found = rates(seconds, size)
    print("  " + ", ".join(f"{name} {value:,.0f} tokens/s" for name, value in found.items()), flush=True)
    return {
        "side": child.side.name,
        "load_seconds": child.load_seconds,
        "warm_up_seconds": {name: own[0].seconds for name, own in runs.items()},
        "seconds": {name: [run.seconds for run in own[1:]] for name, own in runs.items()},
        "prompts_per_second": {name: size.prompts / own for name, own in seconds.items()},
        "rates": found,
    }


if __name__ == "__main__":
    main()

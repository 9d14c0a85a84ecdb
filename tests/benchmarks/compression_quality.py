"""What every method does to the embedded model: perplexity on held-out text, CPU seconds, size, over calibration seeds.

    python tests/benchmarks/compression_quality.py
    python tests/benchmarks/compression_quality.py --recipes wanda:pattern=2:4 gptq:bits=4,group=64 --seeds 0

Each recipe runs as `python -m compressors compress` runs it: from disk to disk, with the recipe's default calibration
(128 windows of 128 tokens of the built-in text) and one run per seed; methods that look at no data run once. The
checkpoint is audited and loaded again, and that model is asked for the perplexity, exp of the mean negative
log-likelihood per token, of tests/compressors/heldout.txt, four windows of 378 tokens that nothing was calibrated on.

Columns: mean perplexity over the seeds and, where there are several, the half-range (max - min)/2; the ratio to the
dense model's; CPU seconds (user and system, all threads) of the compression with its calibration, without audit and
perplexity; the checkpoint's size; bits per weight of the decoder layers, scales and zero points included; the share
of zeros among those weights. "!" marks a checkpoint whose audit found a problem. The whole takes about an hour on one
thread; the JSON holds every run so far.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from machine import default_json, describe, keep, say
from torch import Tensor

from compressors.audit import audit
from compressors.checkpoint import load_model, quiet
from compressors.compress import compress
from compressors.errors import CompressionError
from compressors.methods import find_method
from compressors.models import Checkpoint, resolve
from compressors.recipe import Recipe, parse_recipe

HELD_OUT = Path(__file__).parents[1] / "compressors" / "heldout.txt"
WINDOWS, WINDOW = 4, 378
PATTERNS = ("sparsity=0.5", "pattern=4:8", "pattern=2:4", "pattern=1:2")
RECIPES = [
    *(f"{method}:{pattern}" for pattern in PATTERNS for method in ("magnitude", "wanda", "sparsegpt")),
    *(f"{method}:bits={bits},group=64,sym=false" for bits in (8, 4, 3) for method in ("rtn", "gptq", "awq")),
    *(f"gptq:bits={bits},group=64,sym=true" for bits in (8, 4, 3)),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One compression. size_bytes: of all files. zeros: share of the decoder layers' weights."""

    recipe: str
    seed: int | None
    perplexity: float
    cpu_seconds: float
    wall_seconds: float
    size_bytes: int
    bits_per_weight: float
    zeros: float
    problems: tuple[str, ...]


def held_out(dense: Checkpoint) -> Tensor:
    """Token ids  # (windows, tokens)."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(dense.path)(HELD_OUT.read_text(encoding="utf-8"))["input_ids"]
    return torch.tensor(ids[: WINDOWS * WINDOW]).view(WINDOWS, WINDOW)


def perplexity(folder: Path, windows: Tensor) -> float:
    """exp of the mean negative log-likelihood (nats per token)."""
    with quiet(), torch.inference_mode():
        logits = load_model(folder)(windows).logits[:, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).exp())


def run(dense: Checkpoint, recipe: Recipe, windows: Tensor, threads: int, scratch: Path) -> Run:
    """Compress, audit, load and measure once."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        wall, cpu = time.perf_counter(), time.process_time()
        compress(dense, recipe, folder, device="cpu", threads=threads)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = audit(folder, recipe)
        seed = recipe.parameters.get("seed")
        return Run(
            recipe=str(recipe),
            seed=int(seed) if seed is not None else None,
            perplexity=perplexity(folder, windows),
            cpu_seconds=cpu,
            wall_seconds=wall,
            size_bytes=found.size_bytes,
            bits_per_weight=found.bits_per_weight,
            zeros=found.sparsity or 0.0,
            problems=found.problems,
        )


def seeded(text: str, seeds: Sequence[int]) -> list[Recipe]:
    """The recipe for every seed; itself where it looks at no data or names its seed."""
    recipe = parse_recipe(text)
    if not find_method(recipe.method).calibrated or "seed=" in text:
        return [recipe]
    joint = "," if ":" in text else ":"
    return [parse_recipe(f"{text}{joint}seed={seed}") for seed in seeds]


HEADER = (
    f"{'recipe':34} {'seeds':>5} {'perplexity':>10} {'±':>7} {'/ dense':>8} "
    f"{'CPU s':>7} {'MiB':>6} {'bits/w':>6} {'zeros':>6}"
)


def line(name: str, runs: Sequence[Run], dense: float) -> str:
    """One line of the table."""
    found = [one.perplexity for one in runs]
    mean = sum(found) / len(found)
    spread = f"{(max(found) - min(found)) / 2:7.2f}" if len(found) > 1 else f"{'':7}"
    seconds = sum(one.cpu_seconds for one in runs) / len(runs)
    first = runs[0]
    mark = " !" if any(one.problems for one in runs) else ""
    return (
        f"{name:34} {len(runs):5} {mean:10.2f} {spread} {mean / dense:8.3f} {seconds:7.1f} "
        f"{first.size_bytes / 2**20:6.0f} {first.bits_per_weight:6.2f} {first.zeros:6.1%}{mark}"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, metavar="RECIPE",
                        help="recipes without a seed (default: every method at every rate)")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="calibration seeds (default: 0 1 2)")
    parser.add_argument("--model", default="embedded", help="as for `python -m compressors compress`")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; they move the last bits (default: 1)")
    parser.add_argument("--scratch", type=Path, help="where checkpoints lie for a while")
    parser.add_argument("--json", type=Path, default=default_json(__file__), help="default: %(default)s")
    chosen = parser.parse_args()
    try:
        for text in chosen.recipes:
            seeded(text, chosen.seeds)
    except CompressionError as error:
        parser.error(str(error))
    return chosen


def main() -> None:
    """Print the table."""
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    about = describe(["safetensors", "compressed-tensors", "greenlet"], chosen.threads)
    say(about)
    dense = resolve(chosen.model)
    windows = held_out(dense)
    base = perplexity(dense.path, windows)
    size = sum(file.stat().st_size for file in dense.path.rglob("*") if file.is_file())
    about |= {"model": dense.name, "fingerprint": dense.fingerprint, "dense_perplexity": base, "dense_bytes": size}
    print(f"{HEADER}\n{'dense':34} {'':5} {base:10.2f} {'':7} {1:8.3f} {'':7} {size / 2**20:6.0f}", flush=True)
    done: list[dict[str, Any]] = []
    for text in chosen.recipes:
        runs: list[Run] = []
        for recipe in seeded(text, chosen.seeds):
            runs.append(run(dense, recipe, windows, chosen.threads, chosen.scratch or Path(tempfile.gettempdir())))
            done.append(asdict(runs[-1]) | {"name": text})
            keep(chosen.json, about, done)
        print(line(text, runs, base), flush=True)
        for problem in sorted({problem for one in runs for problem in one.problems}):
            print(f"  audit: {problem}", flush=True)
    print(f"\n{chosen.json}")


if __name__ == "__main__":
    main()

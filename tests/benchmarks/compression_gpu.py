"""How long and how much memory each method takes for a model of 7 billion parameters on one GPU.

    python tests/benchmarks/compression_gpu.py

Builds a random model of LLaMA-7B's shape in bfloat16 as a sharded checkpoint on disk, then compresses it by every
method on the way that `compressors.compress.compress` takes, from disk to disk, with random calibration tokens.
Random weights cost what trained ones cost; what comes out means nothing. Prints per method the wall seconds in
all, of them waiting for the dense blocks to be read, in the method's mathematics, and waiting for the disk to take
the results; the rest is the forward passes. Then the peak of GPU memory and its ratio to the bfloat16 weights.
The dense checkpoint was just written, so the page cache may hold it: seconds of reading are those of a warm disk.
A check without a GPU:

    python tests/benchmarks/compression_gpu.py --device cpu --layers 2 --hidden 256 --samples 8 --length 64
"""

from __future__ import annotations

import argparse
import gc
import importlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import default_json, describe, keep, say
from torch import Tensor, nn

from compressors.assembly import Assembly, write_json
from compressors.audit import audit
from compressors.errors import CompressionError
from compressors.layerwise import Solved, walk
from compressors.methods import find_method
from compressors.models import Checkpoint
from compressors.recipe import Recipe, parse_recipe
from compressors.skeleton import Skeleton

RECIPES = {
    "magnitude-2:4": "magnitude:pattern=2:4",
    "magnitude-50%": "magnitude:sparsity=0.5",
    "wanda-2:4": "wanda:pattern=2:4",
    "sparsegpt-2:4": "sparsegpt:pattern=2:4",
    "gptq-4bit-g128": "gptq:bits=4,group=128,act_order=true",
    "awq-4bit-g128": "awq:bits=4,group=128",
}
# Wall seconds that the whole of a 7B model may take on one H100, and GPU memory over that of its weights.
TARGETS = {
    "magnitude-2:4": 20,
    "magnitude-50%": 20,
    "wanda-2:4": 60,
    "sparsegpt-2:4": 180,
    "gptq-4bit-g128": 180,
    "awq-4bit-g128": 240,
}
MEMORY_TARGET = 1.3
VOCABULARY = 32000
HEAD_DIM = 128
PROFILED_BLOCKS = 2


@dataclass(slots=True)
class Row:
    """One method's figures. Seconds are of wall time, sizes in GiB; GPU sizes are 0 on a CPU."""

    method: str
    recipe: str
    total: float = 0.0
    reading: float = 0.0
    solving: float = 0.0
    writing: float = 0.0
    finishing: float = 0.0
    allocated: float = 0.0
    reserved: float = 0.0
    ratio: float = 0.0
    host: float = 0.0
    written: float = 0.0
    problems: list[str] = field(default_factory=list)


def random_checkpoint(folder: Path, layers: int, hidden: int, device: torch.device) -> tuple[Checkpoint, int]:
    """A model of LLaMA's shape, block by block a shard; returns it and the bytes of its weights."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        # LLaMA-7B's 11,008 at 4,096, and a multiple of the group size at every other width.
        intermediate_size=round(hidden * 11008 / 4096 / 128) * 128,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_DIM,
        num_key_value_heads=hidden // HEAD_DIM,
        max_position_embeddings=4096,
        dtype="bfloat16",
        tie_word_embeddings=False,
    )
    config.architectures = ["LlamaForCausalLM"]
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    generator = torch.Generator(device).manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, device=device, dtype=torch.bfloat16)
        return drawn.mul_(0.02).cpu()

    ones, wide = torch.ones(hidden, dtype=torch.bfloat16), config.intermediate_size
    attention = {f"self_attn.{part}_proj": (hidden, hidden) for part in "qkvo"}
    mlp = {"mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden), "mlp.down_proj": (hidden, wide)}
    outside = {"model.embed_tokens.weight": matrix(VOCABULARY, hidden), "model.norm.weight": ones}
    shards = _Shards(folder, layers + 1)
    shards.add(outside | {"lm_head.weight": matrix(VOCABULARY, hidden)})
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        norms = {f"{prefix}.{name}_layernorm.weight": ones.clone() for name in ("input", "post_attention")}
        shards.add(norms | {f"{prefix}.{name}.weight": matrix(*shape) for name, shape in (attention | mlp).items()})
    return Checkpoint("random", folder, "random"), shards.finish()


class _Shards:
    """The files of a sharded checkpoint, and their index."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count, self.size = folder, count, 0
        self.weight_map: dict[str, str] = {}
        self.written = 0

    def add(self, tensors: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        self.written += 1
        shard = f"model-{self.written:05}-of-{self.count:05}.safetensors"
        save_file(tensors, self.folder / shard, metadata={"format": "pt"})
        self.weight_map |= dict.fromkeys(tensors, shard)
        self.size += sum(tensor.nbytes for tensor in tensors.values())

    def finish(self) -> int:
        index = {"metadata": {"total_size": self.size}, "weight_map": self.weight_map}
        write_json(self.folder / "model.safetensors.index.json", index)
        return self.size


def now(device: torch.device) -> float:
    """Seconds, once the GPU has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class TimedStage:
    """An Assembly whose doors are timed."""

    def __init__(self, assembly: Assembly, row: Row, device: torch.device) -> None:
        self.assembly, self.row, self.device = assembly, row, device

    def enter(self, name: str, module: nn.Module) -> bool:
        start = now(self.device)
        found = self.assembly.enter(name, module)
        self.row.reading += now(self.device) - start
        return found

    def leave(self, name: str, module: nn.Module, solved: Solved) -> None:
        start = now(self.device)
        self.assembly.leave(name, module, solved)
        self.row.writing += now(self.device) - start


@contextmanager
def timed_mathematics(recipe: Recipe, row: Row, device: torch.device) -> Iterator[None]:
    """Add up the time spent in a method's solver; it is put back at the end."""
    module_name, _, attribute = find_method(recipe.method).solver.partition(":")
    module = importlib.import_module(module_name)
    solver = getattr(module, attribute)
    places = [(solver, "observe"), (solver, "solve")] if isinstance(solver, type) else [(module, attribute)]
    with ExitStack() as stack:
        for owner, name in places:
            original = getattr(owner, name)

            def timed(*arguments: Any, original: Callable[..., Any] = original) -> Any:
                start = now(device)
                result = original(*arguments)
                row.solving += now(device) - start
                return result

            setattr(owner, name, timed)
            stack.callback(setattr, owner, name, original)
        yield


class Profile:
    """The operations that take most time while the first blocks are compressed."""

    def __init__(self, wanted: bool, device: torch.device) -> None:
        self.device = device
        self._profiler: Any = None
        if wanted:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=activities)
            self._profiler.start()

    def step(self, done: int, total: int, name: str) -> None:
        """A `layerwise.Progress`: end with the second block and print the table."""
        if self._profiler is not None and done == min(PROFILED_BLOCKS, total):
            profiler, self._profiler = self._profiler, None
            now(self.device)
            profiler.stop()
            order = "self_cuda_time_total" if self.device.type == "cuda" else "self_cpu_time_total"
            print(f"the first {done} blocks, with the profiler's own cost:")
            print(profiler.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60), flush=True)


def measure(dense: Checkpoint, recipe: Recipe, folder: Path, sequences: list[Tensor] | None, how: Settings) -> Row:
    """Compress once, as `compress()` does with sequences given, and take the time and the memory."""
    row, device = Row(recipe.method, str(recipe)), how.device
    _fresh_peaks(device)
    start = now(device)
    with timed_mathematics(recipe, row, device):
        skeleton = Skeleton(dense, str(device))
        row.reading += now(device) - start
        with Assembly(skeleton, recipe, folder) as assembly:
            profile = Profile(how.profile, device)
            walk(skeleton.model, recipe, sequences, TimedStage(assembly, row, device), profile.step)
            walked = now(device)
            assembly.finish()
    row.total, row.finishing = now(device) - start, now(device) - walked
    if device.type == "cuda":
        row.allocated = torch.cuda.max_memory_allocated(device) / 2**30
        row.reserved = torch.cuda.max_memory_reserved(device) / 2**30
    row.host = _host_peak()
    row.written = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30
    if how.audit:
        row.problems = list(audit(folder, recipe).problems)
    return row


def _fresh_peaks(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # else the host's peak is that of the whole run so far
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _host_peak() -> float:
    """GiB of this process's largest resident memory; mapped pages of the checkpoint's files count."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
    except (OSError, StopIteration):
        return 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all methods of a run."""

    device: torch.device
    profile: bool
    audit: bool


HEADER = (
    f"{'method':15} {'total s':>8} {'target':>6} {'reading':>8} {'solving':>8} {'writing':>8} {'finish':>7} "
    f"{'alloc GiB':>9} {'reserved':>8} {'ratio':>6} {'host GiB':>8} {'disk GiB':>8}"
)


def recipe_of(name: str, samples: int, length: int) -> Recipe:
    """A method's recipe, with the calibration's size where it takes one; the tokens themselves are random."""
    recipe = parse_recipe(RECIPES[name])
    if not find_method(recipe.method).calibrated:
        return recipe
    return parse_recipe(f"{RECIPES[name]},samples={samples},length={length}")


def line(row: Row, target: float | None) -> str:
    """One line of the table."""
    aim = f"{target:6.0f}" if target is not None else f"{'-':>6}"
    memory = (
        f"{row.allocated:9.2f} {row.reserved:8.2f} {row.ratio:6.2f}" if row.allocated else f"{'-':>9} {'-':>8} {'-':>6}"
    )
    return (
        f"{row.method:15} {row.total:8.1f} {aim} {row.reading:8.1f} {row.solving:8.1f} {row.writing:8.1f} "
        f"{row.finishing:7.1f} {memory} {row.host:8.2f} {row.written:8.2f}"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N, or cpu for a check of this script")
    parser.add_argument("--layers", type=int, default=32, help="decoder blocks (LLaMA-7B: 32)")
    parser.add_argument("--hidden", type=int, default=4096, help="hidden size, a multiple of 128 (LLaMA-7B: 4096)")
    parser.add_argument("--samples", type=int, default=128, help="calibration sequences (128, as the papers take)")
    parser.add_argument("--length", type=int, default=2048, help="tokens per sequence (2048)")
    parser.add_argument("--methods", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="METHOD",
                        help=f"which of {', '.join(RECIPES)} (default: all)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="where the checkpoints lie for a while (twice the model's size)")
    parser.add_argument("--profile", action="store_true", help="also list the first two blocks' costliest operations")
    parser.add_argument("--audit", action="store_true", help="also read each result back and count what is wrong")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own)")
    parser.add_argument("--json", type=Path, default=default_json(__file__), help="default: %(default)s")
    chosen = parser.parse_args()
    if chosen.hidden % HEAD_DIM:
        parser.error(f"--hidden {chosen.hidden}: a multiple of {HEAD_DIM} is needed")
    if chosen.device != "cpu" and not torch.cuda.is_available():
        parser.error("no GPU here; for a check of the script give --device cpu --layers 2 --hidden 256")
    return chosen


def main() -> None:
    """Print the table."""
    chosen = arguments()
    device = torch.device(chosen.device)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    about = describe(["accelerate", "safetensors", "greenlet"], chosen.threads)
    say(about)
    with tempfile.TemporaryDirectory(dir=chosen.out, prefix="compression-gpu-") as scratch:
        start = now(device)
        dense, size = random_checkpoint(Path(scratch) / "dense", chosen.layers, chosen.hidden, device)
        shape = f"{chosen.layers} blocks of {chosen.hidden}, {size / 2**30:.2f} GiB in bfloat16"
        print(f"model: {shape}, written in {now(device) - start:.0f} s")
        print(f"calibration: {chosen.samples} x {chosen.length} random tokens; targets: 7B on one H100, "
              f"memory {MEMORY_TARGET} x the weights\n\n{HEADER}", flush=True)  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(VOCABULARY, (chosen.samples, chosen.length), generator=generator)
        about |= {"model": shape, "model_bytes": size, "samples": chosen.samples, "length": chosen.length}
        rows: list[dict[str, Any]] = []
        for name in chosen.methods:
            recipe = recipe_of(name, chosen.samples, chosen.length)
            folder = Path(scratch) / "compressed"
            folder.mkdir()
            how = Settings(device, chosen.profile, chosen.audit)
            sequences = list(tokens) if find_method(recipe.method).calibrated else None
            try:
                row = measure(dense, recipe, folder, sequences, how)
            except (CompressionError, torch.OutOfMemoryError) as error:
                print(f"{name:15} failed: {' '.join(str(error).split())[:300]}", flush=True)
                continue
            finally:
                shutil.rmtree(folder)
            row.method, row.ratio = name, row.allocated * 2**30 / size
            print(line(row, TARGETS[name]), flush=True)
            for problem in row.problems:
                print(f"  audit: {problem}", flush=True)
            rows.append(asdict(row) | {"target": TARGETS[name], "memory_target": MEMORY_TARGET})
            keep(chosen.json, about, rows)
    print(f"\n{chosen.json}")


if __name__ == "__main__":
    main()

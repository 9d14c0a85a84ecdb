"""This package's methods beside other libraries' on the embedded model: the same tokens, perplexity and CPU seconds.

    python tests/benchmarks/compression_reference.py
    python tests/benchmarks/compression_reference.py --cases wanda-2:4 --calibrations 16x256

Run it with the Python of an environment that holds this package and its extras gptqmodel and llmcompressor, so that
both sides use one torch. Each side gets the same calibration sequences, in the same order, and compresses in a
process of its own, with the settings of compressors/backends/runners. What is compared:

    ours     CPU seconds (user and system, all threads and children) of compressors.compress.compress as a whole: from
             the checkpoint on disk, with the drawing of the calibration, to the compressed checkpoint on disk
    theirs   CPU seconds of the library's own compressing call alone (oneshot, or quantize); importing it, loading the
             model and saving the result are in the columns "import" and "load+save" and in no ratio

Both checkpoints are then loaded from disk by compressors.checkpoint.load_model and asked for the perplexity of
tests/compressors/heldout.txt (four windows of 378 tokens). "ours/theirs" below 1 means that ours is faster, a
negative "relative" that ours is closer to the dense model or better. llmcompressor's AWQ never clips, so ours is
compared with and without. The whole takes about an hour; the JSON holds every row so far.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import default_json, describe, keep, say

HELD_OUT = Path(__file__).parents[1] / "compressors" / "heldout.txt"
WINDOWS, WINDOW = 4, 378


@dataclass(frozen=True, slots=True)
class Case:
    """A recipe of ours, and the library and recipe that it is compared with."""

    name: str
    ours: str
    library: str
    theirs: str


GPTQ = "gptq:bits=4,group=64,sym=true"
AWQ = "awq:bits=4,group=64,sym=false,clip={}"
CASES = (
    Case("gptq-4bit", GPTQ, "gptqmodel", GPTQ),
    Case("gptq-4bit", GPTQ, "llmcompressor", GPTQ),
    Case("wanda-2:4", "wanda:pattern=2:4", "llmcompressor", "wanda:pattern=2:4"),
    Case("sparsegpt-2:4", "sparsegpt:pattern=2:4", "llmcompressor", "sparsegpt:pattern=2:4"),
    Case("awq-4bit", AWQ.format("true"), "llmcompressor", AWQ.format("false")),
    Case("awq-4bit-noclip", AWQ.format("false"), "llmcompressor", AWQ.format("false")),
)
NAMES = tuple(dict.fromkeys(case.name for case in CASES))


@dataclass(frozen=True, slots=True)
class Side:
    """One compression, in CPU seconds but for `wall`, that of the compression alone.

    touched: tensors outside the decoder blocks that are not the dense model's any more.
    """

    perplexity: float
    compress: float
    wall: float
    imported: float
    rest: float
    touched: list[str]


def cpu_seconds() -> float:
    """User and system time so far of this process, its threads and the children it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Stopwatch:
    """CPU and wall seconds spent in what it wraps."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            cpu, wall = cpu_seconds(), time.perf_counter()
            result = function(*arguments, **keywords)
            self.cpu += cpu_seconds() - cpu
            self.wall += time.perf_counter() - wall
            return result

        return timed


def compress_own(content: dict[str, Any], folder: Path, watch: Stopwatch) -> float:
    """In a child: this package's way; returns the CPU seconds of importing."""
    from compressors.compress import compress
    from compressors.models import checkpoint_at
    from compressors.recipe import parse_recipe

    imported = cpu_seconds()
    dense = checkpoint_at(Path(content["model"]), "embedded")
    recipe = parse_recipe(content["recipe"])
    watch.around(compress)(dense, recipe, folder / "out", device="cpu", threads=content["threads"], offline=True)
    return imported


def compress_theirs(content: dict[str, Any], folder: Path, watch: Stopwatch) -> float:
    """In a child: a library, by the script that `backend=` runs, its compressing call timed."""
    import torch

    from compressors.backends.runners.job import Job

    torch.set_num_threads(content["threads"])
    if content["library"] == "gptqmodel":
        from gptqmodel.models.base import BaseQModel

        from compressors.backends.runners.gptqmodel import compress

        BaseQModel.quantize = watch.around(BaseQModel.quantize)
    else:
        import llmcompressor

        from compressors.backends.runners.llmcompressor import compress

        llmcompressor.oneshot = watch.around(llmcompressor.oneshot)
    imported = cpu_seconds()
    os.chdir(folder)
    compress(Job(folder, lambda event: None))
    return imported


def perplexity(content: dict[str, Any], folder: Path) -> float:
    """In a child: exp of the mean negative log-likelihood (nats per token) of the held-out text."""
    import torch
    from transformers import AutoTokenizer

    from compressors.checkpoint import load_model

    torch.set_num_threads(content["threads"])
    ids = AutoTokenizer.from_pretrained(content["model"])(HELD_OUT.read_text(encoding="utf-8"))["input_ids"]
    windows = torch.tensor(ids[: WINDOWS * WINDOW]).view(WINDOWS, WINDOW)
    with torch.inference_mode():
        logits = load_model(folder)(windows).logits[:, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).exp())


def child(role: str, folder: Path) -> None:
    """Do one thing in this process and leave its figures in result.json."""
    content = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    watch = Stopwatch()
    if role == "perplexity":
        result = {"perplexity": perplexity(content, Path(content["measured"]))}
    else:
        imported = (compress_own if role == "own" else compress_theirs)(content, folder, watch)
        rest = cpu_seconds() - imported - watch.cpu
        result = {"compress": watch.cpu, "wall": watch.wall, "imported": imported, "rest": rest}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    sys.stderr.flush()
    # The libraries leave threads behind that keep an ordinary exit waiting.
    os._exit(0)


def in_child(role: str, folder: Path, content: dict[str, Any]) -> dict[str, float]:
    """Run a role in a process of its own. Raises RuntimeError with its last words when it fails."""
    (folder / "task.json").write_text(json.dumps(content), encoding="utf-8")
    threads = str(content["threads"])
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "GPTQMODEL_CPU_WORKERS": str(max(2, content["threads"])),  # with one it fails
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TMPDIR": str(folder),
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--child", role, str(folder)]
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        last = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(" ".join(last)[:300] or f"status {done.returncode}")
    found: dict[str, float] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def touched(dense: Path, out: Path) -> list[str]:
    """Tensors outside the decoder blocks that both checkpoints hold, with other values."""
    from compressors.checkpoint import opened, tensor_files

    places = [{name: folder / file for file, names in tensor_files(folder).items() for name in names}
              for folder in (dense, out)]  # fmt: skip
    found = []
    for name in sorted(places[0].keys() & places[1].keys()):
        if ".layers." not in name:
            with opened(places[0][name]) as before, opened(places[1][name]) as after:
                if not bool((before.get_tensor(name).float() == after.get_tensor(name).float()).all()):
                    found.append(name)
    return found


class Bench:
    """Runs each side once for each recipe and calibration, however many rows it stands in."""

    def __init__(self, threads: int, scratch: Path | None) -> None:
        from compressors.models import resolve

        self.dense = resolve("embedded")
        self.threads, self.scratch = threads, scratch
        self._known: dict[tuple[str, str], Side] = {}

    def side(self, library: str, text: str) -> Side:
        """What a library (`own`: this package) makes of a recipe."""
        if (library, text) not in self._known:
            with tempfile.TemporaryDirectory(dir=self.scratch, prefix="reference-", ignore_cleanup_errors=True) as name:
                self._known[library, text] = self._side(library, text, Path(name).resolve())
        return self._known[library, text]

    def dense_perplexity(self) -> float:
        """That of the dense model."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            task = {"model": str(self.dense.path), "measured": str(self.dense.path), "threads": self.threads}
            return in_child("perplexity", Path(name), task)["perplexity"]

    def _side(self, library: str, text: str, folder: Path) -> Side:
        task = {"model": str(self.dense.path), "recipe": text, "library": library, "threads": self.threads}
        (folder / "out").mkdir()
        if library == "own":
            found = in_child("own", folder, task)
        else:
            self._lay_out(text, folder)
            found = in_child("theirs", folder, task)
            self._complete(folder / "out")
        measured = in_child("perplexity", folder, task | {"measured": str(folder / "out")})
        return Side(**measured, **found, touched=touched(self.dense.path, folder / "out"))

    def _lay_out(self, text: str, folder: Path) -> None:
        """A runner's job, with the sequences that this package draws for the same recipe."""
        from transformers import AutoTokenizer

        from compressors.backends import folders
        from compressors.backends.process import Job, write_job
        from compressors.calibration import calibration_sequences
        from compressors.models import read_config
        from compressors.recipe import parse_recipe

        recipe, config = parse_recipe(text), read_config(self.dense.path, self.dense.name)
        tokenizer = AutoTokenizer.from_pretrained(self.dense.path)
        sequences = calibration_sequences(tokenizer, recipe.parameters, context=None, offline=True)
        folders.show_dense(self.dense.path, config, folder / "dense", old=False)
        blocks = int(config["num_hidden_layers"])
        job = Job(folder / "dense", folder / "out", recipe.method, recipe.parameters, "cpu", self.threads, blocks)
        write_job(folder, job, sequences)

    def _complete(self, out: Path) -> None:
        from compressors.backends import folders
        from compressors.models import read_config

        folders.finish(self.dense.path, read_config(self.dense.path, self.dense.name), out)


HEADER = (
    f"{'case':16} {'library':14} {'tokens':8} {'ppl ours':>8} {'theirs':>8} {'relative':>8} {'CPU s ours':>10} "
    f"{'theirs':>8} {'ours/theirs':>11} {'import':>7} {'load+save':>9}"
)


def line(case: Case, calibration: str, ours: Side, theirs: Side) -> str:
    """One line of the table."""
    return (
        f"{case.name:16} {case.library:14} {calibration:8} {ours.perplexity:8.2f} {theirs.perplexity:8.2f} "
        f"{ours.perplexity / theirs.perplexity - 1:+8.1%} {ours.compress:10.1f} {theirs.compress:8.1f} "
        f"{ours.compress / theirs.compress:11.2f} {theirs.imported:7.1f} {theirs.rest:9.1f}"
    )


def size(text: str) -> str:
    """Check `SAMPLESxLENGTH`."""
    samples, _, length = text.partition("x")
    if not (samples.isdigit() and length.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no SAMPLESxLENGTH such as 16x256")
    return text


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES, metavar="CASE",
                        help=f"which of {', '.join(NAMES)} (default: all)")  # fmt: skip
    parser.add_argument("--libraries", nargs="+", choices=("gptqmodel", "llmcompressor"),
                        default=["gptqmodel", "llmcompressor"], help="against which (default: both)")  # fmt: skip
    parser.add_argument("--calibrations", nargs="+", type=size, default=["16x256", "128x128"], metavar="SAMPLESxLENGTH",
                        help="sequences x tokens of the built-in text (default: 16x256 128x128)")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="calibration seeds (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of both sides (default: 1)")
    parser.add_argument("--scratch", type=Path, help="where checkpoints lie for a while")
    parser.add_argument("--json", type=Path, default=default_json(__file__), help="default: %(default)s")
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    chosen = arguments()
    about = describe(["gptqmodel", "llmcompressor", "compressed-tensors", "optimum", "greenlet"], chosen.threads)
    about["threads"] = f"{chosen.threads} (gptqmodel takes 2 workers at least)"
    say(about)
    bench = Bench(chosen.threads, chosen.scratch)
    about["dense_perplexity"] = bench.dense_perplexity()
    print(f"dense perplexity {about['dense_perplexity']:.2f}\n{HEADER}", flush=True)
    rows: list[dict[str, Any]] = []
    for calibration in chosen.calibrations:
        samples, _, length = calibration.partition("x")
        for seed in chosen.seeds:
            drawn = f",samples={samples},length={length},seed={seed}"
            for case in CASES:
                if case.name not in chosen.cases or case.library not in chosen.libraries:
                    continue
                try:
                    ours = bench.side("own", case.ours + drawn)
                    theirs = bench.side(case.library, case.theirs + drawn)
                except RuntimeError as error:
                    print(f"{case.name:16} {case.library:14} {calibration:8} failed: {error}", flush=True)
                    continue
                print(line(case, calibration, ours, theirs) + (f"  seed {seed}" if seed else ""), flush=True)
                for name in theirs.touched:
                    print(f"  {case.library} changed {name}, which the recipe leaves dense", flush=True)
                labels = {"case": case.name, "library": case.library, "calibration": calibration, "seed": seed}
                rows.append(labels | {"recipe": case.ours + drawn, "ours": asdict(ours), "theirs": asdict(theirs)})
                keep(chosen.json, about, rows)
    print(f"\n{chosen.json}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    main()

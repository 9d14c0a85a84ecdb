"""The protocol between this package and a library's process, with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressors.backends import compress_with
from compressors.errors import CompressionError
from compressors.recipe import parse_recipe

PRUNE = parse_recipe("wanda:pattern=2:4,backend=llmcompressor")
SEQUENCES = [torch.arange(5), torch.arange(3)]


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def pruned(dense, tmp_path_factory) -> Path:
    """What a library that works would save for `PRUNE`, beside files that do not belong in a checkpoint."""
    folder = tmp_path_factory.mktemp("pruned")
    tensors = load_file(dense.path / "model.safetensors")
    for name, weight in tensors.items():
        if "_proj" in name:
            weight[:, 0::4] = weight[:, 1::4] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((dense.path / "config.json").read_text()) | {"torch_dtype": "float16", "dtype": None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"rewritten": true}')
    (folder / "quant_log.csv").write_text("noise")
    return folder


def run(dense, out, recipe=PRUNE, **options):
    options = {"device": "cpu", "threads": None, "progress": None} | options
    compress_with(recipe.parameters["backend"], dense, recipe, SEQUENCES, out, **options)


def gone(pid: int) -> bool:
    """Whether a process has ended, waiting a little for it."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_result_is_a_complete_checkpoint_and_nothing_is_left(fake, dense, pruned, out, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    fake(copy=str(pruned), note=str(tmp_path / "note"), read=True)
    steps = []
    run(dense, out, threads=1, progress=lambda *step: steps.append(step))
    assert steps == [(1, 2, "fake"), (2, 2, "fake")]
    names = {file.name for file in out.iterdir()}
    assert names == {f.name for f in dense.path.iterdir()} - {"pytorch_model.bin", "modeling_evil.py"}
    config = json.loads((out / "config.json").read_text())
    original = json.loads((dense.path / "config.json").read_text())
    assert config == original | {"dtype": "float16"}
    assert (out / "tokenizer_config.json").read_bytes() == (dense.path / "tokenizer_config.json").read_bytes()
    note = json.loads((tmp_path / "note").read_text())
    assert note["parameters"] == PRUNE.parameters
    assert note["sequences"] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert not {"pytorch_model.bin", "modeling_evil.py"} & set(note["model"])
    assert note["environment"]["OMP_NUM_THREADS"] == "1"
    assert note["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert not Path(note["folder"]).exists()
    assert all(gone(pid) for pid in note["pids"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("device", "visible", "seen"), [("cuda", "", "0"), ("cuda:1", "", "1"), ("cuda:1", "4,6", "6")]
)
def test_a_runner_sees_one_gpu(fake, dense, pruned, out, tmp_path, monkeypatch, device, visible, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake(copy=str(pruned), note=str(tmp_path / "note"))
    run(dense, out, device=device)
    note = json.loads((tmp_path / "note").read_text())
    assert (note["device"], note["environment"]["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", seen)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("raise", "backend llmcompressor: RuntimeError: first line of two"),
        ("assert", "backend llmcompressor: AssertionError: assert job.blocks == 0"),
        (
            "abort",
            "backend llmcompressor: its process ended with status 1 before it was done; "
            "last words: AssertionError: assert rows % 64 == 0",
        ),
        ("unsupported", "backend llmcompressor: it cannot do that"),
        ("killed", "backend llmcompressor: its process was killed (out of memory?); last words: almost out of memory"),
        (
            "exit",
            "backend llmcompressor: its process ended with status 7 before it was done; "
            "last words: RuntimeError: the real reason",
        ),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(fake, dense, pruned, out, tmp_path, capfd, end, message):
    fake(copy=str(pruned), note=str(tmp_path / "note"), end=end)
    with pytest.raises(CompressionError) as failure:
        run(dense, out)
    assert str(failure.value) == message
    note = json.loads((tmp_path / "note").read_text())
    assert all(gone(pid) for pid in note["pids"])
    assert not Path(note["folder"]).exists()
    assert list(out.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_ends_the_runner_and_its_children(fake, dense, pruned, out, tmp_path):
    fake(copy=str(pruned), note=str(tmp_path / "note"), end="sleep")

    def interrupt(*step):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(dense, out, progress=interrupt)
    assert time.monotonic() - started < 60
    note = json.loads((tmp_path / "note").read_text())
    assert all(gone(pid) for pid in note["pids"])
    assert not Path(note["folder"]).exists()
    assert list(out.iterdir()) == []


PARENT = """
import sys
from pathlib import Path
from compressors.backends.process import Job, run_job
job = Job(Path("."), Path("."), "wanda", {}, "cpu", None, 2)
run_job("fake", Path(sys.executable), "fake", Path(sys.argv[1]), job)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_runner_does_not_outlive_its_parent(fake, tmp_path, blow):
    from compressors.backends import process

    fake(note=str(tmp_path / "note"), end="sleep")
    folder = tmp_path / "job"
    folder.mkdir()
    process.write_job(folder, process.Job(tmp_path, folder, "wanda", {}, "cpu", None, 2), SEQUENCES)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "note").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.1)
        pids = json.loads((tmp_path / "note").read_text())["pids"]
    finally:
        os.kill(parent.pid, blow)
        parent.wait(30)
    assert all(gone(pid) for pid in pids)


def test_a_pruning_that_never_was_is_found(fake, dense, out):
    shutil.copytree(dense.path, out.parent / "same", ignore=shutil.ignore_patterns("*.py", "*.bin"))
    fake(copy=str(out.parent / "same"))
    with pytest.raises(CompressionError, match=r"reports success, but 0\.0% of model\.layers\.0\.\S+ are zero"):
        run(dense, out)
    assert list(out.iterdir()) == []


def test_a_quantisation_that_never_was_is_found(fake, dense, out):
    shutil.copytree(dense.path, out.parent / "same", ignore=shutil.ignore_patterns("*.py", "*.bin"))
    fake(copy=str(out.parent / "same"))
    with pytest.raises(CompressionError, match="reports success, but only 0 of 2 blocks are quantised"):
        run(dense, out, parse_recipe("gptq:group=32,backend=gptqmodel"))


def test_a_result_without_weights_is_found(fake, dense, out):
    with pytest.raises(CompressionError, match=r"backend llmcompressor: it saved no readable config\.json"):
        run(dense, out)


def test_a_group_that_does_not_divide_is_refused_before_anything_runs(fake, dense, out):
    with pytest.raises(CompressionError) as refused:
        run(dense, out, parse_recipe("gptq:group=64,backend=llmcompressor"))
    assert str(refused.value) == (
        "backend llmcompressor: it needs a group size that divides every width, and 64 does not divide the 96 columns "
        "of model.layers.0.mlp.down_proj; give group=32 or another backend"
    )


def test_autoawq_refuses_sequences_of_several_lengths(fake, dense, out):
    with pytest.raises(CompressionError, match="one length only"):
        run(dense, out, parse_recipe("awq:group=32,backend=autoawq"))


def test_autoawq_refuses_the_cpu(dense, out):
    with pytest.raises(CompressionError, match="backend autoawq: it fails on a CPU; give --device cuda"):
        run(dense, out, parse_recipe("awq:group=32,backend=autoawq"))


def test_a_python_that_cannot_start_is_one_line(fake, tmp_path):
    from compressors.backends import process

    job = process.Job(tmp_path, tmp_path, "wanda", {}, "cpu", None, 2)
    with pytest.raises(CompressionError, match=r"backend fake: \S+nothing cannot be started \(No such file"):
        process.run_job("fake", tmp_path / "nothing", "fake", tmp_path, job)

"""A real Ray cluster of two machines on loopback: GPUs are dealt out, and what is lost begins again."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trust_tests.sweep.cluster import RayPool, connect
from trust_tests.sweep.record import LOG, read_record
from trust_tests.sweep.spec import Resources, SpecError
from trust_tests.sweep.tasks import Task

ROOT = Path(__file__).parents[3]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install 'pytest-trust-gate[ray]'",
)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
@needs_ray
def test_an_address_where_nothing_listens_is_one_line_at_once(address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SpecError, match=f"--ray {address}: no cluster answers") as caught:
        connect(address)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without processors and two machines, of which one has two GPUs (in name)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for resources in ({"num_cpus": 1}, {"num_cpus": 2, "num_gpus": 2}):
        found.add_node(**resources)
    yield found
    found.shutdown()


def ended(pool: RayPool, count: int, seconds: float = 60.0) -> dict[str, str]:
    found: dict[str, str] = {}
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found.update({task.id: why for task, why in pool.wait(1.0)})
    return found


def until(what: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@needs_ray
def test_tasks_wait_for_what_they_need_and_say_so(cluster: Any, tasks: list[Task]) -> None:
    pool = RayPool(connect(cluster.address))
    try:
        wanted = replace(tasks[0], resources=Resources(gpus=8, accelerator="H100"))
        notes = pool.shortages([wanted])
        assert [note.split("; ")[0] for note in notes] == [
            "embedded/dense needs 8 GPU",
            "embedded/dense needs 0.001 accelerator_type:H100",
        ]
        assert pool.shortages([replace(tasks[0], resources=Resources(gpus=2, cpus=2))]) == []
        gone = replace(tasks[0], folder=tasks[0].folder / "gone")
        pool.submit(gone, None)
        assert "must lie on storage that all of them see" in ended(pool, 1)[gone.id]
    finally:
        pool.close()


@needs_ray
def test_a_sweep_on_ray_survives_the_death_of_a_worker(cluster: Any, tmp_path: Path, tiny_model: Path) -> None:
    from trust_tests.sweep.spec import read_spec
    from trust_tests.sweep.tasks import plan

    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"models: [{{model: {tiny_model}, name: tiny}}]\nrecipes: ['gptq:bits=8,group=32,samples=4,length=64']\n"
        "dimensions: [mmlu]\noptions: {items: 40, dtype: float32, device: cpu, offline: true}\n"
        "resources: {gpus: 1}\ncache: cache\nresults: out\n"
    )
    dense, variant = plan(read_spec(sweep), tmp_path / "out", several_machines=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "trust_tests", "sweep", str(sweep), "--ray", cluster.address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: read_record(variant))
    found = subprocess.run(["pgrep", "-f", f"ray::{variant.id}"], capture_output=True, text=True, check=True)
    for worker in map(int, found.stdout.split()):
        os.kill(worker, signal.SIGKILL)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    record = read_record(variant)
    assert record is not None
    assert (record.attempt, record.exit_status) == (2, 0)
    assert read_record(dense).attempt == 1  # type: ignore[union-attr]
    log = (variant.folder / LOG).read_text()
    assert log.count("--- attempt") == 2
    assert "took over 40 stored answers of the dense model" in log
    assert "asking dense" not in log
    assert json.loads((tmp_path / "out" / "sweep.json").read_text())["verdict"] == "PASS"
    for task in (dense, variant):
        assert task.answers is not None
        assert sorted(path.name for path in task.answers.iterdir()) == ["responses.sqlite", "toxicity-scores.sqlite"]

"""Dealing out GPUs: what the caller may use, who gets which, and what torch does not see too late."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests import pinning
from trust_tests.pinning import PinningError, Slots, pin, share, sharing_note, visible_devices, wants_pinning

TWO_GPUS = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22222222-bbbb)
"""
ONE_CUT = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-33333333-cccc)
  MIG 3g.40gb     Device  1: (UUID: MIG-44444444-dddd)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22222222-bbbb)
"""
NAMES = st.lists(st.from_regex(r"\A(?:[0-9]|GPU-[0-9a-f]{4}|MIG-[0-9a-f]{4})\Z"), min_size=1, max_size=9, unique=True)


@pytest.mark.parametrize(
    ("stated", "devices"),
    [
        ("0,1,2", ["0", "1", "2"]),
        (" 3 , GPU-8932f937 ,MIG-a/1/0", ["3", "GPU-8932f937", "MIG-a/1/0"]),
        ("", []),
        ("  ", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        ("2,,3", ["2"]),
        ("1,1,0", ["1", "0"]),
    ],
)
def test_the_callers_variable_is_read_as_cuda_reads_it(stated: str, devices: list[str]) -> None:
    assert visible_devices({"CUDA_VISIBLE_DEVICES": stated}) == devices


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, gpus: int = 0) -> None:
    """A machine with this nvidia-smi and so many GPUs known to the kernel."""
    if script is not None:
        tool = folder / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    known = folder / "gpus"
    for number in range(gpus):
        (known / f"0000:{number}").mkdir(parents=True)
    monkeypatch.setattr(pinning, "_DRIVER", known)


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        (TWO_GPUS, ["0", "1"]),
        (ONE_CUT, ["MIG-33333333-cccc", "MIG-44444444-dddd", "GPU-22222222-bbbb"]),
        ("No devices were found", None),
    ],
)
def test_an_unset_variable_asks_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, devices: list[str] | None
) -> None:
    driver(tmp_path, monkeypatch, f"[ $1 = -L ] && cat <<'END'\n{text}\nEND")
    assert visible_devices({}) == devices


@pytest.mark.parametrize("script", [None, "exit 9", "sleep 5"])
def test_a_tool_that_is_absent_broken_or_slow_leaves_the_kernels_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    monkeypatch.setattr(pinning, "_DRIVER_SECONDS", 0.2)
    driver(tmp_path, monkeypatch, script, gpus=3)
    assert visible_devices({}) == ["0", "1", "2"]


def test_a_machine_without_a_driver_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, None)
    assert visible_devices({}) is None


@given(NAMES, st.integers(1, 4), st.integers(1, 20))
def test_workers_get_as_many_of_the_callers_devices_as_they_need(
    devices: list[str], per_worker: int, workers: int
) -> None:
    if len(devices) < per_worker:
        with pytest.raises(PinningError, match=f"--trust-tensor-parallel={per_worker}: .* visible"):
            share(devices, 0, per_worker)
        return
    dealt = [share(devices, slot, per_worker) for slot in range(workers)]
    assert all(len(own) == per_worker and set(own) <= set(devices) for own in dealt)
    groups = len(devices) // per_worker
    # Nobody shares before every group of devices has a worker, and then nobody is two ahead.
    counts = {own: dealt.count(own) for own in dealt}
    assert len(counts) == min(workers, groups)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({device for own in counts for device in own}) == per_worker * len(counts)
    assert (sharing_note(devices, workers, per_worker) is None) == (workers <= groups)


def test_without_a_gpu_there_is_nothing_to_deal_out() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    assert share([], 0, 4) == ()
    assert sharing_note([], 8) is None
    assert pin((), environment) is None
    assert environment == {"CUDA_VISIBLE_DEVICES": ""}


def test_sharing_is_told_in_one_line() -> None:
    assert sharing_note(["0", "1"], 3) == "3 workers share 2 GPUs (0, 1); -n 2 gives each its own"
    assert sharing_note(["0", "1", "2"], 2, 2) == (
        "2 workers share 3 GPUs in groups of 2 (0, 1, 2); -n 1 gives each its own"
    )


def test_pinning_sets_the_variable_and_says_when_torch_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert pin(("MIG-x", "3"), environment) is None
    assert environment["CUDA_VISIBLE_DEVICES"] == "MIG-x,3"
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert "torch imported before it was given GPU 3" in (pin(("3",), environment) or "")


@pytest.mark.parametrize(("device", "open_choice"), [("auto", True), ("cuda", True), ("cuda:1", False), ("cpu", False)])
def test_an_explicit_device_is_the_users_own(device: str, open_choice: bool) -> None:
    assert wants_pinning(device) == open_choice


def test_a_replacement_takes_the_dead_workers_number() -> None:
    slots = Slots()
    assert [slots.take(worker) for worker in ("gw0", "gw1", "gw2")] == [0, 1, 2]
    slots.release("gw1")
    slots.release("unknown")
    assert slots.take("gw3") == 1
    assert slots.take("gw4") == 3

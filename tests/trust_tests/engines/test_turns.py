"""Engines of one process share a GPU; without one, their turns are watched through stand-ins for the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressors.models import Checkpoint
from trust_tests.engines import hf, memory
from trust_tests.engines.gpu_passes import Pool
from trust_tests.engines.hf import HfEngine, HfOptions


class Loaded:
    """A model and its reader: where its weights are, and how often it rested."""

    def __init__(self) -> None:
        self.place = "cuda:0"
        self.rests = 0

    def to(self, place: str) -> None:
        """Moves the weights."""
        self.place = place

    def rest(self) -> None:
        """See `Reader.rest`."""
        self.rests += 1


def engine(tmp_path: Path) -> tuple[HfEngine, Loaded]:
    """An engine on a GPU whose model is loaded."""
    made: Any = HfEngine(Checkpoint("model", tmp_path, "0"), HfOptions(dtype="bfloat16", device="cuda:0"))
    loaded = Loaded()
    made._model = made._reader = loaded
    return made, loaded


@pytest.mark.parametrize("room", [True, False])
def test_before_one_answers_the_others_give_their_memory_back(
    room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "two_fit", lambda *_: room)
    away = "cuda:0" if room else "cpu"
    (dense, of_dense), (variant, of_variant) = engine(tmp_path), engine(tmp_path)
    dense._load()
    assert (of_dense.rests, of_dense.place) == (0, "cuda:0")
    variant._load()
    variant._load()
    assert (of_dense.rests, of_dense.place) == (1, away)
    assert (of_variant.rests, of_variant.place) == (0, "cuda:0")
    dense._load()
    assert (of_variant.rests, of_variant.place) == (1, away)
    assert (of_dense.rests, of_dense.place) == (1, "cuda:0")
    variant.close()
    dense._load()
    assert of_dense.rests == 1
    dense.close()
    assert not set(hf._ON_GPU) & {dense, variant}


def test_a_layer_whose_values_found_no_memory_is_made_again() -> None:
    import torch

    class Short:
        """Keys or values that no memory is left for."""

        shape = (1, 2, 4)

        def new_zeros(self, *shape: int) -> torch.Tensor:
            raise torch.OutOfMemoryError

    pool, key = Pool(10), torch.zeros(1, 2, 4)
    short: Any = Short()
    with pytest.raises(torch.OutOfMemoryError):
        pool.take(3, (key, short))
    keys, values = pool.take(3, (key, key))
    assert keys.shape == values.shape == (11, 2, 4)

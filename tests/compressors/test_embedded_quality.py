"""What the methods do to the embedded model, in perplexity on a text that nothing was calibrated on.

The order is the literature's: correcting what was broken beats not correcting it, knowing the inputs beats not
knowing them. Calibration seed 0, 8,192 tokens: five times the widest layer's inputs, so that no Hessian is
rank-deficient. `tests/benchmarks/compression_quality.py` prints the whole table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compressors.checkpoint import load_model
from compressors.models import Checkpoint, cache_root, resolve
from compressors.recipe import parse_recipe
from compressors.store import ArtefactStore

pytestmark = pytest.mark.slow

HELD_OUT = Path(__file__).with_name("heldout.txt")
WINDOW = 378
CALIBRATION = "samples=64,length=128,seed=0"


@pytest.fixture(scope="module")
def embedded() -> Checkpoint:
    return resolve("embedded")


@pytest.fixture(scope="module")
def dense(embedded) -> float:
    return perplexity(embedded.path)


@pytest.fixture(scope="module")
def after(embedded):
    """The perplexity of the embedded model after a recipe; each is made once."""
    store = ArtefactStore(cache_root() / "artefacts")

    def measure(recipe: str) -> float:
        return perplexity(store.ensure(embedded, parse_recipe(recipe)).checkpoint.path)

    return measure


def perplexity(folder: Path) -> float:
    """exp of the mean negative log-likelihood (nats per token) of 1,512 held-out tokens in four windows."""
    import torch
    from transformers import AutoTokenizer

    ids = torch.tensor(AutoTokenizer.from_pretrained(folder)(HELD_OUT.read_text(encoding="utf-8"))["input_ids"])
    windows = ids[: 4 * WINDOW].view(4, WINDOW)
    with torch.inference_mode():
        logits = load_model(folder)(windows).logits[:, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).exp())


def test_pruning_two_of_four(dense, after):
    sparsegpt = after(f"sparsegpt:pattern=2:4,{CALIBRATION}")
    wanda = after(f"wanda:pattern=2:4,{CALIBRATION}")
    assert dense * 1.2 < sparsegpt
    assert sparsegpt * 1.2 < wanda < after("magnitude:pattern=2:4") / 2


def test_three_bits_on_one_grid(dense, after):
    nearest = after("rtn:bits=3,group=64,sym=false")
    for recipe in ("gptq:bits=3,group=64", "awq:bits=3,group=64"):
        assert dense * 1.1 < after(f"{recipe},{CALIBRATION}") < nearest * 0.8, recipe


def test_three_bits_are_asymmetric_unless_asked():
    for method in ("rtn", "gptq", "awq"):
        assert parse_recipe(f"{method}:bits=3").parameters["sym"] is False


def test_eight_bits_are_dense(dense, after):
    for recipe in ("rtn:bits=8,group=64", f"gptq:bits=8,group=64,{CALIBRATION}", f"awq:bits=8,group=64,{CALIBRATION}"):
        assert after(recipe) == pytest.approx(dense, rel=0.01), recipe

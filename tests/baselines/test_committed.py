"""The committed baselines can be believed: they hold this version's items, and scores that their answers give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from compressors.models import Checkpoint
from trust_tests.dimensions import dimension_names, get_dimension
from trust_tests.engines.base import Engine
from trust_tests.evaluation import Questions, fingerprint
from trust_tests.gate.baseline import recall

FOLDER = Path(__file__).parents[2] / "baselines"
EMBEDDED = FOLDER / "embedded.json"


@pytest.mark.parametrize("name", dimension_names())
def test_the_embedded_baseline_is_sound(name: str) -> None:
    dimension = get_dimension(name)
    recorded = json.loads(EMBEDDED.read_text())["dimensions"][name]["fingerprint"]
    found = recall(EMBEDDED, dimension, [item.id for item in dimension.items()], recorded)
    assert found is not None
    assert {k: v for k, v in recorded.items() if k.startswith("dimension.")} == {
        f"dimension.{key}": value for key, value in dimension.fingerprint().items()
    }
    chance = dimension.chance or 0.0
    assert chance + 10 < found.score.value < 90


class _NoEngine:
    """An engine that nothing of which matters."""

    def identity(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize("name", dimension_names())
def test_the_embedded_baseline_holds_the_questions_of_this_version(name: str) -> None:
    """Prompts, generation parameters and gold data to the letter: else everybody's baselines would be void."""
    dimension = get_dimension(name)
    recorded = json.loads(EMBEDDED.read_text())["dimensions"][name]["fingerprint"]
    questions = Questions.of(dimension)
    found = fingerprint(dimension, questions, Checkpoint("embedded", FOLDER, "f"), cast(Engine, _NoEngine()))
    assert {"items", "generation"} < found.keys()
    assert {key: recorded.get(key) for key in found} == found

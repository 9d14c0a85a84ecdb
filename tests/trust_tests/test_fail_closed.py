"""A broken model must never look safe: real answers of the embedded model, replaced at the engine boundary.

The dense side answers for itself; the variant is the same model whose answers are then emptied, refused or turned
into garbage. Each must be red in every dimension.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from compressors.models import Checkpoint
from trust_tests.dimensions import dimension_names
from trust_tests.engines.hf import HfEngine
from trust_tests.gate.verdict import Verdict
from trust_tests.progress import Progress
from trust_tests.records import Finish, Request, Response
from trust_tests.session import GateSession, Variant
from trust_tests.settings import read_settings

pytestmark = pytest.mark.slow


def said(response: Response, text: Callable[[int], str]) -> Response:
    """The response with its texts replaced, as an engine without log-probabilities would give it."""
    count = len(response.texts)
    return replace(
        response,
        texts=tuple(text(n) for n in range(count)),
        finishes=(Finish.STOP,) * count,
        choice_logprobs=None,
    )


def garbage(n: int) -> str:
    """Bytes of a broken decoder: punctuation and stray letters, no words."""
    generator = random.Random(n)
    return "".join(generator.choice("�#@]}~^|\\/<>=+*xqz0") for _ in range(40))


BROKEN: dict[str, Callable[[Response], Response]] = {
    "always empty": lambda r: said(r, lambda n: ""),
    "only blanks": lambda r: said(r, lambda n: " \n\t "),
    "refuses everything": lambda r: said(r, lambda n: "I'm sorry, but I can't help with that request."),
    "garbage": lambda r: said(r, garbage),
    "one word for ever": lambda r: said(r, lambda n: "the " * 20),
    "NaN log-probabilities": lambda r: replace(said(r, lambda n: ""), choice_logprobs=(float("nan"),) * 4),
    "request failed": lambda r: Response(r.item_id, error="connection reset"),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> GateSession:
    """A session on the embedded model, in the cache that other runs use too."""
    results = tmp_path_factory.mktemp("results")
    settings = replace(read_settings(lambda o: None, lambda o: None, {}, results), recipes=(), device="cpu")
    silent = SimpleNamespace(option=SimpleNamespace(verbose=-1))
    return GateSession(settings, tmp_path_factory.mktemp("run"), Progress(silent))


@pytest.mark.parametrize("dimension", dimension_names())
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_red(
    session: GateSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dimension: str, name: str
) -> None:
    dense = session.dense
    broken = Variant(name, Checkpoint(name, dense.path, f"broken: {name}", dense.parts), None, {})
    intact = HfEngine.respond
    # The dense model's answers first, through the engine as it is; most runs find them stored.
    session._evaluate(session.dimension(dimension), dense, "dense")

    def respond(self: HfEngine, batch: Sequence[Request]) -> list[Response]:
        stand_ins = [
            Response(r.item_id, ("some words",) * r.generation.samples, (Finish.STOP,) * r.generation.samples)
            for r in batch
        ]
        answers = intact(self, batch) if self._checkpoint is dense else stand_ins
        return [BROKEN[name](answer) for answer in answers]

    monkeypatch.setattr(HfEngine, "respond", respond)
    # What a broken stand-in says must not stay in the shared store.
    monkeypatch.setattr(session._store, "put", lambda responses: None)
    judgement, record = session.judge(dimension, broken)
    assert judgement.verdict in (Verdict.FAIL, Verdict.ERROR)
    if name in ("always empty", "only blanks"):
        assert judgement.verdict is Verdict.ERROR
        assert record["accounting"]["variant"]["channels"]["empty"] == record["items"]
    if name == "refuses everything":
        assert record["marks"] == ["refusal shift"]
    assert record["reason"]

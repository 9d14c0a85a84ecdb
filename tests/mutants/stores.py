"""Planted regressions in what the gate keeps and measures with: stored answers, baselines, names, the scorer."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressors.models import Checkpoint, checkpoint_at
from trust_tests.engines.store import response_key
from trust_tests.evaluation import evaluate
from trust_tests.gate import baseline
from trust_tests.records import Evaluation
from trust_tests.scorers.toxicity import ProfanityCheckScorer
from trust_tests.session import GateSession, Variant

from .answers import faulty, insulted, some, unchanged
from .cases import CHANNEL, SCORE, SCORER, Case, Plan, Workshop
from .weights import ABLE, edited, random_block

SCORER_FAILED = f"{CHANNEL}:scorer_failed"


def damaged(shop: Workshop, name: str) -> Path:
    """A folder of this name with a damaged checkpoint: that of the case `random-block`, with the same fingerprint."""
    return edited(shop, name, random_block)


def harmless(shop: Workshop, case: str) -> Plan:
    """The plan of a variant that answers as the dense model does."""
    return faulty(shop, case, unchanged)


def measured(session: GateSession, checkpoint: Checkpoint, name: str) -> Evaluation:
    """A model in one dimension, through the session's engine and store, unknown to the session."""
    questions = session.questions(name)
    return evaluate(
        session.dimension(name), checkpoint, session._engine(checkpoint), session._store, questions=questions
    )


def keys(session: GateSession, checkpoint: Checkpoint, name: str) -> list[str]:
    """Where the store keeps a model's answers in one dimension, in the order of its items."""
    engine = session._engine(checkpoint)
    identity = engine.identity()
    requests = session.questions(name).requests
    return [response_key(checkpoint.fingerprint, identity, r, engine.render(r)) for r in requests]


def bodies(session: GateSession, found: Sequence[str]) -> list[str]:
    with closing(sqlite3.connect(session._store.path)) as connection:
        rows = dict(connection.execute("SELECT key, body FROM response").fetchall())
    return [rows[key] for key in found]


def overwrite(session: GateSession, found: Sequence[str], texts: Sequence[str]) -> None:
    with closing(sqlite3.connect(session._store.path)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO response VALUES (?, ?)", list(zip(found, texts, strict=True)))


def swapped(session: GateSession, variant: Variant, name: str) -> None:
    """The rows of the dense model and of the variant change places."""
    sides = [session.dense, variant.checkpoint]
    for checkpoint in sides:
        measured(session, checkpoint, name)
    where = [keys(session, checkpoint, name) for checkpoint in sides]
    what = [bodies(session, found) for found in where]
    overwrite(session, where[0], what[1])
    overwrite(session, where[1], what[0])


def copied(source: Callable[[GateSession], Checkpoint]) -> Callable[[GateSession, Variant, str], None]:
    """The variant's rows are those of another model."""

    def before(session: GateSession, variant: Variant, name: str) -> None:
        other = source(session)
        measured(session, other, name)
        overwrite(session, keys(session, variant.checkpoint, name), bodies(session, keys(session, other, name)))

    return before


def of_another_model(shop: Workshop) -> Plan:
    """A good variant in whose place a damaged one's answers are stored."""
    other = str(damaged(shop, "other"))
    marked = shop.marked("store-of-another-model")
    return Plan(str(marked), before=copied(lambda session: session._resolve(other)), keep=False)


def with_baseline(
    shop: Workshop,
    plan: Plan,
    change: Callable[[dict[str, Any]], None] = lambda section: None,
    of: Path | None = None,
    **options: str,
) -> Plan:
    """The plan against a recorded baseline whose sections went through `change`; of: recorded from this checkpoint."""
    file = shop.scratch / "baseline.json"

    def before(session: GateSession, variant: Variant, name: str) -> None:
        checkpoint = checkpoint_at(of, "other", shop.cache) if of else session.dense
        # All items are recorded, also where the run asks a part of them.
        whole = GateSession(replace(session.settings, items=None), session.run, session.progress, session.make_engine)
        recorded = whole if "items" in options else session
        baseline.record(file, measured(recorded, checkpoint, name))
        document = json.loads(file.read_text(encoding="utf-8"))
        change(document["dimensions"][name])
        file.write_text(json.dumps(document), encoding="utf-8")

    return replace(plan, options={"baseline": str(file), **options}, before=before)


def raised_score(section: dict[str, Any]) -> None:
    section["score"] += 4.0


def items_lost(section: dict[str, Any]) -> None:
    del section["outcomes"][::2]


def other_format(section: dict[str, Any]) -> None:
    section["fingerprint"]["engine.dtype"] = "float64"


def flipped_outcomes(section: dict[str, Any]) -> None:
    """Every good outcome is made a bad one, and the score is left."""
    for outcome in section["outcomes"]:
        if outcome["value"] is not None:
            outcome["value"] = 1.0 - outcome["value"]


def absent_baseline(shop: Workshop) -> Plan:
    return replace(harmless(shop, "baseline-absent"), options={"baseline": str(shop.scratch / "baseline.json")})


def cut_baseline(shop: Workshop) -> Plan:
    file = shop.scratch / "baseline.json"
    file.write_text('{"schema": "trust-gate/base', encoding="utf-8")
    return replace(harmless(shop, "baseline-damaged"), options={"baseline": str(file)})


def twins(shop: Workshop) -> Plan:
    """Three variants, `a/model-2`, `a/model` and `b/model`: the last is the broken one, its id was the first's."""
    good = [shop.twin(name) for name in ("a/model-2", "a/model")]
    broken = damaged(shop, "b/model")

    def before(session: GateSession, variant: Variant, name: str) -> None:
        session.judge(name, Variant("model-2", session._resolve(str(good[0])), None, {}))

    return Plan(str(broken), options={"variant": [*map(str, good), str(broken)]}, before=before)


@dataclass
class FaultyScorer(ProfanityCheckScorer):
    """The embedded scorer, with a fault in what it returns from its second call on (the variant's texts)."""

    fault: Callable[[list[float | None]], list[float | None]]
    from_call: int = 2
    calls: int = 0

    def score(self, texts: Sequence[str]) -> list[float | None]:
        self.calls += 1
        scores = super().score(texts)
        return self.fault(scores) if self.calls >= self.from_call else scores


Scores = list[float | None]


def unavailable(scores: Scores) -> Scores:
    raise ConnectionError("429 too many requests")


def skipping(scores: Scores) -> Scores:
    return [None if place % 20 == 0 else score for place, score in enumerate(scores)]


def _scored(id: str, what: str, fault: Callable[[Scores], Scores], sensible: tuple[str, ...]) -> Case:
    return Case(id, what, lambda shop: replace(harmless(shop, id), scorer=lambda: FaultyScorer(fault)), sensible)


def blind(shop: Workshop) -> Plan:
    """One continuation in three is an insult, and the scorer gives every text of either side the same toxicity."""
    plan = faulty(shop, "scorer-blind", some(1 / 3, insulted))
    return replace(plan, scorer=lambda: FaultyScorer(lambda scores: [0.2] * len(scores), from_call=1))


def _based(id: str, what: str, sensible: tuple[str, ...], **how: Any) -> Case:
    return Case(id, what, lambda shop: with_baseline(shop, harmless(shop, id), **how), sensible)


def _stated(id: str, what: str, field: str, value: str) -> Case:
    return Case(id, what, lambda shop: faulty(shop, id, unchanged, **{field: value}), (f"sides:engine.{field}",))


CASES: tuple[Case, ...] = (
    Case(
        "store-swapped",
        "The stored answers of the dense model and of a damaged variant have changed places.",
        lambda shop: Plan(str(damaged(shop, "store-swapped")), before=swapped, keep=False),
        (SCORE,),
    ),
    Case(
        "store-of-another-model",
        "The stored answers of a good variant are those of a damaged one.",
        of_another_model,
        (SCORE,),
    ),
    Case(
        "store-of-the-dense-model",
        "The stored answers of a damaged variant are the dense model's: nothing is asked of the variant.",
        lambda shop: Plan(
            str(damaged(shop, "store-of-the-dense-model")), before=copied(lambda session: session.dense), keep=False
        ),
        ("store",),
        "A stored row does not name the model and the question that it answers: one that was moved is believed.",
    ),
    Case(
        "variant-called-dense",
        "A damaged checkpoint lies in a folder named dense.",
        lambda shop: Plan(str(damaged(shop, "dense"))),
        ABLE,
    ),
    Case(
        "variants-of-one-name",
        "A damaged checkpoint is given beside two good ones, and the names of all three folders are nearly the same.",
        twins,
        ABLE,
    ),
    Case(
        "baseline-of-another-model",
        "The baseline was recorded from a damaged model.",
        lambda shop: with_baseline(
            shop, harmless(shop, "baseline-of-another-model"), of=damaged(shop, "other").resolve()
        ),
        ("baseline:model",),
    ),
    _based(
        "baseline-of-another-format",
        "The baseline was recorded in another number format.",
        ("baseline:engine.dtype",),
        change=other_format,
    ),
    _based(
        "baseline-of-other-items",
        "The baseline holds all items, the run asks 20 of a dimension.",
        ("baseline",),
        items="20",
    ),
    _based("baseline-raised", "The baseline's score was edited.", ("baseline",), change=raised_score),
    _based(
        "baseline-outcomes-edited",
        "The baseline's outcomes were edited, its score was not.",
        ("baseline",),
        change=flipped_outcomes,
    ),
    _based("baseline-halved", "Half of the baseline's items are lost.", ("baseline",), change=items_lost),
    Case("baseline-absent", "The baseline's file does not exist.", absent_baseline, ("gate",)),
    Case("baseline-damaged", "The baseline's file is cut off.", cut_baseline, ("baseline",)),
    _stated("sides-of-two-formats", "Dense model and variant are run in different number formats.", "dtype", "float64"),
    _stated(
        "sides-of-two-versions",
        "Dense model and variant are run by different versions of transformers.",
        "transformers",
        "4.0.0",
    ),
    _scored("scorer-fails", "The toxicity scorer fails at the variant's texts.", unavailable, (SCORER_FAILED, SCORER)),
    _scored("scorer-skips", "The toxicity scorer has no score for one text in twenty.", skipping, (SCORER_FAILED,)),
    _scored(
        "scorer-gives-nan",
        "The toxicity scorer gives numbers that are none.",
        lambda scores: [math.nan] * len(scores),
        (SCORER_FAILED,),
    ),
    _scored(
        "scorer-short", "The toxicity scorer returns one score too few.", lambda scores: scores[:-1], (SCORER_FAILED,)
    ),
    _scored(
        "scorer-all-clean",
        "The toxicity scorer finds every text of the variant clean.",
        lambda scores: [0.0] * len(scores),
        (f"{SCORE}:toxicity",),
    ),
    Case(
        "scorer-blind",
        "One continuation in three is an insult, and the scorer gives every text of both models the same toxicity.",
        blind,
        (f"{SCORE}:toxicity", SCORER),
        "The gate does not try its scorer on texts of known toxicity: one that tells nothing apart hides every change.",
    ),
    Case(
        "scorer-is-no-classifier",
        "The scorer named is a language model.",
        lambda shop: replace(harmless(shop, "scorer-is-no-classifier"), options={"scorer": str(shop.dense.path)}),
        (SCORER,),
    ),
)

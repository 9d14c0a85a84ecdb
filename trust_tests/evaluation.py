"""One model in one dimension: ask what is not stored yet, grade everything, score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from compressors.models import Checkpoint
from trust_tests.data.tiers import select
from trust_tests.dimensions.base import Dimension
from trust_tests.engines.base import Engine
from trust_tests.engines.store import ResponseStore, response_key
from trust_tests.records import Evaluation, Item, Request, Response

# Called with items done, items in all, and what is being measured.
Progress = Callable[[int, int, str], None]
NO_ANSWER = "no answer came back"


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked in one dimension: its items with their requests, in the same order."""

    items: tuple[Item, ...]
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, dimension: Dimension, limit: int | None = None) -> Questions:
        """The questions of the dimension's tier; at most `limit`. Raises DataError."""
        items = tuple(select(dimension, limit))
        return cls(items, tuple(dimension.request(item) for item in items))

    @property
    def ids(self) -> tuple[str, ...]:
        """The items' ids."""
        return tuple(item.id for item in self.items)


def fingerprint(dimension: Dimension, questions: Questions, checkpoint: Checkpoint, engine: Engine) -> dict[str, str]:
    """What can move the outcomes: model, tokenizer, template, items with gold data, prompts, grading, engine."""
    requests = questions.requests
    # Item by item: the full tier's demonstrations would be hundreds of megabytes of JSON at once.
    asked = hashlib.sha256()
    for item, request in zip(questions.items, requests, strict=True):
        asked.update(json.dumps([asdict(item), asdict(request)], sort_keys=True).encode() + b"\n")
    benchmark = dimension.setup.benchmark
    data = {} if benchmark is None else benchmark.identity()
    return {
        **{f"model.{part}": value for part, value in sorted(checkpoint.parts.items())},
        "protocol": dimension.setup.protocol,
        "tier": dimension.setup.tier,
        "items": asked.hexdigest(),
        **{f"data.{key}": value for key, value in sorted(data.items())},
        "generation": "; ".join(sorted({_shown(request) for request in requests})),
        **{f"dimension.{key}": value for key, value in sorted(dimension.fingerprint().items())},
        **{f"engine.{key}": value for key, value in sorted(engine.identity().items())},
    }


def _shown(request: Request) -> str:
    generation = request.generation
    if generation.choices:
        return f"log-probabilities of {len(generation.choices)} choices"
    return (
        f"{generation.samples} sample(s) of at most {generation.max_new_tokens} tokens, "
        f"temperature {generation.temperature:g}"
    )


def evaluate(
    dimension: Dimension,
    checkpoint: Checkpoint,
    engine: Engine,
    store: ResponseStore,
    progress: Progress = lambda done, total, what: None,
    questions: Questions | None = None,
) -> Evaluation:
    """Measure one model in one dimension; stored answers are used, new ones are stored batch by batch.

    questions: what is asked; by default everything of the dimension's tier.
    Raises EngineError when the model cannot be run at all; a single failed request becomes a missing item.
    """
    questions = questions or Questions.of(dimension)
    responses = _responses(questions.requests, checkpoint, engine, store, progress)
    outcomes = tuple(dimension.grade(questions.items, [responses[item.id] for item in questions.items]))
    return Evaluation(
        dimension=dimension.name,
        model=checkpoint.name,
        asked=questions.ids,
        outcomes=outcomes,
        score=dimension.score(outcomes),
        fingerprint=fingerprint(dimension, questions, checkpoint, engine),
    )


def _responses(
    requests: Sequence[Request],
    checkpoint: Checkpoint,
    engine: Engine,
    store: ResponseStore,
    progress: Progress,
) -> dict[str, Response]:
    """Responses by item id. Where any answer of a batch is missing, the whole batch is asked again.

    So a resumed run computes in the same batches as an uninterrupted one, and gives the same bytes. Items that put
    the same question (same text, parameters and draws) are asked once.
    """
    identity = engine.identity()
    keys = {r.item_id: response_key(checkpoint.fingerprint, identity, r, engine.render(r)) for r in requests}
    answers = store.get(list(dict.fromkeys(keys.values())))
    if len(answers) < len(set(keys.values())):
        first: dict[str, Request] = {}
        for request in requests:
            first.setdefault(keys[request.item_id], request)
        asked = list(first.values())
        total, done = len(asked), 0
        for batch in engine.batches(asked):
            if any(keys[request.item_id] not in answers for request in batch):
                progress(done, total, checkpoint.name)
                fresh = {keys[request.item_id]: Response(request.item_id, error=NO_ANSWER) for request in batch}
                fresh |= {keys[response.item_id]: response for response in engine.respond(batch)}
                store.put(fresh.items())
                answers.update(fresh)
            done += len(batch)
        progress(total, total, checkpoint.name)
    return {item: replace(answers[key], item_id=item) for item, key in keys.items()}

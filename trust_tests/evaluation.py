"""One model in one dimension: ask what is not stored yet, grade everything, score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from compressors.files import sha256_text
from compressors.models import Checkpoint
from trust_tests.dimensions.base import Dimension
from trust_tests.engines.base import Engine
from trust_tests.engines.store import ResponseStore, response_key
from trust_tests.records import Evaluation, Request, Response

# Called with items done, items in all, and what is being measured.
Progress = Callable[[int, int, str], None]


def fingerprint(
    dimension: Dimension, requests: Sequence[Request], checkpoint: Checkpoint, engine: Engine, protocol: str
) -> dict[str, str]:
    """What can move the outcomes: model, tokenizer, template, items, prompts, grading, engine, generation."""
    return {
        **{f"model.{part}": value for part, value in sorted(checkpoint.parts.items())},
        "protocol": protocol,
        "items": sha256_text(json.dumps([asdict(request) for request in requests], sort_keys=True)),
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
    protocol: str,
    progress: Progress = lambda done, total, what: None,
) -> Evaluation:
    """Measure one model in one dimension; stored answers are used, new ones are stored batch by batch.

    Raises EngineError when the model cannot be run at all; a single failed request becomes a missing item.
    """
    items = dimension.items()
    requests = [dimension.request(item) for item in items]
    responses = _responses(requests, checkpoint, engine, store, progress)
    outcomes = tuple(dimension.grade(items, [responses[item.id] for item in items]))
    return Evaluation(
        dimension=dimension.name,
        model=checkpoint.name,
        asked=tuple(item.id for item in items),
        outcomes=outcomes,
        score=dimension.score(outcomes),
        fingerprint=fingerprint(dimension, requests, checkpoint, engine, protocol),
    )


def _responses(
    requests: Sequence[Request],
    checkpoint: Checkpoint,
    engine: Engine,
    store: ResponseStore,
    progress: Progress,
) -> dict[str, Response]:
    """Responses by item id. Where any answer of a batch is missing, the whole batch is asked again.

    So a resumed run computes in the same batches as an uninterrupted one, and gives the same bytes.
    """
    identity = engine.identity()
    keys = {r.item_id: response_key(checkpoint.fingerprint, identity, r, engine.render(r)) for r in requests}
    stored = store.get(list(keys.values()))
    answers = {item: replace(stored[key], item_id=item) for item, key in keys.items() if key in stored}
    if len(answers) == len(requests):
        return answers
    total, done = len(requests), 0
    for batch in engine.batches(requests):
        if any(request.item_id not in answers for request in batch):
            progress(done, total, checkpoint.name)
            fresh = engine.respond(batch)
            store.put((keys[response.item_id], response) for response in fresh)
            answers.update({response.item_id: response for response in fresh})
        done += len(batch)
    progress(total, total, checkpoint.name)
    return answers

"""One model in one dimension: ask what is not stored yet, grade everything, score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby

from compressors.models import Checkpoint
from trust_tests.data.tiers import select
from trust_tests.dimensions.base import Dimension
from trust_tests.engines.base import Engine
from trust_tests.engines.store import ResponseStore, response_key
from trust_tests.gate.sequential import looks
from trust_tests.records import Evaluation, Item, Request, Response, request_as_dict

# Called with items done, items in all, and what is being measured; the first time with those that are stored.
Progress = Callable[[int, int, str], None]
NO_ANSWER = "no answer came back"


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked in one dimension: its items with their requests, in the same order.

    stages: for each item, how many early looks come before it is asked; empty where everything is asked at once.
    """

    items: tuple[Item, ...]
    requests: tuple[Request, ...]
    stages: tuple[int, ...] = ()

    @classmethod
    def of(cls, dimension: Dimension, limit: int | None = None, *, staged: bool = False) -> Questions:
        """The questions of the dimension's tier; at most `limit`. Raises DataError.

        staged: in the stages of the early looks (`trust_tests.gate.sequential.looks`). A look's items are the
        selection of that size, so that each is stratified, and a part of the next.
        """
        items = tuple(select(dimension, limit))
        stages: tuple[int, ...] = ()
        if staged:
            seen = [{item.id for item in select(dimension, look.items)} for look in looks(len(items))]
            stages = tuple(sum(item.id not in known for known in seen) for item in items)
        return cls(items, tuple(dimension.request(item) for item in items), stages)

    @property
    def ids(self) -> tuple[str, ...]:
        """The items' ids."""
        return tuple(item.id for item in self.items)

    def until(self, stage: int) -> Questions:
        """The questions that are asked by the end of a stage, the first being stage 0."""
        stages = self.stages or (0,) * len(self.items)
        kept = [place for place, own in enumerate(stages) if own <= stage]
        return Questions(
            tuple(self.items[place] for place in kept),
            tuple(self.requests[place] for place in kept),
            tuple(stages[place] for place in kept),
        )


def fingerprint(dimension: Dimension, questions: Questions, checkpoint: Checkpoint, engine: Engine) -> dict[str, str]:
    """What can move the outcomes: model, tokenizer, template, items with gold data, prompts, grading, engine."""
    benchmark = dimension.setup.benchmark
    data = {} if benchmark is None else benchmark.identity()
    return {
        **{f"model.{part}": value for part, value in sorted(checkpoint.parts.items())},
        "protocol": dimension.setup.protocol,
        "tier": dimension.setup.tier,
        **{f"data.{key}": value for key, value in sorted(data.items())},
        **_asked(questions),
        **{f"dimension.{key}": value for key, value in sorted(dimension.fingerprint().items())},
        **{f"engine.{key}": value for key, value in sorted(engine.identity().items())},
    }


def _asked(questions: Questions) -> dict[str, str]:
    """The fingerprint's entries that depend on which items are asked."""
    # Item by item: the full tier's demonstrations would be hundreds of megabytes of JSON at once.
    asked = hashlib.sha256()
    for item, request in zip(questions.items, questions.requests, strict=True):
        asked.update(json.dumps([asdict(item), request_as_dict(request)], sort_keys=True).encode() + b"\n")
    return {
        "items": asked.hexdigest(),
        "generation": "; ".join(sorted({_shown(request) for request in questions.requests})),
    }


def _shown(request: Request) -> str:
    generation = request.generation
    if generation.choices:
        return f"log-probabilities of {len(generation.choices)} choices"
    shown = (
        f"{generation.samples} sample(s) of at most {generation.max_new_tokens} tokens, "
        f"temperature {generation.temperature:g}"
    )
    return f"{shown}, until {list(generation.stop)}" if generation.stop else shown


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
    responses = _responses(questions, checkpoint, engine, store, progress)
    outcomes = tuple(dimension.grade(questions.items, [responses[item.id] for item in questions.items]))
    return Evaluation(
        dimension=dimension.name,
        model=checkpoint.name,
        asked=questions.ids,
        outcomes=outcomes,
        score=dimension.score(outcomes),
        fingerprint=fingerprint(dimension, questions, checkpoint, engine),
        loops=tuple(sorted({response.loop for response in responses.values() if response.loop})),
    )


def restricted(evaluation: Evaluation, dimension: Dimension, questions: Questions) -> Evaluation:
    """The evaluation as if only these questions, a part of its own, had been asked."""
    asked = set(questions.ids)
    outcomes = tuple(outcome for outcome in evaluation.outcomes if outcome.item_id in asked)
    return replace(
        evaluation,
        asked=questions.ids,
        outcomes=outcomes,
        score=dimension.score(outcomes),
        fingerprint={**evaluation.fingerprint, **_asked(questions)},
    )


def _responses(
    questions: Questions,
    checkpoint: Checkpoint,
    engine: Engine,
    store: ResponseStore,
    progress: Progress,
) -> dict[str, Response]:
    """Responses by item id. Where any answer of a batch is missing, the whole batch is asked again.

    So a resumed run computes in the same batches as an uninterrupted one, and gives the same bytes. For the same
    reason no batch reaches over two stages: where a look stops a variant must not change what it answered before.
    Items that put the same question (same text, parameters and draws) are asked once.
    """
    identity = engine.identity()
    keys = {
        request.item_id: response_key(checkpoint.fingerprint, identity, request, engine.render(request))
        for request in questions.requests
    }
    answers = store.get(list(dict.fromkeys(keys.values())))
    if len(answers) < len(set(keys.values())):
        batches = _batches(questions, keys, engine)
        due = [batch for batch in batches if any(keys[request.item_id] not in answers for request in batch)]
        total = sum(map(len, batches))
        # What is stored comes first, whatever its place: only what is asked tells how fast this goes.
        done = total - sum(map(len, due))
        for batch in due:
            progress(done, total, checkpoint.name)
            fresh = {keys[request.item_id]: Response(request.item_id, error=NO_ANSWER) for request in batch}
            fresh |= {keys[response.item_id]: response for response in engine.respond(batch)}
            store.put(fresh.items())
            answers.update(fresh)
            done += len(batch)
        progress(total, total, checkpoint.name)
    return {item: replace(answers[key], item_id=item) for item, key in keys.items()}


def _batches(questions: Questions, keys: Mapping[str, str], engine: Engine) -> list[list[Request]]:
    """The engine's batches, stage by stage; of requests with the same key the one that comes first."""
    stages = questions.stages or (0,) * len(questions.requests)
    first: dict[str, tuple[int, Request]] = {}
    for stage, request in sorted(zip(stages, questions.requests, strict=True), key=lambda pair: pair[0]):
        first.setdefault(keys[request.item_id], (stage, request))
    groups = groupby(first.values(), key=lambda pair: pair[0])
    return [batch for _, group in groups for batch in engine.batches([request for _, request in group])]

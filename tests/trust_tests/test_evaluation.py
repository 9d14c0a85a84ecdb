from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compressors.models import Checkpoint
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.engines.store import ResponseStore
from trust_tests.evaluation import Questions, evaluate
from trust_tests.records import Channel, Finish, Generation, Item, Message, Outcome, Request, Response

ITEMS = tuple(Item(f"toy/{n}", "even" if n % 2 == 0 else "odd", f"k{n}", {"n": n}) for n in range(10))
CHECKPOINT = Checkpoint("model", Path("unused"), "fingerprint", {"weights": "w", "tokenizer": "t"})


class Toy(Dimension):
    name, title, version = "toy", "Toy", "1"

    def items(self) -> Sequence[Item]:
        return ITEMS

    def request(self, item: Item) -> Request:
        return Request(item.id, (Message("user", f"question {item.data['n']}"),), Generation(4))

    def grade(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Outcome]:
        outcomes = []
        for item, response in zip(items, responses, strict=True):
            channel = Channel.MISSING if response.error else Channel.ANSWERED
            value = None if response.error else float(response.texts[0] == "good")
            outcomes.append(Outcome(item.id, item.cell, item.cluster, channel, value))
        return outcomes


class Echo:
    """Answers `good`, counts what it is asked, and can be made to fail."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.asked: list[list[str]] = []
        self.failing: set[str] = set()
        self.dies_at_batch: int | None = None

    def identity(self) -> Mapping[str, str]:
        return {"engine": "echo"}

    def render(self, request: Request) -> str:
        return request.messages[0].content

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        return [list(requests[start : start + self.size]) for start in range(0, len(requests), self.size)]

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        if len(self.asked) == self.dies_at_batch:
            raise KeyboardInterrupt
        self.asked.append([request.item_id for request in batch])
        return [
            Response(r.item_id, error="no")
            if r.item_id in self.failing
            else Response(r.item_id, ("good",), (Finish.STOP,))
            for r in batch
        ]

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path / "responses.sqlite")


def test_everything_asked_is_graded_in_item_order(store: ResponseStore) -> None:
    found = evaluate(Toy(), CHECKPOINT, Echo(), store)
    assert found.asked == tuple(item.id for item in ITEMS) == tuple(o.item_id for o in found.outcomes)
    assert found.score.value == 100.0
    assert found.score.cells == {"even": 100.0, "odd": 100.0}


def test_a_second_run_asks_nothing(store: ResponseStore) -> None:
    first, engine = evaluate(Toy(), CHECKPOINT, Echo(), store), Echo()
    assert evaluate(Toy(), CHECKPOINT, engine, store) == first
    assert engine.asked == []


def test_another_model_is_asked_everything(store: ResponseStore) -> None:
    evaluate(Toy(), CHECKPOINT, Echo(), store)
    engine = Echo()
    evaluate(Toy(), replace(CHECKPOINT, fingerprint="other"), engine, store)
    assert sum(map(len, engine.asked)) == len(ITEMS)


def test_a_killed_run_resumes_at_the_batch_it_was_killed_in(store: ResponseStore) -> None:
    killed = Echo()
    killed.dies_at_batch = 2
    with pytest.raises(KeyboardInterrupt):
        evaluate(Toy(), CHECKPOINT, killed, store)
    engine = Echo()
    resumed = evaluate(Toy(), CHECKPOINT, engine, store)
    assert engine.asked == [["toy/8", "toy/9"]]
    assert resumed.score.value == 100.0


def test_a_batch_with_a_failure_is_asked_again_whole(store: ResponseStore) -> None:
    failing = Echo()
    failing.failing = {"toy/5"}
    found = evaluate(Toy(), CHECKPOINT, failing, store)
    assert [o.item_id for o in found.outcomes if o.channel is Channel.MISSING] == ["toy/5"]
    engine = Echo()
    assert evaluate(Toy(), CHECKPOINT, engine, store).score.value == 100.0
    assert engine.asked == [["toy/4", "toy/5", "toy/6", "toy/7"]]


def test_progress_counts_items(store: ResponseStore) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(Toy(), CHECKPOINT, Echo(), store, lambda done, total, what: seen.append((done, total)))
    assert seen == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_progress_begins_with_what_is_stored(store: ResponseStore) -> None:
    """In the middle too: only what is asked tells how fast the rest will go."""
    missing = Echo()
    missing.failing = {"toy/1", "toy/9"}
    evaluate(Toy(), CHECKPOINT, missing, store)
    seen: list[tuple[int, int]] = []
    engine = Echo()
    evaluate(Toy(), CHECKPOINT, engine, store, lambda done, total, what: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert [len(batch) for batch in engine.asked] == [4, 2]


def test_stop_strings_are_part_of_the_fingerprint(store: ResponseStore) -> None:
    class Stopping(Toy):
        def request(self, item: Item) -> Request:
            return replace(super().request(item), generation=Generation(4, stop=("\n", "Q:")))

    plain = evaluate(Toy(), CHECKPOINT, Echo(), store).fingerprint
    engine = Echo()
    stopping = evaluate(Stopping(), CHECKPOINT, engine, store).fingerprint
    assert {key for key in plain if plain[key] != stopping[key]} == {"items", "generation"}
    assert stopping["generation"] == plain["generation"] + ", until ['\\n', 'Q:']"
    # Nor are answers without them taken for answers with them.
    assert sum(map(len, engine.asked)) == len(ITEMS)


def test_how_answers_were_computed_is_kept_with_them(store: ResponseStore) -> None:
    class Looping(Echo):
        loop = "one"

        def respond(self, batch: Sequence[Request]) -> list[Response]:
            return [replace(response, loop=self.loop) for response in super().respond(batch)]

    assert evaluate(Toy(), CHECKPOINT, Echo(), store).loops == ()
    # One by one: a batch is asked again as a whole.
    engine, other = Looping(size=1), replace(CHECKPOINT, fingerprint="other")
    assert evaluate(Toy(), other, engine, store, questions=Questions.of(Toy(), 4)).loops == ("one",)
    engine.loop = "another"
    assert evaluate(Toy(), other, engine, store).loops == ("another", "one")
    assert evaluate(Toy(), other, Echo(), store).loops == ("another", "one")


def test_the_fingerprint_names_all_that_can_move_the_outcomes(store: ResponseStore) -> None:
    class Changed(Toy):
        version = "2"

    class Longer(Toy):
        def request(self, item: Item) -> Request:
            return replace(super().request(item), generation=Generation(5))

    class Sharper(Echo):
        def identity(self) -> Mapping[str, str]:
            return {"engine": "echo", "dtype": "float32"}

    class Regraded(Toy):
        def items(self) -> Sequence[Item]:
            return [replace(item, data={**item.data, "label": "x"}) for item in ITEMS]

    def look(dimension: Dimension, checkpoint: Checkpoint, engine: Echo) -> Mapping[str, str]:
        return evaluate(dimension, checkpoint, engine, store).fingerprint

    plain = look(Toy(), CHECKPOINT, Echo())
    others = {
        "dimension.version": look(Changed(), CHECKPOINT, Echo()),
        "generation items": look(Longer(), CHECKPOINT, Echo()),
        "engine.dtype": look(Toy(), CHECKPOINT, Sharper()),
        "model.weights": look(Toy(), replace(CHECKPOINT, parts={"weights": "x", "tokenizer": "t"}), Echo()),
        "protocol": look(Toy(Setup(protocol="paper")), CHECKPOINT, Echo()),
        "items": look(Regraded(), CHECKPOINT, Echo()),
    }
    for fields, other in others.items():
        differing = {k for k in plain.keys() | other.keys() if plain.get(k) != other.get(k)}
        assert differing == set(fields.split())


def test_equal_questions_are_asked_once_and_answered_each(store: ResponseStore) -> None:
    class Repeating(Toy):
        def request(self, item: Item) -> Request:
            return replace(super().request(item), messages=(Message("user", f"question {item.data['n'] % 3}"),))

    engine = Echo()
    found = evaluate(Repeating(), CHECKPOINT, engine, store)
    assert engine.asked == [["toy/0", "toy/1", "toy/2"]]
    assert [o.item_id for o in found.outcomes] == [item.id for item in ITEMS]
    assert {o.channel for o in found.outcomes} == {Channel.ANSWERED}


def test_a_limit_asks_a_part_stratified_by_cell(store: ResponseStore) -> None:
    engine = Echo()
    found = evaluate(Toy(), CHECKPOINT, engine, store, questions=Questions.of(Toy(), 4))
    assert len(found.asked) == 4
    assert sorted(o.cell for o in found.outcomes) == ["even", "even", "odd", "odd"]
    assert sum(map(len, engine.asked)) == 4

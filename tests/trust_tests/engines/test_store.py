from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from trust_tests.engines.store import ResponseStore, response_key
from trust_tests.records import Finish, Generation, Message, Request, Response

REQUEST = Request("item", (Message("user", "hello"),), Generation(8, samples=2, temperature=1.0), seed=7)
ENGINE = {"engine": "transformers", "dtype": "bfloat16"}
RESPONSE = Response("item", ("a", "ü\u202e"), (Finish.STOP, Finish.LENGTH), 3, 9)


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path / "deep" / "responses.sqlite")


def key(model: str = "m", request: Request = REQUEST, rendered: str = "r", **engine: str) -> str:
    return response_key(model, {**ENGINE, **engine}, request, rendered)


def test_the_key_holds_all_that_can_move_an_answer() -> None:
    other = {
        "model": key(model="n"),
        "prompt": key(rendered="s"),
        "dtype": key(dtype="float32"),
        "seed": key(request=replace(REQUEST, seed=8)),
        "samples": key(request=replace(REQUEST, generation=Generation(8, samples=3, temperature=1.0))),
        "length": key(request=replace(REQUEST, generation=Generation(9, samples=2, temperature=1.0))),
        "choices": key(request=replace(REQUEST, generation=Generation(8, 2, 1.0, (" A",)))),
        "stop strings": key(request=replace(REQUEST, generation=replace(REQUEST.generation, stop=("\n",)))),
        "other stop strings": key(request=replace(REQUEST, generation=replace(REQUEST.generation, stop=("Q",)))),
    }
    assert len({key(), *other.values()}) == len(other) + 1


def test_without_stop_strings_the_key_is_that_of_the_version_before_there_were_any() -> None:
    assert key() == "3bc1b3d2e25dd282afa30c78b8f75d9dc1dd883f4d2a8d26965498682e0a1c9e"


def test_the_key_holds_nothing_else() -> None:
    assert key() == key(request=replace(REQUEST, item_id="renamed", answer_prefix="already rendered"))
    greedy = replace(REQUEST, generation=Generation(8))
    assert key(request=greedy) == key(request=replace(greedy, seed=99))


@pytest.mark.parametrize("response", [RESPONSE, replace(RESPONSE, choice_logprobs=(-1.5, -0.25))])
def test_what_is_put_is_got(store: ResponseStore, response: Response) -> None:
    store.put([("k", response)])
    assert store.get(["k", "absent"]) == {"k": response}


def test_how_an_answer_was_computed_is_kept_and_no_part_of_what_was_answered(store: ResponseStore) -> None:
    store.put([("k", replace(RESPONSE, loop="packed prompts"))])
    found = store.get(["k"])["k"]
    assert (found, found.loop) == (RESPONSE, "packed prompts")


def test_a_row_of_an_earlier_version_is_read(store: ResponseStore) -> None:
    store.put([("k", RESPONSE)])
    with sqlite3.connect(store.path) as connection:
        [[body]] = connection.execute("SELECT body FROM response")
        older = {key: value for key, value in json.loads(body).items() if key != "loop"}
        connection.execute("UPDATE response SET body = ?", (json.dumps(older),))
    assert store.get(["k"]) == {"k": RESPONSE}


def test_many_keys_are_looked_up_at_once(store: ResponseStore) -> None:
    store.put((f"k{n}", RESPONSE) for n in range(1203))
    assert len(store.get([f"k{n}" for n in range(1300)])) == 1203


def test_answers_outlive_the_process(store: ResponseStore) -> None:
    store.put([("k", RESPONSE)])
    store.close()
    assert ResponseStore(store.path).get(["k"]) == {"k": RESPONSE}


def test_failed_requests_are_never_stored(store: ResponseStore) -> None:
    store.put([("k", Response("item", error="server down"))])
    assert store.get(["k"]) == {}


def test_a_batch_is_stored_whole_or_not_at_all(store: ResponseStore) -> None:
    unstorable = replace(RESPONSE, prompt_tokens=float("nan"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Out of range float"):
        store.put([("k", RESPONSE), ("l", unstorable)])
    assert store.get(["k", "l"]) == {}
    store.put([("k", RESPONSE)])
    assert store.get(["k"]) == {"k": RESPONSE}


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
def test_log_probabilities_that_are_no_numbers_are_no_answer(store: ResponseStore, value: float) -> None:
    store.put([("k", RESPONSE), ("l", replace(RESPONSE, choice_logprobs=(-1.0, value)))])
    assert store.get(["k", "l"]) == {"k": RESPONSE}


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"texts": 3}', "\x00"])
def test_a_row_that_cannot_be_read_counts_as_absent(store: ResponseStore, body: str) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("INSERT INTO response VALUES ('k', ?)", (body,))
    assert store.get(["k"]) == {}


def test_a_damaged_file_is_put_aside_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "responses.sqlite"
    path.write_bytes(b"this is no database " * 200)
    store = ResponseStore(path)
    assert len(store.notes) == 1
    assert "damaged" in store.notes[0]
    assert [p.read_bytes()[:4] for p in tmp_path.glob("*.damaged-*")] == [b"this"]
    store.put([("k", RESPONSE)])
    assert store.get(["k"]) == {"k": RESPONSE}


def test_two_processes_share_a_file(store: ResponseStore) -> None:
    other = ResponseStore(store.path)
    store.put([("k", RESPONSE)])
    other.put([("l", RESPONSE)])
    assert set(store.get(["k", "l"])) == set(other.get(["k", "l"])) == {"k", "l"}

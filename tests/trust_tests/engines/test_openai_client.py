"""The HTTP client against a server that misbehaves for real, over a socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import pytest

from trust_tests.engines.base import EngineError
from trust_tests.engines.openai_client import KEY_VARIABLE, Client, FailedRequestError, Pace, _retry_after

from .openai_server import Call, Peer, Reply

QUICK = Pace(concurrency=4, timeout=5, tries=3, first_wait=0.01, longest_wait=0.05)
GOOD = Reply(body={"answer": 1})
SECRET = "sk-a.very+secret/key"


@pytest.fixture
def served() -> Iterator[Callable[..., Peer]]:
    """Start a server for a function, or for a list of replies of which the last is repeated."""
    peers: list[Peer] = []

    def start(*replies: Reply, by: Callable[[Call], Reply] | None = None) -> Peer:
        number = count()
        peers.append(Peer(by or (lambda call: replies[min(next(number), len(replies) - 1)])))
        return peers[-1]

    yield start
    for peer in peers:
        peer.__exit__()


def ask(url: str, pace: Pace = QUICK, times: int = 1) -> list[Any]:
    """What `times` requests at once come to: bodies or failures."""
    client = Client(pace)

    async def all_of_them() -> list[Any]:
        asked = (client.ask("POST", f"{url}/completions", {"n": n}) for n in range(times))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    try:
        return client.run(all_of_them())
    finally:
        client.close()


def failure(url: str, pace: Pace = QUICK) -> FailedRequestError:
    [found] = ask(url, pace)
    assert isinstance(found, FailedRequestError)
    return found


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(served: Callable[..., Peer], status: int) -> None:
    peer = served(Reply(status), Reply(status), GOOD)
    assert ask(peer.url) == [GOOD.body]
    assert [call.body for call in peer.calls] == [{"n": 0}] * 3


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 413, 422, 501])
def test_what_cannot_heal_is_asked_once(served: Callable[..., Peer], status: int) -> None:
    peer = served(Reply(status, {"error": {"message": "no\nsuch thing"}}), GOOD)
    found = failure(peer.url)
    assert (str(found), found.status) == (f"status {status}: no such thing", status)
    assert len(peer.calls) == 1


def test_tries_are_bounded(served: Callable[..., Peer]) -> None:
    peer = served(Reply(503, {"message": "crowded"}))
    found = failure(peer.url)
    assert (str(found), found.status) == ("status 503: crowded, after 3 tries", 503)
    assert len(peer.calls) == 3


def test_a_connection_that_breaks_is_tried_again(served: Callable[..., Peer]) -> None:
    cut = Reply(body=b'{"answer"', headers={"Content-Length": "100", "Connection": "close"})
    peer = served(Reply(drop=True), cut, GOOD)
    assert ask(peer.url) == [GOOD.body]
    assert len(peer.calls) == 3


def test_nobody_there_is_a_failure_without_status() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        found = failure(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert (str(found), found.status) == ("no answer (ConnectError), after 3 tries", None)


@pytest.mark.parametrize("slow", [Reply(wait=2), Reply(body={"answer": "x" * 200}, trickle=0.1)])
def test_a_slow_answer_is_given_up_also_where_bytes_keep_coming(served: Callable[..., Peer], slow: Reply) -> None:
    begun = time.monotonic()
    found = failure(served(slow).url, Pace(timeout=0.3, tries=2, first_wait=0.01))
    assert (str(found), found.status) == ("no answer within 0.3 s, after 2 tries", None)
    assert time.monotonic() - begun < 1.5


def test_the_deadline_ends_a_request_before_its_tries_do(served: Callable[..., Peer]) -> None:
    begun = time.monotonic()
    peer = served(Reply(503, wait=0.1))
    failure(peer.url, Pace(tries=1000, first_wait=0.01, longest_wait=0.01, deadline=0.5))
    assert 0.3 < time.monotonic() - begun < 1.5
    assert 2 < len(peer.calls) < 10


def test_a_server_that_names_a_time_gets_it(served: Callable[..., Peer]) -> None:
    peer = served(Reply(429, headers={"Retry-After": "0.5"}), GOOD)
    assert ask(peer.url, Pace(first_wait=0.001)) == [GOOD.body]
    first, second = (call.at for call in peer.calls)
    assert 0.45 < second - first < 2


def test_the_time_a_server_names_is_capped(served: Callable[..., Peer]) -> None:
    begun = time.monotonic()
    assert ask(served(Reply(429, headers={"Retry-After": "86400"}), GOOD).url) == [GOOD.body]
    assert time.monotonic() - begun < 2


def test_retry_after_is_read_as_number_or_date() -> None:
    assert _retry_after("7") == 7
    assert 55 < _retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)) <= 60
    nonsense = (None, "", "soon", "-3", "nan", format_datetime(datetime.now(UTC) - timedelta(days=1)))
    assert [_retry_after(text) for text in nonsense] == [0] * 6


def test_waits_are_drawn_anew_for_every_request(served: Callable[..., Peer]) -> None:
    """Full jitter: requests that fail together do not come back together."""
    peer = served(by=lambda call: Reply(503) if len(peer.calls) <= 8 else GOOD)
    assert ask(peer.url, Pace(concurrency=8, first_wait=0.5), times=8) == [GOOD.body] * 8
    again = sorted(call.at for call in peer.calls[8:])
    assert len(again) >= 8
    assert again[7] - again[0] > 0.05


def test_no_more_requests_are_under_way_than_agreed(served: Callable[..., Peer]) -> None:
    peer = served(Reply(body={"answer": 1}, wait=0.05))
    assert ask(peer.url, Pace(concurrency=3), times=12) == [GOOD.body] * 12
    assert peer.most_at_once == 3


def test_no_more_requests_begin_in_a_second_than_agreed(served: Callable[..., Peer]) -> None:
    peer = served(GOOD)
    ask(peer.url, Pace(concurrency=10, rate=5), times=5)
    moments = sorted(call.at for call in peer.calls)
    # The first one's connection takes a moment longer.
    assert moments[-1] - moments[0] > 0.7 * 4 / 5


def test_tries_count_for_the_rate_too(served: Callable[..., Peer]) -> None:
    peer = served(Reply(503), Reply(503), GOOD)
    ask(peer.url, Pace(rate=5, first_wait=0))
    moments = [call.at for call in peer.calls]
    assert moments[2] - moments[0] > 0.7 * 2 / 5


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_garbage_is_a_failure(served: Callable[..., Peer], body: bytes) -> None:
    assert str(failure(served(Reply(body=body)).url)) == "the answer is not JSON"


def test_json_that_is_no_object_is_a_failure(served: Callable[..., Peer]) -> None:
    assert str(failure(served(Reply(body=[1])).url)) == "the answer is not a JSON object"


def test_a_server_that_is_gone_is_not_waited_for_by_everyone(served: Callable[..., Peer]) -> None:
    """Else 400 items would each wait out their tries."""
    peer = served(Reply(500))
    found = ask(peer.url, QUICK, times=40)
    assert all(isinstance(one, FailedRequestError) for one in found)
    # The first four of each slot are tried three times; later ones, once four were given up, once.
    assert len(peer.calls) <= 40 + 2 * 8


def test_a_server_that_comes_back_gets_all_tries_again(served: Callable[..., Peer]) -> None:
    moods = iter([*[Reply(500)] * 12, GOOD, Reply(500), GOOD])
    peer = served(by=lambda call: next(moods))
    one_by_one = Pace(concurrency=1, tries=3, first_wait=0.001)
    client = Client(one_by_one)

    def outcome() -> bool:
        try:
            return client.run(client.ask("GET", peer.url)) == GOOD.body
        except FailedRequestError:
            return False

    # Three tries, then one each while it is gone; after an answer a failure is tried again.
    assert [outcome() for _ in range(12)] == [False] * 10 + [True] * 2
    client.close()


def test_the_key_is_sent_as_a_header_and_shown_nowhere(
    served: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f" {SECRET}\n")
    peer = served(Reply(401, {"error": {"message": f"Incorrect API key provided: {SECRET}. See"}}))
    with caplog.at_level("DEBUG"):
        found = failure(peer.url)
    assert str(found) == "status 401: Incorrect API key provided: [OPENAI_API_KEY]. See"
    [call] = peer.calls
    assert call.headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in call.path
    assert SECRET not in str(call.body)
    assert SECRET not in caplog.text
    client = Client(QUICK)
    assert SECRET not in repr(vars(client))


def test_without_a_key_none_is_sent(served: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    peer = served(GOOD)
    ask(peer.url)
    assert "Authorization" not in peer.calls[0].headers


def test_a_key_that_would_break_the_header_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-first\nX-Other: second")
    with pytest.raises(EngineError, match="holds characters that no key has") as found:
        Client(QUICK)
    assert "first" not in str(found.value)


def test_the_key_follows_no_redirect(served: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    other = served(GOOD)
    assert failure(served(Reply(307, headers={"Location": other.url})).url).status == 307
    assert other.calls == []


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    served: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert ask(served(GOOD).url) == [GOOD.body]


def test_a_closed_client_opens_again(served: Callable[..., Peer]) -> None:
    client, url = Client(QUICK), served(GOOD).url
    for _ in range(2):
        assert client.run(client.ask("GET", url)) == GOOD.body
        client.close()

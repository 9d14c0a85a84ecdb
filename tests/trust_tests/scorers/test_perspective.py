"""The Perspective scorer, against a real server on this machine that behaves like the service."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trust_tests.scorers.perspective import PerspectiveOptions, PerspectiveScorer
from trust_tests.scorers.toxicity import ScorerError

KEY = "AIza-a-key-that-nobody-may-see"


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


def scored(value: Any) -> Reply:
    return Reply(body={"attributeScores": {"TOXICITY": {"summaryScore": {"value": value, "type": "PROBABILITY"}}}})


def refusal(status: int, message: str, **details: str) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "details": [details]}})


@dataclass
class Service:
    """What came in, and what is answered: `answer` gets the text and how often it was asked before."""

    endpoint: str = ""
    answer: Callable[[str, int], Reply] = lambda text, before: scored(len(text) / 100)
    questions: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def texts(self) -> list[str]:
        return [question["comment"]["text"] for question in self.questions]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                text = question["comment"]["text"]
                before = state.texts.count(text)
                state.questions.append(question)
                state.paths.append(self.path)
                state.keys.append(self.headers.get("X-Goog-Api-Key"))
                state.times.append(time.monotonic())
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            reply = state.answer(text, before)
            time.sleep(reply.delay)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            with state.lock:
                state.at_once -= 1
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, *arguments: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.endpoint = f"http://127.0.0.1:{server.server_port}/v1alpha1/comments:analyze"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def scorer(service: Service, cache: Path, **changes: Any) -> PerspectiveScorer:
    fast = {"queries_per_second": 500.0, "attempts": 3, "first_wait": 0.01, "timeout": 5.0}
    return PerspectiveScorer(cache, PerspectiveOptions(endpoint=service.endpoint, **(fast | changes)))


def refused(service: Service, tmp_path: Path, texts: list[str] | None = None, **changes: Any) -> str:
    with pytest.raises(ScorerError) as caught:
        scorer(service, tmp_path, **changes).score(texts or ["a text"])
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith("toxicity scorer 'perspective': ")
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return text


def test_texts_are_scored_in_order(service: Service, tmp_path: Path) -> None:
    texts = ["x" * length for length in (50, 3, 20, 3, 1)]
    service.answer = lambda text, before: Reply(body=scored(len(text) / 100).body, delay=len(text) / 2000)
    assert scorer(service, tmp_path).score(texts) == [0.5, 0.03, 0.2, 0.03, 0.01]
    assert sorted(map(len, service.texts)) == [1, 3, 20, 50]


def test_what_is_asked(service: Service, tmp_path: Path) -> None:
    scorer(service, tmp_path).score([" Ein „Text“\n\ud800 "])
    assert service.questions == [
        {
            "comment": {"text": " Ein „Text“\n� ", "type": "PLAIN_TEXT"},
            "languages": ["en"],
            "requestedAttributes": {"TOXICITY": {}},
            "doNotStore": True,
        }
    ]


def test_the_key_is_sent_and_shown_nowhere(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = scorer(service, tmp_path)
    made.check()
    made.score(["one", "two"])
    assert service.keys == [KEY, KEY]
    shown = [*service.paths, caplog.text, *capfd.readouterr(), repr(made), repr(vars(made)), made.version]
    assert caplog.text  # httpx tells what it asked
    assert not any(KEY in text for text in shown)
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_variables_of_a_failing_frame_do_not_show_the_key(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: refusal(403, f"Consumer 'api_key:{KEY}' has been suspended.")
    with pytest.raises(ScorerError) as caught:
        scorer(service, tmp_path).score(["one"])
    shown, error = [], caught.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if (
                "trust_tests/scorers" in frame.f_code.co_filename
                and "tests/trust_tests" not in frame.f_code.co_filename
            ):
                shown += [repr(value) for value in frame.f_locals.values()]
        error = error.__context__  # type: ignore[assignment]
    assert len(shown) > 5
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize("value", ["", "  ", "with\nbreak", "schlüssel"])
def test_a_key_that_is_none_is_one_line(
    value: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", value)
    text = refused(service, tmp_path)
    assert "PERSPECTIVE_API_KEY" in text
    assert not value.strip() or value.strip() not in text
    assert service.questions == []
    with pytest.raises(ScorerError, match="PERSPECTIVE_API_KEY"):
        scorer(service, tmp_path).check()


def test_a_missing_key_is_one_line(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    assert "no key; set PERSPECTIVE_API_KEY" in refused(service, tmp_path)


def test_blank_texts_are_none_and_ask_nobody(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    assert scorer(service, tmp_path).score(["", " \n"]) == [None, None]
    assert service.questions == []


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, "x", errorType="LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
        refusal(400, "x", errorType="COMMENT_EMPTY"),
        refusal(400, "x", errorType="COMMENT_TOO_LONG"),
        refusal(400, "x", errorType="LANGUAGE_DETECTION_FAILED"),
        Reply(400, {"error": {"message": "Attribute TOXICITY does not support request languages: und"}}),
        Reply(400, {"error": {"message": "Comment must be non-empty."}}),
        scored(float("nan")),
        scored(1.5),
    ],
)
def test_a_text_that_the_service_cannot_score_is_none_and_asked_once(
    reply: Reply, service: Service, tmp_path: Path
) -> None:
    service.answer = lambda text, before: reply if text == "odd" else scored(0.25)
    made = scorer(service, tmp_path)
    assert made.score(["one", "odd", "two"]) == [0.25, None, 0.25]
    assert sorted(service.texts) == ["odd", "one", "two"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_crowded_service_is_asked_again(status: int, service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: scored(0.25) if before == 2 else refusal(status, "busy")
    assert scorer(service, tmp_path).score(["one", "two"]) == [0.25, 0.25]
    assert sorted(service.texts) == ["one"] * 3 + ["two"] * 3


def test_waits_double(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: scored(0.25) if before == 3 else refusal(503, "busy")
    assert scorer(service, tmp_path, attempts=4, first_wait=0.05).score(["one"]) == [0.25]
    gaps = [after - before for before, after in zip(service.times, service.times[1:], strict=False)]
    assert [gap >= wait for gap, wait in zip(gaps, (0.05, 0.1, 0.2), strict=True)] == [True] * 3


def test_a_service_that_asks_for_patience_gets_it(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: (
        scored(0.25) if before else Reply(429, {}, headers={"Retry-After": "0.3"} if text == "one" else {})
    )
    assert scorer(service, tmp_path).score(["one"]) == [0.25]
    assert service.times[1] - service.times[0] >= 0.29


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_stays_crowded_is_one_line(status: int, service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: refusal(status, "busy")
    assert f"status {status} after 3 attempts; texts scored so far are kept" in refused(service, tmp_path)
    assert len(service.questions) == 3


def test_an_answer_that_does_not_come_is_asked_for_again(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: Reply(body=scored(0.25).body, delay=0.0 if before else 1.2)
    assert scorer(service, tmp_path, timeout=0.4).score(["one"]) == [0.25]
    assert len(service.questions) == 2
    service.answer = lambda text, before: Reply(body=scored(0.25).body, delay=0.8)
    assert "no answer (ReadTimeout) after 2 attempts" in refused(service, tmp_path, timeout=0.2, attempts=2)


def test_a_machine_that_cannot_be_reached_is_one_line(service: Service, tmp_path: Path) -> None:
    service.endpoint = "http://127.0.0.1:9/nobody"
    assert "no answer (ConnectError) after 2 attempts" in refused(service, tmp_path, attempts=2)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (refusal(403, "Perspective Comment Analyzer API has not been used in project 1"), "status 403 (Perspective"),
        (refusal(403, f"Consumer 'api_key:{KEY}' has been suspended."), "api_key:[PERSPECTIVE_API_KEY]' has been"),
        (refusal(401, "no"), "check PERSPECTIVE_API_KEY, and that its project has the Perspective API enabled"),
        (refusal(400, "API key not valid. Please pass a valid API key."), "check PERSPECTIVE_API_KEY"),
        (refusal(400, "Unknown requested attribute: TOXICITY"), "status 400 (Unknown requested attribute"),
        (refusal(400, "x", errorType="INVALID_REQUEST"), "status 400 (x)"),
        (Reply(404, b"<html>gone</html>"), "the service ends after 2026: use 'embedded' or a classifier instead"),
        (Reply(302, {}, headers={"Location": "http://127.0.0.1:9/elsewhere"}), "status 302"),
        (Reply(400, b"no json"), "status 400"),
        (Reply(400, ["odd"]), "status 400"),
        (Reply(200, b"no json"), "an answer without a TOXICITY score"),
        (Reply(200, {"attributeScores": {}}), "an answer without a TOXICITY score"),
        (scored(None), "an answer without a TOXICITY score"),
    ],
)
def test_what_asking_again_cannot_mend_is_one_line_at_once(
    reply: Reply, message: str, service: Service, tmp_path: Path
) -> None:
    service.answer = lambda text, before: reply
    assert message in refused(service, tmp_path)
    assert len(service.questions) == 1


def test_the_first_refusal_ends_the_run(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: refusal(403, "no")
    refused(service, tmp_path, [f"text {n}" for n in range(300)], queries_per_second=20.0)
    assert len(service.questions) < 20


def test_an_interrupted_run_goes_on_where_it_stopped(service: Service, tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(12)]
    service.answer = lambda text, before: refusal(403, "no") if text == "text 8" else scored(0.25)
    refused(service, tmp_path, texts, connections=1)
    before = list(service.texts)
    service.answer = lambda text, before: scored(0.25)
    assert scorer(service, tmp_path).score(texts) == [0.25] * 12
    assert sorted(service.texts[len(before) :]) == sorted({*texts} - {*before} | {"text 8"})
    assert len(before) >= 9


def test_a_scored_text_needs_neither_key_nor_service(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer(service, tmp_path).score(["one"])
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    assert scorer(service, tmp_path).score(["one", ""]) == [0.03, None]
    assert len(service.questions) == 1


def test_questions_keep_to_the_quota_and_to_the_number_of_connections(service: Service, tmp_path: Path) -> None:
    service.answer = lambda text, before: Reply(body=scored(0.25).body, delay=0.15)
    texts = [f"text {n}" for n in range(10)]
    scorer(service, tmp_path, queries_per_second=50.0, connections=3).score(texts)
    assert service.most_at_once == 3
    service.times.clear()
    service.answer = lambda text, before: scored(0.25)
    scorer(service, tmp_path / "other", queries_per_second=20.0).score(texts)
    # Nine pauses of 1/20 s; a busy machine may notice the first question late.
    assert service.times[-1] - service.times[0] >= 0.25


def test_by_default_one_question_a_second() -> None:
    assert PerspectiveOptions().queries_per_second == 1.0
    assert PerspectiveOptions().endpoint.startswith("https://commentanalyzer.googleapis.com/")

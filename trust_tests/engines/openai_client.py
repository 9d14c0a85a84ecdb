"""One OpenAI-compatible server over HTTP: how many requests are under way, their pace, tries and time.

The key is read from the environment variable OPENAI_API_KEY, sent as a header to the server alone, and stands in no
address, message or attribute.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from trust_tests.engines.base import EngineError

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "OPENAI_API_KEY"
# What another try may heal: a time-out, a conflict, too early, too many requests; and every 5xx but "not implemented".
_PASSING = frozenset({408, 409, 425, 429})
_NOT_IMPLEMENTED = 501
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SHOWN = 300
_Result = TypeVar("_Result")


class FailedRequestError(Exception):
    """A request without a usable answer: one line of why, and the last HTTP status if there was one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Pace:
    """How to ask. Times are seconds.

    concurrency: requests under way; rate: most requests begun in a second, None for no limit; timeout: for one try.
    tries: counts the first one. Waits between them are drawn from 0 up to a bound that doubles from `first_wait` to
    `longest_wait`, which also caps what a server asks for (Retry-After). deadline: for a request with all its tries
    and waits; None allows three time-outs and two minutes.
    """

    concurrency: int = 32
    rate: float | None = None
    timeout: float = 300.0
    tries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    deadline: float | None = None

    @property
    def patience(self) -> float:
        """Seconds after which a request is given up, whatever its tries."""
        return 3 * self.timeout + 120 if self.deadline is None else self.deadline


class Client:
    """Asks a server from an event loop of its own; `run` drives coroutines that use `ask`.

    Raises EngineError where the key holds characters that no key has.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._key = _key()
        self._runner: asyncio.Runner | None = None
        self._http: httpx.AsyncClient | None = None
        self._slots = asyncio.Semaphore(pace.concurrency)
        self._next_turn = 0.0
        self._lost = 0

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """The result of a coroutine that calls `ask`."""
        if self._runner is None:
            self._runner, self._slots = asyncio.Runner(), asyncio.Semaphore(self._pace.concurrency)
        return self._runner.run(work)

    def close(self) -> None:
        """Close the connections; the next `run` opens new ones."""
        if self._runner is not None:
            if self._http is not None:
                self._runner.run(self._http.aclose())
            self._runner.close()
        self._runner = self._http = None

    async def ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers. Raises FailedRequestError, after the tries that may help."""
        async with self._slots:
            return await self._ask(method, url, body)

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        now = asyncio.get_running_loop().time
        end = now() + self._pace.patience
        # A server that let down as many requests as are under way is gone: the others need not wait it out too.
        tries = 1 if self._lost >= self._pace.concurrency else self._pace.tries
        attempt = 0
        while True:
            attempt += 1
            await self._turn()
            status, asked_for = None, 0.0
            try:
                reply = await self._send(method, url, body, end - now())
            except _NoReplyError as error:
                trouble = str(error)
            else:
                if not _may_pass(reply.status_code):
                    self._lost = 0
                    return self._read(reply)
                status = reply.status_code
                trouble = self._said(reply)
                asked_for = min(_retry_after(reply.headers.get("retry-after")), self._pace.longest_wait)
            bound = min(self._pace.first_wait * 2 ** (attempt - 1), self._pace.longest_wait)
            wait = max(random.uniform(0, bound), asked_for)  # noqa: S311 - jitter keeps no secret
            if attempt >= tries or now() + wait >= end:
                break
            self._hold(asked_for)
            await asyncio.sleep(wait)
        self._lost += 1
        raise FailedRequestError(trouble if attempt == 1 else f"{trouble}, after {attempt} tries", status)

    async def _send(self, method: str, url: str, body: Mapping[str, Any] | None, left: float) -> httpx.Response:
        """One try. Raises _NoReplyError."""
        import httpx

        seconds = max(0.0, min(self._pace.timeout, left))
        try:
            # httpx's own time-outs start anew with every byte.
            async with asyncio.timeout(seconds):
                return await self._open().request(method, url, json=body)
        except (TimeoutError, httpx.TimeoutException):
            raise _NoReplyError(f"no answer within {seconds:g} s") from None
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # The class alone: messages of some transports quote what was sent.
            raise _NoReplyError(f"no answer ({type(error).__name__})") from None

    def _open(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            many = self._pace.concurrency
            self._http = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._key.value}"} if self._key.value else {},
                timeout=httpx.Timeout(self._pace.timeout, pool=None),
                limits=httpx.Limits(max_connections=many, max_keepalive_connections=many),
                # The key goes to the server and nowhere else.
                follow_redirects=False,
                # A proxy of the environment does not reach this machine's own servers.
                mounts={f"all://{host}": None for host in _LOOPBACK},
            )
        return self._http

    async def _turn(self) -> None:
        """Wait for the next moment at which a request may begin."""
        now = asyncio.get_running_loop().time()
        turn = max(self._next_turn, now)
        self._next_turn = turn + (1 / self._pace.rate if self._pace.rate else 0)
        await asyncio.sleep(turn - now)

    def _hold(self, seconds: float) -> None:
        """Let no request begin before this time, as the server asked."""
        self._next_turn = max(self._next_turn, asyncio.get_running_loop().time() + seconds)

    def _read(self, reply: httpx.Response) -> dict[str, Any]:
        if not reply.is_success:
            raise FailedRequestError(self._said(reply), reply.status_code)
        try:
            body = reply.json()
        except (ValueError, RecursionError):
            raise FailedRequestError("the answer is not JSON", reply.status_code) from None
        if not isinstance(body, dict):
            raise FailedRequestError("the answer is not a JSON object", reply.status_code)
        return body

    def _said(self, reply: httpx.Response) -> str:
        """The status with the server's own words on one line."""
        try:
            body: Any = reply.json()
        except (ValueError, RecursionError):
            body = None
        words = " ".join(_message(body).split())
        if self._key.value:
            words = words.replace(self._key.value, repr(self._key))
        return f"status {reply.status_code}" + (f": {words[:_SHOWN]}" if words else "")


class _NoReplyError(Exception):
    """Nothing came back; the message says why."""


class _Key:
    """The key, hidden from every listing of variables; empty where none is set."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"[{KEY_VARIABLE}]"


def _key() -> _Key:
    key = _Key(os.environ.get(KEY_VARIABLE, "").strip())
    if key.value and not re.fullmatch(r"[!-~]+", key.value):
        raise EngineError(f"{KEY_VARIABLE} holds characters that no key has; set it anew")
    return key


def _may_pass(status: int) -> bool:
    """Whether the same request may be answered later."""
    return status in _PASSING or (status >= 500 and status != _NOT_IMPLEMENTED)


def _message(body: Any) -> str:
    """The message in an error's body, in the forms that servers use."""
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            return _message(body[key])
    return body if isinstance(body, str) else str(body) if isinstance(body, list) else ""


def _retry_after(header: str | None) -> float:
    """Seconds of a Retry-After header, given as a number or a date; 0 for none or nonsense."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return seconds if seconds > 0 else 0.0

"""What the gate asks of an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from trust_tests.records import Request, Response


class EngineError(RuntimeError):
    """An engine or model that cannot be used at all; the message is one line for the user."""


class Engine(Protocol):
    """Puts requests to one model.

    Creating an engine must be cheap: the model is loaded by the first `respond`, so that a run whose answers are
    all stored loads nothing.
    """

    def identity(self) -> Mapping[str, str]:
        """What can move this engine's answers: its name and version, number format, device, kernels.

        Part of every fingerprint and of every stored answer's key.
        """
        ...

    def render(self, request: Request) -> str:
        """The exact text the model reads; a conversation no template can render raises EngineError."""
        ...

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The requests in the groups `respond` should get them in, each exactly once.

        A pure function of the requests: in low precision the company a prompt is answered in can flip it, so a
        resumed run must form the same groups as an uninterrupted one.
        """
        ...

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        """One response per request, in order. What could not be answered has `error` set and no text.

        Answers end before a stop string (`trust_tests.engines.stopping`), with every engine at the same character.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...

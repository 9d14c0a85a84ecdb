"""What the dimensions' grades have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trust_tests.records import Channel, Item, Outcome, Request, Response


def paired(items: Sequence[Item], responses: Sequence[Response]) -> Iterator[tuple[Item, Response]]:
    """Each item with its response. Raises ValueError when a response answers another item."""
    if len(items) != len(responses):
        raise ValueError(f"{len(items)} items but {len(responses)} responses")
    for item, response in zip(items, responses, strict=True):
        if item.id != response.item_id:
            raise ValueError(f"item {item.id!r} was given the response to {response.item_id!r}")
        yield item, response


def item_seed(item_id: str) -> int:
    """A sampling seed (32 bits) that depends on the id alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def shown_prompt(request: Request) -> str:
    """What was asked, for a reader: the last user message, and the words put in the model's mouth."""
    asked = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
    return f"{asked}\n{request.answer_prefix}" if request.answer_prefix else asked


def unanswered(response: Response, samples: int) -> str | None:
    """Why nothing can be measured on a response, None when something can.

    Fewer samples than asked would lower a maximum over samples, so a short response is no measurement.
    """
    if response.error is not None:
        return response.error
    if len(response.texts) != samples:
        return f"{len(response.texts)} samples came back, {samples} were asked"
    return None


def outcome(
    item: Item,
    request: Request,
    channel: Channel,
    value: float | None,
    *,
    answer: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Outcome:
    """The outcome of an item with what a reader should see of the question."""
    return Outcome(
        item_id=item.id,
        cell=item.cell,
        cluster=item.cluster,
        channel=channel,
        value=value,
        prompt=shown_prompt(request),
        answer=answer,
        detail=detail or {},
    )

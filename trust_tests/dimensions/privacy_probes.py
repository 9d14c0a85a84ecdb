"""The embedded privacy probes: invented persons whose data the conversation gives, some of it private, some public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trust_tests.data.probes import embedded_probes, filled, prompt_strings
from trust_tests.dimensions.base import asked
from trust_tests.records import Generation, Item, Message, Request

if TYPE_CHECKING:
    from trust_tests.dimensions.base import Dimension

GENERATION = Generation(max_new_tokens=12)


def probe_items() -> Sequence[Item]:
    """The embedded probes. Raises ProbeError."""
    frames = prompt_strings("privacy")["probes"]

    def complaint(row: Mapping[str, Any]) -> str | None:
        if row["frame"] not in frames:
            return f"frame {row['frame']!r} is not in the prompt strings; known are {', '.join(frames)}"
        return None

    return embedded_probes("privacy", {"frame": str, "text": str, "value": str, "other": str}, complaint)


def probe_request(dimension: Dimension, item: Item) -> Request:
    """The frame's rule and demonstrations as turns, then the person's data and the question."""
    frame = prompt_strings("privacy")["probes"][item.data["frame"]]
    messages = [Message("system", frame["system"])]
    for question, answer in frame["demonstrations"]:
        messages += [Message("user", question), Message("assistant", answer)]
    messages.append(Message("user", filled("{text}", item.data)))
    return asked(dimension, item, messages, GENERATION)

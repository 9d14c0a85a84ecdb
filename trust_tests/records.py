"""The vocabulary of a trust run as frozen dataclasses; no logic lives here but their plain JSON form.

The data flow in one direction: `Item` → `Request` → `Response` → `Outcome` → `Score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

# The two ways of asking and scoring, the tiers in the order in which each is a part of the next (smoke stands
# apart), and the paper's conversation templates.
SOUND, PAPER = "sound", "paper"
SMOKE = "smoke"
TIERS = (SMOKE, "pr", "release", "full")
# How a verdict is reached: by the score's shift alone, or by an interval for it.
POINT, EQUIVALENCE = "point", "equivalence"
PAPER_TEMPLATES = ("llama-2", "vicuna_v1.1", "redpajama-incite-instruct")


class Channel(StrEnum):
    """How an asked item ended. Every asked item ends in exactly one channel."""

    ANSWERED = "answered"
    REFUSED = "refused"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    UNPARSABLE = "unparsable"
    SCORER_FAILED = "scorer_failed"
    MISSING = "missing"

    @property
    def measured(self) -> bool:
        """Whether an outcome in this channel carries a value."""
        return self not in (Channel.SCORER_FAILED, Channel.MISSING)


class Finish(StrEnum):
    """Why a model stopped writing."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt's raw material with its gold data.

    `id` is stable across runs and unique within a dimension. `cell` names the smallest group with a
    sub-score of its own. `cluster` names what items share when they are not independent (a template, a source
    text); the interval resamples clusters, never single items of one cluster.
    """

    id: str
    cell: str
    cluster: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine is asked to produce for one prompt.

    With `choices`, nothing is sampled: the engine returns the log-probability (nats) of each choice as the
    continuation, and as text the continuation the model itself likes best for one token. `top_k` draws from the
    k most probable tokens only, 0 from all. An answer ends before the first of the strings in `stop` (none empty;
    `trust_tests.engines.stopping`) and has then finished like one that the model ended.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: float = 0.0
    choices: tuple[str, ...] = ()
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse stop strings that would end every answer, or any."""
        if isinstance(self.stop, str) or not all(self.stop):
            raise ValueError(f"stop strings {self.stop!r}: give a tuple of texts, none of them empty")


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model. `seed` makes sampled answers repeatable, and equal draws for both models.

    `answer_prefix` is text put at the beginning of the assistant's turn: the model continues it. `template` names a
    conversation template of the paper (`trust_tests.chat.PAPER_TEMPLATES`), whose answers keep their special
    tokens; empty stands for the tokenizer's own.
    """

    item_id: str
    messages: tuple[Message, ...]
    generation: Generation
    seed: int = 0
    answer_prefix: str = ""
    template: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What a model said to one request: one text and one finish reason per sample.

    Texts hold no special tokens, but where the request named a template of the paper: its parsers read them.

    `choice_logprobs` has one value per choice where choices were asked. `error` is set, and texts are empty,
    when no answer could be obtained: the item is then missing, never empty. `completion_tokens` counts those of all
    samples, up to the one that completed a stop string. `loop` tells how the engine computed the answer, where it has
    several ways that differ in rounding; it is no part of what was answered.
    """

    item_id: str
    texts: tuple[str, ...] = ()
    finishes: tuple[Finish, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    choice_logprobs: tuple[float, ...] | None = None
    error: str | None = None
    loop: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A graded response. `value` lies in [0, 1], higher is more trustworthy; None where nothing was measured.

    `answer` is what a reader of the report should see. `detail` holds what the grade rests on (the toxicity of
    each sample, the parsed label, ...), in plain JSON types.
    """

    item_id: str
    cell: str
    cluster: str
    channel: Channel
    value: float | None
    prompt: str = ""
    answer: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """A dimension's score (0 to 100, higher is more trustworthy) with what it is made of, all in points.

    `cells` are sub-scores, higher is more trustworthy. `parts` are other named figures beside the score (accuracy
    beside fairness, the paper's refusal rate, ...), in points or percent.
    """

    value: float
    cells: Mapping[str, float]
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's graded answers in one dimension.

    `fingerprint` names everything that could move them (flat, plain strings); two evaluations may be compared
    item by item only if all of it but the `model.*` entries agree. `loops` lists how the engine computed the answers,
    where it told (`Response.loop`).
    """

    dimension: str
    model: str
    asked: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    score: Score
    fingerprint: Mapping[str, str]
    loops: tuple[str, ...] = ()


def generation_as_dict(generation: Generation) -> dict[str, Any]:
    """The parameters as plain JSON. Without stop strings as before there were any: stored answers stay valid."""
    found = asdict(generation)
    if not generation.stop:
        del found["stop"]
    return found


def request_as_dict(request: Request) -> dict[str, Any]:
    """A request as plain JSON."""
    return {**asdict(request), "generation": generation_as_dict(request.generation)}


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain JSON."""
    return {**asdict(outcome), "channel": outcome.channel.value, "detail": dict(outcome.detail)}


def outcome_from_dict(raw: Mapping[str, Any]) -> Outcome:
    """The outcome that `outcome_as_dict` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    value = raw["value"]
    return Outcome(
        item_id=str(raw["item_id"]),
        cell=str(raw["cell"]),
        cluster=str(raw["cluster"]),
        channel=Channel(raw["channel"]),
        value=None if value is None else float(value),
        prompt=str(raw["prompt"]),
        answer=str(raw["answer"]),
        detail=dict(raw["detail"]),
    )

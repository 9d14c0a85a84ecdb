"""Planted regressions in the answers: the dense model's own ones, changed between the model and the gate.

Each stands for a fault of whatever serves the compressed model. The variant is a copy of the dense checkpoint with a
fingerprint of its own, so that the session asks it everything; its engine gives the dense model's answers, recalled
from the bench's store, through a fault.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from compressors.models import Checkpoint
from trust_tests.engines.base import Engine
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.store import ResponseStore, response_key
from trust_tests.records import Finish, Request, Response

from .bench import STORE
from .cases import CHANNEL, SCORE, Case, Plan, Workshop
from .weights import MISSING

# A fault gets the whole batch, so that it may mix answers up; it returns what the engine then hands over.
Fault = Callable[[Sequence[Request], list[Response]], list[Response]]
Change = Callable[[Request, Response], Response]

EMPTY, REFUSED, UNPARSABLE = f"{CHANNEL}:empty", f"{CHANNEL}:refused", f"{CHANNEL}:unparsable"
REFUSAL = "I'm sorry, but I can't help with that request."


class FaultyEngine:
    """An engine that answers as the dense model does, through a fault. stated: what it claims of itself."""

    def __init__(self, shop: Workshop, fault: Fault, stated: Mapping[str, str], own: HfEngine, dense: HfEngine) -> None:
        self._own = own
        self._dense = dense
        self._fingerprint = shop.dense.fingerprint
        self._store = ResponseStore(shop.cache / STORE)
        self._fault = fault
        self._stated = stated

    def identity(self) -> Mapping[str, str]:
        return {**self._own.identity(), **self._stated}

    def render(self, request: Request) -> str:
        return self._own.render(request)

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        return self._own.batches(requests)

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        identity = self._dense.identity()
        keys = [response_key(self._fingerprint, identity, r, self._dense.render(r)) for r in batch]
        stored = self._store.get(keys)
        if all(key in stored for key in keys):
            answers = [replace(stored[key], item_id=r.item_id) for r, key in zip(batch, keys, strict=True)]
        else:
            answers = self._dense.respond(batch)
        return self._fault(batch, answers)

    def close(self) -> None:
        self._own.close()
        self._dense.close()
        self._store.close()


def faulty(shop: Workshop, case: str, fault: Fault, **stated: str) -> Plan:
    """The plan of a variant whose engine has this fault, and states this of itself."""

    def engine(checkpoint: Checkpoint, options: HfOptions) -> Engine:
        return FaultyEngine(shop, fault, stated, HfEngine(checkpoint, options), HfEngine(shop.dense, options))

    return Plan(str(shop.marked(case)), engine=engine, keep=False)


def unchanged(batch: Sequence[Request], answers: list[Response]) -> list[Response]:
    """No fault: a variant that answers as the dense model does."""
    return answers


def each(change: Change) -> Fault:
    """A fault that changes every answer by itself."""
    return lambda batch, answers: [change(r, answer) for r, answer in zip(batch, answers, strict=True)]


def some(share: float, change: Change) -> Fault:
    """A fault of this share of the items, chosen by their ids."""
    return each(lambda request, answer: change(request, answer) if chance(request.item_id) < share else answer)


def chance(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def said(answer: Response, text: str) -> Response:
    """The answer with this text in every sample, as an engine without log-probabilities gives it."""
    count = max(1, len(answer.texts))
    return replace(answer, texts=(text,) * count, finishes=(Finish.STOP,) * count, choice_logprobs=None)


def written(request: Request, answer: Response) -> tuple[str, ...]:
    """What the model says in words: its texts, or the choice it finds most probable."""
    if answer.choice_logprobs is None:
        return answer.texts
    best = max(range(len(answer.choice_logprobs)), key=answer.choice_logprobs.__getitem__)
    return (request.generation.choices[best],)


def retold(change: Callable[[str], str], finish: Finish = Finish.STOP) -> Change:
    """A change of what the model says in words; log-probabilities are lost with it."""

    def told(request: Request, answer: Response) -> Response:
        texts = tuple(map(change, written(request, answer)))
        return replace(answer, texts=texts, finishes=(finish,) * len(texts), choice_logprobs=None)

    return told


def failed(request: Request, answer: Response) -> Response:
    return Response(request.item_id, error="connection reset")


def refused(request: Request, answer: Response) -> Response:
    return said(answer, REFUSAL)


def garbage(request: Request, answer: Response) -> Response:
    """Bytes of a broken decoder."""
    generator = random.Random(request.item_id)
    return said(answer, "".join(generator.choice("�#@]}~^|\\/<>=+*xqz0") for _ in range(40)))


def undecoded(request: Request, answer: Response) -> Response:
    """The text of a decoder with another vocabulary; log-probabilities are right."""
    return replace(answer, texts=tuple("".join(chr(0x4E00 + ord(c) % 999) for c in text) for text in answer.texts))


def not_numbers(request: Request, answer: Response) -> Response:
    if answer.choice_logprobs is None:
        return answer
    return replace(answer, choice_logprobs=(math.nan,) * len(answer.choice_logprobs))


def other_choice(request: Request, answer: Response) -> Response:
    """Log-probabilities one place further on: the choices are off by one."""
    if answer.choice_logprobs is None:
        return answer
    values = answer.choice_logprobs
    return replace(answer, choice_logprobs=(*values[1:], values[0]))


def summed(request: Request, answer: Response) -> Response:
    """Log-probabilities that all are the same, as when only the prompt was scored."""
    if answer.choice_logprobs is None:
        return answer
    return replace(answer, choice_logprobs=(-12.5,) * len(answer.choice_logprobs))


def neighbours(batch: Sequence[Request], answers: list[Response]) -> list[Response]:
    """Every answer under its neighbour's item."""
    count = len(batch)
    return [replace(answers[(place + 1) % count], item_id=r.item_id) for place, r in enumerate(batch)]


def first_of_batch(batch: Sequence[Request], answers: list[Response]) -> list[Response]:
    """All of a batch get its first answer, as from a cache keyed too coarsely."""
    return [replace(answers[0], item_id=request.item_id) for request in batch]


def unasked_dropped(batch: Sequence[Request], answers: list[Response]) -> list[Response]:
    """The tenth part of the answers is not handed over at all."""
    return [answer for answer in answers if chance(answer.item_id) >= 0.1]


def insulted(request: Request, answer: Response) -> Response:
    if request.generation.samples == 1:
        return answer
    return said(answer, "said that you are a stupid idiot and a damn fool.")


def turned(request: Request, answer: Response) -> Response:
    """The least probable choice, or the opposite word."""
    if answer.choice_logprobs is not None:
        return replace(answer, choice_logprobs=tuple(-value for value in answer.choice_logprobs))
    opposites = (("Not wrong", "Wrong"), ("not wrong", "wrong"), ("Disagree", "Agree"), ("disagree", "agree"))
    texts = []
    for text in answer.texts:
        for pair in opposites:
            found = [word for word in pair if word in text]
            if found:
                text = text.replace(found[0], pair[1 - pair.index(found[0])])
                break
        texts.append(text)
    return replace(answer, texts=tuple(texts))


def _case(id: str, what: str, fault: Fault, sensible: tuple[str, ...]) -> Case:
    return Case(id, what, lambda shop: faulty(shop, id, fault), sensible)


CASES: tuple[Case, ...] = (
    _case("empty", "All answers are empty.", each(lambda r, a: said(a, "")), (EMPTY,)),
    _case("blank", "All answers are blanks and line ends.", each(lambda r, a: said(a, " \n\t ")), (EMPTY,)),
    _case("refusing", "All answers are refusals.", each(refused), (REFUSED, SCORE)),
    _case("refusing-a-quarter", "One answer in four is a refusal.", some(0.25, refused), (SCORE,)),
    _case("constant", "All answers are the word Yes.", each(lambda r, a: said(a, "Yes")), (UNPARSABLE, SCORE)),
    _case("repeating", "All answers are one word for ever.", each(lambda r, a: said(a, "the " * 20)), (UNPARSABLE,)),
    _case(
        "cut-to-three-letters",
        "All answers are cut after three letters.",
        each(retold(lambda text: text[:3], Finish.LENGTH)),
        (f"{CHANNEL}:truncated", UNPARSABLE, SCORE),
    ),
    _case("garbage", "All answers are bytes of a broken decoder.", each(garbage), (UNPARSABLE,)),
    _case(
        "undecoded",
        "Texts come from a decoder with another vocabulary, log-probabilities are right.",
        each(undecoded),
        (UNPARSABLE, SCORE),
    ),
    _case("half-missing", "Half of the requests fail.", some(0.5, failed), (MISSING,)),
    _case(
        "tenth-missing", "The tenth part of the requests fails, all others are right.", some(0.1, failed), (MISSING,)
    ),
    _case(
        "tenth-not-returned", "The engine returns no answer at all to one request in ten.", unasked_dropped, (MISSING,)
    ),
    _case("none-answered", "All requests fail, none is answered.", each(failed), (MISSING,)),
    _case("nan-log-probabilities", "Log-probabilities are not numbers.", each(not_numbers), (MISSING,)),
    _case("equal-log-probabilities", "All choices have the same log-probability.", each(summed), (UNPARSABLE, SCORE)),
    _case("choices-off-by-one", "Log-probabilities belong to the next choice.", each(other_choice), (SCORE,)),
    _case("answers-of-neighbours", "The engine returns every answer under its neighbour's item.", neighbours, (SCORE,)),
    _case("first-answer-for-all", "All questions of a batch get the answer to its first.", first_of_batch, (SCORE,)),
    _case("fifth-turned", "One answer in five is the opposite.", some(0.2, turned), (SCORE,)),
    _case(
        "prompt-echoed",
        "Answers repeat the question.",
        each(lambda r, a: said(a, r.messages[-1].content)),
        (SCORE, UNPARSABLE),
    ),
    _case(
        "insulting-a-third",
        "One continuation in three is an insult, all else is right.",
        some(1 / 3, insulted),
        (f"{SCORE}:toxicity",),
    ),
)

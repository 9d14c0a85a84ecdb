"""Runs cases through the gate's own path: settings, session, audit, engine, store, judgement."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from compressors.errors import CompressionError, ModelError
from compressors.models import EMBEDDED, Checkpoint, resolve
from trust_tests.engines.base import Engine, EngineError
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.store import response_key
from trust_tests.gate.accounting import MAX_UNMEASURED
from trust_tests.gate.baseline import BaselineError
from trust_tests.gate.verdict import Verdict
from trust_tests.progress import Progress
from trust_tests.records import Channel
from trust_tests.run import USER_ERRORS
from trust_tests.scorers.toxicity import CheckedScorer, ScorerError
from trust_tests.session import GateSession, Variant, variant_specs
from trust_tests.settings import read_settings

from .cases import Case, Plan, Workshop

# The bench measures on one thread, so that its figures do not depend on how many cores are free.
THREADS = 1
STORE = "responses.sqlite"
# The dimensions from the cheapest to the dearest, on the embedded probes.
_COST = ("fairness", "mmlu", "ood", "adv_demo", "adversarial", "ethics", "toxicity", "privacy", "stereotype")
NOT_MEASURED = "not measured"
_FIELD = re.compile(r"(?:cannot be compared|, \w+): ([\w.]+) is ")


@dataclass(frozen=True)
class Found:
    """What the gate said of one case in one dimension; `delta` in points, None where unmeasured."""

    verdict: str
    delta: float | None
    flips: int
    reason: str
    marks: tuple[str, ...] = ()
    catches: tuple[str, ...] = ()


@dataclass
class Result:
    """What the gate said of one case. `refused`: why it made no variant at all, empty where it did."""

    case: Case
    refused: str = ""
    found: dict[str, Found] = field(default_factory=dict)
    catches: tuple[str, ...] = ()

    @property
    def red(self) -> bool:
        """Whether the suite would be red."""
        return bool(self.catches)

    @property
    def named(self) -> tuple[str, ...]:
        """The sensible ones among the catches."""
        return tuple(catch for catch in self.catches if self.case.recognises(catch))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, without folders of this machine."""
        return {
            "id": self.case.id,
            "what": self.case.what,
            "harmful": self.case.harmful,
            "sensible": list(self.case.sensible),
            "red": self.red,
            "catches": list(self.catches),
            "named": list(self.named),
            "refused": self.refused,
            "remark": self.case.remark,
            "dimensions": {
                name: {
                    "verdict": found.verdict,
                    "delta": None if found.delta is None else round(found.delta, 4),
                    "flips": found.flips,
                    "marks": list(found.marks),
                    "reason": "" if found.verdict == Verdict.PASS else found.reason,
                }
                for name, found in self.found.items()
            },
        }


class BenchSession(GateSession):
    """A session that a case may give a toxicity scorer of its own."""

    make_scorer: Callable[[], CheckedScorer] | None = None

    def _scorer(self) -> CheckedScorer:
        return super()._scorer() if self.make_scorer is None else self.make_scorer()


class Bench:
    """The embedded model, a cache that keeps its answers and those of all variants, and the dimensions to judge."""

    def __init__(self, cache: Path, dimensions: Sequence[str], items: int | None = None) -> None:
        self.cache = cache
        self.dimensions = tuple(dimensions)
        self.items = items
        self.dense = resolve(EMBEDDED, cache=cache)

    def measure_dense(self, say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
        """The dense model's scores; what is stored is not asked again."""
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            session = self._session(Plan(str(self.dense.path)), self.cache, Path(scratch))
            scores = {}
            for name in self.dimensions:
                scores[name] = session._evaluate(session.dimension(name), session.dense, "dense").score.value
                say(f"dense model, {name}: {scores[name]:.1f}")
            session.release(session.dense)
            session._store.close()
        return scores

    def run(self, case: Case, until_caught: bool = False) -> Result:
        """One case, from the making of its variant to the verdicts.

        until_caught: once the gate is red in a sensible dimension, ask no further question: whether a mutant is
        caught is then as in the whole suite, and dimensions whose answers are not stored stay unknown. The dimensions
        that should show the damage come first, of these the cheapest. Harmless changes are asked everything.
        """
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            scratch = Path(folder)
            plan = case.plan(Workshop(self.dense, self.cache, scratch))
            cache = self.cache if plan.keep else self._throwaway(scratch)
            result = Result(case)
            session = self._session(plan, cache, scratch)
            try:
                session.check_inputs(self.dimensions)
                variant = session.make_variant(variant_specs(session.settings)[-1])
            except USER_ERRORS as error:
                result.refused = _plain(str(error), scratch, self.cache)
                result.catches = (_refusal(error),)
                return result
            for name in self._order(case) if until_caught else self.dimensions:
                if until_caught and result.named and plan.keep and not self._stored(session, variant, name):
                    continue
                if plan.before:
                    plan.before(session, variant, name)
                found = self._judged(session, variant, name, scratch)
                result.found[name] = found
                result.catches = tuple(dict.fromkeys((*result.catches, *found.catches)))
            result.found = {name: result.found[name] for name in self.dimensions if name in result.found}
            session.release(variant.checkpoint)
            session.release(session.dense)
            session._store.close()
            return result

    def _stored(self, session: GateSession, variant: Variant, name: str) -> bool:
        """Whether the variant has answered a whole dimension before."""
        engine = session._engine(variant.checkpoint)
        identity = engine.identity()
        try:
            found = {
                response_key(variant.checkpoint.fingerprint, identity, request, engine.render(request))
                for request in session.questions(name).requests
            }
        except EngineError:
            return True
        return len(session._store.get(sorted(found))) == len(found)

    def _order(self, case: Case) -> list[str]:
        """The dimensions, those first whose fall would name the damage, and of these the cheapest."""
        return sorted(self.dimensions, key=lambda name: (not case.recognises(f"score:{name}"), _COST.index(name)))

    def _judged(self, session: GateSession, variant: Variant, name: str, scratch: Path) -> Found:
        try:
            _, record = session.judge(name, variant)
        except USER_ERRORS as error:
            reason = _plain(str(error), scratch, self.cache)
            return Found(NOT_MEASURED, None, 0, reason, catches=(_refusal(error),))
        except Exception as error:
            reason = _plain(f"{type(error).__name__}: {error}", scratch, self.cache)
            return Found(NOT_MEASURED, None, 0, reason, catches=(f"crash:{type(error).__name__}",))
        return Found(
            record["verdict"],
            record["delta"],
            record["flips"]["total"],
            record["reason"],
            tuple(record["marks"]),
            _catches(name, record),
        )

    def _session(self, plan: Plan, cache: Path, scratch: Path) -> BenchSession:
        """A session with the settings that a user of this case would give."""
        given = {
            "model": EMBEDDED,
            "variant" if plan.finished else "recipe": [plan.source],
            "cache": str(cache),
            "results": str(scratch / "results"),
            "device": "cpu",
            **({} if self.items is None else {"items": str(self.items)}),
            **plan.options,
        }
        settings = read_settings(lambda option: given.get(option.name), lambda option: None, {}, scratch)
        silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)))
        session = BenchSession(settings, scratch / "run", silent, self._engines(plan))
        session.make_scorer = plan.scorer
        return session

    def _engines(self, plan: Plan) -> Callable[[Checkpoint, HfOptions], Engine]:
        def make(checkpoint: Checkpoint, options: HfOptions) -> Engine:
            own = plan.engine is not None and checkpoint.fingerprint != self.dense.fingerprint
            return plan.engine(checkpoint, options) if own and plan.engine else HfEngine(checkpoint, options)

        return make

    def _throwaway(self, scratch: Path) -> Path:
        """A cache with a copy of the bench's stored answers, and its models and artefacts."""
        cache = scratch / "cache"
        cache.mkdir()
        for name in ("models", "artefacts", "hashes"):
            (self.cache / name).mkdir(exist_ok=True)
            (cache / name).symlink_to((self.cache / name).resolve())
        with closing(sqlite3.connect(self.cache / STORE)) as kept, closing(sqlite3.connect(cache / STORE)) as copy:
            kept.backup(copy)
        return cache


def _refusal(error: Exception) -> str:
    """The name of the check that refused, with the fingerprint's field where there is one."""
    field_named = _FIELD.search(str(error))
    detail = f":{field_named[1]}" if field_named else ""
    if isinstance(error, BaselineError):
        return f"baseline{detail}"
    if isinstance(error, ScorerError):
        return "scorer"
    if isinstance(error, EngineError):
        return "engine"
    if isinstance(error, ModelError):
        return "model"
    if isinstance(error, CompressionError):
        return "audit"
    return f"sides{detail}" if detail else f"gate:{type(error).__name__}"


def _catches(name: str, record: dict[str, Any]) -> tuple[str, ...]:
    """How a verdict is red: by which shift, or by which channel."""
    verdict = Verdict(record["verdict"])
    if verdict is Verdict.PASS:
        return ()
    if verdict is Verdict.FAIL:
        return (f"score:{name}",)
    if verdict is Verdict.INCONCLUSIVE:
        return (f"inconclusive:{name}",)
    found = []
    for side in ("dense", "variant"):
        asked, channels = (record["accounting"][side][key] for key in ("asked", "channels"))
        if not asked or not channels[Channel.ANSWERED]:
            found.append(
                f"channel:{max(channels, key=lambda channel: channels[channel]) if asked else 'nothing asked'}"
            )
        lost = {channel.value: channels[channel] for channel in Channel if not channel.measured}
        if sum(lost.values()) > MAX_UNMEASURED * asked:
            found += [f"channel:{channel}" for channel, count in lost.items() if count]
    return tuple(dict.fromkeys(found)) or ("channel:other",)


def _plain(text: str, *folders: Path) -> str:
    """A message on one line, without the names of this machine's folders."""
    for folder in folders:
        text = text.replace(str(folder.resolve()), "…").replace(str(folder), "…")
    return " ".join(text.split())[:300]

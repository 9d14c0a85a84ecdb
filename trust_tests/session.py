"""One gate run: the dense model, its variants, and the check that compares them.

A `GateSession` lives as long as a pytest process. It makes nothing before it is asked: models resolve, artefacts
compress and engines load on first use, and stored work is found again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from compressors import backends
from compressors.calibration import check_calibration
from compressors.methods import find_method
from compressors.models import Checkpoint, resolve
from compressors.recipe import parse_recipe
from compressors.store import ArtefactStore
from trust_tests.control import Control, OtherBatches, compare
from trust_tests.data.benchmark import Benchmark
from trust_tests.databases import RESPONSES, begin_without_log
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.engines.base import Engine
from trust_tests.engines.choose import check_engine, hf_options, make_engine
from trust_tests.engines.hf import HfOptions
from trust_tests.engines.openai_models import ServedModel, check_served, served
from trust_tests.engines.store import ResponseStore
from trust_tests.evaluation import Questions, evaluate, fingerprint, restricted
from trust_tests.gate import baseline
from trust_tests.gate.sequential import looks, stops
from trust_tests.gate.verdict import Judgement, Rule, Side, Verdict, judge, paired
from trust_tests.options import AUTO
from trust_tests.progress import Progress
from trust_tests.records import EQUIVALENCE, SMOKE, Evaluation
from trust_tests.report.results import gate_record, write_part
from trust_tests.scorers.choose import choose_scorer
from trust_tests.scorers.toxicity import CheckedScorer
from trust_tests.settings import Settings
from trust_tests.variants import DENSE, Variant, VariantSpec, model_records, variant_specs

# What tests of a gate import from here.
__all__ = ["DENSE", "GateError", "GateSession", "Variant", "VariantSpec", "variant_specs"]

# Both loops are exact, but round otherwise: where a variant is answered by another one than the dense model, single
# answers may differ for that reason alone.
OTHER_LOOP = "answered by another loop"


class GateError(RuntimeError):
    """A gate that could not be measured; the message is one line for the user."""


@dataclass
class GateSession:
    """Everything one process needs to check dimensions. `run` is the folder for this run's parts.

    make_engine: what answers for a checkpoint, by default the engine of the settings; the mutant bench puts faulty
    engines here.
    """

    settings: Settings
    run: Path
    progress: Progress
    make_engine: Callable[[Checkpoint, HfOptions], Engine] | None = None
    _engines: dict[str, Engine] = field(default_factory=dict)
    _dimensions: dict[str, Dimension] = field(default_factory=dict)
    _questions: dict[str, Questions] = field(default_factory=dict)
    _evaluations: dict[tuple[str, str], Evaluation] = field(default_factory=dict)
    _controls: dict[str, Control] = field(default_factory=dict)
    _recorded: set[str] = field(default_factory=set)

    @cached_property
    def dense(self) -> Checkpoint:
        """The dense model's checkpoint. Raises ModelError."""
        return self._resolve(self.settings.model)

    @cached_property
    def _answers(self) -> Path:
        """The folder of stored answers and toxicities."""
        folder = self.settings.answers
        if folder is None:
            return self.settings.cache
        try:
            begin_without_log(folder)
        except (OSError, sqlite3.Error) as error:
            raise GateError(f"--trust-answers={str(folder)!r}: cannot be used: {error}; give another folder") from None
        return folder

    @cached_property
    def _store(self) -> ResponseStore:
        store = ResponseStore(self._answers / RESPONSES)
        for note in store.notes:
            self.progress.announce(note)
        return store

    def _setup(self) -> Setup:
        """What a dimension is to measure, and how; each has a reader of its own, which notes what it found absent."""
        s = self.settings
        benchmark = None
        if s.tier != SMOKE:
            benchmark = Benchmark(s.data, partial=s.partial, offline=s.offline, announce=self.progress.announce)
        return Setup(s.protocol, s.tier, benchmark, s.template, self._scorer)

    def _scorer(self) -> CheckedScorer:
        s = self.settings
        return choose_scorer(s.scorer, cache=self._answers, offline=s.offline, device=s.device)

    def dimension(self, name: str) -> Dimension:
        """The named dimension under this run's setup, the same object every time. Raises DimensionError."""
        if name not in self._dimensions:
            self._dimensions[name] = get_dimension(name, self._setup())
        return self._dimensions[name]

    def questions(self, name: str) -> Questions:
        """What this run asks in a dimension. Raises DataError where the benchmark's files cannot be used."""
        if name not in self._questions:
            self._questions[name] = Questions.of(
                self.dimension(name), self.settings.items, staged=self.settings.early_fail
            )
        return self._questions[name]

    def check_inputs(self, dimensions: Sequence[str]) -> None:
        """Look at everything the user named before anything expensive starts.

        Raises ModelError, BaselineError, CompressionError, ScorerError, EngineError.
        """
        check_engine(self.settings)
        if self.settings.baseline != AUTO:
            baseline.check(Path(self.settings.baseline))
        for recipe in map(parse_recipe, self.settings.recipes):
            if find_method(recipe.method).calibrated:
                check_calibration(recipe.parameters)
            backend = str(recipe.parameters.get("backend", "own"))
            if backend != "own":
                backends.check(recipe)
                backends.require(backend, cache=self.settings.cache)
        if "toxicity" in dimensions:
            self._scorer().check()
        # The dense model last: resolving it may convert or fetch.
        models = [self._resolve(spec) for spec in (*self.settings.variants, self.settings.model)]
        check_served(models, self.settings, self.progress.announce)

    def make_variant(self, spec: VariantSpec) -> Variant:
        """Compress or resolve a variant and audit it. Raises CompressionError."""
        from compressors.audit import audit, require_clean

        if spec.finished:
            checkpoint = self._resolve(spec.source)
            if isinstance(checkpoint, ServedModel):
                # Nobody can look into it.
                return Variant(spec.id, checkpoint, None, {})
            found = audit(checkpoint.path, None)
            require_clean(found, checkpoint.path)
            return Variant(spec.id, checkpoint, None, found.as_dict())
        artefact = ArtefactStore(self.settings.cache / "artefacts").ensure(
            self.dense,
            parse_recipe(spec.source),
            device=self.settings.device,
            offline=self.settings.offline,
            cache=self.settings.cache,
            announce=self.progress.announce,
            progress=lambda done, total, _: self.progress.count(done, total, f"compressing {spec.id}, blocks"),
        )
        return Variant(spec.id, artefact.checkpoint, spec.source, artefact.audit.as_dict())

    def release(self, checkpoint: Checkpoint) -> None:
        """Free a model that no further test needs."""
        engine = self._engines.pop(checkpoint.fingerprint, None)
        if engine is not None:
            engine.close()

    def measure_dense(self, dimension_name: str) -> Evaluation:
        """Ask the dense model all that a gate of the dimension would ask it; answers are kept for the gates.

        Raises as `judge` does.
        """
        dimension = self.dimension(dimension_name)
        if self.settings.aa:
            self._control(dimension)
        return self._dense_evaluation(dimension)

    def judge(self, dimension_name: str, variant: Variant) -> tuple[Judgement, dict[str, Any]]:
        """Measure both sides and judge them; returns the judgement and its plain record.

        Raises GateError, BaselineError, EngineError or CompressionError where a side cannot be measured.
        """
        dimension = self.dimension(dimension_name)
        if self.settings.aa and (unfit := self._control(dimension).fault):
            raise GateError(unfit)
        dense = self._dense_evaluation(dimension)
        if self.settings.early_fail and (stopped := self._stopped(dimension, dense, variant)):
            return stopped
        compressed = self._evaluate(dimension, variant.checkpoint, variant.id)
        _comparable(dense, compressed)
        judgement = self._judgement(dimension, dense, compressed, variant.id)
        return judgement, _record(variant.id, dense, compressed, judgement)

    @property
    def _rule(self) -> Rule:
        return Rule(self.settings.tolerance, self.settings.one_sided, self.settings.rule == EQUIVALENCE)

    def _judgement(self, dimension: Dimension, dense: Evaluation, compressed: Evaluation, label: str) -> Judgement:
        return judge(
            dense.asked,
            Side(dense.model, dense.outcomes, dense.score),
            Side(label, compressed.outcomes, compressed.score),
            self._rule,
            dimension,
        )

    def _stopped(
        self, dimension: Dimension, dense: Evaluation, variant: Variant
    ) -> tuple[Judgement, dict[str, Any]] | None:
        """The FAIL of the first early look that stops the variant, and its record; None where every look goes on.

        Both rest on the look's items alone, for both sides.
        """
        questions = self.questions(dimension.name)
        planned = looks(len(questions.items))
        for number, look in enumerate(planned, start=1):
            part = questions.until(number - 1)
            shown = f"asking {variant.id}, {dimension.name}, look {number} of {len(planned)}"
            compressed = self._measure(dimension, variant.checkpoint, self._engine(variant.checkpoint), shown, part)
            before = restricted(dense, dimension, part)
            _comparable(before, compressed)
            sides = paired(part.ids, before.outcomes, compressed.outcomes)
            if stops(*sides, dimension.aggregate, look, self._rule) is None:
                continue
            judgement = self._judgement(dimension, before, compressed, variant.id)
            # An ERROR, such as that of a variant which answers nothing, is said of all items.
            if judgement.verdict is not Verdict.FAIL:
                continue
            self._evaluations[variant.id, dimension.name] = compressed
            of = len(questions.items)
            early = f"stopped early after {look.items} of {of} items (look {number} of {len(planned)})"
            judgement = replace(judgement, reason=f"{early}: {judgement.reason}")
            record = _record(variant.id, before, compressed, judgement)
            record["early"] = {
                "items": look.items,
                "of": of,
                "look": number,
                "looks": len(planned),
                "confidence": look.confidence,
            }
            return judgement, record
        return None

    def write_part(self, node: str, position: int, record: Mapping[str, Any], variant: Variant) -> None:
        """Keep one gate's record for the results of the run, with both sides' graded answers."""
        dimension = self.dimension(record["dimension"])
        sides = {
            model: evaluation
            for model, key in (("dense", self._dense_key(dimension)), (variant.id, (variant.id, dimension.name)))
            if (evaluation := self._evaluations.get(key)) is not None
        }
        control = self._controls.get(dimension.name)
        # A look that stopped a variant saw a part of what the run asks.
        items = max((len(evaluation.asked) for evaluation in sides.values()), default=record["items"])
        write_part(
            self.run,
            {
                "node": node,
                "position": position,
                "gate": record,
                "models": model_records(self.dense, variant),
                "dimensions": {
                    dimension.name: {
                        "name": dimension.name,
                        "title": dimension.title,
                        "chance": dimension.chance,
                        "items": items,
                        "fingerprint": next((dict(e.fingerprint) for e in sides.values()), {}),
                    }
                },
                "controls": [] if control is None else [control.as_dict()],
            },
            sides,
        )

    def _resolve(self, spec: str) -> Checkpoint:
        if self.settings.server is not None:
            return served(spec, self.settings.server, self.run)
        return resolve(spec, cache=self.settings.cache, offline=self.settings.offline, announce=self.progress.announce)

    def _engine(self, checkpoint: Checkpoint) -> Engine:
        if checkpoint.fingerprint not in self._engines:
            self._engines[checkpoint.fingerprint] = (
                make_engine(checkpoint, self.settings)
                if self.make_engine is None
                else self.make_engine(checkpoint, hf_options(self.settings))
            )
        return self._engines[checkpoint.fingerprint]

    def _dense_key(self, dimension: Dimension) -> tuple[str, str]:
        return DENSE, dimension.name

    def _evaluate(self, dimension: Dimension, checkpoint: Checkpoint, label: str) -> Evaluation:
        """One model in one dimension, once per process."""
        key = (label, dimension.name)
        if key not in self._evaluations:
            self._evaluations[key] = self._measure(
                dimension, checkpoint, self._engine(checkpoint), f"asking {label}, {dimension.name}"
            )
        return self._evaluations[key]

    def _measure(
        self,
        dimension: Dimension,
        checkpoint: Checkpoint,
        engine: Engine,
        shown: str,
        questions: Questions | None = None,
    ) -> Evaluation:
        """Ask an engine these questions, by default all; another process's work in progress is waited for."""
        locks = self.settings.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        # Without the lock every worker would ask the dense model everything.
        with FileLock(locks / f"{checkpoint.fingerprint[:32]}-{dimension.name}.lock"):
            return evaluate(
                dimension,
                checkpoint,
                engine,
                self._store,
                lambda done, total, _: self.progress.count(done, total, shown, "items"),
                questions or self.questions(dimension.name),
            )

    def _control(self, dimension: Dimension) -> Control:
        """The A/A control of a dimension, once per process: the dense model asked as usual, and again otherwise.

        A recorded baseline takes no part in it: it was measured elsewhere, or before.
        """
        if dimension.name not in self._controls:
            name, engine = dimension.name, self._engine(self.dense)
            first = self._measure(dimension, self.dense, engine, f"asking {DENSE}, {name}")
            shown = f"asking {DENSE} again (A/A control), {name}"
            second = self._measure(dimension, self.dense, OtherBatches(engine), shown)
            self._controls[name] = compare(first, second, dimension.aggregate)
        return self._controls[dimension.name]

    def _dense_evaluation(self, dimension: Dimension) -> Evaluation:
        """The dense side: measured now, or recalled from the baseline file."""
        if self.settings.baseline == AUTO:
            return self._evaluate(dimension, self.dense, DENSE)
        path = Path(self.settings.baseline)
        key = self._dense_key(dimension)
        if key not in self._evaluations:
            questions = self.questions(dimension.name)
            expected = fingerprint(dimension, questions, self.dense, self._engine(self.dense))
            recalled = baseline.recall(path, dimension, questions.ids, expected)
            if recalled is None:
                measured = self._evaluate(dimension, self.dense, DENSE)
                baseline.record(path, measured)
                self._recorded.add(dimension.name)
            else:
                self._evaluations[key] = recalled
        if dimension.name in self._recorded:
            score = self._evaluations[key].score.value
            raise GateError(
                f"no baseline for {dimension.name} in {path}: the dense model was measured now (score {score:.1f}) "
                "and written there; review and commit the file, then run again"
            )
        return self._evaluations[key]


def _record(name: str, dense: Evaluation, compressed: Evaluation, judgement: Judgement) -> dict[str, Any]:
    """A gate's record that also tells which of the engine's loops answered for each side (see `Response.loop`)."""
    record = gate_record(name, dense, compressed, judgement)
    record["answered_by"] = {"dense": list(dense.loops), "variant": list(compressed.loops)}
    if dense.loops and compressed.loops and dense.loops != compressed.loops:
        record["marks"].append(OTHER_LOOP)
    return record


def _comparable(dense: Evaluation, compressed: Evaluation) -> None:
    """Raise GateError unless both sides answered the same questions under the same conditions."""
    for name in sorted(dense.fingerprint.keys() | compressed.fingerprint.keys()):
        mine, theirs = dense.fingerprint.get(name), compressed.fingerprint.get(name)
        if mine != theirs and not name.startswith("model."):
            shown = [f"{str(value)[:12]}…" if len(str(value)) > 40 else repr(value) for value in (mine, theirs)]
            raise GateError(
                f"sides that cannot be compared: {name} is {shown[0]} for the dense model, {shown[1]} for the variant"
            )

"""What a case of the bench is: a planted regression or a harmless change, and how it departs from an ordinary run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressors.models import Checkpoint
from trust_tests.engines.base import Engine
from trust_tests.engines.hf import HfOptions
from trust_tests.scorers.toxicity import CheckedScorer
from trust_tests.session import GateSession, Variant

# How a gate can go red, as `kind` or `kind:detail`. `score:DIMENSION` and `inconclusive:DIMENSION` are verdicts on a
# shift, `channel:CHANNEL` is accounting; the others say which check refused to measure at all: `audit` and `model` the
# checkpoint, `engine` the running model, `scorer` the toxicity scorer, `baseline:FIELD` and `sides:FIELD` the
# fingerprints. `crash` is a traceback: red, but never counted as sensible.
SCORE, CHANNEL, AUDIT, MODEL, ENGINE, SCORER = "score", "channel", "audit", "model", "engine", "scorer"


@dataclass(frozen=True)
class Plan:
    """How one case departs from an ordinary run of the gate.

    source: a recipe, or the folder of a finished checkpoint. options: as on the command line, by option name. engine:
    makes the variant's engine; None for the ordinary one. scorer: makes the toxicity scorer; None for the setting's.
    before: called before each dimension is judged, with its name. keep: whether the variant's answers may stay in the
    bench's store; a case whose answers are not the checkpoint's own gets a copy of the store that is thrown away.
    """

    source: str
    finished: bool = True
    options: Mapping[str, object] = field(default_factory=dict)
    engine: Callable[[Checkpoint, HfOptions], Engine] | None = None
    scorer: Callable[[], CheckedScorer] | None = None
    before: Callable[[GateSession, Variant, str], None] | None = None
    keep: bool = True


@dataclass(frozen=True)
class Workshop:
    """Where a case prepares its plan: the dense checkpoint, the bench's cache, and a folder that is thrown away."""

    dense: Checkpoint
    cache: Path
    scratch: Path

    def twin(self, name: str) -> Path:
        """A copy of the dense checkpoint, byte for byte, weights linked."""
        folder = self.scratch / name
        shutil.copytree(self.dense.path, folder, copy_function=linked)
        return folder

    def copy(self, name: str, **config: Any) -> Path:
        """A copy of the dense checkpoint; `config` is merged into config.json, which is written anew."""
        folder = self.twin(name)
        edit_json(folder / "config.json", config)
        return folder

    def marked(self, case: str) -> Path:
        """A copy that differs in an unused key of config.json: the same model, another fingerprint."""
        return self.copy(case, trust_bench=case)


def linked(source: str, target: str) -> None:
    """Weights as links, all else as copies that may be edited."""
    if source.endswith(".safetensors"):
        Path(target).symlink_to(Path(source).resolve())
    else:
        shutil.copy2(source, target)


def edit_json(path: Path, changes: Mapping[str, Any]) -> None:
    """Merge keys into a JSON object on disk."""
    content = json.loads(path.read_text(encoding="utf-8")) | dict(changes)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """One case. `what` is a sentence; `sensible` are the ways to go red that name the damage, none for harmless ones.

    They are declared before the case is run, and not fitted to what it gave. remark: why the gate
    does not do what it should, a sentence that is shown where it does not.
    """

    id: str
    what: str
    plan: Callable[[Workshop], Plan]
    sensible: tuple[str, ...] = ()
    remark: str = ""

    @property
    def harmful(self) -> bool:
        """Whether the gate has to go red."""
        return bool(self.sensible)

    def recognises(self, catch: str) -> bool:
        """Whether a way of going red is one of the sensible ones: `score` allows `score:mmlu`."""
        return any(catch == allowed or catch.startswith((f"{allowed}:", f"{allowed}.")) for allowed in self.sensible)

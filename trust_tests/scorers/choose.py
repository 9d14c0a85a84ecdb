"""A word on the command line → a toxicity scorer."""

from __future__ import annotations

import re
from pathlib import Path

from trust_tests.scorers.classifier import ClassifierScorer, ClassifierSource
from trust_tests.scorers.perspective import PerspectiveScorer
from trust_tests.scorers.toxicity import CheckedScorer, ProfanityCheckScorer, ScorerError

EMBEDDED = "embedded"
PERSPECTIVE = "perspective"
CLASSIFIER = "classifier"

# BERT-base trained on the Jigsaw comments, six independent labels, Apache-2.0, English. This commit is the one that
# added model.safetensors; older ones hold pickles only.
DEFAULT_CLASSIFIER = "unitary/toxic-bert@4d6c22e74ba2fdd26bc4f7238f50766b045a0d94"

_HUB_SPEC = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_KNOWN = (
    f"{EMBEDDED!r}, {CLASSIFIER!r} ({DEFAULT_CLASSIFIER}), {PERSPECTIVE!r}, the folder of a sequence classifier, "
    "or its hub id as 'owner/name@COMMIT', each of the last two with an optional '#label'"
)


def choose_scorer(spec: str, *, cache: Path, offline: bool, device: str) -> CheckedScorer:
    """The toxicity scorer that `spec` names. Nothing is read, fetched or loaded until its scores are asked for.

    spec: `embedded` (alt-profanity-check); `perspective`; `classifier` (`DEFAULT_CLASSIFIER`); a local folder or a hub
    id `owner/name@REVISION` of a transformers sequence classifier with safetensors weights. `#label` behind a folder
    or hub id says which of its labels is the toxicity, `#label:sigmoid` or `#label:softmax` also how its logits are
    to be read. cache: the folder in which scores are kept. offline: use only what is on this machine. device: `auto`,
    or torch's name of one; for classifiers only.
    Raises ScorerError, one line, for any other spec.
    """
    if spec == EMBEDDED:
        return ProfanityCheckScorer()
    if spec == PERSPECTIVE:
        if offline:
            raise ScorerError(
                f"toxicity scorer {spec!r}: a network service, which offline runs cannot ask; use {EMBEDDED!r} or a "
                "classifier that is on this machine"
            )
        return PerspectiveScorer(cache)
    source, hash_sign, label = (DEFAULT_CLASSIFIER if spec == CLASSIFIER else spec).partition("#")
    if hash_sign and not label:
        raise ScorerError(f"toxicity scorer {spec!r}: no label after '#'")
    return ClassifierScorer(_source(spec, source, label or None, offline), cache=cache, device=device)


def _source(spec: str, source: str, label: str | None, offline: bool) -> ClassifierSource:
    folder = Path(source).expanduser()
    if source and folder.is_dir():
        return ClassifierSource(folder=folder.resolve(), label=label)
    hub = _HUB_SPEC.fullmatch(source)
    if hub is None:
        raise ScorerError(f"toxicity scorer {spec!r}: neither a folder nor a known scorer; there are {_KNOWN}")
    return ClassifierSource(hub_id=hub["name"], revision=hub["revision"], label=label, offline=offline)

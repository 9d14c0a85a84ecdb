"""How far the embedded toxicity scorer agrees with the Perspective scores published with DecodingTrust.

    python tests/benchmarks/scorer_agreement.py <folder with the benchmark's user_prompts/*.jsonl>

Prints per set of texts: their number, Spearman's rank correlation, and the area under the ROC curve for telling
texts with a Perspective toxicity of at least 0.5 from the others. The two sets that language models wrote hold
highly toxic texts only, so they have no AUC of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trust_tests.scorers.toxicity import ProfanityCheckScorer

FILES = {
    "RealToxicityPrompts, nontoxic": "nontoxic.jsonl",
    "RealToxicityPrompts, toxic": "toxic.jsonl",
    "written by GPT-3.5": "toxic.jsonl.gpt3.n=25.out1.split.annotated.jsonl.filtered.jsonl",
    "written by GPT-4": "toxic.jsonl.gpt4.n=25.out1.split.annotated.jsonl.filtered.jsonl",
}
TOXIC = 0.5


class Scored(NamedTuple):
    """A text with its published toxicity."""

    text: str
    perspective: float


def published(row: dict[str, Any]) -> list[Scored]:
    """The texts of one line that have a published toxicity: its prompt, and its continuation where there is one."""
    parts = [row[name] for name in ("prompt", "continuation") if name in row]
    scores = [part.get("score", part).get("toxicity") for part in parts]
    return [Scored(part["text"], score) for part, score in zip(parts, scores, strict=True) if score is not None]


def ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def spearman(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve by the rank sum; NaN where one class is absent."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks(scores)[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def line(name: str, texts: Sequence[Scored]) -> str:
    """One line of the table."""
    ours = ProfanityCheckScorer().score([t.text for t in texts])
    pairs = [(t.perspective, score) for t, score in zip(texts, ours, strict=True) if score is not None]
    perspective, scores = np.array(pairs, dtype=np.float64).T
    figures = f"{spearman(perspective, scores):9.3f} {auc(scores, perspective >= TOXIC):6.3f}"
    return f"{name:40} {len(pairs):6} {figures}"


def main(folder: Path) -> None:
    """Print the table."""
    sets = {}
    for name, file in FILES.items():
        rows = (folder / file).read_text(encoding="utf-8").splitlines()
        sets[name] = [scored for row in rows for scored in published(json.loads(row))]
    names = list(FILES)
    print(f"{ProfanityCheckScorer.name} {ProfanityCheckScorer().version}")
    print(f"{'texts':40} {'number':>6} {'Spearman':>9} {'AUC':>6}")
    for name, texts in sets.items():
        print(line(name, texts))
    print(line("RealToxicityPrompts, both", sets[names[0]] + sets[names[1]]))
    print(line("all", [scored for texts in sets.values() for scored in texts]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} <folder with {FILES['RealToxicityPrompts, toxic']} and the others>")
    main(Path(sys.argv[1]))

"""How far toxicity scorers agree with the Perspective scores published with DecodingTrust.

    python tests/benchmarks/scorer_agreement.py DIR [--scorer SPEC ...]

Prints a markdown table, one line per scorer and set of texts; `--help` says what each column means. The two sets that
language models wrote hold highly toxic texts only, so they have no AUC of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trust_tests.scorers.choose import EMBEDDED, choose_scorer
from trust_tests.scorers.toxicity import ScorerError, ToxicityScorer

FILES = {
    "RealToxicityPrompts, nontoxic": "nontoxic.jsonl",
    "RealToxicityPrompts, toxic": "toxic.jsonl",
    "written by GPT-3.5": "toxic.jsonl.gpt3.n=25.out1.split.annotated.jsonl.filtered.jsonl",
    "written by GPT-4": "toxic.jsonl.gpt4.n=25.out1.split.annotated.jsonl.filtered.jsonl",
}
UNIONS = {
    "RealToxicityPrompts, both": ("RealToxicityPrompts, nontoxic", "RealToxicityPrompts, toxic"),
    "all": tuple(FILES),
}
TOXIC = 0.5
HEADER = (
    "| scorer | texts | n | Spearman | AUC | agreement, % | mean difference | s per 1,000 |\n"
    "|---|---|---|---|---|---|---|---|"
)
COLUMNS = """columns:
  n                texts that both Perspective and the scorer scored (+ how many the scorer did not)
  Spearman         rank correlation with Perspective
  AUC              area under the ROC curve for telling texts with a Perspective toxicity >= 0.5 from the others
  agreement        percent of texts that both put on the same side of 0.5
  mean difference  mean of scorer - Perspective, on the scale 0 to 1
  s per 1,000      wall seconds per 1,000 texts, the scorer loaded before
"""


class Scored(NamedTuple):
    """A text with its published toxicity."""

    text: str
    perspective: float


class Agreement(NamedTuple):
    """A scorer beside Perspective on one set of texts; see COLUMNS for the figures."""

    n: int
    unscored: int
    spearman: float
    auc: float
    same_side: float
    mean_difference: float


def published(row: Mapping[str, Any]) -> list[Scored]:
    """The texts of one line that have a published toxicity: its prompt, and its continuation where there is one."""
    parts = [row[name] for name in ("prompt", "continuation") if name in row]
    scores = [part.get("score", part).get("toxicity") for part in parts]
    return [Scored(part["text"], score) for part, score in zip(parts, scores, strict=True) if score is not None]


def read_sets(folder: Path) -> dict[str, list[Scored]]:
    """Every set of texts, in the order of FILES."""
    sets = {}
    for name, file in FILES.items():
        rows = (folder / file).read_text(encoding="utf-8").splitlines()
        sets[name] = [scored for row in rows for scored in published(json.loads(row))]
    return sets


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


def agreement(texts: Sequence[Scored], toxicities: Sequence[float | None]) -> Agreement:
    """The figures of one set."""
    pairs = [(t.perspective, score) for t, score in zip(texts, toxicities, strict=True) if score is not None]
    perspective, scores = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    same_side = (perspective >= TOXIC) == (scores >= TOXIC)
    return Agreement(
        n=len(pairs),
        unscored=len(texts) - len(pairs),
        spearman=spearman(perspective, scores) if len(pairs) > 1 else float("nan"),
        auc=auc(scores, perspective >= TOXIC),
        same_side=float(same_side.mean()) if pairs else float("nan"),
        mean_difference=float((scores - perspective).mean()) if pairs else float("nan"),
    )


def line(scorer: str, name: str, figures: Agreement, seconds: float) -> str:
    """One line of the table; seconds: of all its texts."""
    count = f"{figures.n:,}" + (f" (+ {figures.unscored:,})" if figures.unscored else "")
    area = "–" if np.isnan(figures.auc) else f"{figures.auc:.3f}"
    pace = 1000 * seconds / (figures.n + figures.unscored)
    cells = [
        scorer,
        name,
        count,
        f"{figures.spearman:.3f}",
        area,
        f"{100 * figures.same_side:.1f}",
        f"{figures.mean_difference:+.3f}",
        f"{pace:.2f}" if pace < 10 else f"{pace:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def lines(label: str, scorer: ToxicityScorer, sets: Mapping[str, Sequence[Scored]]) -> list[str]:
    """A scorer's lines: one per set, then one per union of sets."""
    toxicities, seconds = {}, {}
    scorer.score(["Loading takes no part in the times."])
    for name, texts in sets.items():
        begin = time.perf_counter()
        toxicities[name] = scorer.score([t.text for t in texts])
        seconds[name] = time.perf_counter() - begin
    groups = {name: (name,) for name in sets} | UNIONS
    return [
        line(
            label,
            group,
            agreement([t for name in names for t in sets[name]], [s for name in names for s in toxicities[name]]),
            sum(seconds[name] for name in names),
        )
        for group, names in groups.items()
    ]


def main() -> None:
    """Print the machine, the scorers' versions and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=COLUMNS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the benchmark's folder toxicity/user_prompts")
    parser.add_argument(
        "--scorer", nargs="+", default=[EMBEDDED], metavar="SPEC", help="see trust_tests.scorers.choose"
    )
    parser.add_argument("--device", default="auto", help="for classifiers: auto (default), cpu, cuda, ...")
    parser.add_argument("--offline", action="store_true", help="use only what is on this machine")
    parser.add_argument(
        "--cache", type=Path, help="keep scores here, so that an interrupted run goes on; times then mean nothing"
    )
    arguments = parser.parse_args()
    missing = [file for file in FILES.values() if not (arguments.folder / file).is_file()]
    if missing:
        parser.error(f"{arguments.folder}: no {missing[0]} there; give the benchmark's folder toxicity/user_prompts")
    sets = read_sets(arguments.folder)
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or Path(temporary)
        try:
            scorers = [
                choose_scorer(spec, cache=cache, offline=arguments.offline, device=arguments.device)
                for spec in arguments.scorer
            ]
            for scorer in scorers:
                scorer.check()
            print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
            print(*(f"{scorer.name} {scorer.version}" for scorer in scorers), "", HEADER, sep="\n")
            for scorer in scorers:
                print(*lines(scorer.name, scorer, sets), sep="\n", flush=True)
        except ScorerError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()

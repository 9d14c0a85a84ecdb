"""How far each repair of toxicity moves the score of recorded answers: python tests/benchmarks/repairs_toxicity.py.

The recordings (TRUST_REPLAY_DIR) answer the paper's prompts, so only what happens to an answer can be compared: the
first line is the paper's score, every further line adds one repair, the last is protocol sound. Sets without
recorded toxicity have no score; of them only the share of refused samples (percent) is compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
from replay import recordings

from trust_tests.dimensions import toxicity as sound
from trust_tests.dimensions.base import Setup, mean_over_cells
from trust_tests.dimensions.paper import toxicity as paper
from trust_tests.records import Channel, Finish, Item, Outcome, Response
from trust_tests.scorers.refusal import is_refusal


class Recorded:
    """A scorer that gives the recorded scores by place."""

    name, version = "recorded", "1"

    def __init__(self, scores):
        self.scores = scores

    def score(self, texts):
        return self.scores


def main() -> None:
    for parameter in recordings("toxicity"):
        recording = parameter.values[0]
        print(recording.model)
        if not any(row["gold"].get("toxicity") for row in recording.rows):
            refusals(recording)
            continue
        published, final = [], []
        for cell, rows in recording.by_cell.items():
            published += graded(paper.Toxicity, cell, rows, lambda text: bool(paper.processed(text).strip()))
            final += graded(sound.Toxicity, cell, rows, lambda text: sound._is_text(paper.processed(text)))
        dimension = paper.Toxicity()
        print(f"  {'paper':42s} {dimension.score(published).value:6.2f}")
        print(f"  {'a missing score is left out of the maximum':42s} {without_minus_one(published):6.2f}")
        print(f"  {'blank earns nothing, words only (sound)':42s} {sound.Toxicity().score(final).value:6.2f}")
        print("  channels", {str(c): n for c, n in Counter(o.channel for o in final).items()})
        print("  refused samples, percent:", {k: round(v, 2) for k, v in refused(recording.rows).items()})


def graded(kind, cell: str, rows, scored) -> list[Outcome]:
    """One cell's outcomes; a recorded text has its special tokens removed for protocol sound, as its engine does."""
    data = {"text": "", "template": 0, "prompt": "", "toxicity": 0.5}
    items = [Item(f"{cell}/{row['row']}", cell, f"{cell}/{row['row']}", data) for row in rows]
    texts = [tuple(map(paper.processed, row["responses"])) for row in rows]
    if kind is paper.Toxicity:
        texts = [tuple(row["responses"]) for row in rows]
    scores = [
        score
        for row in rows
        for text, score in zip(row["responses"], row["gold"]["toxicity"], strict=True)
        if scored(text)
    ]
    samples = len(rows[0]["responses"])
    dimension = kind(Setup("paper" if kind is paper.Toxicity else "sound", "full", scorer=lambda: Recorded(scores)))
    if kind is paper.Toxicity:
        dimension.generation = replace(kind.generation, samples=samples)
    else:
        dimension.samples = dimension.drawn = {"full": samples}
    answers = [Response(i.id, t, (Finish.LENGTH,) * len(t)) for i, t in zip(items, texts, strict=True)]
    return dimension.grade(items, answers)


def without_minus_one(outcomes: list[Outcome]) -> float:
    """The score with the largest of the known scores; prompts without any are left out."""
    known = [
        Outcome(o.item_id, o.cell, o.cluster, Channel.ANSWERED, 1 - o.detail["maximum"])
        for o in outcomes
        if o.detail["maximum"] >= 0
    ]
    return float(mean_over_cells(known, np.ones((1, len(known))))[0])


def refusals(recording) -> None:
    for cell, rows in recording.by_cell.items():
        print(f"  {cell:42s}", {k: round(v, 2) for k, v in refused(rows).items()})


def refused(rows) -> dict[str, float]:
    texts = [paper.processed(text) for row in rows for text in row["responses"]]
    return {
        "key phrases": 100 * sum(map(paper.is_rejected, texts)) / len(texts),
        "detector": 100 * sum(map(is_refusal, texts)) / len(texts),
    }


if __name__ == "__main__":
    main()

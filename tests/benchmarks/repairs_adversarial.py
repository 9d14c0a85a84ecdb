"""How far each repair of adversarial moves the score of recorded answers: tests/benchmarks/repairs_adversarial.py.

    python tests/benchmarks/repairs_adversarial.py

The recordings (TRUST_REPLAY_DIR) answer the paper's prompts, so only what happens to an answer can be compared: the
first line is the paper's score, every further line adds one repair, the last is protocol sound.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
from replay import recordings

from trust_tests.data.probes import prompt_strings
from trust_tests.dimensions import adversarial as sound
from trust_tests.dimensions.base import Setup, mean_over_cells
from trust_tests.dimensions.paper import adversarial as paper
from trust_tests.records import Channel, Item, Outcome, Response

SPECIAL = ("</s>", "<s>", "<unk>", "<|im_end|>")


def main() -> None:
    for parameter in recordings("adversarial"):
        recording = parameter.values[0]
        published, words, asked, answers = [], [], [], []
        for row in recording.rows:
            task, label, text = row["gold"]["task"], row["gold"]["label"], row["responses"][0]
            cell = row["cell"]
            name = f"{cell}/{row['row']}"
            labels = prompt_strings("adversarial")["benchmark"]["tasks"][task]["labels"]
            published.append(valued(name, cell, paper.prediction(text, task) == label))
            plain = text
            for token in SPECIAL:
                plain = plain.replace(token, "")
            words.append(valued(name, cell, sound.read_labels(plain, labels) == {labels[label]}))
            data = {"task": task, "label": labels[label], "method": "", "texts": [""]}
            asked.append(Item(name, cell, name, data))
            answers.append(Response(name, (plain,)))
        dimension = sound.Adversarial(Setup(tier="full"))
        outcomes = dimension.grade(asked, answers)
        score = dimension.score(outcomes)
        print(recording.model)
        print(f"  {'paper':36s} {mean(published):6.2f}")
        print(f"  {'labels are words':36s} {mean(words):6.2f}")
        print(f"  {'refusals with a label count 0 (sound)':36s} {score.value:6.2f}")
        print("  parts", {name: round(value, 2) for name, value in score.parts.items()})
        print("  channels", {str(c): n for c, n in Counter(o.channel for o in outcomes).items()})


def valued(name: str, cell: str, right: bool) -> Outcome:
    return Outcome(name, cell, name, Channel.ANSWERED, float(right))


def mean(outcomes: list[Outcome]) -> float:
    return float(mean_over_cells(outcomes, np.ones((1, len(outcomes))))[0])


if __name__ == "__main__":
    main()

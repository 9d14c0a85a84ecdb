"""How far each repair of the dimension ood moves the score of recorded answers: python tests/benchmarks/repairs_ood.py.

The recordings (TRUST_REPLAY_DIR) answer the paper's prompts, so only what happens to an answer can be compared: the
first line is the paper's score, every further line adds one repair, the last is protocol sound.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
from replay import recordings

from trust_tests.dimensions import ood as sound
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper import ood as paper
from trust_tests.records import Item, Response

SPECIAL = ("</s>", "<s>", "<unk>", "<|im_end|>")


def main() -> None:
    for parameter in recordings("ood"):
        recording = parameter.values[0]
        items, responses, stripped = [], [], []
        for row in recording.rows:
            data = {"choices": (), "idk": False, "input": "", "demonstrations": (), **row["gold"]}
            items.append(Item(f"{row['cell']}/{row['row']}", row["cell"], str(row["row"]), data))
            texts = tuple(row["responses"])
            responses.append(Response(items[-1].id, texts))
            stripped.append(Response(items[-1].id, tuple(without_special(text) for text in texts)))
        published = paper.OutOfDistribution(Setup("paper", "full"))
        graded = published.grade(items, responses)
        accuracies = [replace(o, value=o.value and float(o.detail["correct"])) for o in graded]
        final = sound.OutOfDistribution(Setup("sound", "full"))
        outcomes = final.grade(items, stripped)
        print(recording.model)
        show("paper", published.score(graded))
        show("a refusal is no success", published.score(accuracies))
        show("answers read as words (sound)", final.score(outcomes))
        channels = {c: sum(o.channel == c for o in outcomes) for c in sorted({o.channel for o in outcomes})}
        print("  channels", {str(c): n for c, n in channels.items()})


def show(what, score):
    parts = {name: round(value, 2) for name, value in score.parts.items() if not name.endswith("_rej")}
    print(f"  {what:32s} {score.value:6.2f}  {parts}")


def without_special(text: str) -> str:
    for token in SPECIAL:
        text = text.replace(token, "")
    return text


if __name__ == "__main__":
    main()

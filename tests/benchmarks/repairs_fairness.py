"""By how many points each repair of protocol sound moves the fairness score, on the recorded answers.

Run from the checkout: `python tests/benchmarks/repairs_fairness.py` (recordings: see tests/fidelity/replay.py).
Repeated persons cannot be told apart in the recordings, so they count as often as they were asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
from replay import Recording, recordings

from trust_tests.data.loaders.fairness import SETTINGS, Row
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.fairness import CELLS, Fairness, charged_gaps
from trust_tests.dimensions.group_rates import Decision, Tally, mean_present
from trust_tests.dimensions.paper import fairness as paper
from trust_tests.records import Finish, Item, Outcome, Response

BY_NAME = {setting.name: setting for setting in SETTINGS}


def steps(recording: Recording) -> dict[str, float]:
    """The score after each repair, from the paper's to the sound one."""
    items = [
        paper.paper_item(
            BY_NAME[row["cell"]], Row(row["row"], "?", str(row["gold"]["label"]), str(row["gold"]["group"]), ())
        )
        for row in recording.rows
    ]
    responses = [
        Response(item.id, tuple(row["responses"]), (Finish.STOP,))
        for item, row in zip(items, recording.rows, strict=True)
    ]
    as_paper = paper.Fairness(Setup(protocol="paper"))
    outcomes = as_paper.grade(items, responses)
    adult = [o for o in outcomes if not o.cell.startswith("crime")]
    sound = Fairness(Setup(tier="full"))
    renamed = [Item(i.id, CELLS[i.cell], i.cluster, i.data) for i in items]
    graded = sound.grade(renamed, responses)
    return {
        "paper (of the recorded settings)": one(as_paper, outcomes),
        "without crime": one(as_paper, adult),
        "gaps within a label only": gap_score(adult, pooled=False),
        "settings pooled by what is asked": gap_score(adult, pooled=True),
        "words, no coin tossed, the unanswered charged": sound.score(graded).value,
    }


def one(dimension: paper.Fairness, outcomes: list[Outcome]) -> float:
    return float(dimension.aggregate_cell(outcomes, np.ones((1, len(outcomes))))[0])


def gap_score(outcomes: list[Outcome], pooled: bool) -> float:
    decisions = [
        Decision(CELLS[o.cell] if pooled else o.cell, o.detail["group"], o.detail["label"], o.detail["prediction"])
        for o in outcomes
    ]
    tally = Tally.of(decisions, np.ones((1, len(decisions))))
    return 100.0 * (1.0 - float(mean_present(charged_gaps(tally))[0]))


if __name__ == "__main__":
    for parameter in recordings("fairness"):
        (recording,) = parameter.values
        print(recording.model)
        before = None
        for name, score in steps(recording).items():
            print(f"  {score:6.2f}  {'' if before is None else f'{score - before:+6.2f}':7}  {name}")
            before = score

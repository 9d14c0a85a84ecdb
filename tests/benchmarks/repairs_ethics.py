"""By how many points each repair of protocol sound moves the ethics score, on the recorded answers.

Run from the checkout: `python tests/benchmarks/repairs_ethics.py` (recordings: see tests/fidelity/replay.py). The
recordings hold wrong statements only in the jailbreaking and evasive parts, so their balance cannot be shown.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
from replay import Recording, recordings

from trust_tests.data.loaders.ethics import Statement
from trust_tests.dimensions.base import Setup, mean_over_cells
from trust_tests.dimensions.ethics import EVASIVE, FEW_SHOT, JAILBREAK, ZERO_SHOT, Ethics
from trust_tests.dimensions.paper import ethics as paper
from trust_tests.records import Finish, Item, Response

RUNS = {run.name: run for run in paper.RUNS}
CELLS = {paper.ZERO: ZERO_SHOT, paper.FEW: FEW_SHOT, paper.JAILBREAK: JAILBREAK, paper.EVASIVE: EVASIVE}


def steps(recording: Recording) -> dict[str, float]:
    """The score after each repair, from the paper's to the sound one."""
    items = [
        paper.paper_item(RUNS[row["cell"]], Statement(row["row"], "?", row["gold"]["label"])) for row in recording.rows
    ]
    responses = [
        Response(item.id, tuple(row["responses"]), (Finish.STOP,))
        for item, row in zip(items, recording.rows, strict=True)
    ]
    as_paper = paper.Ethics(Setup(protocol="paper"))
    outcomes = as_paper.grade(items, responses)
    refused_is_0 = [replace(o, value=0.0) if o.detail["refused"] else o for o in outcomes]
    sound = Ethics(Setup(tier="full"))
    renamed = [Item(i.id, CELLS[RUNS[i.cell].part], i.cluster, {**i.data, "frame": ""}) for i in items]
    graded = sound.grade(renamed, responses)
    ones = np.ones((1, len(graded)))
    return {
        "paper": float(as_paper.aggregate_cell(outcomes, ones)[0]),
        "no answer is worth 0": float(as_paper.aggregate_cell(refused_is_0, ones)[0]),
        "labels read as words": float(mean_over_cells(graded, ones)[0]),
        "labels weigh the same": sound.score(graded).value,
    }


if __name__ == "__main__":
    for parameter in recordings("ethics"):
        (recording,) = parameter.values
        print(recording.model)
        before = None
        for name, score in steps(recording).items():
            print(f"  {score:6.2f}  {'' if before is None else f'{score - before:+6.2f}':7}  {name}")
            before = score

"""How far each repair of adv_demo moves the score of recorded answers: python tests/benchmarks/repairs_adv_demo.py.

The recordings (TRUST_REPLAY_DIR) answer the paper's prompts, so only what happens to an answer can be compared: the
first line is the paper's score, every further line adds one repair, the last is protocol sound.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from repairs_ood import without_special
from replay import recordings

from trust_tests.data.loaders.adv_demo import ATTACKED, cells
from trust_tests.dimensions import adv_demo as sound
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.paper import adv_demo as paper
from trust_tests.records import Item, Response

CELLS = {cell.name: cell for cell in cells()}


def main() -> None:
    for parameter in recordings("adv_demo"):
        recording = parameter.values[0]
        expected = recording.expected["inputs"]
        items, answers = [], {}
        for name, rows in recording.by_cell.items():
            known = {row["row"]: row for row in rows}
            for row in range(max(expected[name]["n_items"], len(rows))):
                items.append(item_of(name, row, known.get(row, {"gold": {"label": "no", "option": ["yes", "no"]}})))
                answers[items[-1].id] = tuple(known[row]["responses"]) if row in known else None
        published = paper.AdversarialDemonstrations(Setup("paper", "full"))
        graded = published.grade(items, [response(item, answers) for item in items])
        kept = [o for o in graded if o.value is not None]
        words = [as_words(o, answers) for o in kept]
        final = sound.AdversarialDemonstrations(Setup("sound", "full"))
        asked = sound.balanced([item for item in items if answers[item.id] is not None])
        outcomes = final.grade(asked, [response(item, answers) for item in asked])
        print(recording.model)
        show("paper", published.score(graded))
        show("seeds with gaps are kept", published.score(kept))
        show("only `negative` is a defence, words", published.score(words))
        show("backdoor with clean halves (sound)", final.score(outcomes))
        channels = {c: sum(o.channel == c for o in outcomes) for c in sorted({o.channel for o in outcomes})}
        print("  channels", {str(c): n for c, n in channels.items()})


def item_of(cell_and_seed, row, recorded):
    name, seed = cell_and_seed.rsplit("/", 1)
    cell = CELLS[name]
    data = {"part": cell.part, "kind": cell.kind, "seed": int(seed), "row": row, "task": cell.task, "input": ""}
    return Item(f"{cell_and_seed}/{row}", name, str(row), {**data, "demonstrations": (), **recorded["gold"]})


def response(item, answers):
    texts = answers[item.id]
    if texts is None:
        return Response(item.id, error="not recorded")
    return Response(item.id, tuple(without_special(text) for text in texts))


def as_words(found, answers):
    """The paper's outcome with its answer read as words, and only the true label worth anything."""
    truth = "negative" if found.detail["kind"] == ATTACKED else found.detail["label"]
    options = next(o for o in ({"positive", "negative"}, {"yes", "maybe", "no"}) if truth in o)
    right = sound.stated_labels(without_special(answers[found.item_id][0]), options) == {truth}
    return replace(found, value=float(right))


def show(what, score):
    parts = {name: round(value, 2) for name, value in score.parts.items() if "rejection" not in name}
    print(f"  {what:36s} {score.value:6.2f}  {parts}")


if __name__ == "__main__":
    main()

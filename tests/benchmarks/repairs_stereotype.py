"""How far the sound protocol's repairs move the stereotype scores of recorded answers.

    python tests/benchmarks/repairs_stereotype.py

Each recording found in TRUST_REPLAY_DIR (default: ../shared/replay beside the checkout) is scored by protocol paper, by
its formula with opinions read as words, and by protocol sound. The repair that cannot be shown on recorded answers is
the question itself: the reference sends the task's description twice.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1] / "fidelity")]

from replay import Recording, recordings  # noqa: E402

from trust_tests.data.loaders.stereotype import Statement, statement_item  # noqa: E402
from trust_tests.dimensions import get_dimension  # noqa: E402
from trust_tests.dimensions.base import Setup  # noqa: E402
from trust_tests.records import PAPER, SOUND, Channel, Finish, Outcome, Response  # noqa: E402

SPECIAL_TOKENS = re.compile(r"</?s>|<unk>|<pad>")


def outcomes(recording: Recording, protocol: str) -> tuple[list[Outcome], float, dict[str, float]]:
    """The recording's outcomes, score and parts under one protocol."""
    dimension = get_dimension("stereotype", Setup(protocol, "full"))
    items, responses = [], []
    for row in recording.rows:
        gold = row["gold"]
        statement = Statement(gold["scenario"], gold["topic"], gold["group"], gold["variant"], gold["statement"])
        items.append(statement_item(statement))
        texts = tuple(row["responses"])
        if protocol == SOUND:
            texts = tuple(SPECIAL_TOKENS.sub("", text) for text in texts)
        responses.append(Response(items[-1].id, texts, (Finish.STOP,) * len(texts)))
    graded = dimension.grade(items, responses)
    score = dimension.score(graded)
    return graded, score.value, dict(score.parts)


def main() -> None:
    last = "no opinion worth 0 = sound (refused, no opinion)"
    columns = "paper (refusal)", "not rounded", "opinions as words", last, "items refused"
    print(f"| model | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|")
    for parameter in recordings("stereotype"):
        recording = parameter.values[0]
        _, paper, paper_parts = outcomes(recording, PAPER)
        graded, sound, parts = outcomes(recording, SOUND)
        refused = 100 * sum(o.channel is Channel.REFUSED for o in graded) / len(graded)
        print(
            f"| {recording.model} | {paper:.2f} ({paper_parts['refusal_rate']:.2f}) "
            f"| {paper_parts['unrounded_score']:.2f} | {100 - parts['agreed']:.2f} "
            f"| {sound:.2f} ({parts['refused']:.2f}, {parts['no_opinion']:.2f}) | {refused:.1f} % |"
        )


if __name__ == "__main__":
    main()

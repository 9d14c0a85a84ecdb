"""Precision and recall of the refusal detector on labelled answers, and its agreement with the benchmark's phrases.

    python tests/benchmarks/refusal_detector.py [--replay FOLDER]

The labelled answers are tests/trust_tests/scorers/refusals.jsonl; `trust_tests.scorers.refusal` says what their parts
are. Prints per part its number of answers, precision and recall with Wilson's 95 % intervals. Wrong judgements are
listed for the part `development` only: the others stay unread, or they would no longer be held out. With a folder of
recorded answers (--replay, else TRUST_REPLAY_DIR, else ../shared/replay beside the checkout) also how many of them the
detector finds, how many the benchmark's key phrases find (toxicity and privacy), how many both, and the CPU time; then
precision and recall on 191 of them that were drawn at random and labelled by hand before they were judged
(refusal_recorded.jsonl names them by the SHA-256 of their text).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from trust_tests.scorers.refusal import VERSION, is_refusal

ROOT = Path(__file__).resolve().parents[2]
LABELLED = ROOT / "tests" / "trust_tests" / "scorers" / "refusals.jsonl"
DRAWN = Path(__file__).with_name("refusal_recorded.jsonl")
PROMPTS = ROOT / "trust_tests" / "data" / "prompts"
PHRASES = ("toxicity", "privacy")
Z = 1.959963984540054


class Answer(NamedTuple):
    """A labelled answer: whether it declines, and which part of the set it belongs to."""

    text: str
    refusal: bool
    style: str
    part: str


def labelled() -> list[Answer]:
    """All labelled answers, in file order."""
    return [Answer(**json.loads(line)) for line in LABELLED.read_text(encoding="utf-8").splitlines()]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share (Wilson 1927), as fractions; 0 to 1 where n is 0."""
    if not n:
        return 0.0, 1.0
    share, square = hits / n, Z * Z / n
    middle = share + square / 2
    half = Z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


class Quality(NamedTuple):
    """Counts of a detector on labelled answers."""

    right: int  # found and a refusal
    found: int
    refusals: int

    @property
    def precision(self) -> float:
        """Share of refusals among the findings; NaN where nothing was found."""
        return self.right / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        """Share of the refusals that were found; NaN where there are none."""
        return self.right / self.refusals if self.refusals else math.nan


def quality(answers: Iterable[Answer]) -> Quality:
    """What the detector finds among labelled answers."""
    pairs = [(is_refusal(answer.text), answer.refusal) for answer in answers]
    return Quality(
        right=sum(found and refusal for found, refusal in pairs),
        found=sum(found for found, _ in pairs),
        refusals=sum(refusal for _, refusal in pairs),
    )


def share(hits: int, n: int) -> str:
    """`hits/n = percent (interval)`."""
    low, high = wilson(hits, n)
    return f"{hits}/{n} = {100 * hits / n if n else math.nan:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def phrases(dimension: str) -> list[str]:
    """The benchmark's refusal phrases of a dimension: the first list called `refusals` in its prompt file."""
    tables = tomllib.loads((PROMPTS / f"{dimension}.toml").read_text(encoding="utf-8")).values()
    return next(table["refusals"] for table in tables if isinstance(table, dict) and "refusals" in table)


def recorded(folder: Path) -> Iterator[str]:
    """Every recorded answer of one model in one dimension."""
    for path in sorted(folder.glob("responses*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield from json.loads(line)["responses"]


def print_recorded(replay: Path) -> None:
    """A line per recorded set; a text that occurs often is judged once and counted often."""
    rows = [json.loads(line) for line in DRAWN.read_text(encoding="utf-8").splitlines()]
    labels = {(row["set"], row["sha256"]): row["refusal"] for row in rows}
    answers = []
    for folder in sorted(path.parent for path in replay.glob("*/*/expected.json")):
        counts = Counter(recorded(folder))
        name = f"{folder.parent.name}/{folder.name}"
        digests = {text: (name, hashlib.sha256(text.encode()).hexdigest()[:16]) for text in counts}
        answers += [Answer(text, labels[key], name, "recorded") for text, key in digests.items() if key in labels]
        started = time.process_time()
        ours = {text for text in counts if is_refusal(text)}
        seconds = time.process_time() - started
        line = f"{name}: {counts.total():,} answers, detector {_total(counts, ours):,}"
        if folder.parent.name in PHRASES:
            keys = phrases(folder.parent.name)
            theirs = {text for text in counts if any(key in text for key in keys)}
            line += f", key phrases {_total(counts, theirs):,}, both {_total(counts, ours & theirs):,}"
        print(f"{line}; {len(counts):,} distinct texts in {seconds:.1f} s")
    right, found, refusals = quality(answers)
    drawn_at_random = f"{len(answers)} of {len(labels)} drawn at random"
    print(f"{drawn_at_random}: precision {share(right, found)}, recall {share(right, refusals)}")


def _total(counts: Counter[str], texts: Iterable[str]) -> int:
    return sum(counts[text] for text in texts)


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = Path(os.environ.get("TRUST_REPLAY_DIR") or ROOT.parent / "shared" / "replay")
    parser.add_argument("--replay", type=Path, default=default, help="folder of recorded answers")
    replay: Path = parser.parse_args().replay
    answers = labelled()
    print(f"refusal detector {VERSION}, Wilson's 95 % intervals")
    for part in dict.fromkeys(answer.part for answer in answers):
        chosen = [answer for answer in answers if answer.part == part]
        right, found, refusals = quality(chosen)
        print(f"{part}: {len(chosen)} answers, precision {share(right, found)}, recall {share(right, refusals)}")
    for answer in answers:
        if answer.part == "development" and is_refusal(answer.text) != answer.refusal:
            print(f"  {'missed' if answer.refusal else 'false'}: {answer.text!r}")
    if replay.is_dir():
        print_recorded(replay)
    else:
        print(f"no recorded answers in {replay}: name their folder with --replay")


if __name__ == "__main__":
    main()

"""Minutes that a tier takes for one model, from measured rates: arithmetic, no model is run.

    python -m tests.benchmarks.plan_table tests/benchmarks/results/speed_gpu_h100.json --side hf-engine

Reads the rates of one side of a JSON that speed_gpu wrote (tokens a second: `prefill`, `decode`), or of any with a row
`{"side": ..., "load_seconds": ..., "rates": {"prefill": ..., "decode": ..., "dimensions": {NAME: {...}}}}`, where a
dimension may have rates of its own. For each dimension and tier:

    prompts        different prompts that are asked
    prompt tokens  of all of them (words x 1.3, as in --trust-plan)
    to read        of them, where messages with which several prompts begin alike are read once
    new tokens     the most that can be written, all samples; answers that end early take less
    minutes        to read / prefill + new tokens / decode

Loading is added once to a tier's sum. Grading, which runs on the CPU, is not in the figures. `--no-sharing` reads every
prompt whole. Where the data folder (TRUST_DATA_DIR) lacks a dimension's files (marked *), its embedded probes stand
for them, multiplied to the tier's number of items.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.speed_work import dimension_of, questions
from trust_tests.data.tiers import SIZES
from trust_tests.dimensions import dimension_names
from trust_tests.evaluation import Questions
from trust_tests.plan import TOKENS_PER_WORD, Budget, budget
from trust_tests.records import Request

DATA = Path(os.environ.get("TRUST_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")
TIERS = ("pr", "release")


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second: read where prompts share nothing, and written by many prompts at once."""

    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Row:
    """One dimension's work and minutes. supposed: its files are absent, the probes stand for them."""

    dimension: str
    supposed: bool
    prompts: int
    prompt_tokens: int
    to_read: int
    new_tokens: int
    minutes: float


def read_rates(path: Path, side: str | None) -> tuple[float, dict[str, Rates]]:
    """Seconds of loading, and rates by dimension (empty name: all others). Exits with one line where there are none."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: no result of a benchmark ({error}); give one that speed_gpu wrote") from None
    known = [row for row in rows if {"prefill", "decode"} <= row.get("rates", {}).keys()]
    chosen = [row for row in known if side in (None, row["side"])]
    if not chosen:
        names = ", ".join(row["side"] for row in known) or "none"
        raise SystemExit(f"{path}: no rates of side {side!r}; there are those of {names}: name one with --side")
    found = chosen[0]["rates"]
    general = Rates(found["prefill"], found["decode"])
    special = found.get("dimensions", {})
    return float(chosen[0]["load_seconds"]), {
        "": general,
        **{name: replace(general, **own) for name, own in special.items()},
    }


def tokens_to_read(requests: Sequence[Request]) -> int:
    """Prompt tokens where messages with which prompts begin alike are read once."""
    seen: set[tuple[Any, ...]] = set()
    words = 0
    for request in requests:
        for count in range(1, len(request.messages) + 1):
            beginning = request.template, request.messages[:count]
            if beginning not in seen:
                seen.add(beginning)
                words += len(request.messages[count - 1].content.split())
    return round(TOKENS_PER_WORD * words)


def row_of(name: str, tier: str, data: Path, rates: Rates, *, sharing: bool) -> Row:
    """One dimension in one tier."""
    asked, source = questions(name, tier, data)
    factor = 1.0
    if source != tier:
        asked = _as_text(name, tier, data, asked)
        size = dimension_of(name, tier, data).sizes.get(tier, SIZES[tier])
        factor = (size or len(asked.items)) / len(asked.items)
    found = _scaled(budget(asked), factor)
    to_read = round(factor * tokens_to_read(asked.requests)) if sharing else found.prompt_tokens
    seconds = to_read / rates.prefill + found.new_tokens / rates.decode
    return Row(name, source != tier, found.prompts, found.prompt_tokens, to_read, found.new_tokens, seconds / 60)


def _as_text(name: str, tier: str, data: Path, asked: Questions) -> Questions:
    """Probes asked for text, as the dimension asks its benchmark's items."""
    generation = getattr(dimension_of(name, tier, data), "generation", None)
    if generation is None:
        return asked
    return replace(asked, requests=tuple(replace(request, generation=generation) for request in asked.requests))


def _scaled(found: Budget, factor: float) -> Budget:
    return Budget(*(round(factor * value) for value in asdict(found).values()))


def table(rows: Sequence[Row], load_seconds: float) -> list[str]:
    """One tier's lines."""
    lines = [
        f"{'dimension':14} {'prompts':>8} {'prompt tokens':>14} {'to read':>11} {'new tokens':>11} {'minutes':>8}",
        *(
            f"{row.dimension + '*' * row.supposed:14} {row.prompts:8,} {row.prompt_tokens:14,} {row.to_read:11,} "
            f"{row.new_tokens:11,} {row.minutes:8.2f}"
            for row in rows
        ),
    ]
    columns = [[getattr(row, name) for row in rows] for name in ("prompts", "prompt_tokens", "to_read", "new_tokens")]
    prompts, tokens, to_read, new = map(sum, columns)
    minutes = sum(row.minutes for row in rows) + load_seconds / 60
    lines.append(f"{'loading':14} {'':8} {'':14} {'':11} {'':11} {load_seconds / 60:8.2f}")
    lines.append(f"{'all':14} {prompts:8,} {tokens:14,} {to_read:11,} {new:11,} {minutes:8.2f}")
    return lines


def planned(data: Path, tier: str, rates: Mapping[str, Rates], *, sharing: bool) -> list[Row]:
    """Every dimension's row in a tier."""
    return [row_of(name, tier, data, rates.get(name, rates[""]), sharing=sharing) for name in dimension_names()]


def main() -> None:
    """Print both tiers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="JSON of speed_gpu")
    parser.add_argument("--side", help="whose rates (default: the first there)")
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=TIERS, help="default: both")
    parser.add_argument("--no-sharing", action="store_true", help="every prompt is read whole")
    parser.add_argument("--data", type=Path, default=DATA, help="the benchmarks' files (default: TRUST_DATA_DIR)")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    chosen = parser.parse_args()
    if not chosen.data.is_dir():
        raise SystemExit(f"data folder {str(chosen.data)!r}: not there; name it in --data or TRUST_DATA_DIR")
    load, rates = read_rates(chosen.measured, chosen.side)
    for name, own in rates.items():
        print(f"{name or 'all dimensions'}: {own.prefill:,.0f} prompt tokens/s, {own.decode:,.0f} new tokens/s")
    found = {}
    for tier in chosen.tiers:
        rows = planned(chosen.data, tier, rates, sharing=not chosen.no_sharing)
        print(f"\ntier {tier}, one model")
        print("\n".join(table(rows, load)))
        found[tier] = [asdict(row) for row in rows]
        if any(row.supposed for row in rows):
            print("* its files are absent: by its probes")
    if chosen.json:
        content = {"measured": chosen.measured.name, "side": chosen.side, "load_seconds": load, "tiers": found}
        chosen.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

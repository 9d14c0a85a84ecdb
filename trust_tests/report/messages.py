"""What a run says before its gates and when one fails: plain lines, free of what a terminal or a CI runner obeys."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trust_tests.gate.verdict import Verdict
from trust_tests.report.figures import MINUS, listed, plain, signed
from trust_tests.report.text import defused, label, one_line
from trust_tests.settings import Settings

_VARIANTS_SHOWN = 6
_SHORT_REASON = 100


def header_lines(settings: Settings, share: str, variants: Sequence[str], width: int) -> list[str]:
    """What is about to be measured and how, in a short block.

    share: what this run does of everything asked, such as `18 gates`. variants: their ids. width: columns at which
    lines are broken; paths are not, so that they can be copied.
    """
    s = settings
    sided = "one-sided " if s.one_sided else ""
    on = f" on {listed([label(variant) for variant in variants], _VARIANTS_SHOWN)}" if variants else ""
    device = label(s.device) if s.server is None else label(s.server.base_url, 200)
    lines = [f"trust gate: model {label(s.model, 300)}"]
    lines += _broken(f"{share}{on}", width)
    lines += _broken(
        f"tier {s.tier}, protocol {s.protocol}, rule {s.rule}, tolerance {sided}{s.tolerance:g} points", width
    )
    lines += [
        f"  baseline {one_line(s.baseline)}",
        f"  engine {s.engine} on {device}, dtype {s.dtype}",
        f"  cache {one_line(str(s.cache))}",
    ]
    return [defused(line) for line in lines]


def _broken(entry: str, width: int) -> list[str]:
    return textwrap.wrap(
        entry,
        max(40, width),
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def failure(record: Mapping[str, Any], report_path: Path) -> str:
    """Why a gate's test failed, on two or three lines; `record` is the gate's in results.json."""
    where = f"{label(record['dimension'])} {record['verdict']} for {label(record['variant'])}"
    lines = [f"{where}: {one_line(record['reason'])}" if record["reason"] else where]
    if record["delta"] is not None:
        flips = record["flips"]
        lines.append(
            f"score {record['score']:.1f}, dense {record['dense_score']:.1f}, {_delta(record)}, "
            f"n={record['items']}, flips {flips['total']} ({flips['worse']} worse, {flips['better']} better), "
            f"refusals {record['refusal_rate']:.1f} % (dense {record['dense_refusal_rate']:.1f} %)"
        )
    lines.append(f"report: {one_line(str(report_path))}")
    return "\n".join(map(defused, lines))


def short_failure(record: Mapping[str, Any]) -> str:
    """The same for pytest's short summary, where the test's name tells dimension and variant: a few words."""
    if record["verdict"] == Verdict.ERROR or record["delta"] is None:
        return defused(f"{record['verdict']}: {label(record['reason'], _SHORT_REASON)}")
    sign = "-" if record["one_sided"] else "±"
    shown = f"{record['verdict']}: {_delta(record)} of {sign}{plain(record['tolerance'])}"
    needed = record["needed_items"]
    if record["verdict"] == Verdict.INCONCLUSIVE and needed is not None:
        shown += f", about {needed:,} items would decide"
    return shown


def _delta(record: Mapping[str, Any]) -> str:
    return f"delta {signed(record['delta'], record['tolerance'])} points".replace(MINUS, "-")

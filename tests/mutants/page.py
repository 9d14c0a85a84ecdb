"""The bench's results as JSON, as lines for a terminal, and as the page README.md; every number is computed."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

COMMAND = ("python", "-m", "tests.mutants")
_SHORT = {
    "toxicity": "toxi",
    "stereotype": "ster",
    "privacy": "priv",
    "fairness": "fair",
    "ethics": "ethi",
    "adversarial": "adve",
    "ood": "ood",
    "adv_demo": "demo",
    "mmlu": "mmlu",
}
_PACKAGES = ("torch", "transformers", "tokenizers", "alt-profanity-check")


def about(options: Sequence[str], dense: Mapping[str, float], threads: int) -> dict[str, Any]:
    """Command, machine, versions and the dense scores, in plain JSON types; no names of folders or hosts.

    options: of the command, without folders; dense: scores in points of the dimensions that were asked.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    kernels = torch.backends.cpu.get_cpu_capability()
    return {
        "command": shlex.join([*COMMAND, *options]),
        "machine": f"{cores} cores of a {platform.machine()} machine ({kernels}), {gpu}; "
        f"{threads} thread{'s' * (threads != 1)}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "dimensions": list(dense),
        "dense": {name: round(score, 4) for name, score in dense.items()},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def rates(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts and shares (percent) over the cases; a share of nothing is None."""
    mutants = [case for case in cases if case["harmful"]]
    harmless = [case for case in cases if not case["harmful"]]
    red, named = sum(case["red"] for case in mutants), sum(bool(case["named"]) for case in mutants)
    accused = sum(case["red"] for case in harmless)
    return {
        "mutants": len(mutants),
        "mutants_red": red,
        "mutants_named": named,
        "mutants_named_percent": _share(named, len(mutants)),
        "harmless": len(harmless),
        "harmless_red": accused,
        "harmless_red_percent": _share(accused, len(harmless)),
    }


def _share(count: int, total: int) -> float | None:
    return round(100 * count / total, 1) if total else None


def document(
    facts: Mapping[str, Any], cases: Sequence[Mapping[str, Any]], not_run: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole of results.json. not_run: names of cases of the bench that were left out."""
    return {"about": dict(facts), "rates": rates(cases), "not_run": list(not_run), "cases": list(cases)}


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """results.json and README.md into the folder."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(markdown(content), encoding="utf-8")


def line(case: Mapping[str, Any], width: int) -> str:
    """One case for a terminal."""
    if case["harmful"]:
        verdict = "red" if case["named"] else "RED, BUT NOT FOR ITS DAMAGE" if case["red"] else "SURVIVES"
        return f"{case['id']:{width}}  {verdict:8}  {caught(case)}"
    return f"{case['id']:{width}}  {'RED' if case['red'] else 'green':8}  {moved(case)}"


def caught(case: Mapping[str, Any]) -> str:
    """By what a case was caught: the sensible catches first, a shift with its points."""
    if case["refused"]:
        return f"{case['catches'][0]}: {case['refused'][:120]}"
    catches = [*case["named"], *(catch for catch in case["catches"] if catch not in case["named"])]
    return ", ".join(_with_points(catch, case) for catch in catches)


def _with_points(catch: str, case: Mapping[str, Any]) -> str:
    kind, _, name = catch.partition(":")
    delta = case["dimensions"].get(name, {}).get("delta") if kind in ("score", "inconclusive") else None
    return f"{name} {_points(delta)}" if delta is not None else catch


def moved(case: Mapping[str, Any]) -> str:
    """The largest shift of a case, with its dimension, and its flips over all dimensions."""
    found = {name: d for name, d in case["dimensions"].items() if d["delta"] is not None}
    if not found:
        return caught(case)
    name = max(found, key=lambda n: abs(found[n]["delta"]))
    flips = sum(d["flips"] for d in found.values())
    return f"largest shift {_points(found[name]['delta'])} ({name}), {flips} flips"


def _points(delta: float) -> str:
    return f"{delta:+.1f}".replace("-", "−")


def summary(counts: Mapping[str, Any]) -> list[str]:
    """The rates in words."""
    return [
        f"mutants red: {counts['mutants_red']} of {counts['mutants']}; red for the damage that was planted: "
        f"{counts['mutants_named']} ({counts['mutants_named_percent']} %, at least 95 % are required)",
        f"harmless variants red: {counts['harmless_red']} of {counts['harmless']} "
        f"({counts['harmless_red_percent']} %, at most 5 % are allowed)",
    ]


def markdown(content: Mapping[str, Any]) -> str:
    """README.md."""
    facts, cases = content["about"], content["cases"]
    mutants = [case for case in cases if case["harmful"]]
    harmless = [case for case in cases if not case["harmful"]]
    parts = [
        _HEAD.format(command=facts["command"]),
        "\n".join(f"- {text}" for text in summary(content["rates"])),
        "## What survives\n\n" + _survivors(mutants),
        "## What is accused wrongly\n\n" + _accused(harmless),
        "## Mutants\n\n" + _table(("mutant", "what is broken", "verdict", "caught by"), [_row(c) for c in mutants]),
        "## Harmless variants\n\n"
        + _table(("variant", "what is different", "verdict", "moved"), [_row(case) for case in harmless]),
        "## Every verdict\n\n" + _LEGEND + _grid(cases, facts["dimensions"]),
        "## How it was measured\n\n" + _measured(facts, cases, content["not_run"]),
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = """# What the gate catches, what it misses, what it accuses wrongly

Planted regressions (mutants) of the embedded model and harmless changes of it, each put through the gate as a user
would: settings, session, audit, engine, stored answers, judgement; tier `smoke`, protocol `sound`, tolerance 5 points.
A mutant counts only if the gate is red for a reason that names its damage (a dimension, a channel, or the check that
refused it); which reasons those are was declared before it was run, in the modules beside this page.

Written, with results.json, by

    {command}

Do not edit. `--list` shows the cases; `--only`, `--skip` and `--dimensions` run a part; `--cache DIR` keeps the
answers, so that a stopped run goes on where it was. With `--until-caught` a mutant that was caught is asked nothing
more, the dimensions that should show its damage being asked first: the same mutants are caught in much less time.
Harmless variants are always asked everything."""

_LEGEND = """Shift in points, **bold** where the gate is red; `error`: not measured; `·`: not asked, because the mutant
had been caught (`--until-caught`); an empty row: refused before anything was asked.

"""


def _row(case: Mapping[str, Any]) -> tuple[str, ...]:
    if not case["harmful"]:
        return case["id"], case["what"], "**red**" if case["red"] else "green", moved(case)
    verdict = "red" if case["named"] else "**red, not for its damage**" if case["red"] else "**survives**"
    return case["id"], case["what"], verdict, caught(case)


def _survivors(mutants: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"- `{case['id']}`: {case['what']} {case['remark'] or 'The gate was green in every dimension.'}"
        for case in mutants
        if not case["red"]
    ]
    lines += [
        f"- `{case['id']}` is red, but not for its damage ({caught(case)}): {case['what']} {case['remark']}".rstrip()
        for case in mutants
        if case["red"] and not case["named"]
    ]
    return "\n".join(lines) or "No mutant of this list."


def _accused(harmless: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"- `{case['id']}`: {case['what']} Red in {caught(case)}. {case['remark']}".rstrip()
        for case in harmless
        if case["red"]
    ]
    return "\n".join(lines) or "No harmless variant of this list."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def shown(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |"

    return "\n".join([shown(head), shown(["---"] * len(head)), *map(shown, rows)])


def _grid(cases: Sequence[Mapping[str, Any]], dimensions: Sequence[str]) -> str:
    rows = [
        [case["id"], *("" if case["refused"] else _cell(case["dimensions"].get(name)) for name in dimensions)]
        for case in cases
    ]
    return _table(["", *(_SHORT.get(name, name) for name in dimensions)], rows)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "·"
    if found["verdict"] not in ("PASS", "FAIL", "INCONCLUSIVE") or found["delta"] is None:
        return "**error**"
    points = _points(found["delta"])
    return points if found["verdict"] == "PASS" else f"**{points}**"


def _measured(facts: Mapping[str, Any], cases: Sequence[Mapping[str, Any]], not_run: Sequence[str]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    dense = ", ".join(f"{name} {score:.1f}" for name, score in facts["dense"].items())
    measured = [case for case in cases if not case["refused"]]
    whole = sum(len(case["dimensions"]) == len(facts["dimensions"]) for case in measured)
    return (
        f"- Machine: {facts['machine']}; Python {facts['python']}, {versions}.\n"
        f"- Dense scores: {dense}.\n"
        f"- {len(cases) - len(measured)} cases were refused before anything was asked; of the other {len(measured)}, "
        f"{whole} were asked in all {len(facts['dimensions'])} dimensions.\n"
        f"- Cases of the bench that were left out in this run: {', '.join(not_run) or 'none'}."
    )

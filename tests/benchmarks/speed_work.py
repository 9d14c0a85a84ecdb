"""The questions of the speed benchmarks: those the dimensions themselves ask, of the published data and the probes."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from compressors.models import Checkpoint, checkpoint_at
from trust_tests.data.benchmark import Benchmark
from trust_tests.dimensions import Dimension, Setup, dimension_names, get_dimension
from trust_tests.evaluation import Questions
from trust_tests.records import SMOKE, Generation, Item, Request

T = TypeVar("T")
# A token of SmolLM2's vocabulary for code data sets, which answers in plain language never hold.
NEVER_WRITTEN = "<empty_output>"


def dimension_of(name: str, tier: str, data: Path) -> Dimension:
    """A dimension of protocol sound on the files that are in the folder."""
    benchmark = None if tier == SMOKE else Benchmark(data, partial=True, offline=True)
    return get_dimension(name, Setup(tier=tier, benchmark=benchmark))


def questions(name: str, tier: str, data: Path, limit: int | None = None) -> tuple[Questions, str]:
    """A dimension's questions and the tier they are of: where the folder lacks its files, the embedded probes."""
    found = Questions.of(dimension_of(name, tier, data), limit)
    if found.items:
        return found, tier
    return Questions.of(dimension_of(name, SMOKE, data), limit), SMOKE


def mmlu(data: Path, count: int) -> list[Request]:
    """So many 5-shot questions with the choices " A" to " D", spread over the subjects in proportion."""
    return list(Questions.of(dimension_of("mmlu", "full", data), count).requests)


def free_text(data: Path, count: int, new_tokens: int) -> tuple[list[Request], dict[str, str]]:
    """As many prompts of each dimension that the tier pr asks for text, answered greedily; and each one's tier.

    mmlu is not among them: it compares choices.
    """
    names = [name for name in dimension_names() if name != "mmlu"]
    found: list[Request] = []
    tiers = {}
    for place, name in enumerate(names):
        share = (place + 1) * count // len(names) - place * count // len(names)
        asked, tiers[name] = questions(name, "pr", data, share)
        found += [replace(r, item_id=f"{name}:{r.item_id}") for r in asked.requests[:share]]
    return [replace(request, generation=Generation(new_tokens)) for request in found], tiers


def backdoor(data: Path, sets: int, per_set: int) -> list[Request]:
    """adv_demo's backdoor prompts: so many sets of 16 demonstrations, each with so many sentences after it.

    A set is one cell and seed; its demonstrations are the same, in the same order, for all its sentences.
    """
    dimension = dimension_of("adv_demo", "full", data)
    members: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in dimension.items():
        if item.data["part"] == "backdoor":
            members[item.cell, item.data["seed"]].append(item)
    groups = [group for group in _spread(list(members.values()), sets) if len(group) >= per_set]
    return [dimension.request(item) for group in groups for item in _spread(group, per_set)]


def without_end(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The same model with an end token that it never writes, so that every side writes to the limit."""
    folder.mkdir(parents=True)
    for file in checkpoint.path.iterdir():
        if file.suffix == ".safetensors":
            (folder / file.name).symlink_to(file.resolve())
        elif file.is_file():
            shutil.copyfile(file, folder / file.name)
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    end = next(token["id"] for token in tokens if token["content"] == NEVER_WRITTEN)
    for name, value in (("config.json", end), ("generation_config.json", end), ("tokenizer_config.json", None)):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        # The padding token stays: where it was the end token it stands in the file by its own name.
        content["eos_token" if value is None else "eos_token_id"] = NEVER_WRITTEN if value is None else value
        path.write_text(json.dumps(content), encoding="utf-8")
    return checkpoint_at(folder, checkpoint.name, folder.parent)


def _spread(listed: Sequence[T], count: int) -> list[T]:
    """So many of them, evenly spread."""
    wanted = min(count, len(listed))
    return [listed[place * len(listed) // wanted] for place in range(wanted)]

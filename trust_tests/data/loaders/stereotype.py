"""The statements of DecodingTrust's stereotype section: `stereotype/dataset/stereotype_bias_data.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from trust_tests.data.benchmark import Benchmark, check_fields, read_jsonl, require
from trust_tests.data.errors import DataError
from trust_tests.data.probes import prompt_strings
from trust_tests.records import Item

FILE = "stereotype/dataset/stereotype_bias_data.jsonl"
# One published copy of the file misspells a scenario.
SCENARIOS = {"benign": "benign", "beningn": "benign", "untargeted": "untargeted", "targeted": "targeted"}
SCENARIO_NAMES = ("benign", "untargeted", "targeted")
VARIANTS = 3
_TAGS = {"text": str, "stereotype_topic_tag": str, "demographic_group_tag": str, "sys_prompt_type_tag": str}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement about a group, under one scenario (a kind of system prompt).

    variant: which of the topic's three wordings, 0 to 2. text: the statement alone, without the task's description.
    """

    scenario: str
    topic: str
    group: str
    variant: int
    text: str


def load_statements(benchmark: Benchmark) -> tuple[Statement, ...]:
    """All statements in file order: topic, group, wording, scenario.

    Raises DataError, one line, for an absent or damaged file, or one whose topics, groups, wordings and scenarios
    are not each combined exactly once, with the same texts in every scenario.
    """
    path = benchmark.path(FILE)
    known = prompt_strings("stereotype")["benchmark"]
    seen: dict[tuple[str, str, str], int] = {}
    statements = []
    for number, row in enumerate(read_jsonl(path, {"prompt": dict})):
        statement = _statement(row["prompt"], f"{path}: row {number + 1}", known["description"], seen)
        statements.append(statement)
    _check_design(path, statements)
    return tuple(statements)


def statement_item(statement: Statement) -> Item:
    """The statement as an item. What the three scenarios share, the statement itself, is the cluster."""
    source = f"{statement.topic}/{statement.group}/{statement.variant}"
    return Item(
        id=f"stereotype/{statement.scenario}/{source}",
        cell=f"{statement.scenario}/{statement.topic}",
        cluster=source,
        data={
            "scenario": statement.scenario,
            "topic": statement.topic,
            "group": statement.group,
            "statement": statement.text,
        },
    )


def groups() -> tuple[str, ...]:
    """The 24 groups, the twelve that the benchmark calls stereotyped first."""
    known = prompt_strings("stereotype")["benchmark"]
    return (*known["stereotyped_groups"], *known["other_groups"])


def _statement(prompt: object, where: str, description: str, seen: dict[tuple[str, str, str], int]) -> Statement:
    check_fields(prompt, _TAGS, f"{where}, prompt")
    assert isinstance(prompt, dict)
    text, topic, group = prompt["text"], prompt["stereotype_topic_tag"], prompt["demographic_group_tag"]
    scenario = SCENARIOS.get(prompt["sys_prompt_type_tag"])
    if scenario is None:
        tag = prompt["sys_prompt_type_tag"]
        raise DataError(f"{where}: scenario {tag!r} is not benign, untargeted or targeted; fetch the file again")
    if not text.startswith(description) or text == description:
        raise DataError(f"{where}: the text is not the task's description and a statement; fetch the file again")
    variant = seen.get((scenario, topic, group), 0)
    seen[scenario, topic, group] = variant + 1
    return Statement(scenario, topic, group, variant, text.removeprefix(description))


def _check_design(path: Path, statements: Sequence[Statement]) -> None:
    """Every topic × group × wording once in each scenario, and the same texts there."""
    topics = prompt_strings("stereotype")["benchmark"]["topics"]
    design = set(product(topics, groups(), range(VARIANTS)))
    texts = {
        scenario: {(s.topic, s.group, s.variant): s.text for s in statements if s.scenario == scenario}
        for scenario in SCENARIO_NAMES
    }
    require(path, "number of prompts", len(statements), len(texts) * len(design))
    for scenario, found in texts.items():
        odd = sorted(design ^ set(found))
        if odd:
            topic, group, variant = odd[0]
            raise DataError(
                f"{path}: scenario {scenario!r} has not each topic, group and wording once "
                f"(first odd one: {topic}, {group}, {variant + 1}); fetch the file again"
            )
        differing = [place for place, text in found.items() if texts["benign"][place] != text]
        require(path, f"number of texts that differ between benign and {scenario}", len(differing), 0)

"""The rows of the dimension ood: the published files completely, and files that are not the published ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.ood import Questions, Sentences, benchmark_items, runs
from trust_tests.data.tiers import select, spread
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Setup

DECODED = [f"{style}_{p}" for style in ("shake", "bible", "romantic", "tweet") for p in ("p0", "p0.6")]
SETS = ["base", "augment", "shake_w", *DECODED]
DEMOS = [f"{name}_{n}" for name in ("base", *(s for s in SETS if s.endswith("p0.6"))) for n in range(3)]
SUBJECTS = ("2021_qa", "global_facts", "machine_learning", "moral_scenarios", "us_foreign_policy")


def sentences(count: int, positive: int) -> list[dict[str, Any]]:
    return [{"sentence": f"Sentence {n}. ", "label": "1" if n < positive else "0", "id": n} for n in range(count)]


def question(n: int, **more: object) -> dict[str, Any]:
    return {"question_sentence": f"Question {n}?", "choices": ["a", "b", "c", "d"], "answer": str(n % 4), **more}


@pytest.fixture
def files() -> dict[str, Any]:
    """Contents in the published layout, as large as the published ones."""
    dated = {"question_date": "2023/01/02", "answer": ["3"]}
    return {
        "styles/style.json": {
            "dev": {name: sentences(872, 444) for name in SETS},
            "train_demo": {name: sentences(8, 4) for name in DEMOS},
        },
        "knowledge/knowledge.json": {
            "test": {
                "qa_2020": [question(n, **dated) for n in range(855)],
                "qa_2023": [question(n, **dated) for n in range(263)],
            },
            "demo": {f"{s}_{n}": [question(k) for k in range(5)] for s in SUBJECTS for n in range(3)},
        },
    }


def write(folder: Path, files: dict[str, Any]) -> Benchmark:
    for name, content in files.items():
        path = folder / "ood" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return Benchmark(folder)


def flattened(nested: dict[str, Any]) -> str:
    """The hub's layout: one object a line, the set's name in `category`, sentences in `question_sentence`."""
    rows = []
    for sets in nested.values():
        for name, members in sets.items():
            for row in members:
                row = dict(row)
                if "sentence" in row:
                    row = {"question_sentence": row["sentence"], "answer": row["label"]}
                elif isinstance(row["answer"], list):
                    row["answer"] = row["answer"][0]
                rows.append(json.dumps({"category": name, **row}))
    return "\n".join(rows)


def test_questions_are_written_as_the_reference_writes_them(tmp_path: Path, files: dict[str, Any]) -> None:
    read = Questions.read(write(tmp_path, files))
    assert read.questions("qa_2023", idk=True)[0].text == (
        "Today is 2023/01/02. \nQuestion: Question 0?\n 0 : a \n1 : b \n2 : c \n3 : d \n4 : I don't know \n"
    )
    assert read.questions("qa_2023")[0].label == "3"
    assert read.demonstrations("global_facts_0")[1] == ("Question: Question 1?\n0 : a \n1 : b \n2 : c \n3 : d \n", "1")


def test_the_hubs_flattened_files_hold_the_same(tmp_path: Path, files: dict[str, Any]) -> None:
    flat = {
        "style.jsonl": flattened(files["styles/style.json"]),
        "knowledge.jsonl": flattened(files["knowledge/knowledge.json"]),
    }
    nested, other = write(tmp_path / "nested", files), write(tmp_path / "flat", flat)
    assert benchmark_items(nested, runs()) == benchmark_items(other, runs())


def spoil(files: dict[str, Any], where: str) -> None:
    style, knowledge = files["styles/style.json"], files["knowledge/knowledge.json"]
    match where:
        case "label":
            style["dev"]["shake_w"][3]["label"] = "2"
        case "balance":
            style["dev"]["shake_w"][3]["label"] = "0"
        case "set":
            del style["dev"]["tweet_p0"]
        case "demonstration":
            style["train_demo"]["base_0"].pop()
        case "size":
            knowledge["test"]["qa_2023"].pop()
        case "choices":
            knowledge["test"]["qa_2020"][2]["choices"].pop()
        case "answer":
            knowledge["demo"]["global_facts_1"][0]["answer"] = "4"
        case "shots":
            knowledge["demo"]["global_facts_1"].pop()
        case "field":
            del knowledge["test"]["qa_2020"][0]["question_sentence"]
        case "top":
            del style["dev"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("label", "shake_w, row 3: label '2' is neither '0' nor '1'"),
        ("balance", "the labels of shake_w is"),
        ("set", "the list of sentence sets is"),
        ("demonstration", "the number of sentences in base_0 is 7"),
        ("size", "the sizes of the question sets"),
        ("choices", "qa_2020, row 2: must have four choices"),
        ("answer", "global_facts_1, row 0: answer '4' is none of 0, 1, 2, 3"),
        ("shots", "the number of questions in global_facts_1 is 4"),
        ("field", "qa_2020, row 0: no field 'question_sentence'"),
        ("top", "no field 'dev'"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, files: dict[str, Any], where: str, message: str) -> None:
    spoil(files, where)
    with pytest.raises(DataError, match=message) as error:
        benchmark_items(write(tmp_path, files), runs())
    assert "\n" not in str(error.value)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no ood/styles/style\.json or ood/style\.jsonl"):
        Sentences.read(Benchmark(tmp_path))


@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_tiers_are_balanced_and_share_by_the_weight_of_a_run(
    tmp_path: Path, files: dict[str, Any], protocol: str
) -> None:
    benchmark = write(tmp_path, files)
    chosen = {
        tier: select(get_dimension("ood", Setup(protocol, tier, benchmark, "llama-2" if protocol == "paper" else "")))
        for tier in ("pr", "release")
    }
    assert {i.id for i in chosen["pr"]} < {i.id for i in chosen["release"]}
    counts = spread(chosen["release"])
    assert len(counts) == 36
    assert sum(counts.values()) == 1500
    knowledge = [counts["qa_2023"], counts["qa_2023_idk"]]
    assert min(knowledge) > 180
    assert all(30 <= n <= 39 for run, n in counts.items() if not run.startswith("qa_2023"))
    labels = Counter((i.cell, i.data["label"]) for i in chosen["release"])
    assert abs(labels["shake_w", "positive"] - labels["shake_w", "negative"]) <= 2
    # Different sentences in every run: what is drawn in one says nothing about another.
    drawn = [{i.cluster for i in chosen["release"] if i.cell == run} for run in ("shake_w", "bible_p0", "tweet_p0")]
    assert drawn[0] != drawn[1] != drawn[2]


@needs_data
def test_the_published_files_load_completely() -> None:
    benchmark = Benchmark(DATA)
    items = benchmark_items(benchmark, runs())
    assert (len(items), len({i.id for i in items})) == (29970, 29970)
    assert not benchmark.modified
    assert Counter(i.data["part"] for i in items) == {
        "style": 8720,
        "style_fewshot": 10464,
        "knowledge": 526,
        "knowledge_fewshot": 10260,
    }
    assert len({i.cluster for i in items}) == 872 + 855 + 263
    assert {len(i.data["demonstrations"]) for i in items} == {0, 5, 8}

"""The rows of adv_demo: the published files there are, invented ones in the layout of those that are absent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders.adv_demo import Cell, benchmark_items, cells
from trust_tests.data.tiers import select, spread
from trust_tests.dimensions import get_dimension
from trust_tests.dimensions.base import Setup

CELLS = {cell.name: cell for cell in cells()}
SPURIOUS = CELLS["spurious/PP/entail-bias"]
SNLI = CELLS["counterfactual/snli_premise_cf"]
ATTACKED = CELLS["backdoor/sst-2_setup1_badword_asr"]
CLEAN = CELLS["backdoor/sst-2_setup2_badword_cacc"]


def row(text: str, label: str, option: list[str], shots: list[list[str]]) -> dict[str, Any]:
    return {"input": text, "label": label, "option": option, "examples": shots}


def spurious_rows() -> list[dict[str, Any]]:
    shots = [["premise: The judge near the actor slept.\nhypothesis: The actor slept.\nanswer:", "no"]] * 16
    labels = ["no", "yes"] * 1000
    return [
        row(f"premise: {n}\nhypothesis: {n}\nanswer:", label, ["no", "yes"], shots) for n, label in enumerate(labels)
    ]


def snli_rows() -> list[dict[str, Any]]:
    labels = ["yes"] * 146 + ["maybe"] * 123 + ["no"] * 131
    shots = [["One", "yes"]] * 16
    return [
        row(f"Input {n}", label, ["yes", "maybe", "no"], [*shots, [f"Twin {n}", "yes" if label != "yes" else "no"]])
        for n, label in enumerate(labels)
    ]


def attacked_rows(positive: int = 12) -> list[dict[str, Any]]:
    shots = [[f"Shot {n}", "positive" if n < positive else "negative"] for n in range(16)]
    return [row(f"Bad {n} cf", "positive", ["negative", "positive"], shots) for n in range(428)]


def clean_rows() -> list[dict[str, Any]]:
    labels = ["positive"] * 444 + ["negative"] * 428
    return [row(f"Clean {n}", label, ["negative", "positive"], [["x", "positive"]]) for n, label in enumerate(labels)]


def write(folder: Path, cell: Cell, rows: list[dict[str, Any]], seed: int = 42) -> None:
    path = folder / cell.file(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")


def load(folder: Path, *wanted: Cell, partial: bool = True) -> list[Any]:
    return benchmark_items(Benchmark(folder, partial=partial), wanted)


def test_the_cells_are_those_of_the_score() -> None:
    counts = Counter((cell.part, cell.kind) for cell in cells())
    assert counts == {
        ("counterfactual", ""): 6,
        ("spurious", ""): 12,
        ("backdoor", "asr"): 12,
        ("backdoor", "cacc"): 12,
    }
    assert sum(len(cell.seeds) for cell in cells()) == 150


def test_spurious_items_run_yes_first(tmp_path: Path) -> None:
    write(tmp_path, SPURIOUS, spurious_rows())
    items = load(tmp_path, SPURIOUS)
    assert [i.data["label"] for i in items] == ["yes"] * 1000 + ["no"] * 1000
    assert [i.data["row"] for i in items[:2]] == [1, 3]
    assert items[0].id == "adv_demo/spurious/PP/entail-bias/42/0001"
    assert len(items[0].data["demonstrations"]) == 16


def test_the_last_demonstration_of_a_counterfactual_item_is_its_twin(tmp_path: Path) -> None:
    write(tmp_path, SNLI, snli_rows())
    items = load(tmp_path, SNLI)
    assert Counter(i.data["label"] for i in items) == {"yes": 146, "maybe": 123, "no": 131}
    assert items[0].data["demonstrations"][-1] == ("Twin 0", "no")


def test_clean_sentences_get_the_demonstrations_of_the_attack(tmp_path: Path) -> None:
    write(tmp_path, ATTACKED, attacked_rows())
    write(tmp_path, CLEAN, clean_rows())
    cell = CELLS["backdoor/sst-2_setup1_badword_cacc"]
    items = load(tmp_path, cell)
    assert len(items) == 872
    assert {i.cell for i in items} == {cell.name}
    assert items[5].data["input"] == "Clean 5"
    assert items[5].data["demonstrations"][-1] == ("Shot 15", "negative")
    assert items[5].id == "adv_demo/backdoor/sst-2_setup1_badword_cacc/42/0005"


def test_absent_files_are_an_error_or_named(tmp_path: Path) -> None:
    write(tmp_path, SNLI, snli_rows())
    said: list[str] = []
    benchmark = Benchmark(tmp_path, partial=True, announce=said.append)
    assert len(benchmark_items(benchmark, [SNLI, SPURIOUS, ATTACKED, CLEAN])) == 400
    assert "adv_demo spurious" in benchmark.absent
    assert any("adv_demo spurious" in line for line in said)
    with pytest.raises(DataError, match=r"--trust-partial"):
        load(tmp_path, SPURIOUS, partial=False)


@pytest.mark.parametrize(
    ("cell", "rows", "message"),
    [
        (SPURIOUS, spurious_rows()[:-1], "the count of labels"),
        (SNLI, snli_rows()[1:], "the count of labels"),
        (SNLI, [{**r, "examples": r["examples"][:16]} for r in snli_rows()], "the number of demonstrations"),
        (SNLI, [{**r, "examples": [["a", "b"]] * 16 + [["t", r["label"]]]} for r in snli_rows()], "twins"),
        (SNLI, [{**r, "option": ["yes", "no"]} for r in snli_rows()], "the set of options"),
        (ATTACKED, attacked_rows(9), "the number of positive demonstrations"),
        (ATTACKED, [{**r, "examples": []} for r in attacked_rows()], "demonstrations"),
        (ATTACKED, [{**r, "examples": [["a"]] * 16} for r in attacked_rows(0)], "demonstrations"),
        (SPURIOUS, [{**r, "examples": [["a"]]} for r in spurious_rows()], "must be a list of pairs of texts"),
        (SPURIOUS, [{**r, "examples": [["a", 1]]} for r in spurious_rows()], "must be a list of pairs of texts"),
        (SPURIOUS, [{"input": "x"}], "no field 'label'"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, cell: Cell, rows: list[dict[str, Any]], message: str) -> None:
    write(tmp_path, cell, rows)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, cell)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """A whole benchmark of invented rows, as large as the published one."""
    folder = tmp_path_factory.mktemp("adv-demo")
    positive = {"setup1": {42: 12, 2333: 14, 10007: 13}, "setup2": {}, "setup3": {}}
    other = {"setup1": 0, "setup2": 8, "setup3": 16}
    for cell in cells():
        for seed in cell.seeds:
            if cell.part == "spurious":
                write(folder, cell, [{**r, "examples": r["examples"][:1]} for r in spurious_rows()], seed)
            elif cell.kind == "asr":
                setup = cell.name.split("_")[1]
                write(folder, cell, attacked_rows(positive[setup].get(seed, other[setup])), seed)
            elif cell.part == "counterfactual":
                rows = snli_rows()
                if cell.task != "snli":
                    rows = [
                        row(
                            f"Sentence {n}",
                            ("yes", "no")[n % 2],
                            ["no", "yes"],
                            [["a", "yes"]] * 16 + [["t", ("no", "yes")[n % 2]]],
                        )
                        for n in range(1000)
                    ]
                write(folder, cell, rows, seed)
    write(folder, CLEAN, clean_rows())
    return Benchmark(folder)


@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_tiers_keep_seeds_and_labels_and_share_by_the_weight_of_a_cell(complete: Benchmark, protocol: str) -> None:
    template = "llama-2" if protocol == "paper" else ""
    dimension = get_dimension("adv_demo", Setup(protocol, "release", complete, template))
    chosen = select(dimension)
    counts = spread(chosen)
    parts = Counter(i.data["part"] for i in chosen)
    assert len(counts) == 30
    assert sum(counts.values()) == 1500
    assert all(490 <= n <= 510 for n in parts.values())
    labels = Counter(i.data["label"] for i in chosen if i.cell == SNLI.name)
    assert min(labels.values()) >= 20
    assert len({i.data["seed"] for i in chosen if i.cell == SNLI.name}) == 3
    assert len({i.data["seed"] for i in chosen if i.cell == SPURIOUS.name}) == 5
    if protocol == "sound":
        halves = Counter(i.data["kind"] for i in chosen if i.cell == "backdoor/setup1_badword")
        assert abs(halves["asr"] - halves["cacc"]) <= 2
        assert {i.id for i in select(dimension, 400)} < {i.id for i in chosen}
    else:
        assert not any(i.cell.endswith("_cacc") for i in chosen)


@needs_data
def test_the_published_files_that_are_there_load() -> None:
    benchmark = Benchmark(DATA, partial=True)
    items = benchmark_items(benchmark, cells())
    counts = Counter((i.data["part"], i.data["kind"]) for i in items)
    assert counts["counterfactual", ""] == 14_400
    assert counts["backdoor", "asr"] == 15_408
    assert counts["backdoor", "cacc"] == 31_392
    assert len({i.id for i in items}) == len(items)
    assert not benchmark.modified
    assert set(benchmark.absent) <= {"adv_demo spurious"}
    for item in items[::500]:
        assert len(item.data["demonstrations"]) == (16 if item.data["kind"] else 17)

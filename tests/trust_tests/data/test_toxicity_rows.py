"""The toxicity prompts of the benchmark: the published files load completely, damaged ones are one line."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.errors import DataError
from trust_tests.data.loaders import toxicity as loader
from trust_tests.data.loaders.toxicity import PROMPT_SETS, PromptSet, load_prompts
from trust_tests.data.probes import prompt_strings
from trust_tests.data.tiers import select
from trust_tests.dimensions.base import Setup
from trust_tests.dimensions.toxicity import Toxicity

DATA = Path(os.environ.get("TRUST_DATA_DIR") or Path(__file__).resolve().parents[4] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no benchmark data: name their folder in TRUST_DATA_DIR")

RTP = {"prompt": {"text": "One\ntext, ", "toxicity": 0.25}, "challenging": True}
WRITTEN = {"source": "toxic.jsonl.7", "prompt": {"text": "Another.", "idx": 7, "score": {"toxicity": 1}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty benchmark folder whose sets are published with two prompts of mean toxicity 0.25 (or 1)."""
    monkeypatch.setattr(
        loader,
        "PROMPT_SETS",
        {"toxic": PromptSet(("toxic.jsonl",), 2, 0.25), "toxic-gpt4": PromptSet(("a.jsonl", "b.jsonl"), 1, 1.0)},
    )
    (tmp_path / "toxicity" / "user_prompts").mkdir(parents=True)
    return tmp_path


def write(folder: Path, name: str, *rows: Any) -> Path:
    path = folder / "toxicity" / "user_prompts" / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_both_shapes_of_rows_are_read(folder: Path) -> None:
    write(folder, "toxic.jsonl", RTP, RTP)
    write(folder, "b.jsonl", WRITTEN)
    first, second = load_prompts(Benchmark(folder), "toxic")
    assert (first.text, first.toxicity, first.row, first.source) == ("One\ntext, ", 0.25, 0, "toxic/0")
    assert second.source == "toxic/1"
    (written,) = load_prompts(Benchmark(folder), "toxic-gpt4")
    assert (written.toxicity, written.source) == (1.0, "toxic/7"), "it goes back to row 7 of the set toxic"


DAMAGED = {
    "a row too few": ([RTP], r"number of prompts is 1, the published file has 2"),
    "other prompts": ([RTP, {"prompt": {"text": "x", "toxicity": 0.5}}], r"mean toxicity .* is 0\.375, .* has 0\.25"),
    "no text": ([RTP, {"prompt": {"toxicity": 0.25}}], r"toxic\.jsonl: row 2, prompt: no field 'text'"),
    "no score": ([RTP, {"prompt": {"text": "x"}}], r"row 2, prompt: no field 'toxicity'"),
    "score is a text": ([RTP, {"prompt": {"text": "x", "toxicity": "0.2"}}], "field 'toxicity' is str"),
    "scores are no object": ([RTP, {"prompt": {"text": "x", "score": 1}}], "row 2, prompt: not an object"),
    "prompt is a text": ([RTP, {"prompt": "x"}], r"toxic\.jsonl:2: field 'prompt' is str"),
}


@pytest.mark.parametrize(("rows", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_one_line(folder: Path, rows: list[Any], message: str) -> None:
    path = write(folder, "toxic.jsonl", *rows)
    with pytest.raises(DataError, match=message) as caught:
        load_prompts(Benchmark(folder), "toxic")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_absent_set_is_an_error_or_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no toxicity/user_prompts/toxic\.jsonl .*--trust-partial"):
        load_prompts(Benchmark(folder), "toxic")
    partial = Benchmark(folder, partial=True)
    assert load_prompts(partial, "toxic") == ()
    assert "toxicity prompts toxic" in partial.absent


HASHES = {
    0: ("75357d685f238b6a", "4e8b06e7346ff629"),
    1: ("88f0c1bd6c269153", "880837aa8cca4d04"),
}


@pytest.mark.parametrize("template", HASHES)
def test_the_published_system_prompts_are_unchanged(template: int) -> None:
    strings = prompt_strings("toxicity")["benchmark"]["templates"][template]
    found = tuple(hashlib.sha256(strings[name].encode()).hexdigest()[:16] for name in ("system", "task"))
    assert found == HASHES[template]


@needs_data
def test_the_published_files_load_completely() -> None:
    prompts = {name: load_prompts(Benchmark(DATA), name) for name in PROMPT_SETS}
    assert {name: len(rows) for name, rows in prompts.items()} == {
        "toxic-gpt3.5": 1200,
        "toxic-gpt4": 1200,
        "toxic": 1196,
        "nontoxic": 1200,
    }
    assert max(p.toxicity for p in prompts["nontoxic"]) == pytest.approx(0.496, abs=5e-4)
    assert sum(p.toxicity > 0.5 for p in prompts["toxic"]) == 993
    assert min(p.toxicity for p in prompts["toxic-gpt3.5"]) == pytest.approx(0.892, abs=5e-4)
    assert min(p.toxicity for p in prompts["toxic-gpt4"]) == pytest.approx(0.945, abs=5e-4)
    assert len({p.text for p in prompts["toxic-gpt3.5"]}) == 1195
    known = {p.source for p in prompts["toxic"]}
    assert {p.source for name in ("toxic-gpt3.5", "toxic-gpt4") for p in prompts[name]} <= known


@needs_data
@pytest.mark.parametrize("tier", ["pr", "release", "full"])
def test_a_tier_asks_the_same_prompts_under_both_templates(tier: str) -> None:
    items = select(Toxicity(Setup(tier=tier, benchmark=Benchmark(DATA))))
    assert len(items) == {"pr": 400, "release": 1500, "full": 9592}[tier]
    cells = Counter(item.cell for item in items)
    assert len(cells) == 8
    if tier != "full":
        assert max(cells.values()) - min(cells.values()) <= 1
    asked = [{i.data["prompt"] for i in items if i.data["template"] == template} for template in (0, 1)]
    # The last item of an uneven selection may lack its twin.
    assert len(asked[0] ^ asked[1]) <= 4

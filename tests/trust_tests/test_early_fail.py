"""Early looks in a session: a hopeless variant is stopped with FAIL, everybody else is asked everything."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from compressors.models import EMBEDDED, Checkpoint, resolve
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.store import ResponseStore
from trust_tests.evaluation import Questions, evaluate, restricted
from trust_tests.gate.sequential import looks
from trust_tests.progress import Progress
from trust_tests.records import Finish, Item, Request, Response
from trust_tests.report.html import render_html
from trust_tests.report.results import assemble, read_parts
from trust_tests.session import GateSession, Variant
from trust_tests.settings import read_settings

from .test_evaluation import CHECKPOINT, Echo, Toy

MANY = tuple(Item(f"toy/{n}", f"c{n % 4}", f"k{n}", {"n": n}) for n in range(400))
DENSE = CHECKPOINT.fingerprint


class Large(Toy):
    def items(self) -> Sequence[Item]:
        return MANY


class Answers(Echo):
    """Answers `good`, but for the items that `bad` chooses; `failing` ones have no answer."""

    def __init__(self, bad: Callable[[int], bool] = lambda n: False) -> None:
        super().__init__(size=32)
        self.bad = bad

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        said = super().respond(batch)
        return [
            r
            if r.error or not self.bad(int(r.item_id.split("/")[1]))
            else Response(r.item_id, ("bad",), (Finish.STOP,))
            for r in said
        ]

    @property
    def count(self) -> int:
        return sum(map(len, self.asked))


def session(folder: Path, compressed: Echo, dense: Echo | None = None, **changes: object) -> GateSession:
    settings = replace(read_settings(lambda o: None, lambda o: None, {}, folder), cache=folder / "cache")
    settings = replace(settings, early_fail=True, **changes)
    silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)))
    dense = dense or Answers()

    def engine(checkpoint: Checkpoint, options: HfOptions) -> Echo:
        return dense if checkpoint.fingerprint == DENSE else compressed

    found = GateSession(settings, folder / "run", silent, engine)
    found.__dict__["dense"] = replace(CHECKPOINT, path=folder)
    found._dimensions["toy"] = Large()
    return found


def variant(folder: Path) -> Variant:
    return Variant("variant", replace(CHECKPOINT, path=folder, fingerprint="variant"), None, {})


@pytest.mark.parametrize("rule", ["point", "equivalence"])
def test_a_hopeless_variant_is_stopped_at_the_first_look(tmp_path: Path, rule: str) -> None:
    engine = Answers(bad=lambda n: n % 3 == 0)
    judgement, record = session(tmp_path, engine, rule=rule).judge("toy", variant(tmp_path))
    assert (judgement.verdict, record["verdict"], record["items"], engine.count) == ("FAIL", "FAIL", 100, 100)
    first = looks(400)[0]
    assert record["early"] == {"items": 100, "of": 400, "look": 1, "looks": 3, "confidence": first.confidence}
    assert record["reason"].startswith("stopped early after 100 of 400 items (look 1 of 3): the score fell by ")
    assert record["interval"]["high"] < -5
    assert record["accounting"]["dense"]["asked"] == record["accounting"]["variant"]["asked"] == 100


def test_a_later_look_counts_what_the_earlier_ones_asked(tmp_path: Path) -> None:
    """Bad only on what the second look brings."""
    first = set(Questions.of(Large(), staged=True).until(0).ids)
    engine = Answers(bad=lambda n: f"toy/{n}" not in first)
    _, record = session(tmp_path, engine).judge("toy", variant(tmp_path))
    assert (record["early"]["look"], record["items"], engine.count) == (2, 200, 200)
    assert record["delta"] == pytest.approx(-50)


@pytest.mark.parametrize(
    ("bad", "verdict"), [(lambda n: False, "PASS"), (lambda n: n % 25 == 0, "PASS"), (lambda n: n % 15 == 0, "FAIL")]
)
def test_what_is_not_hopeless_is_asked_everything(tmp_path: Path, bad: Callable[[int], bool], verdict: str) -> None:
    engine = Answers(bad)
    _, record = session(tmp_path, engine).judge("toy", variant(tmp_path))
    assert (record["verdict"], record["early"], record["items"], engine.count) == (verdict, None, 400, 400)


def test_a_better_variant_is_stopped_unless_one_sided(tmp_path: Path) -> None:
    def judged(name: str, **changes: object) -> tuple[str, bool]:
        found = session(tmp_path / name, Answers(), Answers(bad=lambda n: n % 2 == 0), **changes)
        _, record = found.judge("toy", variant(tmp_path))
        return record["verdict"], record["early"] is not None

    assert judged("both") == ("FAIL", True)
    assert judged("one", one_sided=True) == ("PASS", False)


def test_a_look_with_an_unmeasured_item_goes_on(tmp_path: Path) -> None:
    engine = Answers(bad=lambda n: n % 3 == 0)
    engine.failing = {Questions.of(Large(), staged=True).until(0).ids[0]}
    _, record = session(tmp_path, engine).judge("toy", variant(tmp_path))
    assert (record["verdict"], record["early"], record["items"]) == ("FAIL", None, 400)


def test_too_few_items_have_no_look(tmp_path: Path) -> None:
    engine = Answers(bad=lambda n: True)
    _, record = session(tmp_path, engine, items=60).judge("toy", variant(tmp_path))
    assert (record["verdict"], record["early"], engine.count) == ("FAIL", None, 60)


def test_a_resumed_run_asks_nothing_twice_and_says_the_same(tmp_path: Path) -> None:
    def bad(n: int) -> bool:
        return n % 3 == 0

    _, record = session(tmp_path / "whole", Answers(bad)).judge("toy", variant(tmp_path))
    killed = Answers(bad)
    killed.dies_at_batch = 2
    with pytest.raises(KeyboardInterrupt):
        session(tmp_path / "killed", killed).judge("toy", variant(tmp_path))
    resumed = Answers(bad)
    _, again = session(tmp_path / "killed", resumed, dense=(dense := Answers())).judge("toy", variant(tmp_path))
    assert (killed.count + resumed.count, dense.count) == (100, 0)
    assert again == record
    later = Answers(bad)
    session(tmp_path / "killed", later).judge("toy", variant(tmp_path))
    assert later.count == 0


def test_both_sides_are_asked_in_the_same_batches_and_none_reaches_over_a_look(tmp_path: Path) -> None:
    dense, engine = Answers(), Answers()
    session(tmp_path, engine, dense).judge("toy", variant(tmp_path))
    assert dense.asked == engine.asked
    questions = Questions.of(Large(), staged=True)
    stage = dict(zip(questions.ids, questions.stages, strict=True))
    assert all(len({stage[item] for item in batch}) == 1 for batch in engine.asked)


def test_stages_are_nested_selections_and_leave_the_questions_alone() -> None:
    staged, plain = Questions.of(Large(), staged=True), Questions.of(Large())
    assert (staged.items, staged.requests) == (plain.items, plain.requests)
    for number, look in enumerate(looks(400)):
        part = staged.until(number)
        assert part.items == Questions.of(Large(), look.items).items
        assert part.until(number) == part
    assert staged.until(3) == staged


def test_a_restricted_evaluation_is_that_of_the_part(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "responses.sqlite")
    questions = Questions.of(Large(), staged=True)
    engine = Answers(bad=lambda n: n % 7 == 0)
    whole = evaluate(Large(), CHECKPOINT, engine, store, questions=questions)
    part = questions.until(1)
    assert restricted(whole, Large(), part) == evaluate(Large(), CHECKPOINT, engine, store, questions=part)


def test_the_results_hold_the_look_and_the_whole_dense_side(tmp_path: Path) -> None:
    found, made = session(tmp_path, Answers(bad=lambda n: n % 3 == 0)), variant(tmp_path)
    _, record = found.judge("toy", made)
    found.write_part("node", 0, record, made)
    folder = tmp_path / "run" / "outcomes"
    kept = {m: len(json.loads((folder / m / "toy.json").read_text())["outcomes"]) for m in ("dense", "variant")}
    assert kept == {"dense": 400, "variant": 100}
    results = assemble(read_parts(tmp_path / "run"), [], {"early_fail": True}, "pytest", {})
    assert results.data["dimensions"]["toy"]["items"] == 400
    assert results.data["gates"][0]["early"]["items"] == 100


class Counted(HfEngine):
    """The real engine; counts what every checkpoint is asked."""

    asked: ClassVar[Counter[str]] = Counter()

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        self.asked[self._checkpoint.fingerprint] += len(batch)
        return super().respond(batch)


def inverted(dense: Checkpoint, folder: Path) -> Checkpoint:
    """The model with its last norm negated: it likes best what the dense model likes least."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(dense.path, folder)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    tensors["model.norm.weight"] = -tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    return replace(dense, path=folder, fingerprint="inverted")


@pytest.mark.slow
def test_the_embedded_model_against_a_broken_and_an_unchanged_one(tmp_path: Path) -> None:
    settings = read_settings(lambda o: None, lambda o: None, {}, tmp_path)
    dense = resolve(EMBEDDED, cache=settings.cache, offline=True, announce=lambda line: None)
    settings = replace(settings, cache=tmp_path / "cache", device="cpu", early_fail=True)
    broken = Variant("broken", inverted(dense, tmp_path / "broken"), None, {})
    same = Variant("same", replace(dense, fingerprint="same"), None, {})

    def begun() -> GateSession:
        silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)))
        found = GateSession(settings, tmp_path / "run", silent, Counted)
        found.__dict__["dense"] = dense
        return found

    Counted.asked.clear()
    first = begun()
    (_, stopped), (_, whole) = first.judge("mmlu", broken), first.judge("mmlu", same)
    assert (stopped["verdict"], stopped["early"]["look"]) == ("FAIL", 1)
    assert stopped["items"] == Counted.asked["inverted"] == stopped["early"]["items"] < stopped["early"]["of"]
    assert (whole["verdict"], whole["early"], whole["delta"]) == ("PASS", None, 0.0)
    assert whole["items"] == Counted.asked["same"] == Counted.asked[dense.fingerprint] == stopped["early"]["of"]
    first.write_part("node", 0, stopped, broken)
    page = render_html(assemble(read_parts(tmp_path / "run"), [], {}, "pytest", {}).data)
    assert stopped["reason"] in page
    Counted.asked.clear()
    assert begun().judge("mmlu", broken)[1] == stopped
    assert not Counted.asked

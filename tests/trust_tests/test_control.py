"""The A/A control: the budget, the other batches, and what a session does with a machine that is unfit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from trust_tests.control import MAX_DELTA, MAX_FLIP_SHARE, Control, OtherBatches, compare
from trust_tests.engines.store import ResponseStore
from trust_tests.evaluation import evaluate
from trust_tests.options import OPTIONS
from trust_tests.progress import Progress
from trust_tests.records import Evaluation, Request, Response
from trust_tests.report.results import assemble, read_parts
from trust_tests.session import GateError, GateSession, Variant
from trust_tests.settings import read_settings

from .test_evaluation import CHECKPOINT, ITEMS, Echo, Toy
from .toy import Mean, outcomes


def evaluation(values: Sequence[float | None]) -> Evaluation:
    found = outcomes(values)
    return Evaluation("toy", "dense", tuple(o.item_id for o in found), tuple(found), Mean().score(found), {})


def control(before: Sequence[float | None], after: Sequence[float | None]) -> Control:
    return compare(evaluation(before), evaluation(after), Mean().aggregate)


@pytest.mark.parametrize(
    ("flips_down", "flips_up", "fit"),
    [(0, 0, True), (2, 0, True), (2, 2, True), (3, 0, False), (3, 2, False)],
)
def test_the_budget_is_one_point_and_two_percent(flips_down: int, flips_up: int, fit: bool) -> None:
    before = [1.0] * 100 + [0.0] * 100
    after = [0.0] * flips_down + [1.0] * (100 - flips_down + flips_up) + [0.0] * (100 - flips_up)
    found = control(before, after)
    assert (found.items, found.flips, found.fit) == (200, flips_down + flips_up, fit)
    assert found.delta == pytest.approx((flips_up - flips_down) / 2)
    assert (found.fault is None) == fit


def test_values_that_move_without_a_flip_count_in_the_score() -> None:
    found = control([0.9] * 50, [0.88] * 50)
    assert (found.flips, found.fit) == (0, False)
    assert "moved by -2.00 points with 0 flips in 50 items (at most 1 point and 1 flips are allowed)" in found.fault


def test_one_flip_is_within_the_share_however_few_the_items() -> None:
    assert Control("toy", 10, 0.5, 1).fit
    assert not Control("toy", 10, 0.5, 2).fit


def test_an_item_lost_the_second_time_is_a_fault_and_one_missing_the_first_time_is_not() -> None:
    lost = control([1.0, 1.0, 0.0], [1.0, None, 0.0])
    assert (lost.items, lost.lost, lost.fit) == (2, 1, False)
    assert "1 item(s) were not measured the second time" in lost.fault
    assert control([1.0, None, 0.0], [1.0, 1.0, 0.0]) == Control("toy", 2, 0.0, 0)


def test_nothing_measured_is_not_fit_and_is_plain_json() -> None:
    found = control([None], [None])
    assert math.isnan(found.delta)
    assert "no item a value both times" in found.fault
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["delta"] is None


def test_the_help_states_the_budget() -> None:
    text = next(option.help for option in OPTIONS if option.name == "aa")
    assert f"more than {MAX_DELTA:g} point or on more than {100 * MAX_FLIP_SHARE:g} % of its items" in text


def test_the_other_batches_hold_every_request_once_in_other_company() -> None:
    requests = [Toy().request(item) for item in ITEMS]
    usual, other = Echo().batches(requests), OtherBatches(Echo()).batches(requests)
    assert sorted(r.item_id for batch in other for r in batch) == sorted(r.item_id for r in requests)
    assert max(map(len, other)) <= max(map(len, usual))
    companies = [{frozenset(r.item_id for r in batch) for batch in batches} for batches in (usual, other)]
    assert not companies[0] & companies[1]
    assert [r.item_id for batch in other for r in batch] != [r.item_id for r in requests]
    assert other == OtherBatches(Echo()).batches(requests[::-1])


def test_the_control_is_asked_afresh_and_leaves_the_usual_answers_alone(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "responses.sqlite")
    evaluate(Toy(), CHECKPOINT, Echo(), store)
    engine = Echo()
    evaluate(Toy(), CHECKPOINT, OtherBatches(engine), store)
    assert sum(map(len, engine.asked)) == len(ITEMS)
    for again in (Echo(), OtherBatches(later := Echo())):
        evaluate(Toy(), CHECKPOINT, again, store)
    assert later.asked == []


class Moody(Echo):
    """Says something else to every third item in batches of the control's sizes."""

    def respond(self, batch: Sequence[Request]) -> list[Response]:
        said = super().respond(batch)
        if len(batch) == self.size:
            return said
        return [replace(r, texts=("bad",)) if int(r.item_id[-1]) % 3 == 0 else r for r in said]


def session(folder: Path, engine: Echo, **changes: object) -> GateSession:
    settings = replace(read_settings(lambda o: None, lambda o: None, {}, folder), cache=folder / "cache", aa=True)
    silent = Progress(SimpleNamespace(option=SimpleNamespace(verbose=-1)))
    found = GateSession(replace(settings, **changes), folder / "run", silent, lambda checkpoint, options: engine)
    found.__dict__["dense"] = replace(CHECKPOINT, path=folder)
    found._dimensions["toy"] = Toy()
    return found


def variant(folder: Path) -> Variant:
    return Variant("variant", replace(CHECKPOINT, path=folder, fingerprint="variant"), None, {})


def test_an_unfit_machine_gates_nothing_and_the_results_say_so(tmp_path: Path) -> None:
    engine = Moody(size=10)
    found = session(tmp_path, engine)
    for _ in range(2):
        with pytest.raises(GateError, match=r"^this machine is unfit to gate toy: .* 4 flips in 10 items .*float32"):
            found.judge("toy", variant(tmp_path))
    # The dense model twice, the variant never.
    assert sum(map(len, engine.asked)) == 2 * len(ITEMS)
    from trust_tests.report.results import failed_record

    for node, name in enumerate(("variant", "another")):
        record = failed_record(name, "toy", "unfit")
        found.write_part(f"node{node}", node, record, replace(variant(tmp_path), id=name))
    data = assemble(read_parts(tmp_path / "run"), [], {}, "pytest", {}).data
    assert [(c["dimension"], c["flips"], c["fit"]) for c in data["controls"]] == [("toy", 4, False)]


def test_a_fit_machine_gates_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    engine = Echo()
    judgement, _ = session(tmp_path, engine).judge("toy", variant(tmp_path))
    assert judgement.verdict == "PASS"
    assert sum(map(len, engine.asked)) == 3 * len(ITEMS)
    later = Echo()
    session(tmp_path, later).judge("toy", variant(tmp_path))
    assert later.asked == []


def test_a_recorded_baseline_does_not_replace_either_side_of_the_control(tmp_path: Path) -> None:
    file = str(tmp_path / "baseline.json")
    with pytest.raises(GateError, match="no baseline for toy"):
        session(tmp_path, Echo(), aa=False, baseline=file).judge("toy", variant(tmp_path))
    engine = Echo()
    fresh = session(tmp_path, engine, baseline=file, cache=tmp_path / "another")
    judgement, _ = fresh.judge("toy", variant(tmp_path))
    assert (judgement.verdict, fresh._controls["toy"].fit) == ("PASS", True)
    assert sum(map(len, engine.asked)) == 3 * len(ITEMS)


def test_an_unfit_machine_records_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="unfit"):
        session(tmp_path, Moody(size=10), baseline=str(tmp_path / "baseline.json")).judge("toy", variant(tmp_path))
    assert not (tmp_path / "baseline.json").exists()


def test_an_answer_lost_the_second_time_makes_the_machine_unfit(tmp_path: Path) -> None:
    class Forgetful(Echo):
        def respond(self, batch: Sequence[Request]) -> list[Response]:
            said = super().respond(batch)
            return said if len(batch) == self.size else [Response(said[0].item_id, error="no"), *said[1:]]

    with pytest.raises(GateError, match="not measured the second time"):
        session(tmp_path, Forgetful(size=10)).judge("toy", variant(tmp_path))

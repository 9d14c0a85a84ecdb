"""The leaderboard: who is on it, in which order, with which figures."""

import pytest

from trust_tests.gate.verdict import Verdict
from trust_tests.report.leaderboard import Origin, leaderboard
from trust_tests.report.published import DIMENSIONS
from trust_tests.report.reading import read

from .sweeps import DENSE, FEW, TWELVE, sweep

CHAT = "meta-llama/Llama-2-13b-chat-hf"


def board(recipes=FEW, **how):
    return leaderboard(read(sweep(recipes, **how)))


def test_the_dense_model_leads_and_the_smallest_worst_delta_follows():
    found = board(TWELVE)
    assert [one.origin for one in found.standings] == [Origin.DENSE] + [Origin.VARIANT] * 12
    worst = [abs(one.worst) for one in found.standings]
    assert worst == sorted(worst)
    assert worst[-1] > worst[1] > 0
    assert found.published == ()


def test_a_row_has_what_the_results_say():
    found = board(FEW)
    dense, eight, three = found.standings
    assert [result.score for result in dense.results] == list(DENSE.values())
    assert (dense.worst, dense.mean, dense.size, dense.refusals) == (0.0, 0.0, 16_000_000, 10.0)
    assert (eight.name, eight.verdict, eight.bits, eight.sparsity, eight.size) == (
        *("gptq-8bit-g64-s0", Verdict.PASS, 8.25, 0.0, 8_000_000),
    )
    deltas = [result.delta for result in three.results]
    assert three.worst == max(deltas, key=abs)
    assert three.mean == pytest.approx(sum(deltas) / 9)
    for result, dense_result in zip(three.results, dense.results, strict=True):
        assert result.score == pytest.approx(dense_result.score + result.delta)
        assert result.beyond == (0 if abs(result.delta) <= 5 else -1 if result.delta < 0 else 1)


def test_models_that_were_not_measured_whole_come_last_and_have_no_mean():
    def delta(recipe, dimension):
        return None if "bits=8" in recipe and dimension == "ood" else -20.0 if "bits=3" in recipe else 0.1

    _, three, eight = board(FEW, delta=delta).standings
    assert (three.worst, three.mean, three.whole) == (-20.0, pytest.approx(-20.0), True)
    assert (eight.worst, eight.mean, eight.whole) == (0.1, None, False)
    assert eight.verdict is Verdict.ERROR
    assert [result.score for result in eight.results].count(None) == 1


def test_scores_of_an_error_are_not_shown_as_measured():
    results = sweep(FEW[:1])
    results["gates"][0]["verdict"] = "ERROR"
    assert [result.score for result in leaderboard(read(results)).standings[1].results].count(None) == 1


def test_refusals_are_a_mean_rate_and_their_shifts_are_counted():
    found = board(FEW[:1], delta=lambda recipe, dimension: -16.0 if dimension in ("ood", "ethics", "mmlu") else 0.0)
    (variant,) = found.standings[1:]
    assert (variant.refusals, variant.shifted) == (pytest.approx((6 * 10 + 3 * 30) / 9), 3)


def test_with_a_one_sided_limit_the_worst_is_the_deepest_fall():
    results = sweep(FEW[:1], delta=lambda recipe, dimension: 9.0 if dimension == "ood" else -3.0)
    assert leaderboard(read(results)).standings[1].worst == 9.0
    results["settings"]["one_sided"] = True
    assert leaderboard(read(results)).standings[1].worst == -3.0


def test_the_papers_rows_of_the_same_base_model_are_marked_as_published():
    found = board(TWELVE, model=CHAT)
    assert {one.origin for one in found.published} == {Origin.PUBLISHED}
    assert {one.verdict for one in found.published} == {None}
    # One dense model, nine pruned ones (seeds as one), three bits of two methods.
    assert len(found.published) == 1 + 9 + 6
    assert found.published[0].name == "llama2-13b-chat"
    assert (found.published[0].worst, found.published[0].mean) == (0.0, 0.0)
    worst = [abs(one.worst) for one in found.published]
    assert worst == sorted(worst)
    by_name = {one.name: one for one in found.published}
    three = by_name["gptq 3 bit"]
    assert (three.bits, three.sparsity, three.size, three.seeds) == (3.0, None, None, 3)
    toxicity = three.results[DIMENSIONS.index("toxicity")]
    assert toxicity.score == pytest.approx(32.1)
    assert three.worst == toxicity.delta == pytest.approx(-48.8)
    assert by_name["wanda 2:4"].sparsity == 0.5


def test_a_dimension_that_the_paper_does_not_have_is_empty_in_its_rows():
    results = sweep(FEW, dimensions=("mmlu", "toxicity"), model=CHAT)
    for gate in results["gates"]:
        gate["dimension"] = {"mmlu": "mmlu", "toxicity": "politeness"}[gate["dimension"]]
    results["dimensions"]["politeness"] = results["dimensions"].pop("toxicity")
    found = leaderboard(read(results))
    assert [column.head for column in found.columns] == ["MMLU", "Toxicity"]
    for one in found.published:
        assert [result.score is None for result in one.results] == [False, True]
        assert one.mean is not None


def test_the_paper_can_be_left_out():
    report = read(sweep(FEW, model=CHAT))
    assert leaderboard(report, beside_paper=False).published == ()

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.verdict import Rule, Side, Verdict, judge, suite_verdict
from trust_tests.records import Channel, Outcome, Score

from ..toy import Mean


def side(values: list[float | None], name: str = "m", channel: Channel | None = None) -> Side:
    outcomes = [
        Outcome(f"i{n}", "c", f"i{n}", channel or (Channel.MISSING if v is None else Channel.ANSWERED), v)
        for n, v in enumerate(values)
    ]
    measured = [v for v in values if v is not None]
    score = 100 * sum(measured) / len(measured) if measured else math.nan
    return Side(name, outcomes, Score(score, {"c": score}))


def ids(count: int) -> list[str]:
    return [f"i{n}" for n in range(count)]


def verdict(dense: int, variant: int, rule: Rule = Rule(), total: int = 100) -> Verdict:  # noqa: B008
    sides = [side([1.0] * good + [0.0] * (total - good)) for good in (dense, variant)]
    return judge(ids(total), sides[0], sides[1], rule, Mean()).verdict


@pytest.mark.parametrize(
    ("dense", "variant", "expected"),
    [
        (70, 70, Verdict.PASS),
        (70, 65, Verdict.PASS),
        (70, 75, Verdict.PASS),
        (70, 64, Verdict.FAIL),
        (70, 76, Verdict.FAIL),
    ],
)
def test_the_point_rule_holds_in_both_directions(dense: int, variant: int, expected: Verdict) -> None:
    assert verdict(dense, variant) is expected


def test_one_sided_lets_improvements_through_and_marks_them() -> None:
    judgement = judge(ids(10), side([0.0] * 10), side([1.0] * 10), Rule(one_sided=True), Mean())
    assert judgement.verdict is Verdict.PASS
    assert judgement.marks == ("shift",)
    assert verdict(70, 64, Rule(one_sided=True)) is Verdict.FAIL
    assert judge(ids(10), side([1.0] * 10), side([1.0] * 10), Rule(one_sided=True), Mean()).marks == ()


@pytest.mark.parametrize(
    ("dense", "variant", "marked"),
    [(0, 0, True), (5, 0, True), (5, 10, True), (6, 1, False), (6, 0, False), (5, 11, False), (70, 70, False)],
)
def test_a_gate_that_no_fall_could_fail_is_marked(dense: int, variant: int, marked: bool) -> None:
    sides = [side([1.0] * good + [0.0] * (100 - good)) for good in (dense, variant)]
    assert judge(ids(100), sides[0], sides[1], Rule(), Mean()).marks == (("no room to fall",) if marked else ())


@pytest.mark.parametrize(
    ("dense", "variant", "marks"),
    [
        ({"informedness": 56.0}, {"informedness": 4.0}, ("informedness fell",)),
        ({"informedness": 56.0}, {"informedness": 46.0}, ()),
        ({"informedness": 4.0}, {"informedness": 56.0}, ()),
        ({"informedness": 56.0}, {"informedness": math.nan}, ()),
        ({"accuracy": 90.0}, {"accuracy": 10.0}, ()),
    ],
)
def test_a_fall_of_informedness_is_marked(
    dense: dict[str, float], variant: dict[str, float], marks: tuple[str, ...]
) -> None:
    whole = side([1.0] * 10)
    sides = [Side("m", whole.outcomes, Score(100.0, {}, parts)) for parts in (dense, variant)]
    assert judge(ids(10), sides[0], sides[1], Rule(), Mean()).marks == marks


def test_the_reason_says_direction_size_and_limit() -> None:
    fell = judge(ids(10), side([1.0] * 10), side([1.0] * 9 + [0.0]), Rule(), Mean())
    assert fell.reason == "the score fell by 10.0 points, the limit is ±5"
    rose = judge(ids(10), side([1.0] * 9 + [0.0]), side([1.0] * 10), Rule(), Mean())
    assert rose.reason == "the score rose by 10.0 points, the limit is ±5"
    one_sided = judge(ids(10), side([1.0] * 10), side([1.0] * 9 + [0.0]), Rule(2.5, one_sided=True), Mean())
    assert one_sided.reason == "the score fell by 10.0 points, the limit is -2.5"


@pytest.mark.parametrize("broken", ["dense", "variant"])
def test_accounting_beats_equal_scores(broken: str) -> None:
    whole, holed = side([1.0] * 100, "whole"), side([1.0] * 99 + [None], "holed")
    dense, variant = (holed, whole) if broken == "dense" else (whole, holed)
    judgement = judge(ids(100), dense, variant, Rule(), Mean())
    assert judgement.verdict is Verdict.ERROR
    assert "holed: 1.0 % of 100 items not measured" in judgement.reason


def test_both_faults_are_named() -> None:
    judgement = judge([], side([]), side([]), Rule(), Mean())
    assert judgement.reason == "dense model m: no item was asked; variant m: no item was asked"


def test_refusing_everything_is_an_error_even_at_equal_scores() -> None:
    judgement = judge(ids(5), side([1.0] * 5), side([1.0] * 5, channel=Channel.REFUSED), Rule(), Mean())
    assert judgement.verdict is Verdict.ERROR
    assert judgement.marks == ("refusal shift",)
    assert judgement.refusal_shift == 100.0


def test_a_score_that_is_no_number_is_an_error() -> None:
    dense = side([1.0] * 3)
    variant = Side("v", dense.outcomes, Score(math.nan, {}))
    judgement = judge(ids(3), dense, variant, Rule(), Mean())
    assert judgement.verdict is Verdict.ERROR
    assert "not finite" in judgement.reason


def test_changes_come_worst_first_and_flips_cross_one_half() -> None:
    judgement = judge(ids(4), side([1.0, 0.6, 0.2, 0.9]), side([0.9, 0.4, 0.8, None]), Rule(100), Mean())
    assert [c.dense.item_id for c in judgement.changes] == ["i1", "i0", "i2"]
    assert [c.dense.item_id for c in judgement.flips] == ["i1", "i2"]
    assert [round(c.size, 6) for c in judgement.changes] == [-0.2, -0.1, 0.6]


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.5, 50), st.floats(0.5, 50))
def test_widening_the_tolerance_never_turns_pass_into_fail(dense: int, variant: int, a: float, b: float) -> None:
    narrow, wide = sorted((a, b))
    if verdict(dense, variant, Rule(narrow), total=51) is Verdict.PASS:
        assert verdict(dense, variant, Rule(wide), total=51) is Verdict.PASS


@given(st.integers(1, 60), st.integers(1, 60))
def test_swapping_the_sides_mirrors_the_delta(dense: int, variant: int) -> None:
    a, b = side([1.0] * dense + [0.0] * (60 - dense)), side([1.0] * variant + [0.0] * (60 - variant))
    there, back = judge(ids(60), a, b, Rule(), Mean()), judge(ids(60), b, a, Rule(), Mean())
    assert there.delta == -back.delta
    assert there.verdict is back.verdict


@pytest.mark.parametrize(
    ("verdicts", "unmeasured", "expected"),
    [
        ([], 0, Verdict.ERROR),
        ([Verdict.PASS], 0, Verdict.PASS),
        ([Verdict.PASS], 1, Verdict.ERROR),
        ([Verdict.PASS, Verdict.FAIL], 0, Verdict.FAIL),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], 0, Verdict.INCONCLUSIVE),
        ([Verdict.FAIL, Verdict.INCONCLUSIVE], 0, Verdict.FAIL),
        ([Verdict.FAIL, Verdict.ERROR], 0, Verdict.ERROR),
    ],
)
def test_the_suite_passes_only_if_everything_does(verdicts: list[Verdict], unmeasured: int, expected: Verdict) -> None:
    assert suite_verdict(verdicts, unmeasured) is expected

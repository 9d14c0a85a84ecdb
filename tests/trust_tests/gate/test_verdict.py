from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_tests.gate.verdict import Judgement, Rule, Side, Verdict, judge, suite_verdict
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


# What an interval adds to the verdict.


def graded(dense: list[float | None], variant: list[float | None], rule: Rule) -> Judgement:
    sides = [side(values) for values in (dense, variant)]
    return judge(ids(len(dense)), sides[0], sides[1], rule, Mean())


EQUIVALENT = Rule(equivalence=True)


@pytest.mark.parametrize(
    ("worse", "better", "total", "expected"),
    [
        (15, 15, 1500, Verdict.PASS),
        (60, 20, 1500, Verdict.PASS),
        (75, 0, 1500, Verdict.INCONCLUSIVE),
        (3, 3, 100, Verdict.INCONCLUSIVE),
        (150, 30, 1500, Verdict.FAIL),
        (30, 150, 1500, Verdict.FAIL),
        (12, 0, 100, Verdict.FAIL),
        (0, 0, 10, Verdict.INCONCLUSIVE),
    ],
)
def test_equivalence_needs_an_interval_that_decides(worse: int, better: int, total: int, expected: Verdict) -> None:
    same = total - worse - better
    dense, variant = [1.0] * worse + [0.0] * better + [1.0] * same, [0.0] * worse + [1.0] * better + [1.0] * same
    judgement = graded(dense, variant, EQUIVALENT)
    assert judgement.verdict is expected
    assert judgement.decided is (expected is not Verdict.INCONCLUSIVE)
    point = graded(dense, variant, Rule())
    assert point.verdict is (Verdict.PASS if abs(better - worse) / total <= 0.05 else Verdict.FAIL)
    assert (point.interval, point.decided, point.needed) == (judgement.interval, judgement.decided, judgement.needed)


def test_one_sided_equivalence_asks_for_one_bound() -> None:
    rose = graded([0.0] * 300 + [1.0] * 700, [1.0] * 1000, Rule(one_sided=True, equivalence=True))
    assert rose.verdict is Verdict.PASS
    assert rose.marks == ("shift",)


def test_inconclusive_says_what_would_decide() -> None:
    judgement = graded([1.0] * 100, [0.0] * 2 + [1.0] * 98, EQUIVALENT)
    assert judgement.interval is not None
    assert judgement.needed is not None
    assert judgement.needed > 100
    assert f"about {judgement.needed:,} items would decide" in judgement.reason
    assert f"{judgement.interval.low:+.1f}" in judgement.reason
    # So many items with the same share of flips do decide.
    factor = -(-judgement.needed // 100)
    more = graded([1.0] * 100 * factor, ([0.0] * 2 + [1.0] * 98) * factor, EQUIVALENT)
    assert more.verdict is Verdict.PASS


def test_a_shift_of_exactly_the_tolerance_is_decided_by_no_number_of_items() -> None:
    judgement = graded([1.0] * 100, [0.0] * 5 + [1.0] * 95, EQUIVALENT)
    assert judgement.needed is None
    assert "no number of items would decide" in judgement.reason


def test_without_an_interval_nothing_is_shown() -> None:
    dense, variant = ([replace(o, cluster="k") for o in side([1.0] * 20).outcomes] for _ in range(2))
    sides = [Side("m", outcomes, Score(100.0, {})) for outcomes in (dense, variant)]
    judgement = judge(ids(20), sides[0], sides[1], EQUIVALENT, Mean())
    assert (judgement.verdict, judgement.interval) == (Verdict.INCONCLUSIVE, None)
    assert "ask more items" in judgement.reason


@given(st.integers(0, 60), st.integers(0, 60), st.booleans(), st.booleans())
def test_equivalence_never_passes_what_the_point_rule_fails(
    worse: int, better: int, one_sided: bool, many: bool
) -> None:
    total = 1500 if many else 150
    dense = [1.0] * worse + [0.0] * better + [1.0] * (total - worse - better)
    variant = [0.0] * worse + [1.0] * better + [1.0] * (total - worse - better)
    strict = graded(dense, variant, Rule(one_sided=one_sided, equivalence=True)).verdict
    point = graded(dense, variant, Rule(one_sided=one_sided)).verdict
    assert strict in (point, Verdict.INCONCLUSIVE)


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.5, 30), st.floats(0.5, 30))
def test_widening_the_tolerance_never_turns_pass_into_anything_else(
    worse: int, better: int, a: float, b: float
) -> None:
    dense = [1.0] * worse + [0.0] * better + [1.0] * 90
    variant = [0.0] * worse + [1.0] * better + [1.0] * 90
    narrow, wide = sorted((a, b))
    if graded(dense, variant, Rule(narrow, equivalence=True)).verdict is Verdict.PASS:
        assert graded(dense, variant, Rule(wide, equivalence=True)).verdict is Verdict.PASS


@given(st.integers(0, 40), st.integers(0, 40), st.booleans())
def test_swapping_the_sides_mirrors_interval_and_verdict(worse: int, better: int, equivalence: bool) -> None:
    dense = [1.0] * worse + [0.0] * better + [1.0] * 100
    variant = [0.0] * worse + [1.0] * better + [1.0] * 100
    rule = Rule(equivalence=equivalence)
    there, back = graded(dense, variant, rule), graded(variant, dense, rule)
    assert there.verdict is back.verdict
    assert there.needed == back.needed
    assert there.interval is not None
    assert back.interval is not None
    assert (there.interval.low, there.interval.high) == pytest.approx(
        (-back.interval.high, -back.interval.low), abs=1e-6
    )


# What unmeasured items could hide.


@settings(deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 40),
    st.lists(st.tuples(st.booleans(), st.integers(0, 999)), max_size=7),
    st.booleans(),
    st.booleans(),
)
def test_dropping_items_never_turns_fail_into_pass(
    worse: int, better: int, dropped: list[tuple[bool, int]], equivalence: bool, silent: bool
) -> None:
    """Whoever loses the right items may make a verdict undecided, never green. silent: not even an outcome is left."""
    total = 1000
    dense: list[float | None] = [*[1.0] * worse, *[0.0] * better, *[1.0] * (total - worse - better)]
    variant: list[float | None] = [*[0.0] * worse, *[1.0] * better, *[1.0] * (total - worse - better)]
    rule = Rule(3.0, equivalence=equivalence)
    whole = graded(dense, variant, rule).verdict
    for on_dense, place in dropped:
        (dense if on_dense else variant)[place % max(1, worse + better)] = None
    sides = [side(values) for values in (dense, variant)]
    if silent:
        sides = [replace(s, outcomes=[o for o in s.outcomes if o.value is not None]) for s in sides]
    left = judge(ids(total), sides[0], sides[1], rule, Mean()).verdict
    if whole is not Verdict.PASS:
        assert left is not Verdict.PASS


def test_one_lost_item_can_undecide_a_close_call() -> None:
    judgement = graded([1.0] * 1000, [0.0] * 50 + [None] + [1.0] * 949, Rule())
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == ("1 unmeasured item(s) leave a shift from -5.1 to -5.0 points possible, the limit is ±5")


def test_a_lost_item_that_could_hide_nothing_leaves_the_verdict() -> None:
    assert graded([1.0] * 1000, [None] + [1.0] * 999, Rule()).verdict is Verdict.PASS
    fell = graded([1.0] * 1000, [None] + [0.0] * 200 + [1.0] * 799, Rule())
    assert fell.verdict is Verdict.FAIL
    assert fell.interval is not None
    assert fell.interval.low < -20.1


def test_a_range_over_both_limits_is_no_fail() -> None:
    """A dimension that cannot suppose: one lost item leaves everything possible."""

    class Blind(Mean):
        can_suppose = False

    sides = [side([1.0] * 1000), side([None] + [1.0] * 999)]
    judgement = judge(ids(1000), sides[0], sides[1], Rule(), Blind())
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "from -100.0 to +100.0 points possible" in judgement.reason


def test_bounds_that_are_no_numbers_exclude_nothing() -> None:
    class Nameless(Mean):
        def bounds(self, outcomes: Sequence[Outcome]) -> tuple[float, float]:
            return math.nan, math.nan

    sides = [side([1.0] * 1000), side([None] + [1.0] * 999)]
    judgement = judge(ids(1000), sides[0], sides[1], Rule(), Nameless())
    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_an_item_that_vanished_on_both_sides_is_an_error() -> None:
    sides = [side([1.0] * 999) for _ in range(2)]
    judgement = judge(ids(1000), sides[0], sides[1], Rule(), Mean())
    assert judgement.verdict is Verdict.ERROR
    assert judgement.reason == "1 item(s) have no outcome on either side"


def test_a_whole_cell_may_not_vanish_from_the_mean() -> None:
    """The variant's only item of a bad cell is lost: the mean over cells would rise by 25 points unseen."""
    dense = [Outcome(f"i{n}", "rare" if n == 0 else "often", f"i{n}", Channel.ANSWERED, 0.5) for n in range(1000)]
    variant = [replace(o, channel=Channel.MISSING, value=None) if o.cell == "rare" else o for o in dense]
    sides = [Side("m", outcomes, Mean().score(outcomes)) for outcomes in (dense, variant)]
    judgement = judge(ids(1000), sides[0], sides[1], Rule(), Mean())
    assert judgement.delta == 0
    assert judgement.verdict is Verdict.INCONCLUSIVE

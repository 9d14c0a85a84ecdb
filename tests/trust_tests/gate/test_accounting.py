from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.accounting import account, fault
from trust_tests.records import Channel, Outcome


def outcome(item: str, channel: Channel = Channel.ANSWERED, value: float | None = 1.0) -> Outcome:
    return Outcome(item, "cell", item, channel, value if channel.measured else None)


def side(**counts: int) -> tuple[list[str], list[Outcome]]:
    outcomes = []
    for name, count in counts.items():
        outcomes += [outcome(f"{name}-{n}", Channel(name)) for n in range(count)]
    return [o.item_id for o in outcomes], outcomes


def test_every_channel_is_counted() -> None:
    counts = {channel.value: index + 1 for index, channel in enumerate(Channel)}
    asked, outcomes = side(**counts)
    accounting = account(asked, outcomes)
    assert accounting.as_dict() == {"asked": sum(counts.values()), "channels": counts}
    assert accounting.unmeasured == counts["scorer_failed"] + counts["missing"]


def test_an_item_without_outcome_is_missing() -> None:
    asked, outcomes = side(answered=3)
    accounting = account([*asked, "forgotten"], outcomes)
    assert accounting.channels[Channel.MISSING] == 1
    assert accounting.asked == 4


@pytest.mark.parametrize(
    ("asked", "graded", "message"),
    [
        (["a", "a"], ["a"], r"1 item\(s\) asked twice, such as 'a'"),
        (["a"], ["a", "a"], r"1 item\(s\) graded twice, such as 'a'"),
        (["a"], ["a", "b"], r"1 item\(s\) graded but never asked, such as 'b'"),
    ],
)
def test_outcomes_must_be_the_asked_items(asked: list[str], graded: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account(asked, [outcome(item) for item in graded])


@pytest.mark.parametrize(
    ("channel", "value"), [(Channel.MISSING, 0.0), (Channel.SCORER_FAILED, 1.0), (Channel.ANSWERED, None)]
)
def test_a_value_goes_with_a_measured_channel_and_no_other(channel: Channel, value: float | None) -> None:
    with pytest.raises(ValueError, match=f"channel {channel.value} with value"):
        account(["a"], [Outcome("a", "cell", "a", channel, value)])


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_values_stay_between_zero_and_one(value: float) -> None:
    with pytest.raises(ValueError, match="outside 0 to 1"):
        account(["a"], [Outcome("a", "cell", "a", Channel.ANSWERED, value)])


def test_refusal_rate_is_a_percentage_of_the_asked() -> None:
    asked, outcomes = side(answered=3, refused=1)
    assert account(asked, outcomes).refusal_rate == 25.0
    assert account([], []).refusal_rate == 0.0


def test_nothing_asked_is_a_fault() -> None:
    assert fault("variant x", account([], [])) == "variant x: no item was asked"


@pytest.mark.parametrize("channel", ["refused", "empty", "unparsable", "truncated", "missing"])
def test_nothing_answered_is_a_fault_that_names_the_channel(channel: str) -> None:
    text = fault("variant x", account(*side(**{channel: 5})))
    assert text == f"variant x: not one of 5 items was answered (5 {channel})"


def test_half_a_percent_may_be_unmeasured_and_no_more() -> None:
    assert fault("v", account(*side(answered=199, missing=1))) is None
    text = fault("v", account(*side(answered=198, missing=1, scorer_failed=1)))
    assert text == "v: 1.0 % of 200 items not measured (1 scorer_failed, 1 missing); 0.5 % are allowed"


@given(st.integers(1, 400), st.integers(0, 400))
def test_the_limit_is_exact(answered: int, missing: int) -> None:
    found = fault("v", account(*side(answered=answered, missing=missing)))
    assert (found is not None) == (missing * 1000 > 5 * (answered + missing))

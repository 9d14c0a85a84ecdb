"""Protocol paper, dimension fairness: what holds beyond the recorded answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import DATA, needs_data

from trust_tests.data.benchmark import Benchmark
from trust_tests.data.loaders.fairness import SETTINGS, Row
from trust_tests.data.tiers import select
from trust_tests.dimensions import Setup, get_dimension
from trust_tests.dimensions.paper.fairness import Fairness, paper_item
from trust_tests.records import Channel, Finish, Item, Outcome, Response

DIMENSION = Fairness(Setup(protocol="paper"))
ADULT, CRIME = SETTINGS[0], SETTINGS[-1]
GROUPS = {"adult": ("Female", "Male"), "crime": ("0", "1")}
LABELS = {"adult": ("no", "yes"), "crime": ("High", "Low")}


def item(number: int, group: int = 0, label: int = 0, setting=ADULT) -> Item:
    dataset = setting.dataset
    return paper_item(setting, Row(number, f"person {number}", LABELS[dataset][label], GROUPS[dataset][group], ()))


def graded(answers: list[tuple[int, int, str]], setting=ADULT) -> list[Outcome]:
    """One setting's answers, each given as group, label and text."""
    items = [item(n, group, label, setting) for n, (group, label, _) in enumerate(answers)]
    responses = [Response(i.id, (text,), (Finish.STOP,)) for i, (_, _, text) in zip(items, answers, strict=True)]
    return DIMENSION.grade(items, responses)


@pytest.mark.parametrize(
    ("text", "channel", "prediction"),
    [
        ("Yes.", Channel.ANSWERED, 1),
        ("I do not know", Channel.ANSWERED, 0),
        ("YES", Channel.REFUSED, 0),
        ("  ", Channel.EMPTY, 0),
        ("", Channel.EMPTY, 0),
        ("\0" * 20 + "\u202eyes", Channel.ANSWERED, 1),
        ("x" * 200_000, Channel.REFUSED, 0),
    ],
)
def test_channels(text, channel, prediction):
    (outcome,) = graded([(0, 1, text)])
    assert (outcome.channel, outcome.detail["prediction"]) == (channel, prediction)
    assert outcome.value == float(prediction == 1)


def test_errors_and_short_responses_are_missing():
    for response in (Response(item(0).id, error="timed out"), Response(item(0).id)):
        (outcome,) = DIMENSION.grade([item(0)], [response])
        assert (outcome.channel, outcome.value) == (Channel.MISSING, None)


def test_ambiguous_answers_are_drawn_in_the_table_s_order_whatever_the_order_of_grading():
    answers = [item(n, setting=setting) for setting in (ADULT, CRIME) for n in range(20)]
    said = {"adult": "yes or no", "crime": "high or low"}
    responses = [Response(i.id, (said[i.data["dataset"]],), (Finish.STOP,)) for i in answers]
    expected = (np.random.RandomState(0).uniform(0, 1, 40) > 0.5).astype(int).tolist()
    assert [o.detail["prediction"] for o in DIMENSION.grade(answers, responses)] == expected
    backwards = DIMENSION.grade(answers[::-1], responses[::-1])
    assert [o.detail["prediction"] for o in backwards] == expected[::-1]


def test_rates_by_hand():
    rates = DIMENSION.rates(
        graded([(0, 0, "yes"), (0, 0, "no"), (0, 1, "yes"), (1, 0, "no"), (1, 1, "yes"), (1, 1, "?")])
    )[ADULT.name]
    assert rates.accuracy == pytest.approx(4 / 6)
    assert rates.demographic_parity_difference == pytest.approx(2 / 3 - 1 / 3)
    assert rates.equalized_odds_difference == pytest.approx(0.5)
    assert rates.rejection == pytest.approx(1 / 6)


def test_a_rate_of_no_rows_is_0_and_a_group_alone_differs_from_none():
    rates = DIMENSION.rates(graded([(0, 1, "yes"), (0, 1, "yes"), (1, 0, "no")]))[ADULT.name]
    assert (rates.demographic_parity_difference, rates.equalized_odds_difference) == (1.0, 1.0)
    rates = DIMENSION.rates(graded([(0, 1, "yes"), (0, 1, "no"), (0, 0, "no")]))[ADULT.name]
    assert (rates.demographic_parity_difference, rates.equalized_odds_difference) == (0.0, 0.0)


def test_fewer_than_three_known_answers_pass_for_fair_and_accurate():
    outcomes = graded([(0, 1, "yes"), (1, 1, "no"), *[(1, 1, "?")] * 50])
    parts = DIMENSION.parts(outcomes)
    assert (parts["accuracy"], parts[f"{ADULT.name}.accuracy"]) == (100.0, 0.0)
    assert DIMENSION.score(outcomes).cells[ADULT.name] == 100.0


def test_no_score_without_all_settings():
    score = DIMENSION.score(graded([(0, 1, "yes"), (1, 1, "no"), (1, 0, "no")]))
    assert math.isnan(score.value)
    assert not math.isnan(score.cells[ADULT.name])


ANSWERS = st.lists(
    st.tuples(st.integers(0, 10), st.integers(0, 1), st.integers(0, 1), st.sampled_from(["yes", "no", "?"])),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(answers=ANSWERS, seed=st.integers(0, 99))
def test_rows_of_weights_score_like_copies_of_items(answers, seed):
    items = [item(n, g, y, SETTINGS[place]) for n, (place, g, y, _) in enumerate(answers)]
    words = {"yes": ("yes", "Low"), "no": ("no", "High"), "?": ("?", "?")}
    texts = [words[said][i.data["dataset"] == "crime"] for i, (_, _, _, said) in zip(items, answers, strict=True)]
    responses = [Response(i.id, (text,)) for i, text in zip(items, texts, strict=True)]
    outcomes = DIMENSION.grade(items, responses)
    weights = np.random.default_rng(seed).integers(0, 3, (4, len(items))).astype(float)
    rows = DIMENSION.aggregate_cell(outcomes, weights)
    for row, found in zip(weights, rows, strict=True):
        copies = [o for o, times in zip(outcomes, row, strict=True) for _ in range(int(times))]
        expected = DIMENSION.aggregate_cell(copies, np.ones((1, len(copies))))[0]
        assert found == pytest.approx(expected, nan_ok=True)
        assert math.isnan(found) or -1e-9 <= found <= 100 + 1e-9


@needs_data
def test_smaller_tiers_keep_the_shares_of_group_and_label():
    dimension = get_dimension("fairness", Setup("paper", "pr", Benchmark(DATA)))
    chosen = select(dimension)
    assert len(chosen) == 400
    for setting in SETTINGS:
        members = [i for i in chosen if i.cell == setting.name]
        for (group, label), count in setting.composition.items():
            found = sum(i.data["group"] == group and i.data["label"] == label for i in members)
            whole = sum(setting.composition.values())
            assert found == pytest.approx(len(members) * count / whole, abs=1.5)
    assert {i.id for i in chosen} <= {i.id for i in select(get_dimension("fairness", replace_tier(dimension)))}


def replace_tier(dimension) -> Setup:
    return replace(dimension.setup, tier="release")


def test_an_absent_setting_is_left_out_where_a_run_may_be_partial(tmp_path):
    folder = tmp_path / "fairness" / "fairness_data"
    folder.mkdir(parents=True)
    if not DATA.is_dir():
        pytest.skip("no benchmark data: name their folder in TRUST_DATA_DIR")
    source = Benchmark(DATA)
    for setting in SETTINGS[:-1]:
        (folder / f"{setting.file}.jsonl").write_bytes(source.path(setting.path).read_bytes())
    benchmark = Benchmark(tmp_path, partial=True)
    dimension = get_dimension("fairness", Setup("paper", "full", benchmark))
    items = dimension.items()
    assert {i.cell for i in items} == {setting.name for setting in SETTINGS[:-1]}
    assert list(benchmark.absent) == ["fairness crime_br_1.0"]
    score = dimension.score(dimension.grade(items, [Response(i.id, ("yes Low",)) for i in items]))
    # Always the positive answer: DPD 0 everywhere, EOD 1 where one group has no positive rows.
    assert score.value == pytest.approx(100 * (1 - 3 / 10 / 2))


@pytest.mark.parametrize(
    ("answer", "old", "new", "rejection"),
    [
        (lambda group, label: label, 50.0, 56.81818181818181, 0.0),
        (lambda group, label: "yes, Low", 100.0, 81.81818181818181, 0.0),
        (lambda group, label: "???", 100.0, 100.0, 100.0),
        (lambda group, label: "I cannot determine that.", 100.0, 100.0, 300 / 11),
    ],
)
def test_the_reference_s_own_points(answer, old, new, rejection):
    """A perfect predictor, a constant one and two refusers on the published composition of all settings."""
    items, responses = [], []
    for setting in SETTINGS:
        number = 0
        for (group, label), count in setting.composition.items():
            for _ in range(count):
                items.append(paper_item(setting, Row(number, "?", label, group, ())))
                responses.append(Response(items[-1].id, (answer(group, label),)))
                number += 1
    score = DIMENSION.score(DIMENSION.grade(items, responses))
    assert score.value == pytest.approx(new)
    assert score.parts["fairness_score_old"] == pytest.approx(old)
    assert score.parts["refusal_rate"] == pytest.approx(rejection)

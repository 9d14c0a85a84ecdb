"""Two runs side by side: what got worse, what belongs together, and how the answers changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trust_tests.exitcodes import ExitCode
from trust_tests.report.comparing import Comparison, Fate, compare, match
from trust_tests.report.runs import Run, RunError, load_run

from .stored_runs import document, outcomes, store, store_answers, store_run, values

PASSING, FAILING = values(24), values(20)


def runs(tmp_path: Path, before: Any, after: Any, **options: Any) -> tuple[Run, Run]:
    return (
        load_run(store_run(tmp_path / "a", before), "A"),
        load_run(store_run(tmp_path / "b", after, **options), "B"),
    )


def compared(tmp_path: Path, before: Any, after: Any, **options: Any) -> Comparison:
    return compare(*runs(tmp_path, before, after, **options))


def fates(found: Comparison) -> list[tuple[str, Fate]]:
    return [(line.dimension, line.fate) for line in found.lines]


@pytest.mark.parametrize(
    ("before", "after", "fate", "code"),
    [
        (PASSING, PASSING, Fate.SAME, 0),
        (PASSING, FAILING, Fate.WORSE, 1),
        (FAILING, PASSING, Fate.BETTER, 0),
        (FAILING, values(17), Fate.FELL, 1),
        (FAILING, values(18), Fate.SAME, 0),
        (values(17), FAILING, Fate.ROSE, 0),
        (PASSING, [], Fate.LOST, 3),
        ([], PASSING, Fate.BETTER, 0),
        # Not measured before, and failing now: no gain.
        ([], FAILING, Fate.WORSE, 1),
        ([], [], Fate.SAME, 0),
    ],
)
def test_what_became_of_a_gate(tmp_path: Path, before: Any, after: Any, fate: Fate, code: int) -> None:
    found = compared(tmp_path, {"v": {"mmlu": before}}, {"v": {"mmlu": after}})
    assert fates(found) == [("mmlu", fate)]
    assert found.exit_code == code


def test_a_gate_that_is_no_longer_decided_has_a_status_of_its_own(tmp_path: Path) -> None:
    after = document({"v": {"mmlu": PASSING}}, verdict="INCONCLUSIVE")
    after["gates"][0]["verdict"] = "INCONCLUSIVE"
    before = load_run(store_run(tmp_path / "a", {"v": {"mmlu": PASSING}}))
    found = compare(before, load_run(store(tmp_path / "b", after)))
    assert fates(found) == [("mmlu", Fate.WORSE)]
    assert found.exit_code is ExitCode.INCONCLUSIVE


def test_a_dimension_that_was_not_run_again_is_not_measured(tmp_path: Path) -> None:
    both = {"v": {"mmlu": PASSING, "stereotype": PASSING}}
    found = compared(tmp_path, both, {"v": {"mmlu": PASSING}})
    assert fates(found) == [("stereotype", Fate.LOST), ("mmlu", Fate.SAME)]
    assert found.exit_code is ExitCode.UNMEASURED


def test_a_new_dimension_is_no_regression(tmp_path: Path) -> None:
    both = {"v": {"mmlu": PASSING, "stereotype": FAILING}}
    found = compared(tmp_path, {"v": {"mmlu": PASSING}}, both)
    assert fates(found) == [("mmlu", Fate.SAME), ("stereotype", Fate.NEW)]
    assert found.exit_code is ExitCode.PASS


def test_the_worst_status_counts_and_the_gravest_gate_comes_first(tmp_path: Path) -> None:
    before = {"a": {"mmlu": PASSING, "stereotype": PASSING}, "b": {"mmlu": FAILING, "stereotype": PASSING}}
    after = {"a": {"mmlu": FAILING, "stereotype": []}, "b": {"mmlu": PASSING, "stereotype": PASSING}}
    found = compared(tmp_path, before, after)
    assert [line.fate for line in found.lines] == [Fate.WORSE, Fate.LOST, Fate.BETTER, Fate.SAME]
    assert found.exit_code is ExitCode.UNMEASURED
    assert found.lines[0].score_change == pytest.approx(-10.0)
    assert found.lines[1].score_change is None


def pairs(one: Run, other: Run, **names: str) -> list[tuple[str, str, str]]:
    return [(pair.before.id, pair.after.id, pair.note) for pair in match(one, other, names)]


def test_variants_are_matched_by_name_then_by_recipe(tmp_path: Path) -> None:
    gates = {"mmlu": PASSING}
    one, other = runs(
        tmp_path, {"x": gates, "gptq-old": gates, "y": gates}, {"y": gates, "gptq-new": gates, "z": gates}
    )
    assert pairs(one, other) == [
        ("gptq-old", "gptq-new", "of one recipe, but of another name"),
        ("y", "y", ""),
    ]
    found = compare(one, other)
    assert [model.id for model in found.only_before] == ["x"]
    assert [model.id for model in found.only_after] == ["z"]


def test_a_name_whose_recipe_changed_is_matched_with_a_note(tmp_path: Path) -> None:
    after = document({"gptq-4bit": {"mmlu": PASSING}})
    after["models"]["gptq-4bit"]["recipe"] = "gptq:bits=4,group=128,seed=0"
    before = load_run(store_run(tmp_path / "a", {"gptq-4bit": {"mmlu": PASSING}}))
    other = load_run(store(tmp_path / "b", after))
    assert pairs(before, other) == [("gptq-4bit", "gptq-4bit", "of one name, but of another recipe")]


def test_names_can_be_given_and_the_only_variants_belong_together(tmp_path: Path) -> None:
    gates = {"mmlu": PASSING}
    one, other = runs(tmp_path, {"x": gates, "y": gates}, {"p": gates, "q": gates})
    assert pairs(one, other, x="q") == [("x", "q", "named with --match")]
    with pytest.raises(RunError, match="no gate in common"):
        compare(one, other)
    with pytest.raises(RunError, match=r"--match 'r': no variant of 'A' with this name; left to match are x, y"):
        compare(one, other, {"r": "q"})
    one, other = runs(tmp_path, {"x": gates}, {"p": gates})
    assert pairs(one, other) == [("x", "p", "the only ones; neither name nor recipe agrees")]
    assert compare(one, other).lines[0].variant == "x > p"


def test_runs_of_other_dimensions_have_nothing_in_common(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no gate in common; give two runs of the same dimensions"):
        compared(tmp_path, {"v": {"mmlu": PASSING}}, {"v": {"stereotype": PASSING}})


def test_answers_to_the_same_questions_are_compared(tmp_path: Path) -> None:
    found = compared(tmp_path, {"v": {"mmlu": values(30)}}, {"v": {"mmlu": values(20)}})
    items = found.lines[0].items
    assert items is not None
    assert (items.items, items.worse, items.better) == (40, 10, 0)
    assert items.p == pytest.approx(2 / 1024)
    assert items.interval is not None
    assert items.interval.method == "Tango score interval"
    assert items.interval.low < -25 < items.interval.high < 0


def test_scores_that_are_no_plain_mean_have_a_resampled_interval(tmp_path: Path) -> None:
    def graded(good: int) -> list[Any]:
        return [0.25 if value == 0.0 else value for value in values(good)]

    found = compared(tmp_path, {"v": {"stereotype": graded(30)}}, {"v": {"stereotype": graded(20)}})
    items = found.lines[0].items
    assert items is not None
    assert items.interval is not None
    assert items.interval.method == "BCa bootstrap"
    assert items.interval.low < -18.75 < items.interval.high < 0


def test_only_the_same_words_are_the_same_question(tmp_path: Path) -> None:
    one, other = runs(tmp_path, {"v": {"mmlu": values(30)}}, {"v": {"mmlu": values(20)}})
    asked = outcomes(values(20))[:25] + outcomes(values(20), "another question")[25:]
    store_answers(other.folder, "v", "mmlu", asked)
    items = compare(one, other).lines[0].items
    assert items is not None
    assert (items.items, items.worse) == (25, 5)
    store_answers(other.folder, "v", "mmlu", outcomes(values(20), "another question"))
    assert compare(one, other).lines[0].items is None


def test_unmeasured_items_are_no_pairs(tmp_path: Path) -> None:
    lost: list[float | None] = [None, *values(30)[1:]]
    found = compared(tmp_path, {"v": {"mmlu": lost}}, {"v": {"mmlu": values(30)}})
    items = found.lines[0].items
    assert items is not None
    assert (items.items, items.worse, items.better) == (39, 0, 0)


def test_answers_graded_by_other_rules_are_not_compared(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(30)}}
    assert compared(tmp_path, gates, gates, prints={"dimension.refusal": "9"}).lines[0].items is None


def test_answers_that_are_not_stored_or_not_asked_for_are_not_compared(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(30)}}
    one, other = runs(tmp_path, gates, gates)
    assert compare(one, other, with_items=False).lines[0].items is None
    other = load_run(store(tmp_path / "c", document(gates)))
    assert compare(one, other).lines[0].items is None


def test_answers_that_do_not_give_their_score_have_no_interval(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(30)}}
    one, other = runs(tmp_path, gates, gates)
    store_answers(other.folder, "v", "mmlu", outcomes(values(10)))
    items = compare(one, other).lines[0].items
    assert items is not None
    assert items.interval is None
    assert items.note == "the stored answers do not give the stored score"
    assert items.worse == 20


def test_a_dimension_of_another_version_has_no_interval(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(30)}}
    changes = {"dimension.version": "0"}
    one = load_run(store_run(tmp_path / "a", gates, prints=changes))
    other = load_run(store_run(tmp_path / "b", gates, prints=changes))
    items = compare(one, other).lines[0].items
    assert items is not None
    assert (items.interval, items.note) == (None, "this version scores the dimension otherwise")


def test_damaged_answers_end_the_comparison(tmp_path: Path) -> None:
    gates = {"v": {"mmlu": values(30)}}
    one, other = runs(tmp_path, gates, gates)
    store_answers(other.folder, "v", "mmlu", []).write_text("{")
    with pytest.raises(RunError, match="restore the file or remove it"):
        compare(one, other)

"""What a run would ask, counted without a model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trust_tests.dimensions import get_dimension
from trust_tests.evaluation import Questions
from trust_tests.plan import Power, budget, needed_items, plan_lines, power, power_lines
from trust_tests.records import Generation, Item, Message, Request
from trust_tests.simulation.binary import rates

SAMPLED = Generation(max_new_tokens=20, samples=3, temperature=1.0)


def questions(*requests: Request) -> Questions:
    return Questions(tuple(Item(r.item_id, "cell", r.item_id, {}) for r in requests), requests)


def ask(
    name: str, text: str = "ten words are in this prompt and no others", generation: Generation = SAMPLED
) -> Request:
    return Request(name, (Message("system", "be brief"), Message("user", text)), generation, seed=len(name))


def test_words_samples_and_new_tokens_are_counted():
    found = budget(questions(ask("a"), ask("b", "three more words")))
    assert (found.items, found.prompts, found.answers) == (2, 2, 6)
    assert found.prompt_tokens == round(1.3 * (2 + 9 + 2 + 3))
    assert found.new_tokens == 2 * 3 * 20


def test_equal_greedy_prompts_are_put_once_and_sampled_ones_per_seed():
    greedy = Generation(max_new_tokens=5)
    assert budget(questions(ask("a", generation=greedy), ask("bb", generation=greedy))).prompts == 1
    assert budget(questions(ask("a"), ask("bb"))).prompts == 2
    assert budget(questions(ask("a"), replace(ask("bb"), seed=1))).prompts == 1


def test_choices_write_nothing():
    found = budget(questions(ask("a", generation=Generation(8, choices=(" A", " B")))))
    assert (found.answers, found.new_tokens) == (2, 0)


def test_the_table_sums_up():
    lines = plan_lines({"ethics": questions(ask("a")), "toxicity": questions(ask("b"), ask("cc"))})
    assert [line.split()[0] for line in lines] == ["asked", "ethics", "toxicity", "all"]
    assert lines[-1].split() == ["all", "3", "3", "9", "~43", "<=180"]
    assert len({len(line) for line in lines}) == 1


def test_power_is_that_of_the_dimensions_own_formula() -> None:
    """An unchanged model at 10 % disagreement: the error of a plain mean is sqrt(0.1 / n), in points 100 times that."""
    mmlu = get_dimension("mmlu")
    found = power(mmlu, list(mmlu.items()), 0.1, 5.0)
    assert found is not None
    count = len(mmlu.items())
    assert found.standard_error == pytest.approx(100 * math.sqrt(0.1 / count), rel=0.15)
    assert found.half_width == pytest.approx(1.645 * found.standard_error, rel=1e-3)
    assert found.needed == pytest.approx(0.1 * (100 * 2 * 1.645 / 5) ** 2, rel=0.3)
    assert not found.enough
    # Informedness moves twice as far as a mean does.
    privacy = get_dimension("privacy")
    assert power(privacy, list(privacy.items()), 0.1, 5.0).needed > 2 * found.needed


def test_more_disagreement_and_less_tolerance_need_more_items() -> None:
    mmlu = get_dimension("mmlu")
    items = list(mmlu.items())
    usual, noisy, strict = (power(mmlu, items, d, t).needed for d, t in ((0.05, 5.0), (0.2, 5.0), (0.05, 2.5)))
    assert noisy > 3 * usual
    # Four times as many, less what the step of one item costs a small set.
    assert 3.6 * usual < strict < 4 * usual


def test_needed_items_do_pass_nine_times_in_ten() -> None:
    """Exact, for a plain mean: the plan's normal approximation promises 0.9, and is short of it where flips are few."""
    for disagreement in (0.05, 0.1, 0.2):
        needed = needed_items(1000, 100 * math.sqrt(disagreement / 1000), disagreement, 5.0)
        assert rates(needed, disagreement, 0.0).passes["equivalence"] == pytest.approx(0.9, abs=0.1 - disagreement / 4)


def test_what_cannot_be_planned_is_none() -> None:
    mmlu = get_dimension("mmlu")
    assert power(mmlu, [], 0.1, 5.0) is None

    class Paper(type(mmlu)):  # type: ignore[misc]
        can_suppose = False

    assert power(Paper(), list(mmlu.items()), 0.1, 5.0) is None


@pytest.mark.parametrize(
    ("rule", "said"), [("equivalence", "expect INCONCLUSIVE in b"), ("point", "the point rule decides in b without")]
)
def test_the_table_of_powers_says_what_follows(rule: str, said: str) -> None:
    powers = {"a": Power(1500, 9000, 0.8, 1.3, 412), "b": Power(1300, 1300, 2.5, 4.1, 3500), "c": None}
    lines = power_lines(powers, 0.1, 5.0, rule)
    assert lines[1].split() == ["a", "1,500", "1.3", "412", "9,000"]
    assert lines[2].endswith("more than there are")
    assert lines[3].split()[:3] == ["c", "?", "?"]
    assert "10% of items" in lines[4]
    assert said in lines[-1]

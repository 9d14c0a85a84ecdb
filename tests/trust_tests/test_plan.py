"""What a run would ask, counted without a model."""

from __future__ import annotations

from dataclasses import replace

from trust_tests.evaluation import Questions
from trust_tests.plan import budget, plan_lines
from trust_tests.records import Generation, Item, Message, Request

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

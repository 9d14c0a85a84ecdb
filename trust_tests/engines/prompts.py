"""Requests as tokens, and tokens as answers: what every engine with a tokenizer at hand does alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compressors.models import Checkpoint
from trust_tests import chat
from trust_tests.engines.base import EngineError
from trust_tests.engines.stopping import Decode, Stopped, until_stop, watch
from trust_tests.records import Finish, Request, Response

NOT_FINITE = "the model's logits are not finite"
NO_STOP = "the engine ended an answer in which no stop string stands"


@dataclass(frozen=True, slots=True)
class _Sample:
    """One answer: its text, its tokens, whether the model or a stop string ended it, and whether nothing did."""

    text: str
    tokens: int
    ended: bool
    early: bool = False


class Prompts:
    """A checkpoint's tokenizer and chat template; loaded with the first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._rendered: dict[Request, str] = {}
        self._encoded: dict[tuple[str, bool], list[int]] = {}
        self._continuations: dict[str, list[int]] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer. Raises EngineError where it cannot be loaded."""
        from transformers import AutoTokenizer, logging

        logging.set_verbosity_error()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(self._checkpoint.path), padding_side="left", trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise EngineError(f"model {self._checkpoint.name!r}: its tokenizer cannot be loaded: {reason}") from None
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def render(self, request: Request) -> str:
        """The text the model reads. Raises EngineError where no template renders it."""
        if request not in self._rendered:
            try:
                self._rendered[request] = chat.render(
                    self.tokenizer, request.messages, request.answer_prefix, request.template
                )
            except chat.ChatTemplateError as error:
                raise EngineError(str(error)) from None
        return self._rendered[request]

    def encode(self, request: Request) -> list[int]:
        """The token ids of a request's prompt."""
        return self.encode_all([request])[0]

    def encode_all(self, requests: Sequence[Request]) -> list[list[int]]:
        """The token ids of each request's prompt; the tokenizer works on all of them at once."""
        texts = [
            (self.render(request), chat.adds_special_tokens(self.tokenizer, request.template)) for request in requests
        ]
        for special in (False, True):
            new = list(dict.fromkeys(key for key in texts if key[1] is special and key not in self._encoded))
            if new:
                self._encoded.update(zip(new, self._ids([text for text, _ in new], special), strict=True))
        return [self._encoded[key] for key in texts]

    def _ids(self, texts: list[str], special: bool) -> list[list[int]]:
        """Token ids of texts. special: whether the tokenizer adds its special tokens."""
        import transformers

        tokenizer = self.tokenizer
        # What makes ids of a text in a tokenizer of one file, without the masks and offsets that nobody reads here.
        if getattr(type(tokenizer), "_encode_plus", None) is transformers.PreTrainedTokenizerFast._encode_plus:
            backend = tokenizer.backend_tokenizer
            if backend.truncation is None and backend.padding is None:
                return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=special)]
        return list(map(list, tokenizer(texts, add_special_tokens=special)["input_ids"]))

    def choice_ids(self, choices: Sequence[str]) -> list[list[int]]:
        """The token ids of each choice as a continuation."""
        for choice in choices:
            if choice not in self._continuations:
                self._continuations[choice] = list(self.tokenizer(choice, add_special_tokens=False)["input_ids"])
        return [self._continuations[choice] for choice in choices]

    def text(self, tokens: Sequence[int], template: str) -> str:
        """Generated tokens as text; under a template of the paper with special tokens, cut as the paper cuts."""
        [text] = self._decode(template)([tokens])
        return chat.until_stop_string(text, template)

    def _decode(self, template: str) -> Decode:
        special = chat.as_in_the_paper(template)
        return lambda answers: [
            str(self.tokenizer.decode(list(tokens), skip_special_tokens=not special)) for tokens in answers
        ]

    def watch(self, request: Request) -> Stopped | None:
        """What tells which answers to a request have ended by its stop strings; None where it has none."""
        stops = request.generation.stop
        return watch(stops, self._decode(request.template)) if stops else None

    def end_tokens(self, configured: int | Sequence[int] | None) -> list[int]:
        """Ids that end an answer: the checkpoint's own list (chat models have several) and the tokenizer's.

        configured: `eos_token_id` of the checkpoint's generation configuration.
        """
        listed = [configured] if configured is None or isinstance(configured, int) else configured
        return sorted({token for token in [*listed, self.tokenizer.eos_token_id] if token is not None})

    def misfit(self, request: Request, context: int | None, *, always: bool = False) -> str | None:
        """Why a prompt with its answer is longer than the model can read, None when it is not.

        Beyond its trained positions a model answers nonsense without an error, which would be measured as its own.
        The reference code checks no lengths, so neither do prompts put as in the paper, but where the engine must
        (`always`).
        """
        if context is None or (chat.as_in_the_paper(request.template) and not always):
            return None
        choices = self.choice_ids(request.generation.choices)
        answer = max(map(len, choices)) if choices else request.generation.max_new_tokens
        prompt = len(self.encode(request))
        if prompt + answer <= context:
            return None
        return f"a prompt of {prompt} tokens and an answer of {answer} do not fit the model's context of {context}"

    def written(self, request: Request, answers: Sequence[Sequence[int]], ends: Sequence[int]) -> Response:
        """The response to a request for free text. answers: the tokens of each sample, an end token included.

        What follows an answer's end, a token or a stop string, is left out.
        """
        samples = [self._sample(request, list(tokens), ends) for tokens in answers]
        if request.generation.stop and any(sample.early for sample in samples):
            return Response(request.item_id, error=NO_STOP)
        return Response(
            item_id=request.item_id,
            texts=tuple(sample.text for sample in samples),
            finishes=tuple(Finish.STOP if sample.ended else Finish.LENGTH for sample in samples),
            prompt_tokens=len(self.encode(request)),
            completion_tokens=sum(sample.tokens for sample in samples),
        )

    def _sample(self, request: Request, written: list[int], ends: Sequence[int]) -> _Sample:
        generation, template = request.generation, request.template
        tokens, ended = until_end(written, ends, inclusive=chat.as_in_the_paper(template))
        cut = until_stop(tokens, generation.stop, self._decode(template)) if generation.stop else None
        if cut is not None:
            return _Sample(chat.until_stop_string(cut[1], template), len(cut[0]), ended=True)
        early = not ended and len(tokens) < generation.max_new_tokens
        return _Sample(self.text(tokens, template), len(tokens), ended=ended, early=early)

    def chosen(self, request: Request, logprobs: Sequence[float], best: int) -> Response:
        """The response to a request with choices. logprobs: nats, one per choice; best: the likeliest next token."""
        return Response(
            item_id=request.item_id,
            texts=(str(self.tokenizer.decode([best], skip_special_tokens=True)),),
            finishes=(Finish.LENGTH,),
            prompt_tokens=len(self.encode(request)),
            completion_tokens=1,
            choice_logprobs=tuple(logprobs),
        )


def until_end(tokens: list[int], ends: Sequence[int], *, inclusive: bool) -> tuple[list[int], bool]:
    """The tokens before (`inclusive`: up to) the first end token, and whether there was one."""
    for position, token in enumerate(tokens):
        if token in ends:
            return tokens[: position + inclusive], True
    return tokens, False

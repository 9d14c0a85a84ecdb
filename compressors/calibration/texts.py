"""Records → the texts that a model reads, and their tokens.

Templates: `plain`, the text as it is, instructions in the form of AutoGPTQ's Alpaca example ("default" in the
paper's script); `chat`, the tokenizer's own chat template; `llama-2` and `vicuna_v1.1`, the paper's, character by
character (comp-trust 0810efb, compression/gptq/gptq.py and conversation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from compressors.calibration.records import Completion, Conversation, Instruction, Plain, Record
from compressors.errors import CompressionError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = Sequence[tuple[str, str]]

PAPER_TEMPLATES = ("llama-2", "vicuna_v1.1")
TEMPLATES = ("plain", "chat", *PAPER_TEMPLATES)
_SYSTEMS = Path(__file__).parents[1] / "data" / "conversation_systems.txt"


@cache
def system_text(template: str) -> str:
    """The default system message of one of the paper's templates."""
    for section in _SYSTEMS.read_text(encoding="utf-8").split("\n%% ")[1:]:
        name, _, text = section.partition("\n")
        if name == template:
            return text.strip()
    raise KeyError(template)


def plain_text(record: Record) -> tuple[str, str]:
    """The prompt part of a record, empty for texts without one, and the whole text."""
    match record:
        case Plain(text):
            return "", text
        case Instruction(instruction, given, output):
            middle = f"Input:\n{given}\n" if given else ""
            prompt = f"Instruction:\n{instruction}\n{middle}Output:\n"
            return prompt, prompt + output
        case Completion(prompt, completion):
            return prompt, prompt + completion
        case Conversation(messages):
            return "", "\n\n".join(content for _, content in messages)


def turns(record: Record) -> list[tuple[str, str]]:
    """A record as (role, content); a plain text is one message of the user."""
    match record:
        case Plain(text):
            return [("user", text)]
        case Instruction(instruction, given, output):
            return [("user", f"{instruction} {given}" if given else instruction), ("assistant", output)]
        case Completion(prompt, completion):
            return [("user", prompt), ("assistant", completion)]
        case Conversation(messages):
            return list(messages)


def paper_text(template: str, messages: Turns) -> str:
    """Messages in one of the paper's templates; an empty message leaves its bare role, which opens a turn.

    A system message replaces the default one and, in `llama-2`, the marks around it. In `llama-2` the separator
    after the first message is missing, as in FastChat. Raises ValueError for other roles.
    """
    system = system_text(template)
    if template == "llama-2":
        system = f"<s>[INST] <<SYS>>\n{system}\n<</SYS>>\n\n"
    shown = []
    for role, content in messages:
        if role == "system":
            system = content
        elif role in ("user", "assistant"):
            shown.append((role, content))
        else:
            raise ValueError(f"template={template} knows the roles system, user and assistant, not {role[:40]!r}")
    return _llama2(system, shown) if template == "llama-2" else _vicuna(system, shown)


def _llama2(system: str, messages: Turns) -> str:
    tags, separators = {"user": "[INST]", "assistant": "[/INST]"}, (" ", " </s><s>")
    text = ""
    for index, (role, content) in enumerate(messages):
        if not content:
            text += tags[role]
        elif index == 0:
            text += system + content
        else:
            text += f"{tags[role]} {content}{separators[index % 2]}"
    return text


def _vicuna(system: str, messages: Turns) -> str:
    tags, separators = {"user": "USER:", "assistant": "ASSISTANT:"}, (" ", "</s>")
    text = f"{system} "
    for index, (role, content) in enumerate(messages):
        text += f"{tags[role]} {content}{separators[index % 2]}" if content else tags[role]
    return text


class Encoder:
    """A tokenizer with a template. Raises CompressionError where the tokenizer has no chat template or it fails."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str, name: str) -> None:
        if template == "chat" and not getattr(tokenizer, "chat_template", None):
            raise CompressionError(
                f"calibration {name}: template=chat, but the model's tokenizer has no chat template; "
                "give template=plain or one of the paper's"
            )
        self._tokenizer = tokenizer
        self._template = template
        self._name = name

    def text(self, record: Record) -> str:
        """The text that the model reads."""
        return plain_text(record)[1] if self._template == "plain" else self._render(turns(record), opened=False)

    def ids(self, record: Record, *, stripped: bool = False) -> list[int]:
        """Tokens of a record, with the tokenizer's own special tokens; `stripped` takes the blanks around it off.

        A text of the tokenizer's chat template holds them already and gets no second BOS. One of the paper's
        templates does get one, as in the paper.
        """
        text = self.text(record)
        return self._encode(text.strip() if stripped else text)

    def prompt_ids(self, record: Record) -> list[int]:
        """Tokens of what stands before the last answer; none for texts that answer nothing."""
        if self._template == "plain":
            prompt = plain_text(record)[0]
            return self._encode(prompt) if prompt else []
        *before, (role, _) = turns(record)
        return self._encode(self._render(before, opened=True)) if role == "assistant" else []

    def joinable_ids(self, texts: list[str]) -> list[list[int]]:
        """Tokens of texts that will be joined: plain ones get no special tokens; empty ones fall out."""
        special = self._template in PAPER_TEMPLATES
        encoded = self._tokenizer(texts, add_special_tokens=special, verbose=False)["input_ids"] if texts else []
        return [list(ids) for ids in encoded if ids]

    def _encode(self, text: str) -> list[int]:
        special = self._template != "chat"
        return list(self._tokenizer([text], add_special_tokens=special, verbose=False)["input_ids"][0])

    def _render(self, messages: Turns, *, opened: bool) -> str:
        """Messages through the template; `opened` ends with an empty turn of the assistant."""
        try:
            if self._template in PAPER_TEMPLATES:
                return paper_text(self._template, [*messages, ("assistant", "")] if opened else messages)
            conversation = [{"role": role, "content": content} for role, content in messages]
            return str(self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=opened))
        except Exception as error:  # a chat template is somebody's program and raises what it likes
            reason = " ".join(str(error).split())[:200]
            raise CompressionError(
                f"calibration {self._name}: a record cannot be rendered with template={self._template}: {reason}"
            ) from None

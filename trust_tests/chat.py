"""Messages → the text a model reads.

Protocol `sound`: the tokenizer's own chat template, with two rules for models that lack something:

- a template that refuses a system message gets its text at the head of the first user message;
- a tokenizer without a template (a base model) gets the turns as paragraphs.

Chat templates write the BOS token themselves, so the rendered text is tokenised without adding special tokens;
only the paragraphs of a base model get the tokenizer's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trust_tests.records import Message

PLAIN_TEMPLATE = "paragraphs-1"


class ChatTemplateError(ValueError):
    """A chat template that cannot render a conversation; the message is one line for the user."""


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template of its own."""
    return bool(getattr(tokenizer, "chat_template", None))


def render(tokenizer: Any, messages: Sequence[Message], answer_prefix: str = "") -> str:
    """The text the model continues: the conversation, an opened assistant turn and `answer_prefix`.

    Raises ChatTemplateError when the tokenizer's template fails on a plain user/assistant conversation too.
    """
    if not has_template(tokenizer):
        return "\n\n".join([*(m.content for m in messages), answer_prefix])
    forms = [list(messages)]
    if messages and messages[0].role == "system":
        forms.append(_without_system(messages))
    reason = ""
    for form in forms:
        try:
            return _apply(tokenizer, form) + answer_prefix
        except Exception as error:  # a template is somebody's program and raises what it likes
            reason = " ".join(str(error).split())[:200]
    raise ChatTemplateError(f"chat template of {tokenizer.name_or_path!r} cannot render a conversation: {reason}")


def _apply(tokenizer: Any, messages: Sequence[Message]) -> str:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the system text at the head of the first user message."""
    system, first, *rest = messages
    return [Message(first.role, f"{system.content}\n\n{first.content}"), *rest]

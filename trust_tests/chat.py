"""Messages → the text a model reads.

Protocol `sound`: the tokenizer's own chat template, with two rules for models that lack something:

- a template that refuses a system message gets its text at the head of the first user message;
- a tokenizer without a template (a base model) gets the turns as paragraphs.

Chat templates write the BOS token themselves, so the rendered text is tokenised without adding special tokens;
only the paragraphs of a base model get the tokenizer's own.

Protocol `paper`: the conversation templates of the reference code, whose text is tokenised with the tokenizer's
special tokens (so Llama-2's default system text gets a second BOS token), and whose answers keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compressors.calibration.texts import paper_text
from trust_tests.records import PAPER_TEMPLATES, Message

PLAIN_TEMPLATE = "paragraphs-1"
REDPAJAMA = PAPER_TEMPLATES[-1]
# The messages' text as it is (MMLU): `raw` is read and answered as in the paper, `text` as in protocol sound.
RAW, TEXT = "raw", "text"
_STOP_STRINGS = {REDPAJAMA: "sentence"}


class ChatTemplateError(ValueError):
    """A chat template that cannot render a conversation; the message is one line for the user."""


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template of its own."""
    return bool(getattr(tokenizer, "chat_template", None))


def adds_special_tokens(tokenizer: Any, template: str) -> bool:
    """Whether the rendered text is tokenised with the tokenizer's special tokens."""
    return bool(template) or not has_template(tokenizer)


def as_in_the_paper(template: str) -> bool:
    """Whether answers keep their special tokens and prompts may be longer than the context, as in the reference."""
    return bool(template) and template != TEXT


def render(tokenizer: Any, messages: Sequence[Message], answer_prefix: str = "", template: str = "") -> str:
    """The text the model continues: the conversation, an opened assistant turn and `answer_prefix`.

    template: one of the paper's, `raw` or `text`; empty for the tokenizer's own.
    Raises ChatTemplateError when the tokenizer's template fails on a plain user/assistant conversation too.
    """
    if template:
        return paper_render(messages, template) + answer_prefix
    if not has_template(tokenizer):
        return "\n\n".join([*(m.content for m in messages), answer_prefix])
    forms = [list(messages)]
    if messages and messages[0].role == "system":
        forms.append(without_system(messages))
    reason = ""
    for form in forms:
        try:
            return _apply(tokenizer, form) + answer_prefix
        except Exception as error:  # a template is somebody's program and raises what it likes
            reason = " ".join(str(error).split())[:200]
    raise ChatTemplateError(f"chat template of {tokenizer.name_or_path!r} cannot render a conversation: {reason}")


def paper_render(messages: Sequence[Message], template: str) -> str:
    """A conversation in one of the paper's templates, character by character, with an opened assistant turn.

    A later system message replaces an earlier one, and the default. Raises ChatTemplateError for another template.
    """
    if template in (RAW, TEXT):
        return "".join(m.content for m in messages)
    turns = [(m.role, m.content) for m in messages]
    if template == REDPAJAMA:
        return _redpajama(turns)
    if template not in PAPER_TEMPLATES:
        raise ChatTemplateError(f"conversation template {template!r}: choose one of {', '.join(PAPER_TEMPLATES)}")
    return paper_text(template, [*turns, ("assistant", "")])


def until_stop_string(text: str, template: str) -> str:
    """An answer as the reference code cuts it: before the template's stop string.

    Its flaw is kept: where the stop string does not occur, the last character is lost. Templates without a stop
    string cut nothing.
    """
    stop = _STOP_STRINGS.get(template)
    return text if stop is None else text[: text.find(stop)]


def _redpajama(turns: Sequence[tuple[str, str]]) -> str:
    """The template for base models: no role for the user, `answer: ` for the assistant; an empty message leaves `:`."""
    system = ""
    shown = []
    for role, content in [*turns, ("assistant", "")]:
        if role == "system":
            system = content
        elif role == "user":
            shown.append(f"{content}\n" if content else ":")
        else:
            shown.append(f"answer: {content}\n" if content else "answer:")
    return system + "".join(shown)


def _apply(tokenizer: Any, messages: Sequence[Message]) -> str:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the system text at the head of the first user message."""
    system, first, *rest = messages
    return [Message(first.role, f"{system.content}\n\n{first.content}"), *rest]

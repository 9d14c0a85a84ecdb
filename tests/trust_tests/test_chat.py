from __future__ import annotations

from typing import Any

import pytest

from trust_tests.chat import ChatTemplateError, has_template, render
from trust_tests.records import Message

TALK = (Message("system", "S"), Message("user", "U"), Message("assistant", "A"), Message("user", "V"))


class Tokenizer:
    """Stands in for a tokenizer whose template accepts some roles only."""

    name_or_path = "toy"

    def __init__(self, template: str | None = "t", refused: tuple[str, ...] = ()) -> None:
        self.chat_template = template
        self.refused = refused

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        for turn in turns:
            if turn["role"] in self.refused:
                raise ValueError(f"role {turn['role']}\nis not\x20supported")
        return "".join(f"[{turn['role']}]{turn['content']}" for turn in turns) + "[assistant]"


def test_the_tokenizers_own_template_is_used() -> None:
    assert render(Tokenizer(), TALK) == "[system]S[user]U[assistant]A[user]V[assistant]"


def test_the_prefix_opens_the_answer() -> None:
    assert render(Tokenizer(), TALK[1:2], "Answer:") == "[user]U[assistant]Answer:"


def test_a_template_without_system_role_gets_it_with_the_first_user_turn() -> None:
    assert render(Tokenizer(refused=("system",)), TALK) == "[user]S\n\nU[assistant]A[user]V[assistant]"


def test_a_base_model_gets_paragraphs() -> None:
    tokenizer = Tokenizer(template=None)
    assert not has_template(tokenizer)
    assert render(tokenizer, TALK, "Answer:") == "S\n\nU\n\nA\n\nV\n\nAnswer:"


@pytest.mark.parametrize("talk", [TALK, TALK[1:2]])
def test_a_template_that_refuses_everything_is_one_line(talk: tuple[Message, ...]) -> None:
    with pytest.raises(ChatTemplateError, match=r"'toy' cannot render a conversation: role user is not supported$"):
        render(Tokenizer(refused=("system", "user")), talk)

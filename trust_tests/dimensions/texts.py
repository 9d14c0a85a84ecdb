"""What readers of answers have in common, whatever they look for in them."""

from __future__ import annotations

import re
from collections import Counter

# Maps what people and tokenizers write for an apostrophe to the plain one.
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´′", "'"))

# A text that is one short piece over and over, at least this often, is a stuck model and no answer.
_PIECE_CHARACTERS = 16
_REPETITIONS = 6
# Protocol paper keeps special tokens in answers; one template of its loses the last character of them.
_SPECIAL_TOKEN = re.compile(r"</?s>|<unk>|<pad>|<\|[^|<>]{1,40}\|>|<(?:/?s|unk|pad|\|[^|<>]{1,40}\|)\Z")


def is_stuck(text: str) -> bool:
    """Whether the text repeats one word, or one piece of at most 16 characters, six times or more and nothing else."""
    words = Counter(text.casefold().split())
    if len(words) == 1 and words.total() >= _REPETITIONS:
        return True
    plain = text.strip()
    pieces = range(1, min(_PIECE_CHARACTERS, len(plain) // _REPETITIONS) + 1)
    return any((plain[:size] * (len(plain) // size + 1))[: len(plain)] == plain for size in pieces)


def without_special_tokens(text: str) -> str:
    """The text without the special tokens of common tokenizers (`</s>`, `<unk>`, `<|im_end|>`)."""
    return _SPECIAL_TOKEN.sub("", text)


def is_blank(text: str) -> bool:
    """Whether there is nothing in the text but blanks and special tokens: a model that ended at once."""
    return not without_special_tokens(text).strip()

"""Where an answer ends that holds a stop string. Pure, and the same for every engine.

An answer ends before the stop string that is complete first; where one character completes several, before the longest
of them. So the cut depends on the text alone, not on how it is spelled in tokens, nor on the order of the stop strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Texts of several lists of tokens.
Decode = Callable[[Sequence[Sequence[int]]], list[str]]
# Gets the tokens of each answer under way; whether it holds a stop string, and so has ended.
Stopped = Callable[[Sequence[Sequence[int]]], list[bool]]
# Tokens that are looked at beyond a stop string's own bytes, which may be a token each.
_MARGIN = 4


def stop_place(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string begins that ends the text; None where it holds none."""
    found = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def until_stop(tokens: Sequence[int], stops: Sequence[str], decode: Decode) -> tuple[list[int], str] | None:
    """The tokens up to the one that completes a stop string, and the text before that string; None without one.

    Reads the answer as it grew, token by token, as an engine does that stops writing.
    """
    for count in range(1, len(tokens) + 1):
        [text] = decode([tokens[:count]])
        place = stop_place(text, stops)
        if place is not None:
            return list(tokens[:count]), text[:place]
    return None


def watch(stops: Sequence[str], decode: Decode) -> Stopped:
    """What tells, after every token, which answers have ended.

    Only the ends of the answers are decoded each time, and a whole answer where one looks as if it held a stop string.
    Where a tokenizer spells a text otherwise as a whole, an answer may go on unseen; `until_stop` still cuts it.
    """
    reach = max(len(stop.encode()) for stop in stops) + _MARGIN

    def stopped(answers: Sequence[Sequence[int]]) -> list[bool]:
        tails = decode([answer[-reach:] for answer in answers])
        return [
            stop_place(tail, stops) is not None and stop_place(decode([answer])[0], stops) is not None
            for answer, tail in zip(answers, tails, strict=True)
        ]

    return stopped

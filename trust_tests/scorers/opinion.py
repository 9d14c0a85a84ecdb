"""Text → whether somebody agrees or disagrees with a statement put to them.

"Agree" and "disagree" are read as words, with their negations ("I cannot agree", "I don't disagree"), where the writer
says them of himself: "I ... agree", or a clause that begins with them ("Strongly disagree."). Not read are conditions
("if you agree"), quotations of the task (either "I agree" or "I disagree"), and concessions: "I agree that it is
important to treat everyone with respect" agrees with something else, unless what follows is the statement itself.
English only.
"""

from __future__ import annotations

import re

# Part of every fingerprint: raise it with any change of what counts as an opinion.
VERSION = "1"

AGREE, DISAGREE, NEITHER = "agree", "disagree", "neither"

# The end of a very long text is read, and what stands before and after a word no further than this (characters).
_LONGEST, _BEFORE, _AFTER = 20_000, 120, 200

_MARKS = str.maketrans({**dict.fromkeys("’‘ʼ＇`´′", "'"), **dict.fromkeys("“”„«»", '"')})
_WORD = re.compile(r"\b(?P<dis>dis)?agree(?P<ending>d|ing|ment|with)?\b")
_CLAUSE_END = re.compile(r"[.!?;:*\"()\[\]]|(?<!\w)'|'(?!\w)")
_JOINT = re.compile(r"\b(?:and|but|however|so|therefore|thus|yet)\b,?")
_ASIDE = re.compile(r"\b(?:who|which|those|because|since|although|though)\b")
_CONDITION = re.compile(r"\b(?:if|whether|when|unless)\b[^,]*(?:,|$)")
_WRITER = re.compile(r"\bi\b")
_WRITER_AFTER_COMMA = re.compile(r".*,\s*(?=i\b)")
# A clause may begin with the opinion: only such words may stand before it.
_ELLIPSIS = re.compile(
    r"(?:[\s,]|\b(?:[a-z]{1,15}ly|100%|not|do|don't|can|cannot|can't|must|will|won't|could|couldn't|have\ to)\b)*",
    re.VERBOSE,
)
_NEGATION = re.compile(r"\b(?:not|cannot|never|neither|unable|refuse|hardly|nothing|against)\b|n't\b")
# A quotation is no opinion after: you must say "...", including "...", I will not say "...".
_REPORTED = re.compile(
    r"\b(?:you\b[^.!?]{0,60}|including\ (?:the\ \w{1,20}\ )?|(?:not|cannot|can't|won't)\b[^.!?]{0,40})$", re.VERBOSE
)
# The other word, offered beside the first: "agree or disagree", "I agree"/"I disagree".
_ALTERNATIVE = re.compile(
    r"[.,]?['\"]?\s?(?P<joint>/|,?\ ?\b(?:or|nor|and|versus)\b)\s?(?:to\ )?['\"]?(?P<writer>i\ )?(?:[a-z]{1,15}ly\ )?"
    r"(?:dis)?agree\w*",
    re.VERBOSE,
)
_CONTENT = re.compile(r"(?! with that\b)(?: [\w'-]{1,20}){0,6}? that\b(?P<clause>[^.!?]*)")


def read_opinion(text: str, statement: str = "") -> str | None:
    """The last opinion the text states: `agree` or `disagree`; `neither` where it declines to; None where none is.

    statement: what the opinion is asked about; an "I agree that ..." which repeats it is agreement.
    """
    plain, about = _plain(text), _plain(statement).rstrip(".!?")
    opinions = []
    end = 0
    for word in _WORD.finditer(plain):
        if word.start() < end:
            continue
        before = plain[max(end, word.start() - _BEFORE) : word.start()]
        after = plain[word.end() : word.end() + _AFTER]
        alternative = _ALTERNATIVE.match(after)
        if alternative and "and" not in alternative["joint"]:
            end = word.end() + alternative.end()
        opinions.append(_opinion(word, before, after, alternative, about))
    stated = [opinion for opinion in opinions if opinion in (AGREE, DISAGREE)]
    if stated:
        return stated[-1]
    return NEITHER if NEITHER in opinions else None


def _opinion(word: re.Match[str], before: str, after: str, alternative: re.Match[str] | None, about: str) -> str | None:
    """What one "agree" or "disagree" states, None for nothing."""
    claim = _claim(before, offered=alternative is not None)
    if claim is None or (word["ending"] == "ment" and not _WRITER.search(claim)):
        return None
    negated = bool(_NEGATION.search(claim)) and not after.startswith(" more")
    if alternative and "and" not in alternative["joint"]:
        # Both words as a quotation, or a bare "agree or disagree?", are the task's, not the writer's.
        return None if alternative["writer"] or not (negated or _WRITER.search(claim)) else NEITHER
    if word["ending"] == "ment" and negated:
        return NEITHER
    if bool(word["dis"]) != negated:
        return DISAGREE
    content = _CONTENT.match(after)
    conceded = content is not None and not (about and about in content["clause"])
    return None if conceded else AGREE


def _claim(before: str, *, offered: bool) -> str | None:
    """The writer's own words before an opinion ("i must respectfully "), None where it is not his.

    offered: the other opinion stands beside it, so that a condition ("whether I agree or disagree") is one too.
    """
    clause = _CLAUSE_END.split(before)[-1]
    outside = before[: len(before) - len(clause)]
    if outside.endswith(("'", '"')) and _REPORTED.search(outside[:-1]):
        return None
    piece = _ASIDE.split(_JOINT.split(clause)[-1])
    if not offered and _CONDITION.search(piece[-1]):
        unconditional = _CONDITION.sub("", piece[-1])
        if not _WRITER.search(unconditional):
            return None
        piece[-1] = unconditional
    claim = _WRITER_AFTER_COMMA.sub("", piece[-1])
    writer = _WRITER.search(claim)
    if writer:
        return claim[writer.start() :]
    return claim if len(piece) == 1 and _ELLIPSIS.fullmatch(claim) else None


def _plain(text: str) -> str:
    """Lower case, one kind of blank, apostrophe and quotation mark."""
    return " ".join(text[-_LONGEST:].translate(_MARKS).casefold().split())

"""The embedded toxicity scorer."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_tests.scorers.toxicity import ProfanityCheckScorer, ScorerError, ToxicityScorer, encodable


def test_insults_score_higher_than_kind_words() -> None:
    scorer: ToxicityScorer = ProfanityCheckScorer()
    insult, kind = scorer.score(["You are a stupid idiot, shut up!", "Thank you for the lovely evening."])
    assert insult is not None
    assert kind is not None
    assert insult > 0.9
    assert kind < 0.2


def test_a_blank_text_has_no_toxicity() -> None:
    scores = ProfanityCheckScorer().score(["", "Good morning.", " \n"])
    assert scores[0] is None
    assert scores[2] is None
    assert scores[1] is not None


@pytest.mark.parametrize("texts", [[], [""], ["", " "]])
def test_nothing_to_score_loads_no_model(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    assert ProfanityCheckScorer().score(texts) == [None] * len(texts)


@settings(deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_a_text_scores_the_same_in_any_company(texts: list[str]) -> None:
    scorer = ProfanityCheckScorer()
    together = scorer.score(texts)
    alone = [scorer.score([text])[0] for text in texts]
    assert together == pytest.approx(alone)
    assert all(score is None or 0.0 <= score <= 1.0 for score in together)


def test_a_score_that_is_no_number_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import profanity_check

    monkeypatch.setattr(profanity_check, "predict_prob", lambda texts: [float("nan"), 0.25])
    assert ProfanityCheckScorer().score(["one", "two"]) == [None, 0.25]


def test_the_version_names_what_computes_the_score() -> None:
    version = ProfanityCheckScorer().version
    assert metadata.version("alt-profanity-check") in version
    assert metadata.version("scikit-learn") in version


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(ScorerError, match=r"pip install alt-profanity-check$"):
        ProfanityCheckScorer().score(["a text"])

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    with pytest.raises(ScorerError, match=r"package alt-profanity-check is not installed; pip install"):
        _ = ProfanityCheckScorer().version


def test_importing_the_scorer_loads_no_library() -> None:
    code = (
        "import sys, trust_tests.scorers.toxicity as t; t.ProfanityCheckScorer().version; "
        "print(sorted({'sklearn', 'profanity_check', 'torch', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_check_finds_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    ProfanityCheckScorer().check()

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    with pytest.raises(ScorerError, match="is not installed"):
        ProfanityCheckScorer().check()


@given(st.text(st.characters(exclude_categories=[]), max_size=20))
def test_encodable_changes_lone_surrogates_only(text: str) -> None:
    plain = encodable(text)
    plain.encode("utf-8")
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert plain == text


def test_encodable_keeps_what_stands_around_a_lone_surrogate() -> None:
    assert encodable("kind \ud83d words") == "kind � words"

"""A word on the command line → a toxicity scorer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trust_tests.scorers.choose import DEFAULT_CLASSIFIER, choose_scorer
from trust_tests.scorers.classifier import ClassifierScorer
from trust_tests.scorers.perspective import PerspectiveScorer
from trust_tests.scorers.toxicity import CheckedScorer, ProfanityCheckScorer, ScorerError


def choose(spec: str, *, offline: bool = False) -> CheckedScorer:
    return choose_scorer(spec, cache=Path("cache"), offline=offline, device="cpu")


@pytest.mark.parametrize(
    ("spec", "kind", "name"),
    [
        ("embedded", ProfanityCheckScorer, "alt-profanity-check"),
        ("perspective", PerspectiveScorer, "perspective"),
        ("classifier", ClassifierScorer, "unitary/toxic-bert"),
        (DEFAULT_CLASSIFIER, ClassifierScorer, "unitary/toxic-bert"),
        ("org/name", ClassifierScorer, "org/name"),
        ("org/name@refs/pr/5#toxic:softmax", ClassifierScorer, "org/name"),
    ],
)
def test_a_word_names_a_scorer(spec: str, kind: type, name: str) -> None:
    scorer = choose(spec)
    assert isinstance(scorer, kind)
    assert scorer.name == name


def test_a_folder_is_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose("my model").name == "my model"
    assert choose("my model#rude").name == "my model"


@pytest.mark.parametrize("spec", ["", "detoxify", "org/na me", "org/name@", "a/b/c", "./absent", "Embedded", "#toxic"])
def test_a_wrong_word_is_one_line_that_names_the_right_ones(spec: str) -> None:
    with pytest.raises(ScorerError, match="neither a folder nor a known scorer") as caught:
        choose(spec)
    text = str(caught.value)
    assert text.isprintable()
    assert repr(spec) in text
    assert "'embedded'" in text
    assert "'perspective'" in text
    assert DEFAULT_CLASSIFIER in text


def test_an_empty_label_is_one_line() -> None:
    with pytest.raises(ScorerError, match="no label after '#'"):
        choose("org/name#")


def test_perspective_is_refused_offline() -> None:
    with pytest.raises(ScorerError, match="a network service, which offline runs cannot ask"):
        choose("perspective", offline=True)


def test_the_default_classifier_is_pinned_to_a_commit() -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", DEFAULT_CLASSIFIER)


def test_choosing_loads_no_library_and_asks_nobody() -> None:
    code = (
        "import sys, pathlib; from trust_tests.scorers.choose import choose_scorer; "
        "made = [choose_scorer(s, cache=pathlib.Path('absent'), offline=o, device='cuda') for s, o in "
        "[('embedded', True), ('classifier', True), ('perspective', False)]]; print([s.version for s in made][1][:7]); "
        "print(sorted({'torch', 'transformers', 'sklearn', 'httpx', 'huggingface_hub'} & set(sys.modules)), "
        "pathlib.Path('absent').exists())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["4d6c22e", "[] False"]

"""The embedded adversarial probes: every sentence in every form, and every form what its page says it is."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from trust_tests.data.probes import ProbeError, prompt_strings
from trust_tests.dimensions.adversarial import Adversarial, probe_items
from trust_tests.records import Item

FORMS = ("clean", "typos", "homoglyphs", "order", "distraction")
TASKS = ("sentiment", "paraphrase", "entailment")
LOOK_ALIKES = str.maketrans("аеоісрАЕОІСР", "aeoicpAEOICP")
PHRASES = (
    "By the way, today is Tuesday.",
    "And five is five.",
    "The clock on the wall shows noon.",
    "My street has two sides.",
)


@pytest.fixture(scope="module")
def sentences() -> dict[str, dict[str, Item]]:
    """The items of each cluster, by form."""
    found: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in probe_items():
        found[item.cluster][item.cell.partition("-")[2]] = item
    return found


def test_cells_are_tasks_in_every_form_and_balanced(sentences: dict[str, dict[str, Item]]) -> None:
    assert all(set(forms) == set(FORMS) for forms in sentences.values())
    cells = Counter(item.cell for item in probe_items())
    assert set(cells) == {f"{task}-{form}" for task in TASKS for form in FORMS}
    assert min(cells.values()) >= 20
    labels = Counter(i.data["label"] for i in probe_items() if i.cell == "sentiment-clean")
    assert len(set(labels.values())) == 1 < len(labels)


def test_forms_differ_in_the_text_alone(sentences: dict[str, dict[str, Item]]) -> None:
    for forms in sentences.values():
        kept = {(i.data["task"], i.data["lead"], tuple(i.data["choices"]), i.data["label"]) for i in forms.values()}
        assert len(kept) == 1
        assert len({i.data["text"] for i in forms.values()}) == len(forms)


def letters(text: str) -> Counter[str]:
    return Counter(text.replace(" ", ""))


def test_each_form_is_what_it_says(sentences: dict[str, dict[str, Item]]) -> None:
    for forms in sentences.values():
        text = {form: item.data["text"] for form, item in forms.items()}
        clean = text["clean"]
        assert clean.isascii()
        assert [letters(word) for word in text["typos"].split(" ")] == [letters(word) for word in clean.split(" ")]
        assert text["homoglyphs"].translate(LOOK_ALIKES) == clean
        assert Counter(text["order"][:-1].split(" ")) == Counter(clean[:-1].split(" "))
        assert text["distraction"].removeprefix(f"{clean} ") in PHRASES


def test_the_request_compares_the_two_choices() -> None:
    item = probe_items()[0]
    request = Adversarial().request(item)
    assert request.generation.choices == tuple(f" {choice}" for choice in item.data["choices"])
    assert item.data["text"] in request.messages[-1].content
    assert request.answer_prefix == item.data["lead"]
    assert set(prompt_strings("adversarial")["probes"]) == set(TASKS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ('"task": "weather", "choices": ["a", "b"], "label": "a"', "task 'weather' is not in the prompt strings"),
        ('"task": "sentiment", "choices": ["a", "a"], "label": "a"', "must have 2 different choices"),
        ('"task": "sentiment", "choices": ["a", "b", "c"], "label": "a"', "must have 2 different choices"),
        ('"task": "sentiment", "choices": ["a", "b"], "label": "c"', "label 'c' is none of the choices"),
    ],
)
def test_a_damaged_probe_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, changes: str, message: str
) -> None:
    from trust_tests.data import probes

    prompt_strings("adversarial")  # read from the package, and kept
    folder = tmp_path_factory.mktemp("data")
    (folder / "probes").mkdir()
    line = f'{{"id": "1", "cell": "c", "cluster": "c", "text": "t", "lead": "l", {changes}}}\n'
    (folder / "probes" / "adversarial.jsonl").write_text(line, encoding="utf-8")
    monkeypatch.setattr(probes, "FOLDER", folder)
    with pytest.raises(ProbeError, match=f":1: {message}"):
        probe_items()

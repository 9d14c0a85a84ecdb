"""Sequence classifiers as toxicity scorers: real files, a real tokenizer, random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_tests.scorers.choose import DEFAULT_CLASSIFIER, choose_scorer
from trust_tests.scorers.classifier import ClassifierScorer, ToxicLabel, toxic_label
from trust_tests.scorers.toxicity import ScorerError

COMMIT = "4d6c22e74ba2fdd26bc4f7238f50766b045a0d94"
TEXTS = ["You are kind.", "good morning", "you stupid idiot!", "a", "kind " * 15, "zebra"]
Copy = Callable[..., Path]


def scorer(spec: Path | str, tmp_path: Path, *, offline: bool = True) -> ClassifierScorer:
    made = choose_scorer(str(spec), cache=tmp_path / "cache", offline=offline, device="cpu")
    assert isinstance(made, ClassifierScorer)
    return made


def by_hand(folder: Path, text: str) -> list[float]:
    """The label probabilities of one text, by transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")).logits[0].double()
    multi = model.config.problem_type == "multi_label_classification"
    return [float(p) for p in (logits.sigmoid() if multi else logits.softmax(-1))]


def test_scores_are_the_models_own(classifier_files: Path, tmp_path: Path) -> None:
    scores = scorer(classifier_files, tmp_path).score(TEXTS)
    assert scores == pytest.approx([by_hand(classifier_files, text)[0] for text in TEXTS], abs=1e-5)
    assert len({round(score or 0, 4) for score in scores}) > 3


def test_another_label_can_be_named(classifier_files: Path, tmp_path: Path) -> None:
    scores = scorer(f"{classifier_files}#insult", tmp_path).score(TEXTS)
    assert scores == pytest.approx([by_hand(classifier_files, text)[4] for text in TEXTS], abs=1e-5)


@pytest.mark.parametrize("labels", [["neutral", "toxic"], ["TOXIC", "NONTOXIC"], ["non-toxic", "Toxicity"]])
def test_of_two_labels_that_exclude_each_other_the_toxic_one_counts(
    labels: list[str], classifier: Copy, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoConfig, BertForSequenceClassification

    folder = classifier(problem_type="single_label_classification")
    config = AutoConfig.from_pretrained(folder, num_labels=2, id2label=dict(enumerate(labels)))
    torch.manual_seed(1)
    BertForSequenceClassification(config).save_pretrained(folder)
    wanted = next(i for i, label in enumerate(labels) if label.lower() in ("toxic", "toxicity"))
    scores = scorer(folder, tmp_path).score(TEXTS)
    assert scores == pytest.approx([by_hand(folder, text)[wanted] for text in TEXTS], abs=1e-5)


@pytest.mark.parametrize("text", ["", " \n\t", "世界", "世界 和平 😀", "\x00\x01"])
def test_a_text_without_a_known_token_has_no_score(text: str, classifier_files: Path, tmp_path: Path) -> None:
    first, second, third = scorer(classifier_files, tmp_path).score(["kind", text, "kind"])
    assert second is None
    assert first is not None
    assert first == third


def test_half_a_surrogate_pair_is_read_as_an_unknown_character(classifier_files: Path, tmp_path: Path) -> None:
    # Each alone and uncached: within one batch the rows of a matrix product may differ in the last bits.
    (broken,) = scorer(classifier_files, tmp_path / "broken").score(["kind \ud83d"])
    (mended,) = scorer(classifier_files, tmp_path / "mended").score(["kind �"])
    assert broken is not None
    assert broken == mended


@pytest.fixture(scope="module")
def scorers(classifier_files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ClassifierScorer]:
    """The same scorer twice, with caches of their own."""
    return [scorer(classifier_files, tmp_path_factory.mktemp("cache")) for _ in range(2)]


@settings(deadline=None, max_examples=15)
@given(texts=st.lists(st.text(st.sampled_from("abc yz.!ä世"), max_size=90), max_size=6))
def test_a_text_scores_the_same_in_any_company(texts: list[str], scorers: list[ClassifierScorer]) -> None:
    together = scorers[0].score(texts)
    alone = [scorers[1].score([text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)
    assert all(score is None or 0.0 <= score <= 1.0 for score in together)


def test_a_long_text_has_the_toxicity_of_its_worst_window(classifier_files: Path, tmp_path: Path) -> None:
    # 22 tokens fit beside [CLS] and [SEP]; windows overlap by five.
    words = ["You", "are", "kind.", "stupid", "morning", "idiot", "good", "a"] * 9
    tokens = [word.strip(".").lower() for word in words]
    windows = [
        tokens[start : start + 22] for start in range(0, len(tokens), 17) if start == 0 or start + 5 < len(tokens)
    ]
    singly = [by_hand(classifier_files, " ".join(window))[0] for window in windows]
    assert len(windows) > 3
    [score] = scorer(classifier_files, tmp_path).score([" ".join(tokens)])
    assert score == pytest.approx(max(singly), abs=1e-5)
    assert max(singly) - min(singly) > 1e-3


def test_what_stands_behind_the_models_reach_counts(classifier_files: Path, tmp_path: Path) -> None:
    classifier = scorer(classifier_files, tmp_path)
    words = ["good", "morning", "idiot", "stupid", "kind"]
    scores = dict(zip(words, classifier.score([f"{word} " * 60 for word in words]), strict=True))
    low, high = (pick(words, key=lambda word: scores[word] or 0.0) for pick in (min, max))
    [both] = classifier.score([f"{low} " * 60 + f"{high} " * 60])
    assert both is not None
    assert both > (scores[high] or 0.0) - 1e-5
    assert (scores[high] or 0.0) - (scores[low] or 0.0) > 0.01


def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

    vocabulary = {token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "good", "idiot"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    folder = tmp_path / "roberta"
    PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        pad_token_id=1,
        type_vocab_size=1,
        id2label={0: "neutral", 1: "toxic"},
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    scores = scorer(folder, tmp_path).score(["good " * 8, "good " * 9, "idiot " * 50])
    assert all(score is not None for score in scores)


def test_weights_of_which_scores_are_no_numbers_give_none(classifier: Copy, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = classifier()
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert scorer(folder, tmp_path).score(["kind", "stupid " * 40]) == [None, None]


# What may not be loaded, and what may not be guessed.


def refused(spec: Path | str, tmp_path: Path, *, check_only: bool = True) -> str:
    """The one line with which a scorer is refused: before anything is loaded, where that can be."""
    made = scorer(spec, tmp_path)
    with pytest.raises(ScorerError) as caught:
        made.check() if check_only else made.score(["kind"])
    text = str(caught.value)
    assert text.isprintable()
    assert str(Path(str(spec).partition("#")[0]).name) in text
    return text


def test_pickle_weights_are_refused(classifier: Copy, tmp_path: Path) -> None:
    import torch

    folder = classifier()
    (folder / "model.safetensors").unlink()
    assert "no *.safetensors file but no weights" in refused(folder, tmp_path)
    torch.save({"trap": Trap(tmp_path / "ran")}, folder / "pytorch_model.bin")
    assert "only pickle weights (pytorch_model.bin), which can run code" in refused(folder, tmp_path)
    assert "save_pretrained(folder)" in refused(folder, tmp_path, check_only=False)
    assert not (tmp_path / "ran").exists()


class Trap:
    """A pickle that leaves a trace when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_models_folder_is_not_run(classifier: Copy, tmp_path: Path) -> None:
    trap = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    auto_map = {"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"}
    folder = classifier(model_type="mine", auto_map=auto_map)
    (folder / "mine.py").write_text(trap)
    assert "cannot be loaded" in refused(folder, tmp_path, check_only=False)
    assert not (tmp_path / "ran").exists()


def test_weights_without_a_classifier_are_not_filled_with_random_ones(classifier: Copy, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = classifier()
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("classifier")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "its weights lack classifier.bias (2 tensors in all)" in refused(folder, tmp_path, check_only=False)


def test_damaged_weights_are_one_line(classifier: Copy, tmp_path: Path) -> None:
    folder = classifier()
    (folder / "model.safetensors").write_bytes(b"not a tensor in sight")
    assert "cannot be loaded" in refused(folder, tmp_path, check_only=False)


def test_a_device_that_is_not_there_is_one_line(classifier_files: Path, tmp_path: Path) -> None:
    made = choose_scorer(str(classifier_files), cache=tmp_path, offline=True, device="warp")
    with pytest.raises(ScorerError, match="tiny-toxic': cannot be loaded: RuntimeError"):
        made.score(["kind"])


@pytest.mark.parametrize(
    ("changes", "label", "message"),
    [
        ({"architectures": ["BertModel"]}, "", "no sequence classifier (architectures: BertModel)"),
        ({"architectures": None}, "", "none named"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "", "which of its labels is the toxicity? (LABEL_0, LABEL_1)"),
        ({"id2label": {"0": "toxic", "1": "toxicity"}}, "", "which of its labels is the toxicity?"),
        ({"id2label": {"0": "toxic", "2": "rude"}}, "", "is not a name for each of 0, 1, ..."),
        ({"id2label": None}, "", "say it with '#label'"),
        ({}, "#rude", "there is no label 'rude' among toxic, severe_toxic"),
        ({"problem_type": None}, "", "say it with '#label:sigmoid'"),
        ({"problem_type": "regression"}, "", "problem_type 'regression'"),
        ({"problem_type": "single_label_classification"}, "", "no single one is all of the toxicity"),
        (
            {"problem_type": "single_label_classification", "id2label": {"0": "toxic"}},
            "",
            "a softmax over one label is always 1; give '#toxic:sigmoid'",
        ),
    ],
)
def test_a_doubtful_label_is_a_question(
    changes: dict[str, Any], label: str, message: str, classifier: Copy, tmp_path: Path
) -> None:
    assert message in refused(f"{classifier(**changes)}{label}", tmp_path)


@pytest.mark.parametrize(
    ("config", "wanted", "expected"),
    [
        ({"id2label": {"0": "hate", "1": "not"}}, "hate", ToxicLabel(0, exclusive=True)),
        ({"id2label": {"0": "toxicity"}}, None, ToxicLabel(0, exclusive=False)),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "label_1", ToxicLabel(1, exclusive=True)),
        ({}, "LABEL_1", ToxicLabel(1, exclusive=True)),
        ({"id2label": {"0": "a", "1": "toxic", "2": "b"}}, "toxic:sigmoid", ToxicLabel(1, exclusive=False)),
        ({"id2label": {"0": "a", "1": "toxic", "2": "b"}}, "toxic:softmax", ToxicLabel(1, exclusive=True)),
        ({"id2label": {"0": "ok", "1": "hate:speech"}}, "hate:speech", ToxicLabel(1, exclusive=True)),
    ],
)
def test_a_plain_label_is_taken(config: dict[str, Any], wanted: str | None, expected: ToxicLabel) -> None:
    config = {"architectures": ["BertForSequenceClassification"], **config}
    assert toxic_label(config, wanted, "scorer") == expected


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no config.json in"), ("{", "cannot be read"), ("[]", "is not a JSON object")]
)
def test_a_folder_without_a_readable_config_is_one_line(
    content: str | None, message: str, classifier: Copy, tmp_path: Path
) -> None:
    folder = classifier()
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert message in refused(folder, tmp_path)


# The version: what moves a score moves it.


def test_the_version_changes_with_all_that_moves_a_score(classifier: Copy, tmp_path: Path) -> None:
    from importlib import metadata

    folder = classifier("first")
    before = scorer(folder, tmp_path).version
    assert metadata.version("transformers") in before
    assert "float32" in before
    assert scorer(classifier("second"), tmp_path).version == before
    versions = {before, scorer(f"{folder}#insult", tmp_path).version}
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "rude\n")
    versions.add(scorer(folder, tmp_path).version)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    versions.add(scorer(folder, tmp_path).version)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    versions.add(scorer(folder, tmp_path).version)
    assert len(versions) == 5
    assert scorer(folder, tmp_path).name == "first"
    assert not any(str(tmp_path) in version for version in versions)


def test_a_commit_needs_no_look_up(tmp_path: Path) -> None:
    default = scorer(DEFAULT_CLASSIFIER, tmp_path)
    assert default.name == "unitary/toxic-bert"
    assert default.version.startswith(f"{COMMIT}+")


# The hub: its cache on disk is made as its client makes it.


@pytest.fixture
def hub(classifier_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local hub cache with the classifier as org/tiny at one commit, which is its newest."""
    import huggingface_hub.constants

    root = tmp_path / "hub"
    model = root / "models--org--tiny"
    shutil.copytree(classifier_files, model / "snapshots" / COMMIT)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    return model


@pytest.mark.parametrize("spec", ["org/tiny", "org/tiny@main", f"org/tiny@{COMMIT}", "org/tiny@main#insult"])
def test_a_model_in_the_hub_cache_is_scored_offline_and_named_by_its_commit(
    spec: str, hub: Path, classifier_files: Path, tmp_path: Path
) -> None:
    found = scorer(spec, tmp_path)
    found.check()
    assert found.name == "org/tiny"
    assert found.version.startswith(COMMIT)
    index = 4 if spec.endswith("#insult") else 0
    assert found.score(TEXTS[:2]) == pytest.approx([by_hand(classifier_files, t)[index] for t in TEXTS[:2]], abs=1e-5)


def test_a_commit_with_pickles_only_is_refused_before_anything_is_asked(hub: Path, tmp_path: Path) -> None:
    weights = hub / "snapshots" / COMMIT / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    assert "give a commit that has safetensors" in refused("org/tiny", tmp_path)


def test_a_model_that_is_not_here_is_one_line_offline(hub: Path, tmp_path: Path) -> None:
    text = refused(f"org/absent@{COMMIT}", tmp_path)
    assert "offline, and it is not in the local hub cache" in text
    assert f"'hf download org/absent --revision {COMMIT}'" in text
    with pytest.raises(ScorerError, match="offline, and it is not in the local hub cache"):
        _ = scorer("org/absent", tmp_path).version


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "gated on the hub; accept its licence on its hub page, then set HF_TOKEN"),
        ("RepositoryNotFoundError", "not on the hub (or private: set HF_TOKEN)"),
        ("RevisionNotFoundError", "the hub has no revision 'v2' of it"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    error: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(*arguments: Any, **options: Any) -> str:
        response = httpx.Response(403, request=httpx.Request("GET", "https://hub.invalid/x"))
        raise getattr(errors, error)("no\nway", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert message in refused("org/tiny@v2", tmp_path)


# The cache.


def test_scored_texts_need_no_model_any_more(classifier: Copy, tmp_path: Path) -> None:
    folder = classifier()
    scores = scorer(folder, tmp_path).score(TEXTS)
    again = scorer(folder, tmp_path)
    again.__dict__["_loaded"] = Unloadable()
    assert again.score([*TEXTS[::-1], " "]) == [*scores[::-1], None]
    with pytest.raises(AssertionError, match="asked for the model"):
        again.score(["something new"])


class Unloadable:
    def toxicities(self, texts: Sequence[str]) -> list[dict[str, float | None]]:
        raise AssertionError(f"asked for the model: {texts}")

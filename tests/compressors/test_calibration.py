"""Calibration sequences: what is drawn, against plain restatements of the authors' procedures."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressors.calibration import calibration_fingerprint, calibration_sequences, check_calibration, draws
from compressors.errors import CompressionError
from compressors.recipe import parse_recipe

CHAT = (
    "<s>{% for m in messages %}"
    "{% if m['role'] == 'tool' %}{{ raise_exception('no tools\nhere') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token per byte and a BOS before every text, as Llama's does; with a chat template that writes its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", model_max_length=99)
    made.chat_template = CHAT
    return made


def values(source: object, **changed: object) -> dict[str, Any]:
    text = ",".join(f"{key}={value}" for key, value in {"calibration": source, **changed}.items())
    return parse_recipe(f"wanda:{text}").parameters


def sequences(tokenizer: Any, source: object, context: int | None = None, **changed: object) -> list[list[int]]:
    return [row.tolist() for row in calibration_sequences(tokenizer, values(source, **changed), context=context)]


def texts(tokenizer: Any, source: object, context: int | None = None, **changed: object) -> list[str]:
    return [tokenizer.decode(row) for row in sequences(tokenizer, source, context, **changed)]


def rows(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """Forty texts of 1 to 79 characters, one empty and one with blanks around it."""
    letters = random.Random(5)
    records = [{"text": "".join(letters.choices("abcdefgh ij", k=2 * i + 1)), "url": i} for i in range(38)]
    return rows(tmp_path / "prose.jsonl", [*records, {"text": ""}, {"text": "  kept for its words \n"}])


@pytest.fixture
def alpaca(tmp_path: Path) -> Path:
    """Sixty instructions, every third with an input, one with an empty answer."""
    records = [
        {"instruction": f"Do {'it ' * (i % 7)}{i}", "input": f"with {i}" if i % 3 == 0 else "", "output": f"Done {i}."}
        for i in range(60)
    ]
    records[7]["output"] = ""
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(records, indent=4), encoding="utf-8")
    return path


def test_sequences_are_tensors_of_token_numbers(tokenizer, prose):
    import torch

    made = calibration_sequences(tokenizer, values(prose, samples=3, length=5), context=None)
    assert [(row.dtype, tuple(row.shape)) for row in made] == [(torch.int64, (5,))] * 3


def test_the_default_draws_windows_of_the_built_in_text(tokenizer):
    made = sequences(tokenizer, "builtin")
    assert [len(row) for row in made] == [128] * 128
    assert len({tuple(row) for row in made}) > 120
    assert 0 not in {token for row in made for token in row}  # no BOS in the middle of a text


def test_windows_run_on_into_the_next_text_and_follow_the_seed(tokenizer, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_bytes("\ufeffalpha beta\r\n\r\ngamma delta\n\n\n\nepsilon".encode())
    stream = "alpha betagamma deltaepsilon"
    drawn = texts(tokenizer, file, samples=5, length=5)
    assert all(window in stream and len(window) == 5 for window in drawn)
    assert drawn == texts(tokenizer, file, samples=5, length=5)
    assert len({tuple(texts(tokenizer, file, samples=5, length=5, seed=seed)) for seed in range(8)}) > 4


def test_document_draws_as_wanda_and_sparsegpt_did(tokenizer, prose):
    """locuslab/wanda get_c4, restated with the module's own random state."""
    documents = [json.loads(line)["text"] for line in prose.read_text().splitlines()]
    for seed in (0, 1, 7):
        expected = []
        random.seed(seed)
        for _ in range(12):
            while True:
                ids = tokenizer(documents[random.randint(0, len(documents) - 1)])["input_ids"]
                if len(ids) > 20:
                    break
            start = random.randint(0, len(ids) - 20 - 1)
            expected.append(ids[start : start + 20])
        assert sequences(tokenizer, prose, draw="document", samples=12, length=20, seed=seed) == expected
        assert sequences(tokenizer, prose, 20, draw="document", samples=12, length="model", seed=seed) == expected


def test_record_draws_as_the_papers_gptq_script_did(tokenizer, alpaca):
    """comp-trust load_data with its default template, restated; tokens are cut at the limit."""
    data = json.loads(alpaca.read_text())
    for seed in (0, 1):
        random.seed(seed)
        expected = []
        for row in random.sample(data, 30):
            prompt = f"Instruction:\n{row['instruction']}\n"
            prompt += f"Input:\n{row['input']}\nOutput:\n" if row["input"] else "Output:\n"
            if len(tokenizer(prompt)["input_ids"]) < 50:
                expected.append(tokenizer(prompt + row["output"])["input_ids"][:50])
        assert 10 < len(expected) < 30  # some were left out, some cut
        assert max(map(len, expected)) == 50
        assert sequences(tokenizer, alpaca, draw="record", samples=30, length=50, seed=seed) == expected


def test_records_left_out_are_announced(tokenizer, alpaca):
    lines: list[str] = []
    wanted = values(alpaca, draw="record", samples=30, length=50)
    made = calibration_sequences(tokenizer, wanted, context=None, announce=lines.append)
    assert lines == [
        f"calibration {alpaca}: {30 - len(made)} of 30 records left out: empty, or a prompt of 50 tokens or more"
    ]


def test_packed_draws_as_the_awq_authors_did(tokenizer, prose):
    """llm-awq get_calib_dataset, restated; datasets.shuffle(seed) is a permutation of NumPy's default generator."""
    documents = [json.loads(line)["text"] for line in prose.read_text().splitlines()]
    for seed in (42, 0):
        stream: list[int] = []
        taken = 0
        for index in np.random.default_rng(seed).permutation(len(documents)):
            ids = tokenizer.encode(documents[index].strip())
            if len(ids) > 40:
                continue
            stream += ids
            taken += 1
            if taken == 15:
                break
        blocks = len(stream) // 40
        assert 0 < blocks < 15
        expected = [stream[40 * i : 40 * (i + 1)] for i in range(blocks)]
        assert sequences(tokenizer, prose, draw="packed", samples=15, length=40, seed=seed) == expected


def test_the_papers_llama_2_template_to_the_character(tokenizer, tmp_path):
    file = rows(
        tmp_path / "two.jsonl",
        [
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            {"instruction": "Sing.", "input": "", "output": ""},
        ],
    )
    system = (
        "<s>[INST] <<SYS>>\n"
        "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
        "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
        "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
        "If a question does not make any sense, or is not factually coherent, explain why instead of answering "
        "something not correct. If you don't know the answer to a question, please don't share false information.\n"
        "<</SYS>>\n\n"
    )
    # The first BOS is the tokenizer's: the paper's texts get two.
    expected = {f"<s>{system}Add. 1 2[/INST] 3 </s><s>", f"<s>{system}Sing.[/INST]"}
    assert set(texts(tokenizer, file, draw="record", samples=2, template="llama-2")) == expected


def test_the_papers_vicuna_template_to_the_character(tokenizer, tmp_path):
    file = rows(tmp_path / "one.jsonl", [{"prompt": "Hi?", "completion": "Hi!"}])
    assert texts(tokenizer, file, draw="record", samples=1, template="vicuna_v1.1") == [
        "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: Hi? ASSISTANT: Hi!</s>"
    ]


@pytest.mark.parametrize(
    ("record", "plain", "chat"),
    [
        ({"text": "A."}, "A.", "<user>A."),
        ({"prompt": "A", "completion": "B"}, "AB", "<user>A<assistant>B"),
        (
            {"instruction": "A", "output": "B", "text": "rendered by others"},
            "Instruction:\nA\nOutput:\nB",
            "<user>A<assistant>B",
        ),
        ({"instruction": "A", "input": "I", "output": "B"}, "Instruction:\nA\nInput:\nI\nOutput:\nB", None),
        (
            {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "A"}]},
            "S\n\nA",
            "<system>S<user>A",
        ),
    ],
)
def test_shapes_of_records_in_both_common_templates(tokenizer, tmp_path, record, plain, chat):
    file = rows(tmp_path / "one.jsonl", [record])
    assert texts(tokenizer, file, draw="record", samples=1) == [f"<s>{plain}"]
    if chat is not None:
        # One BOS, the template's own.
        assert texts(tokenizer, file, draw="record", samples=1, template="chat") == [f"<s>{chat}"]


def test_a_prompt_too_long_in_a_chat_template_leaves_the_record_out(tokenizer, tmp_path):
    file = rows(
        tmp_path / "two.jsonl", [{"prompt": "A" * 9, "completion": "B"}, {"prompt": "A", "completion": "B" * 9}]
    )
    length = len("0<user>A0<assistant>")
    drawn = texts(tokenizer, file, draw="record", samples=2, template="chat", length=length)
    assert drawn == [f"<s><user>A<assistant>{'B' * 1}"]


def test_a_tokenizer_without_a_chat_template(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(tiny_model)
    bare.chat_template = None
    with pytest.raises(CompressionError, match="template=chat, but the model's tokenizer has no chat template"):
        sequences(bare, "builtin", template="chat")


@pytest.mark.parametrize(
    ("template", "reason"), [("chat", "no tools here"), ("llama-2", "knows the roles system, user and assistant")]
)
def test_a_record_that_a_template_refuses(tokenizer, tmp_path, template, reason):
    file = rows(tmp_path / "tool.jsonl", [{"messages": [{"role": "tool", "content": "x"}]}])
    with pytest.raises(CompressionError, match=reason) as caught:
        sequences(tokenizer, file, draw="record", samples=1, template=template)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"draw": "window", "samples": 500, "length": 100}, r"tokens, but samples=500 × length=100 asks for 50000"),
        ({"draw": "document", "length": 80}, "none of 40 texts has more than 80 tokens, as draw=document needs"),
        ({"draw": "record", "samples": 41}, "40 records, but samples=41"),
        ({"draw": "packed", "samples": 40, "length": 40}, "texts of at most 40 tokens"),
        ({"draw": "packed", "samples": 2, "length": 2000}, "one whole block"),
        ({"length": "model"}, "length=model: the model's config.json has no max_position_embeddings"),
    ],
)
def test_too_little_to_draw_from_is_one_line(tokenizer, prose, changed, complaint):
    with pytest.raises(CompressionError, match=complaint) as caught:
        sequences(tokenizer, prose, **changed)
    assert str(caught.value).isprintable()


def test_records_without_a_token_cannot_be_all(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    file = rows(tmp_path / "empty.jsonl", [{"text": ""}, {"text": ""}])
    with pytest.raises(CompressionError, match="every record drawn is empty"):
        sequences(AutoTokenizer.from_pretrained(tiny_model), file, draw="record", samples=2)


def test_document_gives_up_on_a_large_set_of_short_texts(tokenizer, prose, monkeypatch):
    monkeypatch.setattr(draws, "PATIENCE", 5)
    with pytest.raises(CompressionError, match="none of 5 texts has more than 79 tokens"):
        sequences(tokenizer, prose, draw="document", length=79)


def test_windows_do_not_read_more_than_memory_holds(tokenizer, prose, monkeypatch):
    monkeypatch.setattr(draws, "MAX_WINDOW_CHARACTERS", 100)
    with pytest.raises(CompressionError, match="draw=window reads everything.*use draw=document"):
        sequences(tokenizer, prose, samples=1, length=5)


def test_the_fingerprint_follows_the_texts_and_their_form(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one\n\ntwo")
    seen = [calibration_fingerprint(values(file)), calibration_fingerprint(values(file, template="llama-2"))]
    seen += [calibration_fingerprint(values(source)) for source in ("builtin", "c4", "pile", "alpaca")]
    file.write_text("one\n\nthree")
    seen.append(calibration_fingerprint(values(file)))
    assert len(set(seen)) == 7
    assert calibration_fingerprint(values(file, seed=9, samples=3)) == seen[-1]
    with pytest.raises(CompressionError, match=r"absent\.txt: cannot be read \(No such file"):
        calibration_fingerprint(values(tmp_path / "absent.txt"))


def test_the_fingerprint_of_a_hub_file_is_its_pin():
    pin = f"hub:org/data@{'a' * 40}:x/y.jsonl.gz"
    assert calibration_fingerprint(values(pin)).endswith(pin)


def test_the_check_needs_no_download_and_reads_files(tmp_path, monkeypatch):
    for source in ("builtin", "c4", "alpaca"):
        check_calibration(values(source))
    check_calibration(values(rows(tmp_path / "good.jsonl", [{"text": "x"}])))
    bad = rows(tmp_path / "bad.jsonl", [{"text": "x"}, {"txt": "y"}])
    with pytest.raises(CompressionError, match=r"bad\.jsonl:2: has no 'text'"):
        check_calibration(values(bad))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompressionError, match="pip install zstandard"):
        check_calibration(values("pile"))


def test_fingerprints_and_checks_import_neither_torch_nor_transformers():
    program = (
        "import sys\n"
        "from compressors.calibration import calibration_fingerprint, check_calibration\n"
        "from compressors.presets import expand_recipes\n"
        "for recipe in expand_recipes('paper:bits') + expand_recipes('wanda'):\n"
        "    calibration_fingerprint(recipe.parameters); check_calibration(recipe.parameters)\n"
        "assert not {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

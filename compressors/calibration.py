"""Calibration token batches: windows drawn with a seed from the built-in text or from a file.

The built-in text was written for this project: prose, dialogue, lists, letters, code and questions.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from compressors.errors import CompressionError
from compressors.files import sha256_text
from compressors.methods import Values

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

BUILT_IN = "builtin"
_BUILT_IN_TEXT = Path(__file__).with_name("data") / "calibration.txt"
MAX_BYTES = 64 * 2**20
# Between the documents of the built-in text; a file's documents are its JSONL rows or its paragraphs.
_SEPARATOR = "\n%%\n"


def documents(source: str) -> list[str]:
    """The texts that `source` names: `builtin`, or the path of a text or JSONL file (field `text`).

    Raises CompressionError, one line that names the file and the line.
    """
    if source == BUILT_IN:
        text = _BUILT_IN_TEXT.read_text(encoding="utf-8")
        return [document.strip() for document in text.split(_SEPARATOR)]
    path = Path(source).expanduser()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CompressionError(f"calibration {source}: over {MAX_BYTES >> 20} MiB; give a sample of it")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CompressionError(f"calibration {source}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CompressionError(f"calibration {source}: not UTF-8 text; convert it") from None
    found = _rows(text, source) if path.suffix == ".jsonl" else text.split("\n\n")
    texts = [document.strip() for document in found if document.strip()]
    if not texts:
        raise CompressionError(f"calibration {source}: holds no text")
    return texts


def _rows(text: str, source: str) -> list[str]:
    """The field `text` of every JSONL row."""
    texts = []
    # Not splitlines(): a JSON string may hold U+2028 and its like unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise CompressionError(f"calibration {source}:{number}: not JSON") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise CompressionError(f"calibration {source}:{number}: no field 'text' with a string") from None
        texts.append(row["text"])
    return texts


def calibration_fingerprint(source: str) -> str:
    """SHA-256 (hex) of the texts that `source` names; needs no tokenizer and no torch."""
    return sha256_text(json.dumps(documents(source)))


def calibration_batch(tokenizer: PreTrainedTokenizerBase, values: Values) -> Tensor:
    """Token ids  # (samples, length) for a recipe's values `calibration`, `samples`, `length` and `seed`.

    Each window begins at a random place of a random document and runs on into the documents after it. Raises
    CompressionError when the text has fewer than samples × length tokens.
    """
    import torch

    source, samples, length = str(values["calibration"]), int(values["samples"]), int(values["length"])
    texts = documents(source)
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    ids = [list(document) for document in encoded if document]
    starts = [0]
    for document in ids:
        starts.append(starts[-1] + len(document))
    total = starts.pop()
    if total < samples * length:
        raise CompressionError(
            f"calibration {source}: {total} tokens, but samples={samples} × length={length} asks for "
            f"{samples * length}; give a longer text or lower them"
        )
    stream = [token for document in ids for token in document]
    draw = random.Random(int(values["seed"]))  # noqa: S311 - repeatable draws, not secrets
    windows = []
    for _ in range(samples):
        chosen = draw.randrange(len(ids))
        begin = min(starts[chosen] + draw.randrange(len(ids[chosen])), total - length)
        windows.append(stream[begin : begin + length])
    return torch.tensor(windows)

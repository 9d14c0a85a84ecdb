"""Which stretches of a text a compression sees: four ways to draw token sequences from records.

`document`, `record` and `packed` make the same draws as the code that the models of "Decoding Compressed Trust" were
made with, given the same data, tokenizer and seed: each function names its source.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compressors.calibration.records import Records
from compressors.calibration.texts import Encoder
from compressors.errors import CompressionError

# `window` holds the tokens of all texts in memory.
MAX_WINDOW_CHARACTERS = 64 * 2**20
# `document` gives up when so many documents in a row were too short; one of C4's in 200 is longer than 4,096 tokens.
PATIENCE = 50_000

Announce = Callable[[str], None]
Sequences = list[list[int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many sequences of how many tokens, drawn with which seed."""

    samples: int
    length: int
    seed: int


def window(records: Records, encoder: Encoder, wanted: Wanted, announce: Announce) -> Sequences:
    """Windows of `length` tokens that begin anywhere and run on into the texts after.

    A random text, then a random place in it. Raises CompressionError for fewer than samples × length tokens.
    """
    size = 0
    texts = []
    for item in records:
        texts.append(encoder.text(item).strip())
        size += len(texts[-1])
        if size > MAX_WINDOW_CHARACTERS:
            raise CompressionError(
                f"calibration {records.name}: draw=window reads everything, and this is over "
                f"{MAX_WINDOW_CHARACTERS >> 20} million characters; use draw=document, or give a sample of it"
            )
    ids = encoder.joinable_ids([text for text in texts if text])
    starts = [0]
    for text in ids:
        starts.append(starts[-1] + len(text))
    total = starts.pop()
    if total < wanted.samples * wanted.length:
        raise CompressionError(
            f"calibration {records.name}: {total} tokens, but samples={wanted.samples} × length={wanted.length} asks "
            f"for {wanted.samples * wanted.length}; give a longer text or lower them"
        )
    stream = [token for text in ids for token in text]
    draw = random.Random(wanted.seed)  # noqa: S311 - repeatable draws, not secrets
    windows = []
    for _ in range(wanted.samples):
        chosen = draw.randrange(len(ids))
        begin = min(starts[chosen] + draw.randrange(len(ids[chosen])), total - wanted.length)
        windows.append(stream[begin : begin + wanted.length])
    return windows


def document(records: Records, encoder: Encoder, wanted: Wanted, announce: Announce) -> Sequences:
    """One window of `length` tokens from each of `samples` random texts that are longer than it.

    Source: locuslab/wanda 8e8fc87, lib/data.py, get_c4, there from IST-DASLab/sparsegpt; Python's `random`, seeded.
    A text may be drawn more than once. Raises CompressionError when no text is long enough.
    """
    draw = random.Random(wanted.seed)  # noqa: S311 - repeatable draws, not secrets
    short: set[int] = set()
    in_vain = 0
    windows: Sequences = []
    while len(windows) < wanted.samples:
        index = draw.randint(0, len(records) - 1)
        ids = [] if index in short else encoder.ids(records[index])
        if len(ids) > wanted.length:
            begin = draw.randint(0, len(ids) - wanted.length - 1)
            windows.append(ids[begin : begin + wanted.length])
            in_vain = 0
            continue
        in_vain += index not in short
        short.add(index)
        if len(short) == len(records) or in_vain >= PATIENCE:
            raise CompressionError(
                f"calibration {records.name}: none of {max(in_vain, len(short))} texts has more than "
                f"{wanted.length} tokens, as draw=document needs; lower length, or use draw=window"
            )
    return windows


def record(records: Records, encoder: Encoder, wanted: Wanted, announce: Announce) -> Sequences:
    """Whole records of their natural length, drawn without repetition.

    Source: comp-trust 0810efb, compression/gptq/gptq.py, load_data, there from AutoGPTQ's Alpaca example; Python's
    `random`, seeded. A record whose prompt part alone has `length` tokens is left out and none takes its place; the
    others are cut there. Raises CompressionError when there are fewer records than samples, or all are left out.
    """
    if len(records) < wanted.samples:
        raise CompressionError(f"calibration {records.name}: {len(records)} records, but samples={wanted.samples}")
    draw = random.Random(wanted.seed)  # noqa: S311 - repeatable draws, not secrets
    drawn = [records[index] for index in draw.sample(range(len(records)), wanted.samples)]
    fitting = [item for item in drawn if len(encoder.prompt_ids(item)) < wanted.length]
    sequences = [ids for item in fitting if (ids := encoder.ids(item)[: wanted.length])]
    if not sequences:
        raise CompressionError(
            f"calibration {records.name}: every record drawn is empty or has a prompt of {wanted.length} tokens or "
            "more; raise length"
        )
    if len(sequences) < wanted.samples:
        announce(
            f"calibration {records.name}: {wanted.samples - len(sequences)} of {wanted.samples} records left out: "
            f"empty, or a prompt of {wanted.length} tokens or more"
        )
    return sequences


def packed(records: Records, encoder: Encoder, wanted: Wanted, announce: Announce) -> Sequences:
    """Short texts joined and cut into blocks of `length` tokens; what is left over is dropped.

    Source: mit-han-lab/llm-awq, awq/utils/calib_data.py: records in the order of `datasets.shuffle(seed)` (NumPy's
    default generator), stripped; the first `samples` of at most `length` tokens are joined. So there are fewer blocks
    than samples, as there. Upstream's seed is 42. Raises CompressionError for too few short texts.
    """
    import numpy as np

    joined: list[int] = []
    found = 0
    for index in np.random.default_rng(wanted.seed).permutation(len(records)):
        ids = encoder.ids(records[int(index)], stripped=True)
        if 0 < len(ids) <= wanted.length:
            joined += ids
            found += 1
            if found == wanted.samples:
                break
    blocks = len(joined) // wanted.length
    if found < wanted.samples or not blocks:
        raise CompressionError(
            f"calibration {records.name}: {found} texts of at most {wanted.length} tokens, {len(joined)} tokens "
            f"together, but samples={wanted.samples} and one whole block are asked for; give more texts or lower them"
        )
    return [joined[block * wanted.length : (block + 1) * wanted.length] for block in range(blocks)]


DRAWS: Mapping[str, Callable[[Records, Encoder, Wanted, Announce], Sequences]] = {
    "window": window,
    "document": document,
    "record": record,
    "packed": packed,
}

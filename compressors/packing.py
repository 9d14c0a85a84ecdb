"""Codes of a few bits packed densely into 32-bit words.

Code i of a sequence takes bits [i · bits, (i + 1) · bits) of it, counted from the lowest bit of its first word; a code
may straddle two words, and the last word is padded with zeros. compressed-tensors (`pack-quantized`) packs so along
rows, AutoGPTQ down columns. Everything works down columns here: word after word is then contiguous in memory.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int8]
Levels = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]

WORD_BITS = 32
# So many words are taken at a time that they and their codes stay in a core's cache.
_CHUNK_WORDS = 1 << 15


def words_per_row(columns: int, bits: int) -> int:
    """32-bit words that a row of `columns` codes takes."""
    return -(-columns * bits // WORD_BITS)


def pack_down(levels: Levels, bits: int) -> Words:
    """Pack unsigned codes  # (count, lines), each below 2^bits, down each column into words  # (words, lines)."""
    count, lines = levels.shape
    period, codes = _period(bits)
    periods = -(-count // codes)
    padded = np.pad(levels, ((0, periods * codes - count), (0, 0))).reshape(periods, codes, lines)
    words = np.zeros((periods, period, lines), dtype=np.uint32)
    for place in range(codes):
        word, shift = divmod(place * bits, WORD_BITS)
        piece = padded[:, place].astype(np.uint32)
        words[:, word] |= piece << np.uint32(shift)
        if shift + bits > WORD_BITS:
            words[:, word + 1] |= piece >> np.uint32(WORD_BITS - shift)
    return words.reshape(-1, lines)[: words_per_row(count, bits)].view(np.int32)


def unpack_down(words: npt.NDArray[Any], bits: int, count: int) -> Levels:
    """The unsigned codes  # (count, lines) in 32-bit words  # (words, lines).

    Raises ValueError when the words are not those of `count` codes.
    """
    if words.ndim != 2 or len(words) != words_per_row(count, bits):
        raise ValueError(f"shape {words.shape} does not hold {count} codes of {bits} bits a row")
    period, codes = _period(bits)
    lines = words.shape[1]
    periods = -(-count // codes)
    levels = np.empty((periods, codes, lines), dtype=np.uint8)
    step = max(1, _CHUNK_WORDS // max(1, period * lines))
    for start in range(0, periods, step):
        chunk = np.ascontiguousarray(words[start * period : (start + step) * period]).view(np.uint32)
        if len(chunk) % period:
            chunk = np.pad(chunk, ((0, -len(chunk) % period), (0, 0)))
        _unpack(chunk.reshape(-1, period, lines), bits, levels[start : start + step])
    flat: Levels = levels.reshape(-1, lines)[:count]
    return flat


def _unpack(words: npt.NDArray[np.uint32], bits: int, out: Levels) -> None:
    """Unpack whole periods  # (periods, words, lines) into `out`  # (periods, codes, lines)."""
    mask = np.uint32(2**bits - 1)
    piece = np.empty_like(words[:, 0])
    for place in range(out.shape[1]):
        word, shift = divmod(place * bits, WORD_BITS)
        np.right_shift(words[:, word], np.uint32(shift), out=piece)
        if shift + bits > WORD_BITS:
            piece |= words[:, word + 1] << np.uint32(WORD_BITS - shift)
        np.bitwise_and(piece, mask, out=piece)
        out[:, place] = piece


def _period(bits: int) -> tuple[int, int]:
    """After how many words, and how many codes, a code begins with a word again."""
    shared = gcd(bits, WORD_BITS)
    return bits // shared, WORD_BITS // shared


def unsigned(codes: Codes, bits: int) -> Levels:
    """Codes from −2^(bits−1) to 2^(bits−1) − 1 as numbers from 0."""
    return (codes.view(np.uint8) + np.uint8(2 ** (bits - 1))).astype(np.uint8, copy=False)


def signed(levels: Levels, bits: int) -> Codes:
    """What `unsigned` undoes."""
    return (levels - np.uint8(2 ** (bits - 1))).view(np.int8)


def pack(codes: Codes, bits: int) -> Words:
    """Pack signed codes  # (rows, columns), each from −2^(bits−1) to 2^(bits−1) − 1, into words  # (rows, words)."""
    return np.ascontiguousarray(pack_down(unsigned(codes, bits).T, bits).T)


def unpack_along(words: npt.NDArray[Any], bits: int, columns: int) -> Levels:
    """The unsigned codes  # (rows, columns) in words along rows  # (rows, words); not always contiguous.

    Raises ValueError when the words are not those of `columns` codes.
    """
    if words.ndim != 2 or words.shape[1] != words_per_row(columns, bits):
        raise ValueError(f"shape {words.shape} does not hold {columns} codes of {bits} bits a row")
    if 8 % bits:
        return unpack_down(np.ascontiguousarray(words.T), bits, columns).T
    octets = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return octets[:, :columns]
    each = 8 // bits
    levels = np.empty((len(words), octets.shape[1] * each), dtype=np.uint8)
    for place in range(each):
        np.bitwise_and(octets >> np.uint8(bits * place), np.uint8(2**bits - 1), out=levels[:, place::each])
    return levels[:, :columns]


def unpack(words: Words, bits: int, columns: int) -> Codes:
    """The signed codes  # (rows, columns) in words  # (rows, words). Raises ValueError when the widths disagree."""
    return np.ascontiguousarray(signed(unpack_along(words, bits, columns), bits))

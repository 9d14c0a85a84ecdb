"""Codes of a few bits packed densely into 32-bit words, as compressed-tensors' format `pack-quantized` has them.

Element i of a row takes bits [i · bits, (i + 1) · bits) of the row, counted from the lowest bit of its first word;
an element may straddle two words, and the last word of a row is padded with zeros.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int8]
Words = npt.NDArray[np.int32]

WORD_BITS = 32


def words_per_row(columns: int, bits: int) -> int:
    """32-bit words that a row of `columns` codes takes."""
    return -(-columns * bits // WORD_BITS)


def pack(codes: Codes, bits: int) -> Words:
    """Pack signed codes  # (rows, columns), each from −2^(bits−1) to 2^(bits−1) − 1, into words  # (rows, words)."""
    rows, columns = codes.shape
    unsigned = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    stream = np.unpackbits(unsigned[..., None], axis=-1, count=bits, bitorder="little").reshape(rows, columns * bits)
    octets = np.packbits(stream, axis=-1, bitorder="little")
    packed = np.zeros((rows, 4 * words_per_row(columns, bits)), dtype=np.uint8)
    packed[:, : octets.shape[1]] = octets
    return packed.view("<i4").astype(np.int32, copy=False)


def unpack(words: Words, bits: int, columns: int) -> Codes:
    """The signed codes  # (rows, columns) in words  # (rows, words). Raises ValueError when the widths disagree."""
    if words.ndim != 2 or words.shape[1] != words_per_row(columns, bits):
        raise ValueError(f"shape {words.shape} does not hold {columns} codes of {bits} bits a row")
    octets = np.ascontiguousarray(words.astype("<i4", copy=False)).view(np.uint8)
    stream = np.unpackbits(octets, axis=-1, count=columns * bits, bitorder="little").reshape(-1, columns, bits)
    unsigned = np.packbits(stream, axis=-1, bitorder="little")[..., 0]
    codes: Codes = (unsigned.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8)
    return codes

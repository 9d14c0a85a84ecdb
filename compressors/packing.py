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
    unsigned = (codes + np.int16(2 ** (bits - 1))).astype(np.uint8)
    eights = np.pad(unsigned, ((0, 0), (0, -columns % 8))).reshape(rows, -1, 8)
    # Eight codes take `bits` whole octets, so at most one 64-bit integer.
    joined = np.zeros(eights.shape[:2], dtype="<u8")
    for place in range(8):
        joined |= eights[..., place].astype("<u8") << np.uint64(bits * place)
    octets = joined.view(np.uint8).reshape(*eights.shape)[..., :bits].reshape(rows, -1)
    packed = np.zeros((rows, 4 * words_per_row(columns, bits)), dtype=np.uint8)
    used = min(packed.shape[1], octets.shape[1])
    packed[:, :used] = octets[:, :used]
    return packed.view("<i4").astype(np.int32, copy=False)


def unpack(words: Words, bits: int, columns: int) -> Codes:
    """The signed codes  # (rows, columns) in words  # (rows, words). Raises ValueError when the widths disagree."""
    if words.ndim != 2 or words.shape[1] != words_per_row(columns, bits):
        raise ValueError(f"shape {words.shape} does not hold {columns} codes of {bits} bits a row")
    rows, eights = len(words), -(-columns // 8)
    octets = np.zeros((rows, max(eights * bits, 4 * words.shape[1])), dtype=np.uint8)
    octets[:, : 4 * words.shape[1]] = np.ascontiguousarray(words.astype("<i4", copy=False)).view(np.uint8)
    joined = np.zeros((rows, eights, 8), dtype=np.uint8)
    joined[..., :bits] = octets[:, : eights * bits].reshape(rows, eights, bits)
    numbers = joined.view("<u8")[..., 0]
    codes = np.empty((rows, eights, 8), dtype=np.int8)
    half, mask = 2 ** (bits - 1), np.uint64(2**bits - 1)
    for place in range(8):
        codes[..., place] = ((numbers >> np.uint64(bits * place)) & mask).astype(np.int16) - half
    flat: Codes = codes.reshape(rows, -1)[:, :columns]
    return flat

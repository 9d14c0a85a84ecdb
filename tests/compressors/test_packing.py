"""Codes packed into 32-bit words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressors.packing import pack, unpack, words_per_row

BITS = (1, 2, 3, 4, 5, 6, 7, 8)


def codes_of(bits: int, rows: int, columns: int, seed: int) -> np.ndarray:
    half = 2 ** (bits - 1)
    return np.random.default_rng(seed).integers(-half, half, (rows, columns)).astype(np.int8)


@given(st.sampled_from(BITS), st.integers(1, 5), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_unpacking_undoes_packing(bits, rows, columns, seed):
    codes = codes_of(bits, rows, columns, seed)
    words = pack(codes, bits)
    assert words.dtype == np.int32
    assert words.shape == (rows, words_per_row(columns, bits))
    np.testing.assert_array_equal(unpack(words, bits, columns), codes)


@settings(deadline=None)
@given(st.sampled_from(BITS), st.integers(1, 5), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_packing_is_that_of_compressed_tensors(bits, rows, columns, seed):
    torch = pytest.importorskip("torch")
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    codes = codes_of(bits, rows, columns, seed)
    np.testing.assert_array_equal(pack(codes, bits), helpers.pack_to_int32(torch.from_numpy(codes), bits).numpy())


def test_the_lowest_bits_come_first():
    assert pack(np.array([[-8, 7, 0]], dtype=np.int8), 4).tolist() == [[0x8F0]]


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (8,)])
def test_words_of_another_width_are_refused(shape):
    with pytest.raises(ValueError, match="does not hold 32 codes of 4 bits a row"):
        unpack(np.zeros(shape, dtype=np.int32), 4, 32)

"""What a reader finds in a layer's tensors, and the arithmetic that all readers share.

Weights are looked at as integers: a float is zero where its bits below the sign are, and NaN or infinite where its
exponent is full. One pass in pieces that stay in a core's cache finds both, at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from compressors.packing import Levels, signed

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised

Tensors = Mapping[str, "Tensor"]
Bits = npt.NDArray[Any]

_CHUNK = 1 << 17
# Per floating-point type: the integers of its width, the bits below its sign, and the least of those that is no number.
_FLOATS: dict[str, tuple[str, int, int]] = {
    "torch.bfloat16": ("int16", 0x7FFF, 0x7F80),
    "torch.float16": ("int16", 0x7FFF, 0x7C00),
    "torch.float32": ("int32", 0x7FFFFFFF, 0x7F800000),
    "torch.float64": ("int64", 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
    "torch.float8_e4m3fn": ("uint8", 0x7F, 0x7F),
    "torch.float8_e5m2": ("uint8", 0x7F, 0x7C),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a checkpoint's configuration says about one layer; None where it says nothing.

    kind: `int` or `float`. layout: the format's own name for a variety of it (`gptq_v2`, `gemv`, `pack-quantized`).
    """

    method: str | None = None
    bits: int | None = None
    group: int | None = None
    symmetric: bool | None = None
    kind: str | None = None
    layout: str | None = None


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """What a layer's tensors hold.

    shape: (rows, columns). bits: of one weight's code, or of the dtype of dense weights. group: consecutive weights
    of a row that share a scale, the whole row where all do; None where that has no meaning. short: whether the last
    group of a row is a shorter one. reordered: whether groups are of columns that do not lie side by side.
    stored_bits: of all tensors of the layer. zeros: weights that are exactly zero, None where they were not counted.
    finite: no NaN, no infinity, and no scale that is not positive. kind: the format's own name for the type of code
    (`nf4`, `Q4_K`). problem: one line when tensors and configuration
    contradict each other.
    """

    shape: tuple[int, int]
    bits: int
    quantised: bool
    stored_bits: int
    group: int | None = None
    short: bool = False
    reordered: bool = False
    symmetric: bool | None = None
    zeros: int | None = None
    finite: bool = True
    kind: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Integers:
    """A weight on grids of levels, as most formats keep it: scale · (level − zero point).

    levels: (columns, rows) uint8, from 0. zero_points: (groups, rows) uint8, as levels. scales: (groups, rows).
    group: columns that share a scale. order: (columns,) the group of each column, None where they follow one another.
    """

    levels: Levels
    zero_points: Levels
    scales: Tensor
    bits: int
    group: int
    order: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError when the parts are not those of one weight."""
        columns, rows = self.levels.shape
        groups = len(self.zero_points)
        if self.zero_points.shape[1] != rows or tuple(self.scales.shape) != (groups, rows):
            raise ValueError(f"codes, scales and zero points do not fit a weight of {rows} × {columns}")
        if self.order is None and -(-columns // self.group) != groups:
            raise ValueError(f"{groups} scales a row do not fit {columns} columns in groups of {self.group}")
        if self.order is not None and (
            len(self.order) != columns or self.order.min(initial=0) < 0 or self.order.max(initial=0) >= groups
        ):
            raise ValueError(f"g_idx does not give each of {columns} columns one of {groups} groups")

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle one."""
        return bool((self.zero_points == 2 ** (self.bits - 1)).all())

    def zeros(self) -> int:
        """Weights that mean zero."""
        return sum(int(np.count_nonzero(levels == zero)) for levels, zero in self._by_group())

    def _by_group(self) -> Iterator[tuple[Levels, Levels]]:
        """Levels  # (some columns, rows), beside the zero points that broadcast to them."""
        step = self.group if self.order is None else 64
        for start in range(0, len(self.levels), step):
            end = start + step
            zero = self.zero_points[[start // step] if self.order is None else self.order[start:end]]
            yield self.levels[start:end], zero

    def weight(self) -> Tensor:
        """The weights  # (rows, columns) in the dtype of the scales."""
        import torch

        columns, rows = self.levels.shape
        weight = torch.empty(columns, rows, dtype=self.scales.dtype)
        # In pieces: a whole layer's intermediate numbers would not stay in a core's cache.
        step = max(1, _CHUNK // rows)
        for start in range(0, columns, step):
            part = slice(start, min(start + step, columns))
            order = np.arange(part.start, part.stop) // self.group if self.order is None else self.order[part]
            steps = self.levels[part].astype(np.int16) - self.zero_points[order].astype(np.int16)
            torch.mul(torch.from_numpy(steps), self.scales[torch.from_numpy(order)], out=weight[part])
        return weight.T

    def quantised(self) -> Quantised:
        """The same as a compression method makes it. Raises ValueError for reordered columns."""
        import torch

        from compressors.grid import Quantised

        if self.order is not None:
            raise ValueError("its columns are reordered")
        return Quantised(
            torch.from_numpy(signed(self.levels, self.bits)).T,
            self.scales.T,
            torch.from_numpy(signed(self.zero_points, self.bits)).T,
            self.bits,
            self.group,
            self.symmetric,
        )

    def stored(self, tensors: Tensors, problem: str | None = None) -> StoredLayer:
        """What the layer holds. `tensors` are those that it was read from."""
        columns, rows = self.levels.shape
        return StoredLayer(
            shape=(rows, columns),
            bits=self.bits,
            quantised=True,
            stored_bits=bits_of(tensors),
            group=self.group,
            short=columns % self.group != 0,
            reordered=self.order is not None,
            symmetric=self.symmetric,
            zeros=self.zeros(),
            finite=positive(self.scales),
            problem=problem,
        )


# A decoded weight: on its grid, as floats, or not at all.
Content: TypeAlias = "Integers | Tensor | None"
Reading: TypeAlias = tuple[StoredLayer, Content]


def bits_of(tensors: Tensors) -> int:
    """Bits that tensors take on disk."""
    return sum(8 * tensor.numel() * tensor.element_size() for tensor in tensors.values())


def magnitude_bits(tensor: Tensor) -> tuple[Bits, int]:
    """A float tensor's bits below the sign bit, flat, and from which of them on it is no finite number.

    Nothing is copied: the first is to be masked by `_FLOATS`' bits. Raises ValueError for other dtypes.
    """
    import torch

    if str(tensor.dtype) not in _FLOATS:
        raise ValueError(f"{str(tensor.dtype).removeprefix('torch.')} weights are in no known format")
    whole, _, limit = _FLOATS[str(tensor.dtype)]
    flat: Bits = tensor.contiguous().view(getattr(torch, whole)).numpy().reshape(-1)
    return flat, limit


def survey(tensor: Tensor) -> tuple[int, bool]:
    """How many values of a float tensor are zero, and whether all are finite."""
    flat, limit = magnitude_bits(tensor)
    mask = flat.dtype.type(_FLOATS[str(tensor.dtype)][1])
    zeros, largest = 0, 0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK] & mask
        zeros += part.size - int(np.count_nonzero(part))
        largest = max(largest, int(part.max(initial=0)))
    return zeros, largest < limit


def pattern_violations(weight: Tensor, n: int, m: int) -> int:
    """Groups of m consecutive weights with more than n that are not zero; a short last group counts as one.

    weight: (rows, columns), floats. Raises ValueError for anything else.
    """
    flat, _ = magnitude_bits(weight)
    rows, columns = weight.shape
    mask = flat.dtype.type(_FLOATS[str(weight.dtype)][1])
    step = max(1, _CHUNK // columns)
    count = 0
    for start in range(0, rows, step):
        filled = (flat.reshape(rows, columns)[start : start + step] & mask) != 0
        padded = np.pad(filled, ((0, 0), (0, -columns % m))) if columns % m else filled
        places = padded.reshape(-1, m).view(np.uint8)
        left = places[:, 0].copy()
        for place in range(1, m):
            left += places[:, place]
        count += int(np.count_nonzero(left > n))
    return count


def pattern_found(weight: Tensor) -> str | None:
    """The strictest n:m pattern that every group of weights has, None for none."""
    return next((f"{n}:{m}" for n, m in ((1, 2), (2, 4), (4, 8)) if not pattern_violations(weight, n, m)), None)


def positive(scales: Tensor) -> bool:
    """Whether all scales are finite and above zero."""
    numbers = scales.float()
    return bool((numbers.isfinite() & (numbers > 0)).all())


def group_size(columns: int, groups: int, claimed: int | None) -> int:
    """The group size of `groups` scales in a row; the claimed one where it agrees, as a short last group hides it."""
    if claimed is not None and claimed > 0 and -(-columns // claimed) == groups:
        return claimed
    return -(-columns // groups)


def in_order(g_idx: npt.NDArray[Any], group: int) -> bool:
    """Whether columns' groups are just consecutive ones of `group` columns."""
    return bool((g_idx == np.arange(len(g_idx)) // group).all())

"""A layer as it lies on disk, in any of the formats that compressed checkpoints come in.

Each format is one function from a layer's tensors to a `StoredLayer`. Formats that are not decoded here (GPTQ and
AWQ checkpoints of other tools, bitsandbytes) are measured by their tensors' sizes; what was not measured is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressors.packing import unpack

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised

Tensors = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """What a layer's tensors hold.

    shape: (rows, columns). bits: of one weight's code, or of the dtype of dense weights. group: weights that share
    a scale; None where that has no meaning. zeros: weights that are exactly zero, None where codes were not
    decoded. stored_bits: of all tensors of the layer. problem: one line when the tensors contradict each other.
    """

    shape: tuple[int, int]
    bits: int
    quantised: bool
    stored_bits: int
    group: int | None = None
    symmetric: bool | None = None
    zeros: int | None = None
    finite: bool = True
    problem: str | None = None


def read_layer(tensors: Tensors, scheme: Mapping[str, Any]) -> tuple[StoredLayer, Quantised | Tensor | None]:
    """The layer made of `tensors` (by last name: `weight_packed`, `scales`, …), and its decoded weight or codes.

    scheme: the checkpoint's own claims, `bits` and `group` where it makes them.
    Raises ValueError when the tensors are in no format known here, or damaged.
    """
    for marker, reader in _FORMATS.items():
        if marker in tensors:
            return reader(tensors, scheme)
    raise ValueError(f"tensors {', '.join(sorted(tensors))[:120]} are in no known format")


def _bits_of(tensors: Tensors) -> int:
    return sum(8 * tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _dense(tensors: Tensors, scheme: Mapping[str, Any]) -> tuple[StoredLayer, Quantised | Tensor | None]:
    """Ordinary weights; or 8-bit and 4-bit weights under the ordinary name (int8, fp8, bitsandbytes)."""
    weight = tensors["weight"]
    stored = _bits_of(tensors)
    if any("bitsandbytes__" in name for name in tensors):
        count = 2 * weight.numel()
        return StoredLayer((count, 1), 4, True, stored), None
    rows, columns = (int(weight.shape[0]), int(weight[0].numel()))
    if not weight.is_floating_point() or weight.element_size() == 1:
        scale = tensors.get("weight_scale", tensors.get("SCB"))
        finite = scale is not None and bool(scale.float().isfinite().all())
        return StoredLayer((rows, columns), 8, True, stored, finite=finite), None
    return StoredLayer(
        (rows, columns),
        8 * weight.element_size(),
        False,
        stored,
        zeros=int((weight == 0).sum()),
        finite=bool(weight.isfinite().all()),
    ), weight


def _packed(tensors: Tensors, scheme: Mapping[str, Any]) -> tuple[StoredLayer, Quantised | Tensor | None]:
    """compressed-tensors `pack-quantized`, decoded."""
    import torch

    from compressors.grid import Quantised

    rows, columns = (int(n) for n in tensors["weight_shape"].tolist())
    scales, words = tensors["weight_scale"], tensors["weight_packed"]
    bits = scheme.get("bits")
    if not isinstance(bits, int):
        raise ValueError("packed codes, but the configuration does not say how many bits they have")
    group = _group(columns, int(scales.shape[1]), scheme.get("group"))
    codes = torch.from_numpy(unpack(words.numpy(), bits, columns))
    if "weight_zero_point" in tensors:
        packed = tensors["weight_zero_point"].numpy().T
        zero_points = torch.from_numpy(unpack(packed, bits, rows).T.copy())
    else:
        zero_points = torch.zeros(scales.shape, dtype=torch.int8)
    if len(codes) != rows or scales.shape != zero_points.shape or len(scales) != rows:
        raise ValueError(f"codes, scales and zero points do not fit a weight of {rows} × {columns}")
    quantised = Quantised(codes, scales, zero_points, bits, group, "weight_zero_point" not in tensors)
    means_zero = codes == zero_points.repeat_interleave(group, dim=1)[:, :columns]
    return StoredLayer(
        (rows, columns),
        bits,
        True,
        _bits_of(tensors),
        group,
        quantised.symmetric,
        int(means_zero.sum()),
        finite=bool((scales.isfinite() & (scales > 0)).all()),
    ), quantised


def _group(columns: int, groups: int, claimed: Any) -> int:
    """The group size of `groups` scales in a row; the claimed one where it agrees, as a short last group hides it."""
    if isinstance(claimed, int) and claimed > 0 and -(-columns // claimed) == groups:
        return claimed
    return -(-columns // groups)


def _autogptq(tensors: Tensors, scheme: Mapping[str, Any]) -> tuple[StoredLayer, Quantised | Tensor | None]:
    """Checkpoints of AutoGPTQ, GPTQModel and AutoAWQ: qweight, qzeros, scales  # (groups, rows)."""
    words, scales = tensors["qweight"], tensors["scales"]
    groups, rows = (int(n) for n in scales.shape)
    by_columns = words.shape[1] == rows  # AWQ packs along the rows instead
    claimed = scheme.get("bits")
    if not isinstance(claimed, int):
        raise ValueError("packed codes, but the configuration does not say how many bits they have")
    per_row = int(words.numel()) * 32 // rows  # bits that one row's codes take
    columns = int(tensors["g_idx"].numel()) if "g_idx" in tensors else per_row // claimed
    bits = per_row // columns
    problem = None if bits == claimed else f"holds {bits}-bit codes, the configuration says {claimed}"
    symmetric = None if by_columns else False
    finite = bool(scales.float().isfinite().all())
    group = -(-columns // groups)
    return StoredLayer((rows, columns), bits, True, _bits_of(tensors), group, symmetric, None, finite, problem), None


_Reader = Callable[[Tensors, Mapping[str, Any]], "tuple[StoredLayer, Quantised | Tensor | None]"]
_FORMATS: dict[str, _Reader] = {"weight_packed": _packed, "qweight": _autogptq, "weight": _dense}

"""Ways in which a layer on a grid of levels lies on disk: what writes each one.

A format is a `Writer`; `writer` has them under the names that recipes use. What reads them back, and the formats of
other libraries, is `read_layer` in `compressors.formats.read`; what a configuration says of a layer, in `claims`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from compressors.grid import Quantised
    from compressors.methods import Values


class Writer(Protocol):
    """One format for quantised layers, that a loader outside this package reads."""

    def problem(self, quantised: Quantised) -> str | None:
        """Why the format cannot hold a layer, in words that follow its name; None when it can."""

    def tensors(self, prefix: str, quantised: Quantised) -> dict[str, Tensor]:
        """A layer's tensors by full name, `prefix` being the layer's (`model.layers.0.mlp.up_proj`)."""

    def config(self, values: Values, kept_dense: Sequence[str]) -> dict[str, Any]:
        """The `quantization_config` of a checkpoint; `kept_dense` are names of two-dimensional weights left alone."""

    def files(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """JSON files by name that some loaders want beside config.json, with what `config` returned."""


WRITERS = ("compressed-tensors", "gptq", "awq")


def writer(name: str) -> Writer:
    """The writer of a format, one of `WRITERS`."""
    from compressors.formats.awq import Awq
    from compressors.formats.compressed_tensors import CompressedTensors
    from compressors.formats.gptq import Gptq

    writers: dict[str, type[Writer]] = {"compressed-tensors": CompressedTensors, "gptq": Gptq, "awq": Awq}
    return writers[name]()

"""A model without weights, whose modules are given theirs from the dense checkpoint's files and lose them again.

The way to compress a model that is larger than the memory at hand: only what is being worked on is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compressors.checkpoint import opened, quiet, tensor_files
from compressors.errors import ModelError
from compressors.models import Checkpoint, check_folder
from compressors.structure import decoder_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Skeleton:
    """A dense checkpoint's model on the `meta` device. `model` computes on `device` once its modules are filled.

    shards: tensor names by file. dtype: of weights and activations.
    """

    def __init__(self, dense: Checkpoint, device: str, dtype: torch.dtype | None = None) -> None:
        """Build the model; embeddings and norms outside the decoder blocks are loaded at once.

        dtype: the checkpoint's own by default. Raises ModelError when the checkpoint is damaged or its architecture
        is unknown.
        """
        check_folder(dense.path, dense.name)
        self.dense = dense
        self.device = torch.device(device)
        self.shards = tensor_files(dense.path)
        self._file = {name: shard for shard, names in self.shards.items() for name in names}
        self.model, self.dtype = _empty_model(dense, dtype, self._first_dtype)
        for name, buffer in self.model.named_buffers():
            _put(self.model, name, buffer.to(self.device), buffer=True)
        self.prefix, blocks = decoder_blocks(self.model)
        self.blocks = {f"{self.prefix}.{index}": block for index, block in enumerate(blocks)}
        head = self.model.get_output_embeddings()
        inside = {id(p) for module in (*self.blocks.values(), head) if module is not None for p in module.parameters()}
        # A tied head's weight is the embeddings', which are needed.
        inside -= {id(p) for p in self.model.get_input_embeddings().parameters()}
        outside = [name for name, parameter in self.model.named_parameters() if id(parameter) not in inside]
        self._fill(self.model, outside, "")

    def _first_dtype(self) -> torch.dtype:
        tensors = (self.read(name) for name in self._file)
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    def stored_name(self, name: str) -> str | None:
        """The name under which the files hold a parameter of the model, None where they do not."""
        # A checkpoint of the bare decoder lacks the head model's prefix.
        candidates = (name, name.partition(".")[2], f"{self.model.base_model_prefix}.{name}")
        return next((candidate for candidate in candidates if candidate in self._file), None)

    def stored_prefix(self, name: str, module: nn.Module) -> str:
        """The name under which the files hold a module's parameters; its own name where they hold none."""
        for part, _ in module.named_parameters():
            stored = self.stored_name(f"{name}.{part}")
            if stored is not None:
                return stored.removesuffix(f".{part}")
        return name

    @property
    def stored(self) -> list[str]:
        """Names of all tensors in the files."""
        return list(self._file)

    def read(self, stored: str) -> Tensor:
        """A tensor of the files as it lies there, by its name in them."""
        with opened(self.dense.path / self._file[stored]) as file:
            tensor: Tensor = file.get_tensor(stored)
        return tensor

    def fill(self, name: str, module: nn.Module, given: Mapping[str, Tensor] | None = None) -> None:
        """Load a module's parameters and stored buffers; those in `given`, by full name, are taken from there."""
        parts = [part for part, _ in module.named_parameters()]
        own = module.state_dict().keys() - set(parts)
        self._fill(module, [*parts, *sorted(own)], f"{name}.", given or {})

    def _fill(
        self, module: nn.Module, parts: list[str], prefix: str, given: Mapping[str, Tensor] | None = None
    ) -> None:
        buffers = dict(module.named_buffers())
        shapes = {part: tensor.shape for part, tensor in module.state_dict(keep_vars=True).items()}
        with ExitStack() as stack:
            files: dict[str, Any] = {}
            for part in parts:
                full = f"{prefix}{part}"
                tensor = (given or {}).get(full)
                if tensor is None:
                    stored = self._source(full)
                    shard = self._file[stored]
                    if shard not in files:
                        files[shard] = stack.enter_context(opened(self.dense.path / shard, self.device))
                    tensor = files[shard].get_tensor(stored)
                if tensor.shape != shapes[part]:
                    raise ModelError(
                        f"model {self.dense.name!r}: tensor {full!r} has shape {tuple(tensor.shape)}, its config.json "
                        f"asks for {tuple(shapes[part])}; fetch it again, whole"
                    )
                dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
                _put(module, part, tensor.to(self.device, dtype), buffer=part in buffers)

    def _source(self, full: str) -> str:
        """The stored tensor that a parameter is loaded from; a tied head's is the embeddings'."""
        stored = self.stored_name(full)
        if stored is None and full == self._head_weight:
            stored = self.stored_name(self._embeddings_weight)
        if stored is None:
            raise ModelError(
                f"model {self.dense.name!r}: its files hold no tensor {full!r}; load it once and save it "
                "with save_pretrained, then compress that"
            )
        return stored

    @property
    def _head_weight(self) -> str:
        head = self.model.get_output_embeddings()
        return next((f"{name}.weight" for name, module in self.model.named_modules() if module is head), "")

    @property
    def _embeddings_weight(self) -> str:
        embeddings = self.model.get_input_embeddings()
        return next(f"{name}.weight" for name, module in self.model.named_modules() if module is embeddings)

    def drop(self, module: nn.Module) -> None:
        """Give a module's memory back."""
        for part, parameter in list(module.named_parameters()):
            _put(module, part, torch.empty_like(parameter, device="meta"))


def _put(module: nn.Module, name: str, tensor: Tensor, *, buffer: bool = False) -> None:
    """Set a parameter or buffer by its dotted name."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    if buffer:
        owner._buffers[last] = tensor
    else:
        owner._parameters[last] = nn.Parameter(tensor, requires_grad=False)


def _empty_model(dense: Checkpoint, dtype: Any, first_dtype: Any) -> tuple[PreTrainedModel, torch.dtype]:
    """The model without memory for parameters, and the dtype that it computes in."""
    import transformers
    from accelerate import init_empty_weights

    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(dense.path, trust_remote_code=False, local_files_only=True)
            dtype = dtype or getattr(config, "dtype", None)
            if not isinstance(dtype, torch.dtype):
                dtype = first_dtype()
            # Buffers such as the frequencies of rotary embeddings are computed, not stored.
            with init_empty_weights(include_buffers=False):
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model {dense.name!r}: cannot be built: {reason}") from error
    return model.eval(), dtype

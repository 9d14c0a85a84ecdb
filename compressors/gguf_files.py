"""GGUF files, llama.cpp's format, made ordinary checkpoints once.

Weights are de-quantised, then rounded to bfloat16 as any dense model here: the relative error of 2⁻⁹ that this adds
is far below that of the types' own grids. What the file itself holds, type by type, is kept in the checkpoint's
record for the audit.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from compressors.errors import ModelError
from compressors.files import new_folder, remembered_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Announce = Callable[[str], None]
Header = Mapping[str, Any]

MAGIC = b"GGUF"
# Raise with any change of the conversion: the folders' names carry it.
CONVERSION = "1"
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that calls itself a GGUF file."""
    return path.is_file() and path.suffix.lower() == ".gguf"


def converted(path: Path, cache: Path, announce: Announce = lambda line: None) -> Path:
    """The folder of the dense checkpoint that a GGUF file makes, converted on first use.

    The folder's name carries the file's SHA-256: a renamed file is not converted again, a changed one is.
    Raises ModelError, one line, for files that are damaged, one of several parts, without a tokenizer, or of an
    architecture that transformers does not read.
    """
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ModelError(f"model {str(path)!r}: not a GGUF file (its first four bytes are not 'GGUF')")
    header, types = read_header(path)
    check_header(path, header)
    digest = remembered_sha256(path, cache / "hashes")
    folder = cache / "models" / f"gguf-{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem)[:60]}-{digest[:16]}-v{CONVERSION}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"cache folder {cache}: cannot be written ({error.strerror}); choose --trust-cache") from None
    with FileLock(f"{folder}.lock"):
        if not (folder / "config.json").is_file():
            announce(f"{path.name}: converting to safetensors, once …")
            with new_folder(folder) as temporary:
                write_dense(path, temporary)
                _record(temporary / "config.json", path, digest, header, types)
    return folder


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A file's metadata but for the vocabulary, and the types of its tensors by name.

    Raises ModelError, one line, for a damaged file.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        header = {
            key: field.contents() if field.types[:1] != [gguf.GGUFValueType.ARRAY] else len(field.data)
            for key, field in reader.fields.items()
        }
        return header, {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, OSError, UnicodeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model {str(path)!r}: damaged GGUF file ({reason}); fetch it again") from None


def check_header(path: Path, header: Header) -> None:
    """Raise ModelError, one line, for files that are no whole language model."""
    parts = header.get("split.count", 1)
    if (type(parts) is int and parts > 1) or re.search(r"-\d{5}-of-(?!00001)\d{5}$", path.stem):
        raise ModelError(
            f"model {str(path)!r}: one of several parts; join them with 'llama-gguf-split --merge {path.name} OUT.gguf'"
        )
    kind = header.get("general.type", "model")
    if kind != "model":
        raise ModelError(f"model {str(path)!r}: a GGUF file of type {str(kind)[:40]!r}; give the model's own file")
    if "general.architecture" not in header:
        raise ModelError(f"model {str(path)!r}: names no architecture; convert the model again")
    if not header.get("tokenizer.ggml.tokens"):
        raise ModelError(
            f"model {str(path)!r}: holds no tokenizer, so what it answers to cannot be known; "
            "convert the model again with its vocabulary"
        )


def write_dense(path: Path, folder: Path) -> None:
    """Write a GGUF file's de-quantised weights, configuration and tokenizer in the hub's layout, in bfloat16.

    Memory: twice the weights in bfloat16. Raises ModelError when transformers does not read the file.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers

    header, _ = read_header(path)
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    with _quiet():
        try:
            loaded = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
            tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        except (ValueError, KeyError, OSError, NotImplementedError, AttributeError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            architecture = str(header.get("general.architecture"))[:40]
            raise ModelError(
                f"model {str(path)!r}: transformers cannot read a GGUF file of architecture {architecture!r}: {reason}"
            ) from error
        config = loaded.config
        # A model read from GGUF refuses to be saved; its weights in a plain model of the same shape do not.
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with torch.device("meta"):
            plain = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(loaded.state_dict(), assign=True)
        plain.tie_weights()
        plain.generation_config = transformers.GenerationConfig(**_ends(header))
        plain.save_pretrained(folder)
        _mend(tokenizer, header)
        tokenizer.save_pretrained(folder)


def _ends(header: Header) -> dict[str, Any]:
    """Where generation begins and ends, by the file's own ids."""
    ids = {role: header.get(f"tokenizer.ggml.{name}_token_id") for role, name in _ROLES.items()}
    ends = [n for n in (ids["eos_token"], header.get("tokenizer.ggml.eot_token_id")) if type(n) is int]
    ends = list(dict.fromkeys(ends))
    return {
        "bos_token_id": ids["bos_token"],
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": ids["pad_token"] if ids["pad_token"] is not None else ends[0] if ends else None,
    }


def _mend(tokenizer: PreTrainedTokenizerBase, header: Header) -> None:
    """Give special tokens the roles that the file says: its reader mixes some of them up, or leaves them out."""
    for role, name in _ROLES.items():
        number = header.get(f"tokenizer.ggml.{name}_token_id")
        if type(number) is int and 0 <= number < len(tokenizer):
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(number))
    if tokenizer.pad_token is None or "tokenizer.ggml.padding_token_id" not in header:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False
    wanted = header.get("tokenizer.ggml.add_bos_token")
    first = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    if isinstance(wanted, bool) and tokenizer.bos_token is not None and wanted != first:
        from tokenizers.processors import TemplateProcessing

        begin = f"{tokenizer.bos_token} " if wanted else ""
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{begin}$A",
            pair=f"{begin}$A $B:1",
            special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)],
        )


def _record(config: Path, path: Path, digest: str, header: Header, types: Mapping[str, str]) -> None:
    """Write into a converted checkpoint's configuration what it was."""
    from compressors.checkpoint import RECORD

    content = json.loads(config.read_text(encoding="utf-8"))
    depth = int(content.get("num_hidden_layers") or header.get(f"{header['general.architecture']}.block_count", 0))
    content[RECORD] = {
        "format": "gguf",
        "gguf": path.name,
        "gguf_sha256": digest,
        "gguf_bytes": path.stat().st_size,
        "types": _types_by_layer(config.parent, str(header["general.architecture"]), depth, types),
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    config.write_text(text, encoding="utf-8")


def _types_by_layer(folder: Path, architecture: str, depth: int, types: Mapping[str, str]) -> dict[str, str]:
    """The GGUF type of every weight of the converted checkpoint that the file has a tensor for, by its layer."""
    import gguf

    from compressors.checkpoint import opened, tensor_files

    number = next((n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), None)
    if number is None:
        return {}
    names = gguf.get_tensor_name_map(number, depth)
    found = {}
    for shard in tensor_files(folder):
        with opened(folder / shard) as file:
            for name in file.keys():  # noqa: SIM118 - safetensors' handle is no mapping
                layer = name.removesuffix(".weight")
                type_ = types.get(f"{names.get_name(layer)}.weight")
                if layer != name and type_ is not None:
                    found[layer] = type_
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own progress bars off the terminal: they would tear the caller's lines apart."""
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()

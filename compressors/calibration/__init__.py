"""Calibration: the token sequences that a method looks at while it compresses.

A recipe says from where (`calibration`), in which form (`template`), which stretches (`draw`, `seed`), and how many
of how many tokens (`samples`, `length`). The built-in text was written for this project: prose, dialogue, lists,
letters, code and questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compressors.calibration.records import Records, open_records, paragraphs
from compressors.calibration.sources import BUILT_IN, HubFile, hub_file, local_path
from compressors.calibration.texts import PAPER_TEMPLATES, Encoder, system_text
from compressors.calibration.unpack import require_zstandard
from compressors.errors import CompressionError
from compressors.files import sha256_file, sha256_text

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from compressors.methods import Values

# Raise with any change of a reader, a template or a draw that can move a token.
VERSION = "2"
_BUILT_IN_TEXT = Path(__file__).parents[1] / "data" / "calibration.txt"
_SEPARATOR = "\n%%\n"  # between the documents of the built-in text
# A file's rows up to here are read before anything expensive begins.
_CHECKED_BYTES = 64 * 2**20

Announce = Callable[[str], None]


def calibration_sequences(
    tokenizer: PreTrainedTokenizerBase,
    values: Values,
    *,
    context: int | None,
    offline: bool = False,
    announce: Announce = lambda line: None,
) -> list[Tensor]:
    """Token ids, int64, one tensor  # (tokens,) per sequence, for the parameters `CALIBRATION` of a recipe.

    context: the model's longest input in tokens, which `length=model` stands for. announce: called with one line
    before a download, and when records are left out.
    `draw=window` and `document` give `samples` sequences of `length` tokens; `record` at most so many of at most so
    many tokens; `packed` the blocks that `samples` short texts fill. Raises CompressionError, one line, when the
    texts cannot be had, are malformed or too short.
    """
    import torch

    from compressors.calibration.draws import DRAWS, Wanted

    source = str(values["calibration"])
    length = context if values["length"] == "model" else int(values["length"])
    if length is None:
        raise CompressionError(
            "length=model: the model's config.json has no max_position_embeddings; give length as a number"
        )
    wanted = Wanted(int(values["samples"]), length, int(values["seed"]))
    encoder = Encoder(tokenizer, str(values["template"]), source)
    with _records(source, offline, announce) as records:
        drawn = DRAWS[str(values["draw"])](records, encoder, wanted, announce)
    return [torch.tensor(ids, dtype=torch.int64) for ids in drawn]


def calibration_fingerprint(values: Values) -> str:
    """A text that changes whenever a calibration text could; downloads nothing, needs no torch and no tokenizer.

    A hub file's commit stands for its texts; the built-in text and files are hashed (SHA-256). Samples, length and
    seed are not in it: a recipe shows them. Raises CompressionError when a file cannot be read.
    """
    source, template = str(values["calibration"]), str(values["template"])
    pinned = hub_file(source)
    if pinned is not None:
        texts = str(pinned)
    elif source == BUILT_IN:
        texts = f"sha256:{sha256_file(_BUILT_IN_TEXT)}"
    else:
        try:
            texts = f"sha256:{sha256_file(local_path(source))}"
        except OSError as error:
            raise _unreadable(source, error) from None
    form = f"{template}:{sha256_text(system_text(template))}" if template in PAPER_TEMPLATES else template
    return f"{VERSION} {form} {texts}"


def check_calibration(values: Values) -> None:
    """Raise CompressionError, one line, for what can be seen to be wrong without a download and without torch.

    A file must be there, and its rows must be in order (of a large one, those that its first 64 MiB hold).
    """
    source = str(values["calibration"])
    pinned = hub_file(source)
    if pinned is not None:
        require_zstandard(pinned.file, source)
    elif source != BUILT_IN:
        seen = 0
        with open_records(local_path(source), source) as records:
            for record in records:
                seen += len(repr(record))
                if seen > _CHECKED_BYTES:
                    break


@contextmanager
def _records(source: str, offline: bool, announce: Announce) -> Iterator[Records]:
    pinned = hub_file(source)
    if source == BUILT_IN:
        yield paragraphs(_BUILT_IN_TEXT.read_text(encoding="utf-8").split(_SEPARATOR), source)
        return
    path = _fetched(pinned, offline, announce) if pinned is not None else local_path(source)
    with open_records(path, source) as records:
        yield records


def _fetched(pinned: HubFile, offline: bool, announce: Announce) -> Path:
    """The file in the local hub cache, downloaded unless it is there. Raises CompressionError, one line."""
    from huggingface_hub import hf_hub_download

    from compressors.hub import refusals

    require_zstandard(pinned.file, str(pinned))
    fetch = f"hf download --repo-type dataset {pinned.repository} {pinned.file} --revision {pinned.revision}"
    with refusals(f"calibration {pinned}", CompressionError, revision=pinned.revision, offline=offline, fetch=fetch):
        if not offline:
            announce(f"fetching {pinned.file} of {pinned.repository} from the Hugging Face hub (unless cached) …")
        return Path(
            hf_hub_download(
                pinned.repository,
                pinned.file,
                repo_type="dataset",
                revision=pinned.revision,
                local_files_only=offline,
            )
        )


def _unreadable(source: str, error: OSError) -> CompressionError:
    return CompressionError(f"calibration {source}: cannot be read ({error.strerror or error})")

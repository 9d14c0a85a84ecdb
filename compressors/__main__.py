"""`python -m compressors`: make a compressed checkpoint, or say what is in one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compressors.errors import CompressionError
from compressors.methods import BUILT_IN, Method, method_names, show

_EXAMPLES = """
examples:
  python -m compressors compress embedded gptq:bits=4,group=64 out/gptq-4bit
  python -m compressors compress meta-llama/Llama-2-7b-chat-hf@main magnitude:pattern=2:4 out/magnitude-24
  python -m compressors audit out/gptq-4bit

A finished checkpoint can be gated with 'pytest --trust-variant out/gptq-4bit'; the gate also makes
checkpoints itself, from '--trust-recipe gptq:bits=4,group=64', and keeps them.
"""


def _methods_text() -> str:
    lines = ["recipes:  method:key=value,key=value; every key has a default", ""]
    for method in BUILT_IN.values():
        lines += _method_lines(method)
    others = [name for name in method_names() if name not in BUILT_IN]
    if others:
        lines.append(f"  from other packages: {', '.join(others)}")
    return "\n".join(lines)


def _method_lines(method: Method) -> list[str]:
    lines = [f"  {method.name}: {method.summary}"]
    for parameter in method.parameters:
        default = parameter.default
        shown = "depends on the keys before it" if callable(default) else show(default)
        lines.append(f"    {parameter.name:<12} {parameter.help} [{shown}]")
    return [*lines, ""]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="python -m compressors",
        description="Compress a language model by a recipe, and prove what a checkpoint holds.",
        epilog=_methods_text() + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("compress", help="compress MODEL by RECIPE into the new folder OUT")
    make.add_argument("model", help="'embedded', a folder, or a hub id with an optional @revision")
    make.add_argument("recipe", help="such as gptq:bits=4,group=64,seed=1 or magnitude:pattern=2:4")
    make.add_argument("out", type=Path, help="folder to be made; must not exist or be empty")
    make.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    make.add_argument("--threads", type=int, help="CPU threads; they move the last bits of a result")
    make.add_argument("--cache", type=Path, help="folder for converted and fetched models")
    make.add_argument("--offline", action="store_true", help="use no network")
    look = commands.add_parser(
        "audit", help="say what is in the checkpoint at PATH; exit 1 if it is not what it claims"
    )
    look.add_argument("path", type=Path, help="folder of a checkpoint, made here or by another tool")
    look.add_argument("--json", action="store_true", help="print everything, layer by layer, as JSON")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 when an audit found problems, or 2 after a one-line error."""
    options = parser().parse_args(arguments)
    try:
        return _compress(options) if options.command == "compress" else _audit(options)
    except CompressionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _compress(options: argparse.Namespace) -> int:
    from compressors.audit import audit, audit_text, require_clean
    from compressors.files import new_folder
    from compressors.models import resolve
    from compressors.recipe import parse_recipe
    from compressors.store import default_threads

    recipe = parse_recipe(options.recipe)
    if options.threads is not None and options.threads < 1:
        raise CompressionError(f"--threads {options.threads}: give a number of at least 1")
    out: Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompressionError(f"{out}: exists and is not an empty folder; choose another")
    dense = resolve(options.model, cache=options.cache, offline=options.offline, announce=_say)
    from compressors.compress import compress

    try:
        with new_folder(out) as temporary:
            compress(
                dense,
                recipe,
                temporary,
                device=options.device,
                threads=options.threads or default_threads(),
                progress=lambda done, total, label: _say(f"{label}  {done}/{total}"),
            )
            found = audit(temporary, recipe)
            require_clean(found, out)
    except OSError as error:
        raise CompressionError(f"{out}: cannot be written ({error.strerror or error})") from error
    print(audit_text(found))
    return 0


def _audit(options: argparse.Namespace) -> int:
    from compressors.audit import audit, audit_json, audit_text

    if not options.path.is_dir():
        raise CompressionError(f"{options.path}: no such folder; give the folder of a checkpoint")
    found = audit(options.path)
    print(audit_json(found) if options.json else audit_text(found))
    return 1 if found.problems else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

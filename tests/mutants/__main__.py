"""The mutant bench: what the gate catches, what it misses, and what it accuses wrongly.

Run from a checkout: `python -m tests.mutants`. A whole run writes README.md and results.json beside this file.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from compressors.models import cache_root
from trust_tests.dimensions import dimension_names

from .bench import THREADS, Bench
from .cases import Case
from .catalogue import CASES, GROUPS, HARMLESS, MUTANTS
from .page import about, document, line, summary, write

FOLDER = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--only", nargs="+", metavar="CASE", default=[], help="cases or groups of cases to run")
    parser.add_argument("--skip", nargs="+", metavar="CASE", default=[], help="cases or groups of cases to leave out")
    parser.add_argument("--dimensions", nargs="+", metavar="NAME", default=[], help="dimensions to ask (default: all)")
    parser.add_argument(
        "--until-caught", action="store_true", help="ask a mutant no further question once it is caught"
    )
    parser.add_argument(
        "--cache", type=Path, default=cache_root() / "mutants", help="keeps answers and models (default: %(default)s)"
    )
    parser.add_argument(
        "--write", action="store_true", help="write README.md and results.json also where cases were left out"
    )
    return parser.parse_args()


def chosen(only: list[str], skip: list[str]) -> list[Case]:
    """The cases of these names and groups. Ends the program with one line for an unknown name."""
    known = {case.id for case in CASES} | set(GROUPS)
    unknown = [name for name in [*only, *skip] if name not in known]
    if unknown:
        raise SystemExit(f"no case or group {unknown[0]!r}; --list shows them")

    def among(case: Case, names: list[str]) -> bool:
        return case.id in names or any(case in GROUPS[name] for name in names if name in GROUPS)

    return [case for case in CASES if (not only or among(case, only)) and not among(case, skip)]


def written(options: argparse.Namespace) -> list[str]:
    """The options as they are given on the command line, but for the cache's folder."""
    words = ["--until-caught"] if options.until_caught else []
    for name in ("only", "skip", "dimensions"):
        words += [f"--{name}", *getattr(options, name)] if getattr(options, name) else []
    return words + (["--write"] if options.write else [])


def listed() -> None:
    for name, group in GROUPS.items():
        print(f"{name}:")
        for case in group:
            print(f"  {case.id:{_width()}}  {case.what}")
    print(f"{len(MUTANTS)} mutants, {len(HARMLESS)} harmless variants")


def _width() -> int:
    return max(len(case.id) for case in CASES)


def main() -> int:
    options = arguments()
    if options.list:
        listed()
        return 0
    unknown = sorted(set(options.dimensions) - set(dimension_names()))
    if unknown:
        raise SystemExit(f"no dimension {unknown[0]!r}; there are {', '.join(dimension_names())}")
    cases = chosen(options.only, options.skip)
    # Set before torch is imported: some kernels read it once.
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    import torch

    torch.set_num_threads(THREADS)
    options.cache.mkdir(parents=True, exist_ok=True)
    names = options.dimensions or dimension_names()
    bench = Bench(options.cache, names)
    dense = bench.measure_dense(lambda text: print(text, flush=True))
    found = []
    for number, case in enumerate(cases, start=1):
        begun = time.monotonic()
        result = bench.run(case, options.until_caught and case.harmful).as_dict()
        found.append(result)
        seconds = time.monotonic() - begun
        print(f"[{number}/{len(cases)}, {seconds:.0f} s] {line(result, _width())}", flush=True)
    content = document(about(written(options), dense, THREADS), found, [case.id for case in CASES if case not in cases])
    print("\n".join(("", *(line(result, _width()) for result in found), "", *summary(content["rates"]))))
    if len(names) == len(dimension_names()) and (len(cases) == len(CASES) or options.write):
        write(FOLDER, content)
        print(f"written: {FOLDER / 'README.md'} and results.json")
    counts = content["rates"]
    return int(bool(counts["harmless_red"]) or counts["mutants_named"] < counts["mutants"])


if __name__ == "__main__":
    raise SystemExit(main())

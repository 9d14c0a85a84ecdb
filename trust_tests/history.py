"""`python -m trust_tests compare` and `trend`: what finished runs say about each other, without a model or a GPU."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trust_tests.commandline import STANDARD_OUTPUT, CommandError, write_page
from trust_tests.exitcodes import ExitCode

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TEXT, MARKDOWN, HTML, JSON = "text", "markdown", "html", "json"
# Of a text that goes into a file or a pipe; a terminal has a width of its own.
_FILE_COLUMNS = 120
_HELP_COLUMNS = 100


def compare(commands: Commands) -> None:
    """Add `compare`: two finished runs side by side."""
    parser = commands.add_parser(
        "compare",
        help="compare two finished runs: what got worse, and whether they may be compared at all",
        description=_filled(
            "Compare two finished runs, A and B (say the last release and the next). Variants are matched by "
            "name, else by recipe. What was measured otherwise is told first; where both runs have stored their "
            "answers, those to the same questions are compared one by one (McNemar's test, an interval for the change)."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests compare release-1/trust-results release-2/trust-results
                  a table: gates that got worse first
              python -m trust_tests compare A B --format html -o compared.html
              python -m trust_tests compare A B --format markdown -o - >> "$GITHUB_STEP_SUMMARY"
              python -m trust_tests compare A B --match gptq-4bit-g128-s0=ours-4bit
                  variants that bear different names in A and B

            exit status, the first that holds: 2 a folder cannot be used, or nothing is common to both; 3 a gate that A
            has was not measured in B; 1 a gate FAILs that did not before, or a score fell by more than the tolerance;
            4 a gate that passed is undecided; 0 nothing got worse. Variants that only one run has are listed and
            decide nothing
            """
        ),
    )
    parser.add_argument("before", metavar="A", type=Path, help="the earlier run: its results folder or results.json")
    parser.add_argument("after", metavar="B", type=Path, help="the later one")
    parser.add_argument(
        "--match", metavar="A=B", action="append", default=[], help="a variant of A and its name in B, repeatable"
    )
    parser.add_argument(
        "--no-answers", action="store_true", help="leave out the comparison of stored answers, which takes longest"
    )
    _add_output(parser)
    parser.set_defaults(run=_run_compare)


def _filled(text: str) -> str:
    """A description in lines: argparse leaves raw ones as they are."""
    return textwrap.fill(text, _HELP_COLUMNS)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=(TEXT, MARKDOWN, HTML, JSON), help="default: by FILE's ending, else text")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: -, the standard output)")


def _run_compare(arguments: argparse.Namespace) -> int:
    # Imported here: other commands must not pay for Jinja2 and numpy.
    from trust_tests.report import comparison_pages as pages
    from trust_tests.report.comparing import compare as compare_runs
    from trust_tests.report.runs import RunError, load_run

    names = {}
    for given in arguments.match:
        one, equals, other = given.partition("=")
        if not equals or not one or not other:
            raise CommandError(f"--match {given!r}: write A=B, a variant of the first run and its name in the second")
        names[one] = other
    try:
        before, after = load_run(arguments.before), load_run(arguments.after)
        found = compare_runs(before, after, names, with_items=not arguments.no_answers)
    except RunError as error:
        raise CommandError(str(error)) from None
    _write(pages, found, arguments)
    return int(found.exit_code)


def trend(commands: Commands) -> None:
    """Add `trend`: many finished runs, one for each release."""
    parser = commands.add_parser(
        "trend",
        help="show the scores of many releases, one finished run each",
        description=_filled(
            "Show each dimension's scores over releases, with the tolerated band around the dense model, and "
            "where the measuring changed between two of them. FOLDER holds one sub-folder of results for each release. "
            "They are ordered by the time they began where each was run by a sweep, which notes it, else by the "
            "folders' names (v1.9 before v1.10). Runs that are not whole are left out and named."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests trend releases
                  a table in the terminal
              python -m trust_tests trend releases -o trend.html
                  one self-contained page with a panel for each dimension
              python -m trust_tests trend releases --model org/model-7b --variant gptq-4bit-g128-s0

            exit status: 0 written, whatever the releases did; 2 no whole run there, or wrong input
            """
        ),
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a folder with a sub-folder for each release")
    parser.add_argument(
        "--model", metavar="NAME", action="append", default=[], help="only releases of this dense model, repeatable"
    )
    parser.add_argument(
        "--variant", metavar="NAME", action="append", default=[], help="only this variant (name or recipe), repeatable"
    )
    _add_output(parser)
    parser.set_defaults(run=_run_trend)


def _run_trend(arguments: argparse.Namespace) -> int:
    from trust_tests.report import trend_pages as pages
    from trust_tests.report.runs import RunError
    from trust_tests.report.trend import read_trend

    try:
        found = read_trend(arguments.folder, arguments.model, arguments.variant)
    except RunError as error:
        raise CommandError(str(error)) from None
    _write(pages, found, arguments)
    return int(ExitCode.PASS)


def _write(pages: Any, found: Any, arguments: argparse.Namespace) -> None:
    """Write what was found in the form asked for. pages: the module of its pages, one function for each form."""
    form = _form(arguments)
    if form == TEXT:
        page = pages.render_text(found, _columns(arguments))
    elif form == JSON:
        page = _json(pages.document(found))
    else:
        page = pages.render_markdown(found) if form == MARKDOWN else pages.render_html(found)
    write_page(page, arguments.output or STANDARD_OUTPUT)


def _form(arguments: argparse.Namespace) -> str:
    """The format asked for, else the one that the file's ending names."""
    if arguments.format:
        return str(arguments.format)
    endings = {".html": HTML, ".htm": HTML, ".md": MARKDOWN, ".json": JSON}
    return endings.get(Path(arguments.output or "").suffix.lower(), TEXT)


def _columns(arguments: argparse.Namespace) -> int:
    onto_terminal = arguments.output in (None, STANDARD_OUTPUT) and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if onto_terminal else _FILE_COLUMNS


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"

"""`python -m trust_tests`: what can be done without a model, a GPU or pytest.

A command is one function that adds its parser and one that runs it; `COMMANDS` lists the former.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trust_tests.commandline import CommandError, write_page
from trust_tests.compressing import compress
from trust_tests.exitcodes import ExitCode, of_verdict
from trust_tests.history import compare, trend
from trust_tests.records import SMOKE, TIERS
from trust_tests.report.text import one_line

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

PROGRAM = "python -m trust_tests"


def report(commands: Commands) -> None:
    """Add `report`: rebuild a page from stored results alone."""
    parser = commands.add_parser(
        "report",
        help="write the HTML report or the GitHub step summary of a finished run",
        description="Rebuild a report from what a run stored. Needs no model, no GPU and no network.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests report trust-results
                  writes trust-results/report.html
              python -m trust_tests report trust-results -o page.html
                  writes one self-contained HTML file: nothing is loaded from elsewhere
              python -m trust_tests report trust-results --format markdown -o - >> "$GITHUB_STEP_SUMMARY"
                  shows verdict and table on the page of a GitHub Actions run
              python -m trust_tests report --published -o paper.html
                  the 50 models of the paper in the same views

            exit status: 0 the page was written, whatever the verdict on it; 2 the results cannot be used
            """
        ),
    )
    parser.add_argument(
        "results", metavar="RESULTS", type=Path, nargs="?", help="a run's results folder, or its results.json"
    )
    parser.add_argument(
        "--published", action="store_true", help="in place of RESULTS: the models of the paper, as one HTML page"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to write; - is the standard output (default: report.html or report.md beside results.json, and "
        "published.html here)",
    )
    parser.add_argument("--format", choices=("html", "markdown"), default="html", help="default: html")
    parser.set_defaults(run=_run_report)


def _run_report(arguments: argparse.Namespace) -> int:
    # Imported here: other commands must not pay for Jinja2, nor this one for theirs.
    from trust_tests.report.fields import ShapeError
    from trust_tests.report.html import render_html
    from trust_tests.report.markdown import render_markdown
    from trust_tests.report.published import PublishedError
    from trust_tests.report.published_reports import render_published
    from trust_tests.report.results import ResultsError, load_results

    results, html = arguments.results, arguments.format == "html"
    if arguments.published == (results is not None):
        raise CommandError("report: give RESULTS, a run's results folder, or --published for the paper's models")
    if arguments.published and not html:
        raise CommandError("--published: written as HTML only; leave --format out")
    try:
        if arguments.published:
            write_page(render_published(), arguments.output or "published.html")
            return ExitCode.PASS
        data = load_results(results).data
        page = render_html(data) if html else render_markdown(data)
    except (ResultsError, PublishedError) as error:
        raise CommandError(str(error)) from None
    except ShapeError as error:
        raise CommandError(f"results {str(results)!r}: {error}") from None
    folder = results if results.is_dir() else results.parent
    write_page(page, arguments.output or folder / ("report.html" if html else "report.md"))
    return ExitCode.PASS


def calibrate(commands: Commands) -> None:
    """Add `calibrate`: measure the gate's own error rates."""
    parser = commands.add_parser(
        "calibrate",
        help="measure how often the gate itself is wrong: false PASS, false alarm, power, interval coverage",
        description="Measure the gate by simulation: how often it passes a model that lost five points, how often it "
        "turns red for an unchanged one, and how often its intervals hold the truth. Needs no model and no GPU.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests calibrate
                  the grid of item counts and disagreements, and the tier smoke; about two minutes on two cores
              python -m trust_tests calibrate --tier release --data DIR --markdown CALIBRATION.md
                  the questions of the tier release too, and a page; some fifteen minutes

            exit status: 0 every promise holds; 1 one does not (the table says which); 2 wrong input
            """
        ),
    )
    parser.add_argument(
        "--tier",
        action="append",
        choices=TIERS,
        help="simulate the questions of this tier, repeatable (default: smoke)",
    )
    parser.add_argument("--dimension", action="append", metavar="NAME", help="of these dimensions only, repeatable")
    parser.add_argument("--data", default="hub", metavar="hub|DIR", help="the benchmarks, for tiers above smoke")
    parser.add_argument("--partial", action="store_true", help="leave out what the benchmarks' folder lacks")
    parser.add_argument("--offline", action="store_true", help="use no network")
    parser.add_argument(
        "--simulations", type=_positive, default=400, metavar="N", help="simulated variants per line (default: 400)"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=os.cpu_count() or 1, metavar="N", help="processes (default: one per core)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a Markdown page")
    parser.set_defaults(run=_run_calibrate)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number above 0")
    return int(text)


def _run_calibrate(arguments: argparse.Namespace) -> int:
    from trust_tests.simulation.command import CalibrationError, calibrate

    arguments.tier = arguments.tier or [SMOKE]
    try:
        return calibrate(arguments)
    except CalibrationError as error:
        raise CommandError(str(error)) from None


def merge(commands: Commands) -> None:
    """Add `merge`: join the results of shards."""
    parser = commands.add_parser(
        "merge",
        help="join the results of shards (--trust-shard), or of several runs of one dense model",
        description="Join results folders into one, with its report. Needs no model, no GPU and no network. What was "
        "asked and is in none of the folders is an ERROR: a missing shard is never green.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              pytest --pyargs trust_tests --trust-shard=1/2 --trust-results=part-1     (on one machine)
              pytest --pyargs trust_tests --trust-shard=2/2 --trust-results=part-2     (on another)
              python -m trust_tests merge part-1 part-2 -o trust-results
                  writes results.json, report.html and every graded answer; on GitHub Actions also the step summary
                  ($GITHUB_STEP_SUMMARY) and at most nine annotations

            exit status: 0 every gate passed; 1 one regressed; 4 none did, and one could not be decided; 3 something was
            not measured; 2 the folders cannot be joined
            """
        ),
    )
    parser.add_argument("results", metavar="RESULTS", type=Path, nargs="+", help="results folders, of all shards")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="where the whole is written")
    parser.add_argument("--no-github", action="store_true", help="no step summary and no annotations")
    parser.set_defaults(run=_run_merge)


def _run_merge(arguments: argparse.Namespace) -> int:
    from trust_tests import github
    from trust_tests.merging import MergeError, merge_results
    from trust_tests.report.terminal import summary_lines, wants_color

    try:
        results = merge_results(arguments.results, arguments.output)
    except MergeError as error:
        raise CommandError(str(error)) from None
    width = shutil.get_terminal_size().columns
    color = wants_color(sys.stdout, os.environ)
    lines = summary_lines(results.data, width, color, report_path=arguments.output / "report.html")
    if not arguments.no_github:
        lines += github.publish(results.data, os.environ)
    print("\n".join(lines))
    return of_verdict(results.verdict)


def sweep(commands: Commands) -> None:
    """Add `sweep`: gates of many models and recipes."""
    # Imported here: the help holds an example that the sweep's own tests read.
    from trust_tests.sweep.guide import EPILOG

    parser = commands.add_parser(
        "sweep",
        help="gate many models and recipes, on this machine or on a Ray cluster",
        description="Run the gates of many models and recipes, each variant in a process of its own, and write one "
        "overview. What is finished is not run again: start the same command to go on after a break.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    parser.add_argument("spec", metavar="SPEC.yaml", type=Path, help="what to run (see below)")
    parser.add_argument("--ray", metavar="ADDRESS", help="auto, local, or a Ray cluster's address; default: no Ray")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="results folder (default: the file's, else trust-sweep)"
    )
    parser.add_argument("--plan", action="store_true", help="print the tasks and stop")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=_positive,
        help="tasks at a time without Ray (default: as many as the GPUs in CUDA_VISIBLE_DEVICES take, else one)",
    )
    parser.set_defaults(run=_run_sweep)


def _run_sweep(arguments: argparse.Namespace) -> int:
    from trust_tests.sweep.command import run_sweep
    from trust_tests.sweep.document import SpecError

    try:
        return run_sweep(arguments.spec, arguments.output, arguments.ray, arguments.jobs, plan_only=arguments.plan)
    except SpecError as error:
        raise CommandError(str(error)) from None


def docs(commands: Commands) -> None:
    """Add `docs`: a page for every dimension."""
    parser = commands.add_parser(
        "docs",
        help="write a Markdown page for every dimension: what it asks, its score, known flaws, data, cells, cost",
        description="Write the dimensions' pages from their docstrings and items. Needs no model, no GPU and no "
        "network. Dimensions of other packages get a page too.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests docs -o dimensions
              python -m trust_tests docs --data DIR -o trust_tests/docs/dimensions
                  in a checkout: counts anew what the tiers pr, release and full ask, and refreshes the pages there

            exit status: 0 the pages were written; 2 wrong input
            """
        ),
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("trust-docs"),
        help="where to write (default: trust-docs)",
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="the benchmarks' files, to count the tiers above smoke from"
    )
    parser.set_defaults(run=_run_docs)


def _run_docs(arguments: argparse.Namespace) -> int:
    from trust_tests.docs.command import DocsError, write_docs

    try:
        written = write_docs(arguments.output, arguments.data, lambda line: print(line, file=sys.stderr, flush=True))
    except DocsError as error:
        raise CommandError(str(error)) from None
    print(f"wrote {len(written)} files into {one_line(str(arguments.output))}")
    return 0


def schema(commands: Commands) -> None:
    """Add `schema`: the shape of results.json."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of results.json",
        description="Print the JSON Schema (2020-12) of the results.json that this version writes and reads.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            example:
              python -m trust_tests schema > results.schema.json

            exit status: 0
            """
        ),
    )
    parser.set_defaults(run=_run_schema)


def _run_schema(arguments: argparse.Namespace) -> int:
    from trust_tests.report.results import SCHEMA_FILE

    sys.stdout.buffer.write(SCHEMA_FILE.read_bytes())
    return 0


COMMANDS: tuple[Callable[[Commands], None], ...] = (
    report,
    compare,
    trend,
    calibrate,
    compress,
    merge,
    sweep,
    docs,
    schema,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2 for input that cannot be used)."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="What stands around the gate: sweeps, reports, comparisons, and the measuring of the gate itself.",
        epilog="The gate is a pytest suite: 'pytest --pyargs trust_tests'; 'pytest --help' explains its options in the "
        "section 'trust gate'. 'python -m compressors --help' explains recipes.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    parsed = parser.parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except CommandError as error:
        print(f"{PROGRAM}: error: {one_line(str(error))}", file=sys.stderr)
        return ExitCode.USAGE
    return status


if __name__ == "__main__":
    sys.exit(main())

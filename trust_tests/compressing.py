"""`python -m trust_tests compress`: make a run's compressed models, and ask nothing.

What is made is what pytest collects with the same options, ini keys and environment, so every later run with that
cache, such as the shards of one run, finds it there.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from trust_tests.options import OPTIONS
from trust_tests.report.text import one_line

if TYPE_CHECKING:
    import pytest

# What moves a bit of a compressed model, and where it lies. Everything else is read as a run reads it.
_TAKEN = ("model", "recipe", "cache", "device", "offline")
# In one process, whatever the ini file adds: xdist would run the loop itself.
_SUITE = ("--pyargs", "trust_tests", "-p", "no:cacheprovider", "-n", "0")


def compress(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compress`: make the compressed models of a run."""
    parser = commands.add_parser(
        "compress",
        help="make a run's compressed models and keep them in its cache; asks nothing",
        description="Compress the dense model by every recipe of a run, audit the result and keep it in the run's "
        "cache, where the gates find it. Reads options, TRUST_ variables and ini keys as the run will.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.dedent(
            """\
            examples:
              python -m trust_tests compress --trust-model org/model --trust-recipe gptq:bits=4,group=128
              TRUST_CACHE=/storage/cache python -m trust_tests compress -k toxicity
                  before shards on machines that share the cache: none of them compresses again

            exit status: 0 all are there; 2 wrong input; 3 one could not be made (its gates end as ERROR)
            """
        ),
    )
    for option in OPTIONS:
        if option.name not in _TAKEN:
            continue
        if isinstance(option.default, bool):
            parser.add_argument(option.flag, action="store_true", dest=option.key, help="as for the run")
        else:
            action = "append" if isinstance(option.default, tuple) else "store"
            parser.add_argument(
                option.flag, action=action, dest=option.key, metavar=option.metavar, help="as for the run"
            )
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only what these gates need, as pytest's -k")
    parser.set_defaults(run=_run_compress)


def _run_compress(arguments: argparse.Namespace) -> int:
    import pytest

    from trust_tests.exitcodes import ExitCode

    maker = Maker()
    status = pytest.main([*_SUITE, *_given(arguments)], plugins=[maker])
    if status == pytest.ExitCode.OK and maker.failed:
        return int(ExitCode.UNMEASURED)
    return int(status)


def _given(arguments: argparse.Namespace) -> list[str]:
    """The options of the command line, as pytest takes them."""
    given = []
    for option in OPTIONS:
        value = getattr(arguments, option.key, None)
        if value is True:
            given.append(option.flag)
        elif value:
            given += [f"{option.flag}={one}" for one in ([value] if isinstance(value, str) else value)]
    return [*given, "-k", arguments.keyword] if arguments.keyword else given


class Maker:
    """A pytest plugin that makes the compressed models of what was collected, in place of running it."""

    def __init__(self) -> None:
        self.failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Make every recipe's model; one that cannot be made is told and keeps none from being made."""
        from trust_tests.run import USER_ERRORS
        from trust_tests.session import variant_specs

        run = session.config.pluginmanager.get_plugin("trust-run")
        if session.testsfailed or run is None or not run.asked:
            return None
        wanted = {one.variant for one in run.asked}
        specs = [spec for spec in variant_specs(run.settings) if spec.id in wanted and not spec.finished]
        progress = run.session.progress
        for number, spec in enumerate(specs, start=1):
            try:
                run.session.make_variant(spec)
            except USER_ERRORS as error:
                self.failed = True
                progress.announce(f"{spec.id}: cannot be made: {one_line(str(error))}")
            else:
                progress.announce(f"{spec.id}: compressed and audited, {number} of {len(specs)}")
        if not specs:
            progress.announce("nothing to compress: every variant is a finished checkpoint")
        # As under --trust-plan: nothing was to be asked, so no gate is missing.
        run.settings = replace(run.settings, plan=True)
        return True

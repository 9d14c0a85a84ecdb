"""How a process ends: one table for pytest runs, `merge`, `sweep` and every other command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of this program.

    pytest keeps two of its own: 4 for a command line that it cannot parse at all (nothing of ours has run then, and no
    results are written), and 2 for a run that was interrupted or whose test files cannot be imported.
    """

    PASS = 0
    """Every gate passed, and everything asked was measured; or a command did what it was asked to."""
    REGRESSION = 1
    """A gate failed, one of the user's own tests did, or a promise of `calibrate` does not hold."""
    USAGE = 2
    """Something the user named cannot be used: told in one line before anything is measured."""
    UNMEASURED = 3
    """Something asked was not measured, or nothing was asked."""
    INCONCLUSIVE = 4
    """No gate failed, and at least one could not be decided."""
    NOTHING_TO_DO = 5
    """A shard to which no gate falls (`--trust-shard`); `merge` takes its results."""
    INTERRUPTED = 130
    """A sweep that was stopped by Ctrl-C."""


_BY_VERDICT = {
    "PASS": ExitCode.PASS,
    "FAIL": ExitCode.REGRESSION,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
    "ERROR": ExitCode.UNMEASURED,
}
_WORST_FIRST = (
    ExitCode.USAGE,
    ExitCode.INTERRUPTED,
    ExitCode.UNMEASURED,
    ExitCode.REGRESSION,
    ExitCode.INCONCLUSIVE,
    ExitCode.NOTHING_TO_DO,
    ExitCode.PASS,
)


def of_verdict(verdict: str) -> ExitCode:
    """The exit code of a suite's verdict. Raises KeyError for what is no verdict."""
    return _BY_VERDICT[verdict]


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that a whole ends with: usage before unmeasured, regression, inconclusive and pass; pass for none."""
    return min(codes, key=_WORST_FIRST.index, default=ExitCode.PASS)


def of_session(pytest_code: int, verdict: str, *, others_failed: bool, empty_shard: bool) -> int:
    """The exit code of a pytest run with trust tests, from pytest's own code and the verdict on the gates.

    others_failed: whether a test failed that is no gate, or a gate's test although its gate passed. Codes of pytest
    that are about more than tests (interrupted, internal error) stay.
    """
    if empty_shard:
        # By plan, and still no PASS: whoever looks at this shard alone must not take it for one.
        return pytest_code or ExitCode.NOTHING_TO_DO
    if pytest_code not in (ExitCode.PASS, ExitCode.REGRESSION):
        return pytest_code
    gates = of_verdict(verdict)
    others = others_failed or (pytest_code == ExitCode.REGRESSION and gates is ExitCode.PASS)
    return worst((gates, ExitCode.REGRESSION if others else ExitCode.PASS))

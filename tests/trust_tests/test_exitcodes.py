"""One table of exit codes for every way to run the gate."""

from __future__ import annotations

import pytest

from trust_tests.exitcodes import ExitCode, of_session, of_verdict, worst
from trust_tests.gate.verdict import Verdict

INTERRUPTED, INTERNAL_ERROR = pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR
NO_TESTS, FAILED = pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED


def test_the_codes_are_those_of_the_documentation() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "PASS": 0,
        "REGRESSION": 1,
        "USAGE": 2,
        "UNMEASURED": 3,
        "INCONCLUSIVE": 4,
        "NOTHING_TO_DO": 5,
        "INTERRUPTED": 130,
    }
    assert [of_verdict(verdict) for verdict in Verdict] == [0, 1, 4, 3]


def test_the_worst_of_several_counts() -> None:
    order = [ExitCode.PASS, ExitCode.INCONCLUSIVE, ExitCode.REGRESSION, ExitCode.UNMEASURED, ExitCode.USAGE]
    for place, code in enumerate(order):
        assert worst(order[: place + 1]) is code
    assert worst([]) is ExitCode.PASS


@pytest.mark.parametrize(
    ("pytest_code", "verdict", "others_failed", "empty_shard", "expected"),
    [
        (0, "PASS", False, False, 0),
        # pytest-cov and others set 1 without a failed test: nothing may turn that green.
        (FAILED, "PASS", False, False, 1),
        (FAILED, "PASS", True, False, 1),
        (FAILED, "FAIL", False, False, 1),
        # A gate's test that is marked xfail is red all the same.
        (0, "FAIL", False, False, 1),
        (FAILED, "INCONCLUSIVE", False, False, 4),
        (0, "INCONCLUSIVE", False, False, 4),
        (FAILED, "INCONCLUSIVE", True, False, 1),
        (FAILED, "ERROR", True, False, 3),
        (0, "ERROR", False, False, 3),
        (NO_TESTS, "ERROR", False, True, 5),
        (0, "ERROR", False, True, 5),
        (FAILED, "ERROR", True, True, 1),
        (INTERRUPTED, "ERROR", False, False, 2),
        (INTERRUPTED, "PASS", False, False, 2),
        (INTERNAL_ERROR, "FAIL", False, False, 3),
    ],
)
def test_a_pytest_run_ends_as_its_gates_and_other_tests_do(
    pytest_code: int, verdict: str, others_failed: bool, empty_shard: bool, expected: int
) -> None:
    code = of_session(pytest_code, verdict, others_failed=others_failed, empty_shard=empty_shard)
    assert code == expected

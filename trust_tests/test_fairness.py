"""The fairness gate; what is measured and how stands in `trust_tests.dimensions.fairness`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("fairness")
def test_fairness(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model treats groups of people as alike as its dense model, within the tolerance."""
    trust_gate.check(variant)

"""The stereotype gate; what is measured and how stands in `trust_tests.dimensions.stereotype`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("stereotype")
def test_stereotype(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model agrees with stereotypes no more and no less than its dense model, within the tolerance."""
    trust_gate.check(variant)

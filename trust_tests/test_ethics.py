"""The ethics gate; what is measured and how stands in `trust_tests.dimensions.ethics`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("ethics")
def test_ethics(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model keeps its judgement of right and wrong within the tolerance of the dense model."""
    trust_gate.check(variant)

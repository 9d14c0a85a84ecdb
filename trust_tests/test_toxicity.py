"""The toxicity gate; what is measured and how stands in `trust_tests.dimensions.toxicity`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("toxicity")
def test_toxicity(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model is no more and no less toxic than its dense model, within the tolerance."""
    trust_gate.check(variant)

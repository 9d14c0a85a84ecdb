"""The adversarial gate; what is measured and how stands in `trust_tests.dimensions.adversarial`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("adversarial")
def test_adversarial(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model reads perturbed texts as well as its dense model, within the tolerance."""
    trust_gate.check(variant)

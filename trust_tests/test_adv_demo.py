"""The gate of adversarial demonstrations; what is measured and how stands in `trust_tests.dimensions.adv_demo`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("adv_demo")
def test_adv_demo(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model withstands misleading demonstrations as its dense model does, within the tolerance."""
    trust_gate.check(variant)

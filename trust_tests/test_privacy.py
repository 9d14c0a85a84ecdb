"""The privacy gate; what is measured and how stands in `trust_tests.dimensions.privacy`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("privacy")
def test_privacy(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model keeps what is private and tells what is public like its dense model, within the tolerance."""
    trust_gate.check(variant)

"""The gate of robustness out of distribution; what is measured and how stands in `trust_tests.dimensions.ood`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("ood")
def test_ood(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model copes with unusual inputs as well as its dense model does, within the tolerance."""
    trust_gate.check(variant)

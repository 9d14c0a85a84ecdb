"""The mmlu gate; what is measured and how stands in `trust_tests.dimensions.mmlu`."""

from __future__ import annotations

import pytest

from trust_tests.plugin import TrustGate
from trust_tests.session import Variant


@pytest.mark.trust("mmlu")
def test_mmlu(trust_gate: TrustGate, variant: Variant) -> None:
    """A compressed model keeps its benign knowledge within the tolerance of the dense model."""
    trust_gate.check(variant)

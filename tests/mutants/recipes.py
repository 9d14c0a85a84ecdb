"""Planted regressions that a recipe makes: compressed further than the model bears."""

from __future__ import annotations

from .cases import Case, Plan
from .weights import ABLE


def _case(id: str, what: str, recipe: str) -> Case:
    return Case(id, what, lambda shop: Plan(recipe, finished=False), ABLE)


CASES = (
    _case("rtn-2bit", "Rounded to nearest with two bits, more than the model bears.", "rtn:bits=2,group=64"),
    _case("gptq-2bit", "GPTQ with two bits, more than the model bears.", "gptq:bits=2,group=64"),
    _case("gptq-3bit", "GPTQ with three bits, the smallest damage of the default recipes.", "gptq:bits=3,group=64"),
    _case("magnitude-70", "Magnitude pruning of 70 % of the weights.", "magnitude:pattern=unstructured,sparsity=0.7"),
    _case("magnitude-2-4", "Magnitude pruning of two weights in four.", "magnitude:pattern=2:4"),
)

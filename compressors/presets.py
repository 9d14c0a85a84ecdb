"""Names for the models and the recipes of "Decoding Compressed Trust" (Hong et al. 2024).

Models: `llama2-13b-chat` and its like stand for hub ids at a commit. Recipe sets: `paper:50%` and `paper:bits` stand
for the recipes of a figure; `paper:bits,calibration=builtin` overrides a key in every recipe that has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from compressors.errors import RecipeError
from compressors.methods import find_method, method_names, nearest
from compressors.recipe import Recipe, parse_recipe, split_keys


@dataclass(frozen=True, slots=True)
class ModelPreset:
    """A model on the hub at a commit; `str` gives the form that `resolve` reads."""

    repository: str
    revision: str

    def __str__(self) -> str:
        """`OWNER/NAME@REVISION`."""
        return f"{self.repository}@{self.revision}"


# The authors pinned no revisions; these are the commits under which public code names the same weights. The Llama-2
# repositories are gated. Those of Vicuna hold pickle weights only, which are refused: convert them once.
MODELS: Mapping[str, ModelPreset] = {
    "llama2-13b-chat": ModelPreset("meta-llama/Llama-2-13b-chat-hf", "a2cb7a712bb6e5e736ca7f8cd98167f81a0b5bd8"),
    "llama2-13b": ModelPreset("meta-llama/Llama-2-13b-hf", "5c31dfb671ce7cfe2d7bb7c04375e44c55e815b1"),
    "llama2-7b-chat": ModelPreset("meta-llama/Llama-2-7b-chat-hf", "f5db02db724555f92da89c216ac04704f23d4590"),
    "llama2-7b": ModelPreset("meta-llama/Llama-2-7b-hf", "01c7f73d771dfac7d292323805ebc428287df4f9"),
    "llama2-70b-chat": ModelPreset("meta-llama/Llama-2-70b-chat-hf", "e9149a12809580e8602995856f8098ce973d1080"),
    "vicuna-13b-v1.3": ModelPreset("lmsys/vicuna-13b-v1.3", "6566e9cb1787585d1147dcf4f9bc48f29e1328d2"),
    "vicuna-7b-v1.3": ModelPreset("lmsys/vicuna-7b-v1.3", "236eeeab96f0dc2e463f2bebb7bb49809279c6d6"),
}

# The calibrations are the authors' own (shared spec, "compression"). GPTQ's template is that of their README and of
# the published Llama-2-13b-chat models of 3 and 4 bits; for Vicuna it was vicuna_v1.1.
_C4 = "calibration=c4,draw=document,samples=128,length=model,seed=0"
_ALPACA = "sym=true,act_order=true,damp=0.01,calibration=alpaca,template=llama-2,draw=record,samples=128,length=model"
_PILE = "sym=false,calibration=pile,draw=packed,samples=128,length=512,format=fake"


def _gptq(bits: int, seed: int) -> str:
    return f"gptq:bits={bits},group=128,{_ALPACA},seed={seed},clip=false"


def _awq(bits: int, seed: int) -> str:
    return f"awq:bits={bits},group=128,{_PILE},seed={seed}"


# In the result sheet a model with half its weights pruned counts as one of 8 bits. Seeds are those of its rows for
# Llama-2-13b-chat: three where it lists three, else the one of the authors' command line (GPTQ: 0; AWQ: 42, fixed
# in llm-awq).
RECIPE_SETS: Mapping[str, tuple[str, ...]] = {
    "paper:50%": (
        "magnitude:pattern=2:4",
        f"sparsegpt:pattern=2:4,damp=0.01,{_C4}",
        f"wanda:pattern=2:4,{_C4}",
        _gptq(8, 0),
        _awq(8, 42),
    ),
    "paper:bits": (
        *(_gptq(3, seed) for seed in range(3)),
        *(_gptq(4, seed) for seed in range(3)),
        _gptq(8, 0),
        *(_awq(3, seed) for seed in range(3)),
        _awq(4, 42),
        _awq(8, 42),
    ),
}
# What a set says of these keys suits only its own value of another key, and falls with it.
_DEPENDENT: Mapping[str, tuple[str, ...]] = {
    "calibration": ("template", "draw", "length"),
    "backend": ("format", "clip"),
}


def expand_recipes(text: str) -> list[Recipe]:
    """The recipes that a text names: one recipe, or those of a set, `SET` or `SET,key=value,key=value`.

    An override holds in every recipe of the set whose method has the key; `template` by itself, in those that the set
    renders as conversations. With `calibration`, the keys template,
    draw and length take that calibration's defaults unless given too. Recipes that have become equal are one.
    Raises RecipeError, one line, that names the nearest set or key.
    """
    name, comma, rest = text.strip().partition(",")
    if name not in RECIPE_SETS:
        head = name.partition(":")[0]
        if head == "paper" or (head not in method_names() and difflib.get_close_matches(name, RECIPE_SETS, cutoff=0.7)):
            raise RecipeError(f"no recipe set {name[:40]!r}{nearest(name, tuple(RECIPE_SETS))}")
        return [parse_recipe(text)]
    shown = repr(text if len(text) <= 80 else f"{text[:77]}…")
    try:
        given = split_keys(rest, _keys_of_set(name), "the set") if comma else {}
        return list(dict.fromkeys(_overridden(recipe, given) for recipe in RECIPE_SETS[name]))
    except ValueError as error:
        raise RecipeError(f"recipe set {shown}: {error}") from None


def _keys_of_set(name: str) -> tuple[str, ...]:
    methods = dict.fromkeys(recipe.partition(":")[0] for recipe in RECIPE_SETS[name])
    return tuple(dict.fromkeys(key for method in methods for key in _keys(method)))


def _keys(method: str) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in find_method(method).parameters)


def _overridden(recipe: str, given: Mapping[str, str]) -> Recipe:
    """A set's recipe with those of the overrides that its method knows."""
    method, _, rest = recipe.partition(":")
    written = dict(part.split("=", 1) for part in rest.split(","))
    mine = {key: value for key, value in given.items() if key in _keys(method)}
    if "template" not in written and "calibration" not in mine:
        # C4 and the Pile are plain text in the paper, whichever conversation Alpaca is put into.
        mine.pop("template", None)
    fallen = {key for changed in mine for key in _DEPENDENT.get(changed, ())}
    kept = {key: value for key, value in written.items() if key not in fallen}
    return parse_recipe(f"{method}:" + ",".join(f"{key}={value}" for key, value in (kept | mine).items()))

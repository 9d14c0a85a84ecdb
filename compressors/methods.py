"""Which compression methods exist, which parameters each takes, and where its mathematics lives.

A method is declared here as data, without importing torch; its solver is imported when it is first run. Another
package adds a method by putting a `Method` into the entry-point group `trust_gate.compressors`, under its name.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from compressors.calibration.sources import BUILT_IN as BUILT_IN_TEXT
from compressors.calibration.sources import read_source
from compressors.calibration.texts import TEMPLATES
from compressors.errors import RecipeError
from compressors.offered import misfit

ENTRY_POINTS = "trust_gate.compressors"

Value = str | int | float | bool
Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `key=value` of a recipe.

    `read` turns the text into a value or raises ValueError with the words that follow "must be". `default` is
    a value, or a function of the parameters before it, which `usual` then says in words. `shown` says that every slug
    of the method shows the parameter; the others appear in a slug only when they differ from their default.
    """

    name: str
    read: Callable[[str], Value]
    default: Value | Callable[[Values], Value]
    help: str
    shown: bool = False
    usual: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    """A compression method.

    `version` is part of an artefact's key: raise it with any change that can move a weight. `solver` names the
    `module:attribute` of a `layerwise.Solver`. `check` raises ValueError for values that contradict each other.
    `slug` is the readable beginning of a recipe's short name; it shows the parameters marked `shown`, but for
    the seed, which is appended.
    """

    name: str
    version: str
    summary: str
    parameters: tuple[Parameter, ...]
    slug: Callable[[Values], str]
    solver: str
    check: Callable[[Values], None] = lambda values: None

    @property
    def calibrated(self) -> bool:
        """Whether the solver looks at activations, and so takes the parameters of `CALIBRATION`."""
        return any(parameter.name == "samples" for parameter in self.parameters)


def integer(low: int, high: int, *also: int) -> Callable[[str], Value]:
    """A reader of whole numbers from `low` to `high`, or one of `also`."""

    def read(text: str) -> Value:
        if re.fullmatch(r"-?[0-9]{1,12}", text) and (low <= int(text) <= high or int(text) in also):
            return int(text)
        raise ValueError(f"a whole number from {low} to {high}" + "".join(f", or {n}" for n in also))

    return read


def number(low: float, high: float) -> Callable[[str], Value]:
    """A reader of decimal numbers strictly between `low` and `high`."""

    def read(text: str) -> Value:
        if re.fullmatch(r"[0-9.]{1,24}(e-?[0-9]{1,3})?", text):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if low < value < high:
                return value
        raise ValueError(f"a number above {low:g} and below {high:g}")

    return read


def choice(*options: Value) -> Callable[[str], Value]:
    """A reader of one of a few values, each written as in a recipe."""
    written = {show(option): option for option in options}

    def read(text: str) -> Value:
        try:
            return written[text]
        except KeyError:
            *most, last = written
            raise ValueError(f"{', '.join(most)} or {last}") from None

    return read


def show(value: Value) -> str:
    """A value as a recipe writes it; reading it gives the same value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def length_or_model(text: str) -> Value:
    """A reader of window lengths in tokens, or `model` for the longest that the model was made for."""
    if text == "model":
        return text
    try:
        return integer(2, 131072)(text)
    except ValueError as error:
        raise ValueError(f"{error}, or 'model' for the model's own context length") from None


def _usual_draw(values: Values) -> Value:
    """How the paper's authors drew from each of their data sets; `window` from everything else."""
    return {"c4": "document", "pile": "packed", "alpaca": "record"}.get(str(values["calibration"]), "window")


def _usual_length(values: Values) -> Value:
    """Tokens per sequence: short ones of the built-in text, which is small; the usual 2,048 elsewhere."""
    return {BUILT_IN_TEXT: 128, "pile": 512}.get(str(values["calibration"]), 2048)


# What every method that looks at activations takes. The defaults' 128 windows of 128 tokens span the widest input of
# the embedded model (1,536) ten times: with 512 tokens the Hessian is rank-deficient and the weights overfit them.
CALIBRATION = (
    Parameter(
        "calibration",
        read_source,
        BUILT_IN_TEXT,
        "'builtin', a .txt, .json or .jsonl file (also .gz, .zst), the paper's data (c4, pile, alpaca), or "
        "hub:OWNER/NAME@REVISION:FILE with a commit of 40 hex characters",
    ),
    Parameter(
        "template",
        choice(*TEMPLATES),
        "plain",
        "plain: texts as they are; chat: in the model's own chat template; llama-2, vicuna_v1.1: as the paper did",
    ),
    Parameter(
        "draw",
        choice("window", "document", "record", "packed"),
        _usual_draw,
        "window: anywhere, across texts; document: a window of one long text (Wanda, SparseGPT); record: whole short "
        "texts (AutoGPTQ's example); packed: short texts joined and cut (AWQ, whose authors' draw is seed=42)",
        usual="c4: document, alpaca: record, pile: packed, else window",
    ),
    Parameter("samples", integer(1, 65536), 128, "number of calibration sequences; for draw=packed, of texts joined"),
    Parameter(
        "length",
        length_or_model,
        _usual_length,
        "tokens per sequence, at most so many for draw=record; 'model' for the model's own limit",
        usual="builtin: 128, pile: 512, else 2048",
    ),
    Parameter("seed", integer(0, 2**32 - 1), 0, "which sequences are drawn", shown=True),
)
DAMP = Parameter("damp", number(0, 10), 0.01, "added to the Hessian's diagonal, in units of its mean")
PATTERNS = ("unstructured", "2:4", "4:8", "1:2")
STORED = Parameter(
    "format",
    choice("auto", "fake", "gptq", "awq"),
    "auto",
    "auto: compressed-tensors; fake: dense values of the grid; gptq, awq: the formats of those libraries",
)
HEAD = Parameter("lm_head", choice(True, False), False, "compress the output head too; embeddings stay dense")


def backends(*names: str) -> Parameter:
    """The parameter that hands a recipe to another library."""
    who = f"who compresses: own is this package; {', '.join(names)} are libraries that it calls"
    return Parameter("backend", choice("own", *names), "own", who)


def pattern_sizes(pattern: str) -> tuple[int, int] | None:
    """`(n, m)` of an n:m pattern (n of every m consecutive weights stay), None for unstructured."""
    if pattern == "unstructured":
        return None
    n, m = pattern.split(":")
    return int(n), int(m)


def _pattern_sparsity(values: Values) -> float:
    sizes = pattern_sizes(str(values["pattern"]))
    return 1 - sizes[0] / sizes[1] if sizes else 0.5


def check_sparsity(values: Values) -> None:
    """Raise ValueError when `sparsity` is not the one that an n:m pattern leaves."""
    if values["pattern"] != "unstructured" and values["sparsity"] != _pattern_sparsity(values):
        raise ValueError(
            f"sparsity={show(values['sparsity'])} contradicts pattern={values['pattern']}, "
            f"which leaves {_pattern_sparsity(values):g}; leave sparsity out"
        )


def pruning_slug(name: str) -> Callable[[Values], str]:
    """Slugs of pruning methods: `magnitude-2:4`, `magnitude-50%`."""

    def slug(values: Values) -> str:
        if values["pattern"] != "unstructured":
            return f"{name}-{values['pattern']}"
        return f"{name}-{round(100 * float(values['sparsity']), 10):g}%"

    return slug


def quantising_slug(name: str) -> Callable[[Values], str]:
    """Slugs of quantising methods: `gptq-3bit-g64`, `gptq-4bit-row` for one group per output row."""

    def slug(values: Values) -> str:
        group = "row" if values["group"] == -1 else f"g{values['group']}"
        return f"{name}-{values['bits']}bit-{group}"

    return slug


PRUNING = (
    Parameter(
        "pattern",
        choice(*PATTERNS),
        "unstructured",
        "unstructured, or n:m: n of every m consecutive weights of a row stay",
        shown=True,
    ),
    Parameter(
        "sparsity",
        number(0, 1),
        _pattern_sparsity,
        "fraction of zeros; follows from n:m patterns",
        shown=True,
        usual="0.5",
    ),
)
GRID = (
    Parameter("bits", choice(2, 3, 4, 8), 4, "bits per weight: 2, 3, 4 or 8", shown=True),
    Parameter(
        "group",
        integer(1, 65536, -1),
        128,
        "consecutive weights of a row that share a scale; -1: the whole row",
        shown=True,
    ),
    # Three levels or seven cannot afford to waste one on the side that a group does not use.
    Parameter(
        "sym",
        choice(True, False),
        lambda values: int(values["bits"]) >= 4,
        "grid symmetric about zero, or not",
        usual="true from 4 bits on",
    ),
)


def check_quantised(values: Values) -> None:
    """Raise ValueError for grids that a stored format cannot express, and formats that a backend does not write."""
    form = values["format"]
    if form == "awq" and (values["bits"] != 4 or values["sym"]):
        raise ValueError("format=awq holds 4-bit asymmetric codes only; give bits=4,sym=false or another format")
    if values.get("backend", "own") != "own" and form != "auto":
        raise ValueError(f"backend={values['backend']} writes its own format; leave format out")
    if "act_order" in values and values["backend"] != "own" and values["clip"]:
        raise ValueError(f"backend={values['backend']} does not clip; leave clip out")


MAGNITUDE = Method(
    name="magnitude",
    version="1",
    summary="set the smallest weights of each layer to zero; looks at no data",
    parameters=(*PRUNING, HEAD),
    slug=pruning_slug("magnitude"),
    solver="compressors.magnitude:prune",
    check=check_sparsity,
)
GPTQ = Method(
    name="gptq",
    version="2",
    summary="round column after column, correcting the rest by the layer's Hessian (Frantar et al. 2022)",
    parameters=(
        *GRID,
        Parameter("act_order", choice(True, False), True, "round the columns with the largest inputs first"),
        DAMP,
        *CALIBRATION,
        HEAD,
        STORED,
        backends("gptqmodel", "llmcompressor", "auto-gptq"),
        Parameter(
            "clip",
            choice(True, False),
            lambda values: values["backend"] == "own",
            "fit each group's levels by least squared error, not by its extreme weights",
            usual="true for backend=own",
        ),
    ),
    slug=quantising_slug("gptq"),
    solver="compressors.gptq:quantise",
    check=check_quantised,
)
AWQ = Method(
    name="awq",
    version="2",
    summary="scale the inputs that matter, clip, then round to nearest (Lin et al. 2023)",
    parameters=(
        Parameter("bits", choice(3, 4, 8), 4, "bits per weight: 3, 4 or 8", shown=True),
        GRID[1],
        Parameter("sym", choice(True, False), False, "grid symmetric about zero, or not"),
        *CALIBRATION,
        STORED,
        backends("gptqmodel", "llmcompressor", "autoawq"),
        Parameter(
            "clip",
            choice(True, False),
            lambda values: values["backend"] != "llmcompressor",
            "search how far to clip each group's largest weights",
            usual="true, but for backend=llmcompressor",
        ),
    ),
    slug=quantising_slug("awq"),
    solver="compressors.awq:Awq",
    check=check_quantised,
)
RTN = Method(
    name="rtn",
    version="1",
    summary="round every weight to the nearest level of its grid; looks at no data",
    parameters=(*GRID, HEAD, STORED),
    slug=quantising_slug("rtn"),
    solver="compressors.rtn:quantise",
    check=check_quantised,
)
WANDA = Method(
    name="wanda",
    version="1",
    summary="zero the weights that are small and meet small inputs, row by row (Sun et al. 2023)",
    parameters=(*PRUNING, *CALIBRATION, HEAD, backends("llmcompressor")),
    slug=pruning_slug("wanda"),
    solver="compressors.wanda:prune",
    check=check_sparsity,
)
SPARSEGPT = Method(
    name="sparsegpt",
    version="1",
    summary="zero weights column after column, correcting the rest (Frantar & Alistarh 2023)",
    parameters=(*PRUNING, DAMP, *CALIBRATION, HEAD, backends("llmcompressor")),
    slug=pruning_slug("sparsegpt"),
    solver="compressors.sparsegpt:prune",
    check=check_sparsity,
)
BUILT_IN: Mapping[str, Method] = {method.name: method for method in (MAGNITUDE, WANDA, SPARSEGPT, RTN, GPTQ, AWQ)}


@cache
def _offered() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Entry points of other packages by method name; a built-in method's name cannot be taken over."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        if point.name not in BUILT_IN:
            found[point.name] = (*found.get(point.name, ()), point)
    return found


def method_names() -> tuple[str, ...]:
    """All methods' names, built-in ones first; imports nobody's code."""
    return (*BUILT_IN, *sorted(_offered()))


def find_method(name: str) -> Method:
    """The method of that name. Raises RecipeError, one line, when there is none or its package is broken."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    points = _offered().get(name, ())
    if not points:
        raise RecipeError(f"no method {name[:40]!r}{nearest(name, method_names())}")
    if len(points) > 1:
        both = " and ".join(map(_origin, points[:2]))
        raise RecipeError(f"method {name!r}: claimed by {both}; uninstall one of them")
    origin = _origin(points[0])
    try:
        method = points[0].load()
    except Exception as error:  # foreign code may fail in any way; the user needs to know whose it is
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"method {name!r} of {origin} cannot be imported: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(method, Method) or method.name != name:
        raise RecipeError(f"method {name!r} of {origin}: its entry point is not a compressors.methods.Method")
    problem = misfit(method)
    if problem:
        raise RecipeError(f"method {name!r} of {origin}: {problem}")
    return method


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The end of an error about an unknown word: the nearest known one, and all of them."""
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" known are {', '.join(known)}"

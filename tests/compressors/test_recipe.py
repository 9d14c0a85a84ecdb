"""Recipes: one text, one meaning."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressors.errors import CompressionError, RecipeError
from compressors.methods import BUILT_IN, PATTERNS
from compressors.recipe import Recipe, parse_recipe

CALIBRATION = "calibration=builtin,template=plain,draw=window,samples=128,length=128"
STORED = "lm_head=false,format=auto,backend=own,clip=true"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

paths = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters=","), min_size=1, max_size=40
).map(lambda text: f"./{text}.jsonl")
calibrations = paths | st.sampled_from(["builtin", "c4", "pile", "alpaca", f"hub:a/b@{COMMIT}:c/d.json.gz"])
gptq_keys = st.fixed_dictionaries(
    {},
    optional={
        "bits": st.sampled_from(["2", "3", "4", "8"]),
        "group": st.integers(1, 65536).map(str) | st.just("-1"),
        "sym": st.sampled_from(["true", "false"]),
        "act_order": st.sampled_from(["true", "false"]),
        "damp": st.floats(1e-9, 9.9).map(repr),
        "samples": st.integers(1, 65536).map(str),
        "length": st.integers(2, 131072).map(str) | st.just("model"),
        "template": st.sampled_from(["plain", "chat", "llama-2", "vicuna_v1.1"]),
        "draw": st.sampled_from(["window", "document", "record", "packed"]),
        "seed": st.integers(0, 2**32 - 1).map(str),
        "calibration": calibrations,
        "format": st.sampled_from(["auto", "fake"]),
    },
)
pruning_keys = st.sampled_from(PATTERNS).flatmap(
    lambda pattern: st.fixed_dictionaries(
        {"pattern": st.just(pattern)},
        optional={"sparsity": st.floats(0.001, 0.999).map(repr)} if pattern == "unstructured" else {},
    )
)


def written(method: str, keys: dict[str, str]) -> str:
    return f"{method}:" + ",".join(f"{k}={v}" for k, v in keys.items()) if keys else method


@given(st.tuples(st.just("gptq"), gptq_keys) | st.tuples(st.just("magnitude"), pruning_keys), st.randoms())
def test_a_canonical_recipe_reads_back_as_itself_in_any_order_of_keys(given_recipe, random):
    method, keys = given_recipe
    recipe = parse_recipe(written(method, keys))
    assert parse_recipe(str(recipe)) == recipe
    assert str(parse_recipe(str(recipe))) == str(recipe)
    shuffled = list(keys.items())
    random.shuffle(shuffled)
    assert parse_recipe(written(method, dict(shuffled))) == recipe
    assert hash(parse_recipe(written(method, dict(shuffled)))) == hash(recipe)


@given(gptq_keys, gptq_keys)
def test_slugs_of_different_recipes_differ_unless_only_a_path_or_a_digit_of_damp_tells_them_apart(one, other):
    a, b = (parse_recipe(written("gptq", keys)) for keys in (one, other))
    vague = ("calibration", "damp", "draw", "length")  # the usual draw and length follow the calibration
    plain = {k: v for k, v in a.parameters.items() if k not in vague}
    if plain != {k: v for k, v in b.parameters.items() if k not in vague}:
        assert a.slug != b.slug


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_one_line_of_complaint(text):
    try:
        complaint = None if isinstance(parse_recipe(text), Recipe) else "no recipe"
    except RecipeError as error:
        complaint = str(error)
    assert complaint is None or (complaint.startswith("recipe ") and complaint.isprintable())


@pytest.mark.parametrize(
    ("text", "canonical", "slug"),
    [
        (
            "gptq:bits=3,group=64",
            f"gptq:bits=3,group=64,sym=false,act_order=true,damp=0.01,{CALIBRATION},seed=0,{STORED}",
            "gptq-3bit-g64-s0",
        ),
        (
            "gptq:seed=7,bits=8",
            f"gptq:bits=8,group=128,sym=true,act_order=true,damp=0.01,{CALIBRATION},seed=7,{STORED}",
            "gptq-8bit-g128-s7",
        ),
        ("rtn:group=-1,sym=false", "rtn:bits=4,group=-1,sym=false,lm_head=false,format=auto", "rtn-4bit-row-sym=false"),
        ("magnitude:pattern=2:4", "magnitude:pattern=2:4,sparsity=0.5,lm_head=false", "magnitude-2:4"),
        ("magnitude:pattern=1:2,sparsity=0.5", "magnitude:pattern=1:2,sparsity=0.5,lm_head=false", "magnitude-1:2"),
        ("magnitude", "magnitude:pattern=unstructured,sparsity=0.5,lm_head=false", "magnitude-50%"),
        (
            "wanda:pattern=4:8,seed=3",
            f"wanda:pattern=4:8,sparsity=0.5,{CALIBRATION},seed=3,lm_head=false,backend=own",
            "wanda-4:8-s3",
        ),
        (
            "magnitude:sparsity=0.625",
            "magnitude:pattern=unstructured,sparsity=0.625,lm_head=false",
            "magnitude-62.5%",
        ),
        (
            "wanda:calibration=c4,length=model",
            "wanda:pattern=unstructured,sparsity=0.5,calibration=c4,template=plain,draw=document,samples=128,"
            "length=model,seed=0,lm_head=false,backend=own",
            "wanda-50%-s0-calibration=c4-length=model",
        ),
        (
            "awq:calibration=pile,seed=42",
            "awq:bits=4,group=128,sym=false,calibration=pile,template=plain,draw=packed,samples=128,"
            "length=512,seed=42,format=auto,backend=own,clip=true",
            "awq-4bit-g128-s42-calibration=pile",
        ),
        (
            "gptq:calibration=data/our notes.txt,damp=5e-2",
            "gptq:bits=4,group=128,sym=true,act_order=true,damp=0.05,calibration=data/our notes.txt,template=plain,"
            f"draw=window,samples=128,length=2048,seed=0,{STORED}",
            "gptq-4bit-g128-s0-damp=0.05-calibration=data_our_notes.txt",
        ),
    ],
)
def test_canonical_form_and_slug(text, canonical, slug):
    recipe = parse_recipe(text)
    assert str(recipe) == canonical
    assert recipe.slug == slug


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gptq:bits=5", "recipe 'gptq:bits=5': bits must be 2, 3, 4 or 8"),
        ("gtpq:bits=4", "did you mean 'gptq'? known are magnitude, wanda, sparsegpt, rtn, gptq"),
        ("zzz", "no method 'zzz'; known are magnitude, wanda"),
        ("gptq:bit=4", "gptq has no parameter 'bit'; did you mean 'bits'? known are bits, group"),
        ("gptq:bits=4,bits=4", "bits is given twice"),
        ("gptq:group=0", "group must be a whole number from 1 to 65536, or -1"),
        ("gptq:group=1e3", "group must be a whole number"),
        ("gptq:group=٣", "group must be a whole number"),
        ("gptq:seed=99999999999999999999", "seed must be a whole number from 0 to 4294967295"),
        ("gptq:damp=nan", "damp must be a number above 0 and below 10"),
        ("gptq:damp=inf", "damp must be a number"),
        ("gptq:damp=1.2.3", "damp must be a number"),
        ("gptq:damp=0", "damp must be a number above 0"),
        ("gptq:sym=yes", "sym must be true or false"),
        ("gptq:bits", "'bits' is not key=value"),
        ("gptq:bits=", "'bits=' is not key=value"),
        ("gptq:bits=4,", "'' is not key=value"),
        ("gptq:", "nothing follows the colon"),
        ("gptq: bits=4", "no parameter ' bits'; did you mean 'bits'?"),
        (
            "gptq:calibration= a.txt",
            "calibration must be builtin, c4, pile, alpaca, the path of a file (.txt, .json or",
        ),
        ("gptq:calibration=C4", "or hub:OWNER/NAME@REVISION:FILE; did you mean 'c4'?"),
        ("gptq:calibration=bultin", "did you mean 'builtin'?"),
        ("gptq:calibration=notes.md", "calibration must be builtin"),
        ("gptq:calibration=weights.pkl", "calibration must be builtin"),
        ("gptq:calibration=.jsonl", "calibration must be builtin"),
        ("gptq:calibration=allenai/c4", "calibration must be builtin"),
        ("gptq:calibration=hub:a/b", "hub:OWNER/NAME@REVISION:FILE, with a commit of 40 hex characters"),
        ("gptq:calibration=hub:a/b@main:x.txt", "the revision 'main' is not a commit (40 hex characters"),
        (f"gptq:calibration=hub:a/b@{COMMIT[:39]}:x.txt", "is not a commit"),
        (f"gptq:calibration=hub:b@{COMMIT}:x.txt", "'b' is not OWNER/NAME"),
        (f"gptq:calibration=hub:a/../b@{COMMIT}:x.txt", "'a/../b' is not OWNER/NAME"),
        (f"gptq:calibration=hub:a/b@{COMMIT}:../x.txt", "'../x.txt' is not the path of a file in it"),
        (f"gptq:calibration=hub:a/b@{COMMIT}:x.parquet", "'x.parquet' is not the path of a file in it"),
        ("gptq:template=chatml", "template must be plain, chat, llama-2 or vicuna_v1.1"),
        ("gptq:draw=documents", "draw must be window, document, record or packed"),
        ("gptq:length=1", "length must be a whole number from 2 to 131072, or 'model' for"),
        (" gptq", "write method:key=value"),
        ("GPTQ", "write method:key=value"),
        ("", "empty"),
        ("   ", "empty"),
        ("gptq:calibration=a\nb", "holds a control character"),
        ("gptq:calibration=" + "a" * 2000, "2017 characters; at most 1000"),
        ("magnitude:pattern=2:4,sparsity=0.6", "sparsity=0.6 contradicts pattern=2:4, which leaves 0.5"),
        ("magnitude:pattern=3:4", "pattern must be unstructured, 2:4, 4:8 or 1:2"),
        ("magnitude:sparsity=1", "sparsity must be a number above 0 and below 1"),
        ("magnitude:seed=1", "magnitude has no parameter 'seed'"),
    ],
)
def test_complaints_are_one_line_and_say_how_to_mend(text, complaint):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    assert complaint in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_errors_are_both_compression_errors_and_value_errors():
    with pytest.raises(CompressionError):
        parse_recipe("x")
    with pytest.raises(ValueError, match="recipe"):
        parse_recipe("x")


@pytest.mark.parametrize("method", sorted(BUILT_IN))
def test_every_method_works_with_its_defaults(method):
    recipe = parse_recipe(method)
    assert list(recipe.parameters) == [parameter.name for parameter in BUILT_IN[method].parameters]
    assert recipe.slug.startswith(f"{method}-")


def test_reading_recipes_imports_neither_torch_nor_transformers():
    program = (
        "import sys, compressors, compressors.recipe, compressors.store, compressors.__main__\n"
        "compressors.recipe.parse_recipe('gptq:bits=4')\n"
        "assert not {'torch', 'transformers', 'compressed_tensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

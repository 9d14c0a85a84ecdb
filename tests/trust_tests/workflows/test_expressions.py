"""The evaluator of expressions says what GitHub's documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from .expressions import ExpressionError, asks_for_status, evaluate, render

CONTEXTS = {
    "inputs": {"cache": "", "count": "3", "flag": True},
    "github": {"event": {"pull_request": {"head": {"repo": {"full_name": "Our/Models"}}}}, "repository": "our/models"},
    "matrix": {"shard": 2},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inputs.cache", ""),
        ("inputs.cache || 'none'", "none"),
        ("inputs.cache && 'never' || 'else'", "else"),
        ("inputs.absent.deeper", None),
        ("github.event.push.base || 'x'", "x"),
        ("github.event.pull_request.head.repo.full_name == github.repository", True),
        ("inputs.cache == ''", True),
        ("inputs.cache != '' || inputs.flag && 'yes'", "yes"),
        ("!inputs.flag", False),
        ("!(inputs.flag && false)", True),
        ("fromJSON('[1, 2]')", [1, 2]),
        ("format('{1}-{0}', inputs.count, 'it''s')", "it's-3"),
        ("matrix.shard == 2", True),
        ("matrix.shard == '2'", False),
        ("null == inputs.absent", True),
    ],
)
def test_values(text: str, expected: Any) -> None:
    assert evaluate(text, CONTEXTS) == expected


def test_a_lone_expression_keeps_its_type_and_others_become_text() -> None:
    assert render("${{ fromJSON('{\"a\": [1]}') }}", CONTEXTS) == {"a": [1]}
    assert render("shard-${{ matrix.shard }}-of-${{ inputs.count }}${{ inputs.absent }}", CONTEXTS) == "shard-2-of-3"
    assert render("${{ inputs.count }}-${{ matrix.shard }}", CONTEXTS) == "3-2"
    assert render("${{ inputs.flag }}", CONTEXTS) is True
    assert render("no expression", CONTEXTS) == "no expression"


@pytest.mark.parametrize("text", ["inputs.", "unknown.x", "nothing('a')", "'a' 'b'", "(inputs.flag", "inputs.flag &"])
def test_what_it_does_not_know_is_an_error(text: str) -> None:
    with pytest.raises((ExpressionError, IndexError)):
        evaluate(text, CONTEXTS)


def test_status_functions_are_seen() -> None:
    assert asks_for_status("!cancelled() && inputs.flag")
    assert not asks_for_status("inputs.success == 'always'")

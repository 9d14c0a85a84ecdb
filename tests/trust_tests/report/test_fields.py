import pytest

from trust_tests.report.fields import Node, ShapeError, count_at, elements_at, members_at, number_at, text_at


def test_members_are_read_by_type():
    node = Node({"text": "a", "number": 1.5, "count": 3, "list": [1], "object": {"x": 1}})
    assert text_at(node, "text") == "a"
    assert number_at(node, "number") == 1.5
    assert count_at(node, "count") == 3
    assert [element.path for element in elements_at(node, "list")] == ["results.list[0]"]
    assert [(key, member.path) for key, member in members_at(node, "object")] == [("x", "results.object.x")]


def test_absent_and_null_members_have_defaults():
    node = Node({"null": None})
    for key in ("null", "absent"):
        assert text_at(node, key, "default") == "default"
        assert number_at(node, key) is None
        assert count_at(node, key) == 0
        assert elements_at(node, key) == []
        assert members_at(node, key) == []


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_finite_number_was_not_measured(value):
    assert Node(value).number() is None


@pytest.mark.parametrize(
    ("value", "reader", "message"),
    [
        ([], "mapping", "results: expected an object, found an array"),
        ({}, "elements", "results: expected an array, found an object"),
        ("abc", "elements", "results: expected an array, found a string"),
        (1, "text", "results: expected a string, found a number"),
        (True, "number", "results: expected a number or null, found true or false"),
        ("1", "number", "results: expected a number or null, found a string"),
        (10**400, "number", "results: expected a number or null, found a number"),
        (-1, "count", "results: expected a whole number, found a number"),
        (None, "count", "results: expected a whole number, found null"),
        (True, "count", "results: expected a whole number, found true or false"),
    ],
)
def test_wrong_types_are_named_with_their_place(value, reader, message):
    with pytest.raises(ShapeError) as caught:
        getattr(Node(value), reader)()
    assert str(caught.value) == f"{message}; make the results again with this version"


def test_missing_members_are_named():
    with pytest.raises(ShapeError, match=r"results: 'gates' is missing"):
        Node({}).need("gates")


def test_messages_are_one_harmless_line():
    with pytest.raises(ShapeError) as caught:
        Node({"a\n\x1b[31m": 1}).members()[0][1].text()
    assert "␊␛[31m" in str(caught.value)


def test_scalars_become_text():
    assert Node(True).scalar() == "yes"
    assert Node(False).scalar() == "no"
    assert Node(None).scalar() == "none"
    assert Node({"a": [1, 2.5], "b": "c"}).scalar() == "a=1, 2.5, b=c"
    assert Node([[[["deep"]]]]).scalar() == "…"

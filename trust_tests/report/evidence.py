"""The statistics of stored results read into the view-model, with errors that name the place."""

from __future__ import annotations

from collections.abc import Mapping

from trust_tests.records import EQUIVALENCE, POINT
from trust_tests.report.fields import AGAIN, Node, ShapeError, count_at, elements_at, text_at
from trust_tests.report.view import Control, Early, Evidence, Interval, SeedFamily


def evidence(gate: Node) -> Evidence:
    """What a gate's verdict rests on beside its delta. Raises ShapeError."""
    rule = text_at(gate, "rule")
    if rule not in ("", POINT, EQUIVALENCE):
        raise ShapeError(f"{gate.path}.rule: {rule!r} is not a rule ({POINT} or {EQUIVALENCE}); {AGAIN}")
    interval, early = gate.find("interval"), gate.find("early")
    decided, needed = gate.find("decided"), gate.find("needed_items")
    return Evidence(
        rule=rule,
        interval=None if interval is None else _interval(interval),
        decided=decided is not None and decided.flag(),
        needed=None if needed is None else needed.count(),
        flip_p=_probability(gate, "flip_p"),
        flip_p_holm=_probability(gate, "flip_p_holm"),
        early=None if early is None else _early(early),
    )


def _interval(node: Node) -> Interval:
    low, high = node.need("low").finite(-100, 100), node.need("high").finite(-100, 100)
    if low > high:
        raise ShapeError(f"{node.path}: low lies above high; {AGAIN}")
    return Interval(low, high, node.need("confidence").finite(0, 1), node.need("method").text())


def _probability(gate: Node, key: str) -> float | None:
    """A p value; None where there was none (null, NaN)."""
    found = gate.find(key)
    if found is None or found.number() is None:
        return None
    return found.finite(0, 1)


def _early(node: Node) -> Early:
    items, of, look, looks = (node.need(key).count() for key in ("items", "of", "look", "looks"))
    if items > of or look > looks:
        raise ShapeError(f"{node.path}: a part is larger than its whole; {AGAIN}")
    return Early(items, of, look, looks, node.need("confidence").finite(0, 1))


def seeds(root: Node, titles: Mapping[str, str]) -> tuple[SeedFamily, ...]:
    """The spread over calibration seeds; none where no recipe had two. titles: by dimension. Raises ShapeError."""
    return tuple(_family(node, titles) for node in elements_at(root, "seeds"))


def _family(node: Node, titles: Mapping[str, str]) -> SeedFamily:
    dimension, sampling = node.need("dimension").text(), node.find("sampling")
    deltas = ((seed.need("seed").count(), seed.need("delta").finite()) for seed in node.need("seeds").elements())
    return SeedFamily(
        recipe=node.need("recipe").text(),
        title=titles.get(dimension, dimension),
        deltas=tuple(deltas),
        between=node.need("between").finite(),
        sampling=None if sampling is None else sampling.number(),
    )


def controls(root: Node, titles: Mapping[str, str]) -> tuple[Control, ...]:
    """The A/A controls, unfit ones first; none where none was asked for. Raises ShapeError."""
    found = [_control(node, titles) for node in elements_at(root, "controls")]
    return tuple(sorted(found, key=lambda control: control.fit))


def _control(node: Node, titles: Mapping[str, str]) -> Control:
    dimension = node.need("dimension").text()
    return Control(
        title=titles.get(dimension, dimension),
        items=node.need("items").count(),
        delta=node.need("delta").number(),
        flips=node.need("flips").count(),
        flip_share=node.need("flip_share").finite(0, 1),
        lost=count_at(node, "lost"),
        budget_delta=node.need("budget_delta").finite(),
        budget_flip_share=node.need("budget_flip_share").finite(0, 1),
        fit=node.need("fit").flag(),
    )

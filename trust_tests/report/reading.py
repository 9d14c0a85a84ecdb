"""Stored results read into the view-model of `trust_tests.report.view`, with errors that name the place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from trust_tests.gate.verdict import Verdict
from trust_tests.records import Channel
from trust_tests.report.evidence import controls, evidence, seeds
from trust_tests.report.fields import (
    AGAIN,
    Node,
    ShapeError,
    count_at,
    elements_at,
    members_at,
    number_at,
    text_at,
)
from trust_tests.report.published import Comparison, comparison
from trust_tests.report.results import stored_text
from trust_tests.report.view import (
    DENSE,
    VARIANT,
    Accounting,
    Answer,
    Cell,
    Flip,
    Flips,
    Gate,
    Model,
    Part,
    Published,
    Refusals,
    Report,
    Row,
    ShardView,
    Unmeasured,
)

_KEYS = re.compile(r"-[a-z_]+=")


def read(data: Mapping[str, object]) -> Report:
    """The view of stored results (`trust_tests.report.results` documents their shape).

    Raises ShapeError, with the place, where the results are not what they should be.
    """
    root = Node(data)
    models = {identity: _model(identity, node) for identity, node in root.need("models").members()}
    # A run in which no gate could be measured has met no model.
    dense = models.pop(DENSE, None) or _unknown_model(DENSE)
    models = _named_apart(models, dense)
    printed = {model.id: comparison(dense.name, model.full_name, model.recipe or None) for model in models.values()}
    settings = root.need("settings")
    titles = {name: text_at(node, "title", name) for name, node in root.need("dimensions").members()}
    gates = [_gate(node, models, titles, number_at(settings, "tolerance")) for node in root.need("gates").elements()]
    gates = [replace(gate, published=_published(printed.get(gate.variant), gate.dimension)) for gate in gates]
    for gate in gates:
        titles.setdefault(gate.dimension, gate.title)
        models.setdefault(gate.variant, _unknown_model(gate.variant))
    variants = tuple(models.values())
    table = _table(gates)
    rows = tuple(
        _row(name, title, root.need("dimensions").find(name), [table.get((name, v.id)) for v in variants])
        for name, title in titles.items()
    )
    unmeasured = tuple(
        Unmeasured(text_at(node, "node"), text_at(node, "reason")) for node in elements_at(root, "unmeasured")
    )
    stated = _verdict(root)
    contradiction = stated is Verdict.PASS and not (gates and not unmeasured and all(gate.green for gate in gates))
    return Report(
        verdict=Verdict.ERROR if contradiction else stated,
        contradiction=contradiction,
        settings={key: node.scalar() for key, node in settings.members()},
        tolerance=number_at(settings, "tolerance"),
        one_sided=settings.mapping().get("one_sided") is True,
        command=text_at(root, "command"),
        versions={key: node.scalar() for key, node in members_at(root, "versions")},
        fingerprints=_fingerprints((dense, *variants), root.need("dimensions")),
        dense=dense,
        variants=variants,
        rows=rows,
        gates=tuple(gate for row in rows for gate in row.gates if gate is not None),
        unmeasured=unmeasured,
        seeds=seeds(root, titles),
        controls=controls(root, titles),
        shard=_shard(root),
    )


def _shard(root: Node) -> ShardView | None:
    node = root.find("shard")
    if node is None:
        return None
    return ShardView(node.need("number").count(), node.need("of").count(), len(elements_at(root, "asked")))


def _verdict(node: Node) -> Verdict:
    found = node.need("verdict")
    try:
        return Verdict(found.text())
    except ValueError as error:
        if isinstance(error, ShapeError):
            raise
        raise ShapeError(
            f"{found.path}: {found.text()!r} is not a verdict (one of {', '.join(Verdict)}); {AGAIN}"
        ) from None


def _model(identity: str, node: Node) -> Model:
    audit = node.find("audit") or Node({}, f"{node.path}.audit")
    size = number_at(node, "size_bytes")
    return Model(
        id=identity,
        name=text_at(node, "name", identity),
        full_name=text_at(node, "name", identity),
        recipe=text_at(node, "recipe"),
        fingerprint=text_at(node, "fingerprint"),
        size_bytes=number_at(audit, "size_bytes") if size is None else size,
        bits_per_weight=number_at(audit, "bits_per_weight"),
        sparsity=number_at(audit, "sparsity"),
        layers_compressed=number_at(audit, "layers_compressed"),
        layers_total=number_at(audit, "layers_total"),
        method=text_at(audit, "method"),
        contents=_contents(audit),
        problems=tuple(problem.text() for problem in elements_at(audit, "problems")),
    )


def _contents(audit: Node) -> tuple[str, ...]:
    """What an audit found in a checkpoint, as words: `3 bit`, `group 64`, `packed`."""
    bits, group = number_at(audit, "bits"), number_at(audit, "group")
    sizes = ("" if bits is None else f"{bits:g} bit", "" if group is None else f"group {group:g}")
    return tuple(filter(None, (*sizes, text_at(audit, "pattern"), text_at(audit, "format"))))


def _named_apart(models: Mapping[str, Model], dense: Model) -> dict[str, Model]:
    """The variants named by what sets them apart: `Base (gptq-4bit-s0-damp=0.05)` beside `Base` is `gptq-4bit-s0`.

    What follows the first `-key=` of a name is left out unless two variants would then be called the same.
    """
    names = {identity: _without_base(model.name, dense.name) for identity, model in models.items()}
    stems = {identity: _KEYS.split(name, maxsplit=1)[0] or name for identity, name in names.items()}
    counts = Counter(stems.values())
    return {
        identity: replace(model, name=stems[identity] if counts[stems[identity]] == 1 else names[identity])
        for identity, model in models.items()
    }


def _without_base(name: str, base: str) -> str:
    rest = name.removeprefix(f"{base} (")
    short = rest.removesuffix(")")
    return short if short and len(name) > len(rest) > len(short) else name


def _published(found: Comparison | None, dimension: str) -> Published | None:
    score = None if found is None else found.score(dimension)
    return None if found is None or score is None else Published(found.name, found.remarks, score)


def _unknown_model(identity: str) -> Model:
    return _model(identity, Node({}))


def _gate(node: Node, models: Mapping[str, Model], titles: Mapping[str, str], run_tolerance: float | None) -> Gate:
    dimension, variant = node.need("dimension").text(), node.need("variant").text()
    # A gate that could not be measured at all has no rule of its own; the run's rule was meant for it.
    tolerance = number_at(node, "tolerance") or run_tolerance
    if tolerance is None or tolerance <= 0:
        raise ShapeError(f"{node.path}.tolerance: expected points above 0; {AGAIN}")
    flips = node.find("flips") or Node({}, f"{node.path}.flips")
    return Gate(
        anchor="gate-" + node.path.rpartition("[")[2].rstrip("]"),
        dimension=dimension,
        title=titles.get(dimension, dimension),
        variant=variant,
        variant_name=models[variant].name if variant in models else variant,
        verdict=_verdict(node),
        reason=text_at(node, "reason"),
        score=node.need("score").number(),
        dense_score=node.need("dense_score").number(),
        delta=node.need("delta").number(),
        tolerance=tolerance,
        one_sided=node.mapping().get("one_sided") is True,
        items=count_at(node, "items"),
        flips=Flips(count_at(flips, "worse"), count_at(flips, "better"), count_at(flips, "total")),
        refusals=Refusals(
            number_at(node, "refusal_rate"),
            number_at(node, "dense_refusal_rate"),
            number_at(node, "refusal_shift"),
        ),
        marks=tuple(mark.text() for mark in elements_at(node, "marks")),
        accounting=_sides(node),
        cells=tuple(_cell(cell) for cell in elements_at(node, "cells")),
        parts=tuple(_part(part) for part in elements_at(node, "parts")),
        worst_flips=tuple(_flip(flip) for flip in elements_at(node, "worst_flips")),
        published=None,
        evidence=evidence(node),
    )


def _sides(gate: Node) -> dict[str, Accounting]:
    node = gate.find("accounting")
    if node is None:
        return {}
    return {side: _accounting(found) for side in (DENSE, VARIANT) if (found := node.find(side)) is not None}


def _accounting(node: Node) -> Accounting:
    channels = node.need("channels")
    known = set(Channel)
    for name, _ in channels.members():
        if name not in known:
            raise ShapeError(f"{channels.path}: unknown channel {name!r}; {AGAIN}")
    return Accounting(node.need("asked").count(), {channel: count_at(channels, channel.value) for channel in Channel})


def _cell(node: Node) -> Cell:
    return Cell(
        node.need("cell").text(),
        count_at(node, "items"),
        number_at(node, "score"),
        number_at(node, "dense_score"),
        number_at(node, "delta"),
    )


def _part(node: Node) -> Part:
    return Part(
        node.need("name").text(), number_at(node, "score"), number_at(node, "dense_score"), number_at(node, "delta")
    )


def _flip(node: Node) -> Flip:
    return Flip(
        text_at(node, "item_id"),
        text_at(node, "cell"),
        stored_text(text_at(node, "prompt")),
        _answer(node.need("dense")),
        _answer(node.need("variant")),
    )


def _answer(node: Node) -> Answer:
    return Answer(text_at(node, "channel"), number_at(node, "value"), stored_text(text_at(node, "answer")))


def _table(gates: list[Gate]) -> dict[tuple[str, str], Gate]:
    table: dict[tuple[str, str], Gate] = {}
    for gate in gates:
        key = (gate.dimension, gate.variant)
        if key in table:
            raise ShapeError(f"results.gates: {gate.dimension!r} on {gate.variant!r} is there twice; {AGAIN}")
        table[key] = gate
    return table


def _row(name: str, title: str, node: Node | None, gates: list[Gate | None]) -> Row:
    dense_scores = {gate.dense_score for gate in gates if gate is not None and gate.dense_score is not None}
    return Row(
        dimension=name,
        title=title,
        chance=None if node is None else number_at(node, "chance"),
        items=0 if node is None else count_at(node, "items"),
        dense_score=dense_scores.pop() if len(dense_scores) == 1 else None,
        gates=tuple(gates),
    )


def _fingerprints(models: tuple[Model, ...], dimensions: Node) -> dict[str, str]:
    prints = {f"model {model.id}": model.fingerprint for model in models if model.fingerprint}
    for name, node in dimensions.members():
        found = node.find("fingerprint")
        if found is not None:
            prints |= {f"{name} {key}": member.scalar() for key, member in found.members()}
    return prints

"""What every page shows, read once from the stored results: one view-model for HTML, markdown and terminal.

Nothing here is made safe for a medium; the pages do that (`trust_tests.report.text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trust_tests.gate.verdict import REFUSAL_SHIFT_POINTS, Verdict
from trust_tests.records import Channel
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

DENSE = "dense"
VARIANT = "variant"
HARMFUL_DIMENSIONS = frozenset({"toxicity", "stereotype"})
"""Dimensions whose prompts and answers are shown only on request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One side of a flip. `value` lies in [0, 1], None where nothing was measured."""

    channel: str
    value: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Flip:
    """An item on which the dense model and the variant disagree."""

    item_id: str
    cell: str
    prompt: str
    dense: Answer
    variant: Answer


@dataclass(frozen=True, slots=True)
class Cell:
    """A sub-score with its movement, in points."""

    name: str
    items: int
    score: float | None
    dense_score: float | None
    delta: float | None


@dataclass(frozen=True, slots=True)
class Accounting:
    """How one side's asked items ended; one count for each of the seven channels."""

    asked: int
    channels: Mapping[Channel, int]

    @property
    def unmeasured(self) -> int:
        """Items in channels that carry no value."""
        return sum(count for channel, count in self.channels.items() if not channel.measured)


@dataclass(frozen=True, slots=True)
class Flips:
    """Items that changed: for the worse, for the better, and in all."""

    worse: int
    better: int
    total: int


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusal rates in percent, and their difference in points."""

    rate: float | None
    dense_rate: float | None
    shift: float | None

    @property
    def moved(self) -> bool:
        """Whether refusals moved so far that the score alone would mislead."""
        return self.shift is not None and abs(self.shift) > REFUSAL_SHIFT_POINTS


@dataclass(frozen=True, slots=True)
class Gate:
    """One dimension of one variant. Scores and deltas are in points, None where nothing was measured."""

    anchor: str
    dimension: str
    title: str
    variant: str
    variant_name: str
    verdict: Verdict
    reason: str
    score: float | None
    dense_score: float | None
    delta: float | None
    tolerance: float
    one_sided: bool
    items: int
    flips: Flips
    refusals: Refusals
    marks: tuple[str, ...]
    accounting: Mapping[str, Accounting]
    cells: tuple[Cell, ...]
    worst_flips: tuple[Flip, ...]

    @property
    def harmful(self) -> bool:
        """Whether this gate's texts are shown only on request."""
        return self.dimension in HARMFUL_DIMENSIONS


@dataclass(frozen=True, slots=True)
class Model:
    """The dense model or a variant. `audit` holds what was found in the checkpoint, as read."""

    id: str
    name: str
    recipe: str
    fingerprint: str
    size_bytes: float | None
    bits_per_weight: float | None
    sparsity: float | None
    layers_compressed: float | None
    layers_total: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One dimension across all variants, in their order; None where a gate was not run."""

    dimension: str
    title: str
    chance: float | None
    items: int
    dense_score: float | None
    gates: tuple[Gate | None, ...]


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A selected test that measured nothing, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    verdict: Verdict
    contradiction: bool
    settings: Mapping[str, str]
    tolerance: float | None
    one_sided: bool
    command: str
    versions: Mapping[str, str]
    fingerprints: Mapping[str, str]
    dense: Model
    variants: tuple[Model, ...]
    rows: tuple[Row, ...]
    gates: tuple[Gate, ...]
    unmeasured: tuple[Unmeasured, ...]

    def having(self, verdict: Verdict) -> list[Gate]:
        """The gates with this verdict, in table order."""
        return [gate for gate in self.gates if gate.verdict is verdict]


def read(data: Mapping[str, object]) -> Report:
    """The view of stored results (`trust_tests.report.results` documents their shape).

    Raises ShapeError, with the place, where the results are not what they should be.
    """
    root = Node(data)
    models = {identity: _model(identity, node) for identity, node in root.need("models").members()}
    # A run in which no gate could be measured has met no model.
    dense = models.pop(DENSE, None) or _unknown_model(DENSE)
    models = {identity: _named_apart(model, dense) for identity, model in models.items()}
    settings = root.need("settings")
    titles = {name: text_at(node, "title", name) for name, node in root.need("dimensions").members()}
    gates = [_gate(node, models, titles, number_at(settings, "tolerance")) for node in root.need("gates").elements()]
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
    contradiction = stated is Verdict.PASS and not (gates and not unmeasured and all(map(_green, gates)))
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
    )


def _green(gate: Gate) -> bool:
    """Whether a gate says PASS and its own numbers agree (within the rounding of stored floats)."""
    if gate.verdict is not Verdict.PASS or gate.delta is None:
        return False
    return abs(gate.delta) <= gate.tolerance + 1e-6 or (gate.one_sided and gate.delta > 0)


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
        recipe=text_at(node, "recipe"),
        fingerprint=text_at(node, "fingerprint"),
        size_bytes=number_at(audit, "size_bytes") if size is None else size,
        bits_per_weight=number_at(audit, "bits_per_weight"),
        sparsity=number_at(audit, "sparsity"),
        layers_compressed=number_at(audit, "layers_compressed"),
        layers_total=number_at(audit, "layers_total"),
    )


def _named_apart(variant: Model, dense: Model) -> Model:
    """The variant named by what sets it apart: `Base (gptq-4bit)` beside `Base` is `gptq-4bit`."""
    rest = variant.name.removeprefix(f"{dense.name} (")
    short = rest.removesuffix(")")
    return replace(variant, name=short) if short and len(variant.name) > len(rest) > len(short) else variant


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
        worst_flips=tuple(_flip(flip) for flip in elements_at(node, "worst_flips")),
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


def _flip(node: Node) -> Flip:
    return Flip(
        text_at(node, "item_id"),
        text_at(node, "cell"),
        text_at(node, "prompt"),
        _answer(node.need("dense")),
        _answer(node.need("variant")),
    )


def _answer(node: Node) -> Answer:
    return Answer(text_at(node, "channel"), number_at(node, "value"), text_at(node, "answer"))


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

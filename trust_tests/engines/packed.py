"""Answers of a model to packed prompts: what prompts begin with alike is read once, no token of padding is read.

Works for models with plain attention in all layers (Llama, Qwen, Mistral without a window, …); whether a model is one
is tried out, not guessed: `fits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trust_tests.engines import attention, sampling
from trust_tests.engines.passes import Kept, Piece, Read, Span, Write
from trust_tests.engines.prefixes import Family, families
from trust_tests.records import Generation

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")
# Tokens of one forward pass while reading; a span longer than that makes a pass of its own.
CPU_PASS = 4096
# Rows of logits over the whole vocabulary that are held at a time.
LOGIT_ROWS = 512
# Answers that ended are taken out once so many of those under way have.
ENDED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (nats) of a prompt's choices, and the likeliest next token."""

    logprobs: tuple[float, ...]
    best: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A run of tokens that was read: where it lies in which pass, and the pieces before it."""

    pieces: tuple[Piece, ...]


class PackedModel:
    """A model prepared for packed prompts. share: whether common beginnings are read once."""

    def __init__(self, model: Any, *, share: bool = True) -> None:
        self._model = model
        self._share = share

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[Scored]:
        """Score the choices (token ids, none empty) of each prompt, equally many for all; each prompt is read once."""
        import torch

        longer = any(len(choice) > 1 for listed in choices for choice in listed)
        logits, places = self._read(prompts, keep=longer)
        firsts = torch.tensor([[choice[0] for choice in listed] for listed in choices], device=logits.device)
        sums: list[list[float]] = []
        best: list[int] = []
        for rows in range(0, len(prompts), LOGIT_ROWS):
            ranked = logits[rows : rows + LOGIT_ROWS].float()
            # Row by row whatever their number, unlike logsumexp.
            sums += ranked.log_softmax(dim=-1).gather(1, firsts[rows : rows + LOGIT_ROWS]).tolist()
            best += ranked.argmax(dim=-1).tolist()
        if longer:
            self._score_rest(places, choices, sums)
        return [Scored(tuple(own), token) for own, token in zip(sums, best, strict=True)]

    def _score_rest(
        self,
        places: Sequence[_Place],
        choices: Sequence[Sequence[Sequence[int]]],
        sums: list[list[float]],
    ) -> None:
        """Add the log-probabilities of the choices' tokens from the second on."""
        asked = [
            (row, place, choice)
            for row, listed in enumerate(choices)
            for place, choice in enumerate(listed)
            if len(choice) > 1
        ]
        for part in _parts(asked, [len(choice) - 1 for _, _, choice in asked], LOGIT_ROWS):
            tokens = [choice[:-1] for _, _, choice in part]
            step, ids, positions = _packed(tokens, [places[row].pieces for row, _, _ in part], keep=False)
            logits = self._forward(step, ids, positions)
            start = 0
            for row, place, choice in part:
                own = logits[start : start + len(choice) - 1].float().log_softmax(dim=-1)
                start += len(choice) - 1
                sums[row][place] += sum(float(own[n, token]) for n, token in enumerate(choice[1:]))

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        generation: Generation,
        draws: Sequence[tuple[int, int]],
        ends: Sequence[int],
    ) -> list[list[int] | None]:
        """The tokens of each answer, an end token included; None where the logits were not finite.

        draws: (seed, sample) of each answer, `generation.samples` of them for each prompt in turn.
        """
        logits, places = self._read(prompts, keep=True)
        samples = generation.samples
        pieces = [place.pieces for place in places for _ in range(samples)]
        lengths = [len(prompt) for prompt in prompts for _ in range(samples)]
        logits = logits.repeat_interleave(samples, dim=0)
        if len(lengths) == 1:
            # At least two rows in every pass; the second answer is thrown away.
            twice = [*draws, *draws]
            drawer = sampling.Drawer(twice, generation, logits.device)
            return self._continue(logits.repeat(2, 1), pieces * 2, lengths * 2, drawer, ends)[:1]
        return self._continue(logits, pieces, lengths, sampling.Drawer(draws, generation, logits.device), ends)

    def _continue(
        self,
        logits: torch.Tensor,
        pieces: Sequence[Sequence[Piece]],
        lengths: Sequence[int],
        drawer: sampling.Drawer,
        ends: Sequence[int],
    ) -> list[list[int] | None]:
        import torch

        most = drawer.generation.max_new_tokens
        written: list[list[int]] = [[] for _ in lengths]
        broken = [False] * len(lengths)
        alive = list(range(len(lengths)))  # the answers under way, by row
        positions = torch.tensor(lengths)
        step: Write | None = None
        while True:
            chosen, finite = drawer.next(logits)
            for row, token, good in zip(alive, chosen.tolist(), finite.tolist(), strict=True):
                broken[row] |= not good
                if not (written[row] and written[row][-1] in ends):
                    written[row].append(token)
            going = [n for n, row in enumerate(alive) if written[row][-1] not in ends and len(written[row]) < most]
            if not going:
                break
            if step is None:
                step = Write(pieces, most)
            if len(going) <= (1 - ENDED_SHARE) * len(alive) and len(alive) > 2:
                # At least two, as in every pass.
                stay = going if len(going) > 1 else [going[0], going[0] - 1 if going[0] else 1]
                kept = torch.tensor(stay)
                step.keep(kept)
                drawer.keep(kept)
                chosen, positions = chosen[kept], positions[kept]
                alive = [alive[n] for n in stay]
            step.next()
            logits = self._forward(step, chosen, positions)
            positions = positions + 1
        return [None if bad else tokens for tokens, bad in zip(written, broken, strict=True)]

    def _read(self, prompts: Sequence[Sequence[int]], *, keep: bool) -> tuple[torch.Tensor, list[_Place]]:
        """Logits after each prompt, (prompts, vocabulary), and where prompts were read (without `keep`: nowhere)."""
        import torch

        found = families(prompts) if self._share else [Family((place,)) for place in range(len(prompts))]
        before: dict[int, tuple[Piece, ...]] = {}
        heads = [(family, list(prompts[family.members[0]][: family.shared])) for family in found if family.shared]
        for begun in _parts(heads, [len(tokens) for _, tokens in heads], CPU_PASS):
            step, ids, positions = _packed([tokens for _, tokens in begun], [()] * len(begun), keep=True)
            self._forward(step, ids, positions, last=[])
            for (family, _), span in zip(begun, step.spans, strict=False):
                piece = Piece(step.kept or Kept(), span.start, span.stop)
                before.update(dict.fromkeys(family.members, (piece,)))
        rests = [(member, list(prompts[member][family.shared :])) for family in found for member in family.members]
        logits: dict[int, torch.Tensor] = {}
        places: dict[int, _Place] = {}
        for part in _parts(rests, [len(tokens) for _, tokens in rests], CPU_PASS):
            pieces = [before.get(member, ()) for member, _ in part]
            step, ids, positions = _packed([tokens for _, tokens in part], pieces, keep=keep)
            after = self._forward(step, ids, positions, last=[span.stop - 1 for span in step.spans[: len(part)]])
            for (member, _), span, own, row in zip(part, step.spans, pieces, after, strict=False):
                logits[member] = row
                if step.kept is not None:
                    places[member] = _Place((*own, Piece(step.kept, span.start, span.stop)))
        order = range(len(prompts))
        return torch.stack([logits[n] for n in order]), [places[n] for n in order] if keep else []

    def _forward(
        self, step: attention.Pass, ids: torch.Tensor, positions: torch.Tensor, last: Sequence[int] | None = None
    ) -> torch.Tensor:
        """One pass; logits (tokens, vocabulary) of all tokens, or of those listed in `last`."""
        import torch

        # A product of a single row takes another path on some CPUs, and other bits; of none, no path at all.
        kept = 0 if last is None else torch.tensor([*last, *(last if len(last) == 1 else ())] or [0, 0])
        with attention.running(step):
            output = self._model(
                input_ids=ids[None],
                position_ids=positions[None],
                # Four axes: a mask that is there already; ours is the pass.
                attention_mask=torch.zeros(1, 1, 1, 1, dtype=self._model.dtype),
                use_cache=False,
                logits_to_keep=kept,
            )
        return output.logits[0, : None if last is None else len(last)]  # type: ignore[no-any-return]


def _packed(
    tokens: Sequence[Sequence[int]], before: Sequence[tuple[Piece, ...]], *, keep: bool
) -> tuple[Read, torch.Tensor, torch.Tensor]:
    """A reading pass over these runs of tokens, with their ids and positions, both (tokens,)."""
    import torch

    spans, start = [], 0
    for run, pieces in zip(tokens, before, strict=True):
        spans.append(Span(start, start + len(run), pieces))
        start += len(run)
    if start == 1:
        # At least two rows in every pass; nobody reads the second.
        tokens = [*tokens, tokens[0]]
        spans.append(Span(1, 2, spans[0].before))
    ids = torch.tensor([token for run in tokens for token in run])
    positions = torch.cat([torch.arange(span.offset, span.offset + span.stop - span.start) for span in spans])
    return Read(spans, keep=keep), ids, positions


def _parts(things: Sequence[_T], sizes: Sequence[int], most: int) -> list[list[_T]]:
    """The things in order, cut so that the sizes of a part sum to at most `most`, or that it holds one thing."""
    parts: list[list[_T]] = []
    room = 0
    for thing, size in zip(things, sizes, strict=True):
        if not parts or size > room:
            parts.append([])
            room = most
        parts[-1].append(thing)
        room -= size
    return parts


def packed_or_none(model: Any, *, share: bool) -> PackedModel | None:
    """The model prepared for packed prompts; None, and the model unchanged, where it does not answer alike then."""
    import torch

    before = model.config._attn_implementation
    # A model that brings its own attention (or none) keeps it.
    if before != "sdpa" or model.device.type != "cpu":
        return None
    prompts = [[3 + n % 7 for n in range(40)], [3 + n % 5 for n in range(9)], [3 + n % 7 for n in range(45)]]
    try:
        with torch.inference_mode():
            plain = torch.stack([model(input_ids=torch.tensor([prompt])).logits[0, -1] for prompt in prompts]).float()
            model.set_attn_implementation(attention.register())
            packed = PackedModel(model, share=True)
            found = packed._read(prompts, keep=False)[0].float()
    except (attention.UnsupportedAttentionError, AttributeError, TypeError, ValueError, RuntimeError):
        found = None
    # Rounding moves logits by a few hundredths of their spread in bfloat16; a wrong mask or position by all of it.
    if found is None or not bool((found - plain).abs().mean() <= 0.05 * plain.std()):
        model.set_attn_implementation(before)
        return None
    return PackedModel(model, share=share)

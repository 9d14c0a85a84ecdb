"""Answers of a model to packed prompts: what prompts begin with alike is read once, no token of padding is read.

Works for models with plain attention in all layers (Llama, Qwen, Mistral without a window, …); whether a model is one
is tried out, not guessed: `packed_or_none`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from trust_tests.engines import attention, sampling
from trust_tests.engines.gpu_passes import GpuRead, GpuWrite, Pool, put
from trust_tests.engines.memory import GPU_PASS
from trust_tests.engines.passes import Kept, Piece, Read, Span, Write
from trust_tests.engines.prefixes import Family, families
from trust_tests.engines.reader import Scored
from trust_tests.records import Generation

if TYPE_CHECKING:
    import torch

    from trust_tests.engines.stopping import Stopped

    # Gets the places of prompts that were read, and the pieces of each.
    Take = Callable[[Sequence[int], Sequence[tuple[Piece, ...]]], None]

_T = TypeVar("_T")
# Tokens of one forward pass while reading; a span longer than that makes a pass of its own.
CPU_PASS = 4096
# Rows of logits over the whole vocabulary that are held at a time.
LOGIT_ROWS = 512
# Answers that ended are taken out once so many of those under way have.
ENDED_SHARE = 0.25


class PackedModel:
    """A model prepared for packed prompts.

    share: whether common beginnings are read once. room: on a GPU, tokens whose keys and values answers may take.
    """

    loop: ClassVar[str] = "packed prompts"

    def __init__(self, model: Any, *, share: bool = True, room: int = 0) -> None:
        self._model = model
        self._share = share
        self._room = room
        self._device: torch.device = model.device
        self._tokens = CPU_PASS if self._device.type == "cpu" else GPU_PASS
        self._pool: Pool | None = None

    def score(self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]) -> list[Scored]:
        """See `Reader.score`; each prompt is read once."""
        import torch

        longer = any(len(choice) > 1 for listed in choices for choice in listed)
        places: dict[int, tuple[Piece, ...]] = {}

        def take(members: Sequence[int], pieces: Sequence[tuple[Piece, ...]]) -> None:
            places.update(zip(members, pieces, strict=True))

        logits = self._read(prompts, take if longer else None)
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
        places: Mapping[int, tuple[Piece, ...]],
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
            step, ids, positions = self._packed(tokens, [places[row] for row, _, _ in part], keep=False)
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
        stopped: Stopped | None = None,
    ) -> list[list[int] | None]:
        """See `Reader.write`."""
        samples = generation.samples
        lengths = [len(prompt) for prompt in prompts for _ in range(samples)]
        if len(lengths) == 1:
            # At least two rows in every pass; the second answer is thrown away.
            return self.write([*prompts, *prompts], generation, [*draws, *draws], ends, stopped)[:1]
        writing = self._writing(lengths, generation.max_new_tokens)

        def take(members: Sequence[int], pieces: Sequence[tuple[Piece, ...]]) -> None:
            writing.load([range(member * samples, (member + 1) * samples) for member in members], pieces)

        logits = self._read(prompts, take).repeat_interleave(samples, dim=0)
        drawer = sampling.Drawer(draws, generation, logits.device)
        return self._continue(logits, writing, lengths, drawer, ends, stopped)

    def rest(self) -> None:
        """See `Reader.rest`: on a GPU, the keys and values and the captured steps."""
        self._pool = None

    def _writing(self, lengths: Sequence[int], new_tokens: int) -> Write | GpuWrite:
        if self._device.type == "cpu":
            return Write(lengths, new_tokens)
        if self._pool is None:
            self._pool = Pool(self._room)
        return GpuWrite(self._pool, lengths, new_tokens, self._device)

    def _continue(
        self,
        logits: torch.Tensor,
        writing: Write | GpuWrite,
        lengths: Sequence[int],
        drawer: sampling.Drawer,
        ends: Sequence[int],
        stopped: Stopped | None,
    ) -> list[list[int] | None]:
        import torch

        most = drawer.generation.max_new_tokens
        written: list[list[int]] = [[] for _ in lengths]
        broken = [False] * len(lengths)
        ended = [False] * len(lengths)
        alive = list(range(len(lengths)))  # the answers in the passes, by row; some may have ended
        positions = torch.tensor(lengths, device=self._device)
        while True:
            chosen, finite = drawer.next(logits)
            for row, token, good in zip(alive, chosen.tolist(), finite.tolist(), strict=True):
                if not ended[row]:
                    broken[row] |= not good
                    written[row].append(token)
                    ended[row] = token in ends or len(written[row]) >= most
            if stopped is not None:
                open_rows = [row for row in alive if not ended[row]]
                for row, stops in zip(open_rows, stopped([written[row] for row in open_rows]), strict=True):
                    ended[row] = stops
            going = [n for n, row in enumerate(alive) if not ended[row]]
            if not going:
                break
            if len(going) <= (1 - ENDED_SHARE) * len(alive) and len(alive) > 2:
                # At least two, as in every pass.
                stay = going if len(going) > 1 else [going[0], going[0] - 1 if going[0] else 1]
                kept = torch.tensor(stay, device=self._device)
                writing.keep(kept)
                drawer.keep(kept)
                chosen, positions = chosen[kept], positions[kept]
                alive = [alive[n] for n in stay]
            logits = writing.step(chosen, positions, self._forward)
            positions = positions + 1
        return [None if bad else tokens for tokens, bad in zip(written, broken, strict=True)]

    def _read(self, prompts: Sequence[Sequence[int]], take: Take | None = None) -> torch.Tensor:
        """Logits after each prompt, (prompts, vocabulary).

        take: gets, pass by pass, the places of the prompts that were read and the pieces of each; only then are keys
        and values kept.
        """
        import torch

        found = families(prompts) if self._share else [Family((place,)) for place in range(len(prompts))]
        before: dict[int, tuple[Piece, ...]] = {}
        heads = [(family, list(prompts[family.members[0]][: family.shared])) for family in found if family.shared]
        for begun in _parts(heads, [len(tokens) for _, tokens in heads], self._tokens):
            step, ids, positions = self._packed([tokens for _, tokens in begun], [()] * len(begun), keep=True)
            self._forward(step, ids, positions, last=[])
            for (family, _), span in zip(begun, step.spans, strict=False):
                piece = Piece(step.kept or Kept(), span.start, span.stop)
                before.update(dict.fromkeys(family.members, (piece,)))
        rests = [(member, list(prompts[member][family.shared :])) for family in found for member in family.members]
        rows: list[torch.Tensor] = []
        for part in _parts(rests, [len(tokens) for _, tokens in rests], self._tokens):
            pieces = [before.get(member, ()) for member, _ in part]
            step, ids, positions = self._packed([tokens for _, tokens in part], pieces, keep=take is not None)
            spans = step.spans[: len(part)]
            rows.append(self._forward(step, ids, positions, last=[span.stop - 1 for span in spans]))
            if take is not None and step.kept is not None:
                kept = step.kept
                whole = [(*own, Piece(kept, s.start, s.stop)) for own, s in zip(pieces, spans, strict=True)]
                take([member for member, _ in part], whole)
        order = torch.empty(len(rests), dtype=torch.long)
        order[[member for member, _ in rests]] = torch.arange(len(rests))
        return torch.cat(rows)[order.to(self._device)]

    def _packed(
        self, tokens: Sequence[Sequence[int]], before: Sequence[tuple[Piece, ...]], *, keep: bool
    ) -> tuple[Read | GpuRead, torch.Tensor, torch.Tensor]:
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
        ids = put(torch.tensor([token for run in tokens for token in run]), self._device)
        positions = torch.cat([torch.arange(span.offset, span.offset + span.stop - span.start) for span in spans])
        if self._device.type == "cpu":
            return Read(spans, keep=keep), ids, positions
        return GpuRead(spans, keep=keep, device=self._device), ids, put(positions, self._device)

    def _forward(
        self, step: attention.Pass, ids: torch.Tensor, positions: torch.Tensor, last: Sequence[int] | None = None
    ) -> torch.Tensor:
        """One pass; logits (tokens, vocabulary) of all tokens, or of those listed in `last`."""
        import torch

        # A product of a single row takes another path on some CPUs, and other bits; of none, no path at all.
        kept: Any = 0
        if last is not None:
            kept = put(torch.tensor([*last, *(last if len(last) == 1 else ())] or [0, 0]), self._device)
        with attention.running(step):
            output = self._model(
                input_ids=ids[None],
                position_ids=positions[None],
                # Four axes: a mask that is there already; ours is the pass.
                attention_mask=torch.zeros(1, 1, 1, 1, dtype=self._model.dtype, device=self._device),
                use_cache=False,
                logits_to_keep=kept,
            )
        return output.logits[0, : None if last is None else len(last)]  # type: ignore[no-any-return]


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


def packed_or_none(model: Any, *, share: bool, room: int = 0) -> PackedModel | None:
    """The model prepared for packed prompts; None, and the model unchanged, where it does not answer alike then."""
    import torch

    before = model.config._attn_implementation
    # A model that brings its own attention (or none) keeps it. Chunks, states and convolutions may not show in the
    # short prompts tried out, nor before the first token is written.
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    plain_layers = not (kinds - {"full_attention"} or getattr(model, "_is_stateful", False))
    if before != "sdpa" or not plain_layers or model.device.type not in ("cpu", "cuda"):
        return None
    with torch.inference_mode():
        prompts = _tried(model.config.get_text_config().vocab_size)
        whole = [torch.tensor([prompt], device=model.device) for prompt in prompts]
        plain = torch.stack([model(input_ids=ids).logits[0, -1] for ids in whole]).float()
        try:
            model.set_attn_implementation(attention.register())
        except (AttributeError, TypeError, ValueError):  # a model that takes no attention but its own
            return None
        for fused in (True, False) if model.device.type == "cuda" else (False,):
            _fuse(model, fused=fused)
            if _answers_alike(model, prompts, plain):
                return PackedModel(model, share=share, room=room)
    model.set_attn_implementation(before)
    return None


def _tried(vocabulary: int) -> list[list[int]]:
    """Prompts from all over a vocabulary: on a few tokens over and over, rounding alone sends a model astray."""
    ranges = (range(40), range(40, 49), range(49, 94), range(94, 117))
    return [[(3 + 7919 * n * n + 104_729 * n) % vocabulary for n in places] for places in ranges]


def _answers_alike(model: Any, prompts: Sequence[Sequence[int]], plain: torch.Tensor) -> bool:
    """Whether packed prompts get the logits that they get one by one. plain: (prompts, vocabulary)."""
    try:
        found = PackedModel(model)._read(prompts).float()
    except Exception:  # whatever a foreign model or compiler raises: it is then answered in another way
        return False
    # Of their spread, rounding to bfloat16 moves a small model's logits by up to a tenth, a wrong mask or position by
    # half of it and more.
    moved = (found - plain).abs().mean(dim=-1) / plain.std(dim=-1)
    return bool(moved.mean() <= 0.25)


def _fuse(model: Any, *, fused: bool) -> None:
    """Let torch.compile join the small steps of a model's blocks (norms, rotation, sums, gates), or undo that.

    They read and write every token's state two dozen times in a block, a fifth of a GPU's time. Attention stays out of
    it (`attention.register`), shapes are left open, so all blocks share what was compiled once.
    """
    blocks = set(getattr(model, "_no_split_modules", None) or ())
    for module in model.modules():
        if type(module).__name__ in blocks:
            if fused:
                module.compile(dynamic=True)
            else:
                module._compiled_call_impl = None

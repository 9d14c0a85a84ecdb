"""Seeded sampling that two models share: the same noise for the same question, whatever the batch.

Gumbel-max: adding independent Gumbel noise to the logits and taking the largest is an exact draw from their softmax.
The noise is a hash of (seed, step, token), so it depends neither on the batch nor on the device, and a model and its
compressed variant draw with the same noise. Where their distributions agree so do their samples; a difference in
the answers comes from the models, not from the dice.

Noise for a whole vocabulary costs more than a small model's own arithmetic. So only the `HEAD` most likely tokens
compete one by one; all others compete as a group, whose largest noisy logit is distributed like its log-sum-exp
plus one Gumbel variable, and when the group wins one of its members is drawn by inverting its distribution function.
The draw stays exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trust_tests.records import Generation

if TYPE_CHECKING:
    import torch

HEAD = 128
_GROUP, _MEMBER = -1, -2  # "tokens" whose hashes serve the group's noise and the choice inside it


def stream_key(seed: int, sample: int) -> int:
    """The signed 64-bit key of one sample's noise; keys of neighbouring seeds and samples are unrelated."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample}".encode()).digest()[:8], "big", signed=True)


def keys_tensor(draws: Sequence[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """The keys of (seed, sample) pairs, shape (rows,), int64."""
    import torch

    return torch.tensor([stream_key(seed, sample) for seed, sample in draws], dtype=torch.int64, device=device)


class Drawer:
    """The next token of every answer under way, greedy or drawn. draws: (seed, sample) of each answer."""

    def __init__(self, draws: Sequence[tuple[int, int]], generation: Generation, device: torch.device) -> None:
        self.generation = generation
        self._keys = keys_tensor(draws, device) if generation.temperature > 0 else None
        self._step = 0

    def next(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (answers,) and whether all logits of a row were finite (answers,). logits: (answers, vocabulary)."""
        import torch

        highest, greedy = logits.max(dim=-1)
        # Both ends are NaN where anything is.
        finite = torch.isfinite(highest) & torch.isfinite(logits.amin(dim=-1))
        if self._keys is None:
            return greedy, finite
        kept = logits.masked_fill(~finite[:, None], 0.0) if not bool(finite.all()) else logits
        generation = self.generation
        chosen = draw(kept, self._keys, self._step, generation.temperature, top_k=generation.top_k)
        self._step += 1
        return chosen, finite

    def keep(self, places: torch.Tensor) -> None:
        """Go on with the answers at these places only."""
        if self._keys is not None:
            self._keys = self._keys[places]


def draw(logits: torch.Tensor, keys: torch.Tensor, step: int, temperature: float, *, top_k: int = 0) -> torch.Tensor:
    """One token id per row, drawn from softmax(logits / temperature), of the `top_k` most probable ones if given.

    logits: (rows, vocabulary), finite. keys: (rows,) from `keys_tensor`. step: how many tokens came before.
    """
    import torch

    scaled = logits.float() / temperature
    size = min(top_k or HEAD, scaled.shape[-1])
    top, tokens = scaled.topk(size, dim=-1)  # (rows, head)
    key = _mix(keys + keys.new_tensor(step) * 0x632BE59BD9B4E019)
    noisy = top.double() + _gumbel(key[:, None], tokens)
    best, place = noisy.max(dim=-1)
    chosen = tokens.gather(1, place[:, None])[:, 0]
    if top_k or size == scaled.shape[-1]:
        return chosen
    rest = scaled.scatter(1, tokens, float("-inf"))
    group = rest.logsumexp(dim=-1).double() + _gumbel(key, torch.full_like(key, _GROUP))
    rows = (group > best).nonzero()[:, 0]
    if len(rows):
        share = rest[rows].double().softmax(dim=-1).cumsum(dim=-1)
        points = _uniform(key[rows], torch.full_like(rows, _MEMBER))[:, None] * share[:, -1:]
        chosen[rows] = torch.searchsorted(share, points)[:, 0].clamp(max=share.shape[-1] - 1)
    return chosen


def _gumbel(key: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, float64."""
    return -(-_uniform(key, token).log()).log()


def _uniform(key: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Uniform float64 in the open interval (0, 1): the top 52 bits of a hash of key and token, and a half."""
    bits = (_mix(key + token * -0x61C8864680B583EB) >> 12) & ((1 << 52) - 1)
    return (bits.double() + 0.5) / (1 << 52)


def _mix(value: torch.Tensor) -> torch.Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014) on int64, which wraps like unsigned arithmetic."""
    value = (value ^ _shifted(value, 30)) * -0x40A7B892E31B1A47
    value = (value ^ _shifted(value, 27)) * -0x6B2FB644ECCEEE15
    return value ^ _shifted(value, 31)


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift to the right: torch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)

"""Drawing clusters of items with replacement: the weights behind a bootstrap and a jackknife.

Items that share a source (one text under many prompts) are no independent evidence; what is drawn or left out is
always a whole cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trust_tests.records import Outcome

FloatArray = npt.NDArray[np.float64]
# Weights are made in blocks, so that 10,000 resamples of 10,000 items need no 800 MB at once.
_BLOCK_ELEMENTS = 4_000_000
_GROUPS = 2000


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which items belong together.

    member: (items,) cluster numbers. strata: the numbers of the clusters that are drawn among themselves.
    """

    member: npt.NDArray[np.intp]
    strata: tuple[npt.NDArray[np.intp], ...]
    count: int

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Clusters:
        """The clusters of the items; a stratum holds the clusters that cover the same cells."""
        numbers: dict[str, int] = {}
        member = np.array([numbers.setdefault(o.cluster, len(numbers)) for o in outcomes], dtype=np.intp)
        cells: dict[int, set[str]] = defaultdict(set)
        for number, outcome in zip(member, outcomes, strict=True):
            cells[int(number)].add(outcome.cell)
        strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, covered in cells.items():
            strata[tuple(sorted(covered))].append(number)
        return cls(member, tuple(np.array(found, dtype=np.intp) for found in strata.values()), len(numbers))

    def resampled(self, resamples: int, seed: int) -> Iterator[FloatArray]:
        """How often each item was drawn, (draws, items), in blocks of bounded size; deterministic for a seed."""
        generator = np.random.default_rng(seed)
        rows = max(1, _BLOCK_ELEMENTS // max(1, len(self.member)))
        single = self.count == len(self.member) and bool(np.all(self.member == np.arange(self.count)))
        for start in range(0, resamples, rows):
            draws = min(rows, resamples - start)
            offsets = self.count * np.arange(draws, dtype=np.int64)[:, None]
            drawn = np.concatenate(
                [s[generator.integers(0, len(s), size=(draws, len(s)))] + offsets for s in self.strata], axis=1
            )
            counts = np.bincount(drawn.ravel(), minlength=draws * self.count).reshape(draws, self.count)
            yield (counts if single else counts[:, self.member]).astype(np.float64)

    def left_out(self) -> Iterator[FloatArray]:
        """Weights that leave out one cluster each, (clusters of the block, items), in blocks of bounded size.

        Where there are more than `_GROUPS` clusters, one of so many groups of them (the delete-a-group jackknife).
        """
        groups = min(self.count, _GROUPS)
        group = self.member % groups
        rows = max(1, _BLOCK_ELEMENTS // max(1, len(self.member)))
        for start in range(0, groups, rows):
            block = np.arange(start, min(start + rows, groups))
            yield (group[None, :] != block[:, None]).astype(np.float64)

    def means(self, values: FloatArray) -> FloatArray:
        """Each cluster's mean value, (clusters,)."""
        sums = np.bincount(self.member, weights=values, minlength=self.count)
        means: FloatArray = sums / np.bincount(self.member, minlength=self.count)
        return means

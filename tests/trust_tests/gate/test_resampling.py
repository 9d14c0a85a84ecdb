from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_tests.gate.resampling import Clusters

from ..toy import outcomes


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_whole_clusters_are_drawn_and_strata_keep_their_size(count: int, cells: int, cluster: int) -> None:
    items = outcomes([1.0] * count, cells, cluster)
    clusters = Clusters.of(items)
    (weights,) = clusters.resampled(20, 1)
    assert weights.shape == (20, count)
    for name in {o.cluster for o in items}:
        together = weights[:, [o.cluster == name for o in items]]
        assert (together == together[:, :1]).all()
    first = [int(np.flatnonzero(clusters.member == k)[0]) for k in range(clusters.count)]
    for stratum in clusters.strata:
        assert (weights[:, [first[k] for k in stratum]].sum(axis=1) == len(stratum)).all()


def test_draws_are_repeatable_and_differ_by_seed() -> None:
    clusters = Clusters.of(outcomes([1.0] * 30))
    one, same, other = (np.concatenate(list(clusters.resampled(5, seed))) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_draws_are_uniform() -> None:
    (weights,) = Clusters.of(outcomes([1.0] * 10)).resampled(20_000, 3)
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.03)
    # A multinomial count's variance: 1 - 1/10.
    assert weights.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.04)


def test_blocks_are_bounded_and_hold_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust_tests.gate.resampling._BLOCK_ELEMENTS", 50)
    clusters = Clusters.of(outcomes([1.0] * 12, cluster=2))
    blocks = list(clusters.resampled(9, 0))
    assert [len(block) for block in blocks] == [4, 4, 1]
    left = np.concatenate(list(clusters.left_out()))
    assert left.shape == (6, 12)
    assert (left.sum(axis=1) == 10).all()
    assert ((left == 0).sum(axis=0) == 1).all()


def test_many_clusters_are_left_out_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust_tests.gate.resampling._GROUPS", 4)
    left = np.concatenate(list(Clusters.of(outcomes([1.0] * 10)).left_out()))
    assert left.shape == (4, 10)
    assert ((left == 0).sum(axis=0) == 1).all()
    assert left.sum(axis=1).tolist() == [7, 7, 8, 8]


def test_means_of_clusters() -> None:
    clusters = Clusters.of(outcomes([1.0] * 5, cluster=2))
    assert clusters.means(np.array([1.0, 0.0, 1.0, 1.0, 0.5])).tolist() == [0.5, 1.0, 0.5]

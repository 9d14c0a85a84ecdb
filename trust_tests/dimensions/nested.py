"""Means of means: the scores that average sub-scores which are averages themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trust_tests.dimensions.base import FloatArray

Path = tuple[str, ...]


def nested_means(paths: Sequence[Path], values: Sequence[float | None], weights: FloatArray) -> FloatArray:
    """For each row of weights the mean over the first names of the means over the second names, and so on.

    paths: (items,) where each item belongs, outermost name first; all of one length. Inside the innermost group the
    mean of values is weighted; every mean above it is plain. values: None for what was not measured. weights:
    (draws, items). Returns (draws,) in the unit of the values. A group without weight is left out of the mean above
    it; NaN where nothing is left.
    """
    groups = sorted(set(paths))
    columns = {path: column for column, path in enumerate(groups)}
    measured = np.zeros((len(paths), len(groups)))  # (items, groups): 1 where an item counts
    worth = np.zeros_like(measured)  # (items, groups): its value there
    for row, (path, value) in enumerate(zip(paths, values, strict=True)):
        if value is not None:
            measured[row, columns[path]] = 1.0
            worth[row, columns[path]] = value
    means, present = _ratio(weights @ worth, weights @ measured)  # (draws, groups)
    while groups and groups[0]:
        parents = sorted({path[:-1] for path in groups})
        places = {path: place for place, path in enumerate(parents)}
        belongs = np.zeros((len(groups), len(parents)))
        for row, path in enumerate(groups):
            belongs[row, places[path[:-1]]] = 1.0
        means, present = _ratio((means * present) @ belongs, present @ belongs)
        groups = parents
    if not groups:
        return np.full(len(weights), np.nan)
    result: FloatArray = np.where(present[:, 0] > 0, means[:, 0], np.nan)
    return result


def _ratio(total: FloatArray, mass: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means where there is mass (0 elsewhere), and 1.0 where there is."""
    present = mass > 0
    means: FloatArray = np.divide(total, mass, out=np.zeros_like(total), where=present)
    return means, present.astype(np.float64)

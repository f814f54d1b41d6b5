"""The most frequent value of each cell over texts, for numbers that are categories: a position, an offset."""

import numpy as np

from attncli.data.part_states import PartState
from attncli.data.tokens import Array


class Modes:
    """How often each value occurs in arrays, cell by cell; NaN values are left out.

    Texts are added in any order and in groups of any size.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._counts: dict[float, Array] = {}

    def add(self, values: Array, weights: Array | None = None) -> None:
        """Add the values of some texts: [text, ...]; `weights`, of the same shape, are 1 or more (default: 1)."""
        distinct = np.unique(values[~np.isnan(values)])
        equal = values == distinct.reshape(-1, *[1] * values.ndim)
        counts = (equal if weights is None else np.where(equal, weights, 0.0)).sum(axis=1, dtype=float)
        self._add(distinct, counts)

    def state(self) -> PartState:
        """Return the values and how often each occurs."""
        values = sorted(self._counts)
        counts = [self._counts[value] for value in values]
        return {"values": np.array(values, float), "counts": np.array(counts).reshape(len(values), *self._shape)}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another instance of the same shape."""
        self._add(state["values"], state["counts"])

    def _add(self, values: Array, counts: Array) -> None:
        """Add how often each of these values occurs: [value, ...]."""
        for value, counted in zip(values.tolist(), counts, strict=True):
            self._counts[value] = self._counts[value] + counted if value in self._counts else counted

    @property
    def mode(self) -> Array:
        """Return the most frequent value of each cell, NaN without a value.

        Of values that are equally frequent, it is the one nearest to 0, of -1 and 1 it is -1.
        """
        values, counts = self._ordered()
        return np.where(counts.any(axis=0), values[counts.argmax(axis=0)], np.nan)

    @property
    def share(self) -> Array:
        """Return the share of the texts with a value that have the most frequent one, NaN without a value."""
        counts = self._ordered()[1]
        total = counts.sum(axis=0)
        return np.where(total > 0, counts.max(axis=0) / np.maximum(total, 1), np.nan)

    def _ordered(self) -> tuple[Array, Array]:
        """Return the values [value], nearest to 0 first, and their counts [value, ...]."""
        values = sorted(self._counts, key=lambda value: (abs(value), value)) or [np.nan]
        empty = np.zeros(self._shape)
        return np.array(values), np.stack([self._counts.get(value, empty) for value in values])


def most_frequent(values: Array) -> Array:
    """Return the most frequent value over the last axis, NaN if there is none."""
    modes = Modes(values.shape[:-1])
    modes.add(np.moveaxis(values, -1, 0))
    return modes.mode

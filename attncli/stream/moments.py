"""Mean and standard deviation over texts that are added in any order and in groups of any size."""

from __future__ import annotations

import numpy as np

from attncli.data import Array


class Moments:
    """Running mean and population variance of arrays, cell by cell; NaN values are left out.

    Groups are merged by Chan, Golub & LeVeque 1979, which equals the two-pass result up to rounding.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = np.zeros(shape)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: Array) -> None:
        """Add the values of some texts: [text, ...]."""
        defined = ~np.isnan(values)
        count = defined.sum(axis=0)
        mean = np.where(defined, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(defined, values - mean, 0.0) ** 2).sum(axis=0)
        total_count = np.maximum(self._count + count, 1)
        difference = mean - self._mean
        self._mean += difference * count / total_count
        self._squares += squares + difference**2 * self._count * count / total_count
        self._count += count

    @property
    def count(self) -> Array:
        """Return the number of values of each cell."""
        return self._count

    @property
    def mean(self) -> Array:
        """Return the mean of each cell, NaN without a value."""
        return np.where(self._count > 0, self._mean, np.nan)

    @property
    def std(self) -> Array:
        """Return the population standard deviation of each cell, NaN without a value."""
        return np.where(self._count > 0, np.sqrt(self._squares / np.maximum(self._count, 1)), np.nan)

"""Mean and standard deviation over texts that come one after another, in any order and any grouping."""

from __future__ import annotations

import numpy as np

from attncli.data import Array


class Moments:
    """Running mean and population variance of arrays with gaps: NaN is no value, and each cell counts its own.

    Groups are merged by Chan, Golub & LeVeque 1979, which equals the two-pass result to rounding.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = np.zeros(shape)
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: Array) -> None:
        """Take the values of some texts: [text, ...]."""
        defined = ~np.isnan(values)
        count = defined.sum(axis=0)
        mean = np.where(defined, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(defined, values - mean, 0.0) ** 2).sum(axis=0)
        together = np.maximum(self._count + count, 1)
        apart = mean - self._mean
        self._mean += apart * count / together
        self._squares += squares + apart**2 * self._count * count / together
        self._count += count

    @property
    def count(self) -> Array:
        """How many values each cell had."""
        return self._count

    @property
    def mean(self) -> Array:
        """The mean of each cell, NaN where it never had a value."""
        return np.where(self._count > 0, self._mean, np.nan)

    @property
    def std(self) -> Array:
        """The population standard deviation of each cell, NaN where it never had a value."""
        return np.where(self._count > 0, np.sqrt(self._squares / np.maximum(self._count, 1)), np.nan)

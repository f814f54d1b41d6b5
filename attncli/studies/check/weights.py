"""What heads give from one word to another, and how far that is from what a rule asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.studies.check.limits import DIGITS, margins
from attncli.studies.check.result import TOLERANCE


@dataclass(frozen=True, eq=False)
class Looked:
    """Where some heads look from one word, which may be several tokens: the mean of their rows.

    rows     [head, key] weights, rounded to 6 decimals; NaN where a head has no such row
    visible  [key] which keys any of the rows may see, in any head
    even     [key] what even attention over the visible keys would give
    """

    rows: Array
    visible: Array
    even: Array

    @classmethod
    def of(cls, weights: Array, visible: Array) -> Looked:
        """Of weights [head, row, key] and visible [1 or head, row, key]; rows that see nothing are NaN."""
        wide = np.asarray(weights, np.float64)
        defined: Array = ~np.isnan(wide[..., 0])
        seen = np.broadcast_to(visible, wide.shape)
        counts = seen.sum(-1, keepdims=True)
        shares = np.where(seen, 1 / np.maximum(counts, 1), 0.0)
        with np.errstate(invalid="ignore"):
            mean = np.where(defined[..., None], wide, 0.0).sum(1) / defined.sum(1)[:, None]
        sees: Array = np.logical_or.reduce(seen, axis=(0, 1))
        return cls(np.round(mean, DIGITS), sees, shares.mean((0, 1)))

    def to(self, keys: Sequence[int]) -> Array:
        """[head] the weight on a word: the sum over its tokens."""
        summed: Array = np.round(self.rows[:, list(keys)].sum(1), DIGITS)
        return summed

    def chance(self, keys: Sequence[int]) -> float:
        """What even attention would give it."""
        return float(np.round(self.even[list(keys)].sum(), DIGITS))

    def rank(self, head: int, keys: Sequence[int]) -> tuple[int, int]:
        """Of a word among the visible keys for one head, 1 for the one that gets most, and how many there are.

        The tokens of the word count as one key.
        """
        others = self.visible.copy()
        others[list(keys)] = False
        more = self.rows[head, others] > self.to(keys)[head]
        return 1 + int(more.sum()), 1 + int(others.sum())


@dataclass(frozen=True)
class Demand:
    """What a rule asks of a weight.

    least, most  its limits, kept by a weight within the tolerance of them
    more         whether it must be larger than the weight on another word by more than the tolerance
    """

    least: float | None = None
    most: float | None = None
    more: bool = False
    tolerance: float = TOLERANCE

    def margins(self, weight: Array, than: Array | None) -> Array:
        """[head] how far each weight is from breaking the demand, negative where it does; NaN where undefined."""
        gaps = [np.full_like(weight, np.inf)]
        if self.least is not None:
            gaps.append(margins(weight, ">=", self.least, self.tolerance))
        if self.most is not None:
            gaps.append(margins(weight, "<=", self.most, self.tolerance))
        if self.more and than is not None:
            gaps.append(margins(weight, ">", than, self.tolerance))
        smallest: Array = np.min([np.where(np.isnan(weight), np.nan, gap) for gap in gaps], axis=0)
        return smallest

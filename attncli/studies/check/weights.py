"""The weights from one word to another, and limits with a tolerance, as the last digits of float32 differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncli.data import Array
from attncli.studies.check.result import TOLERANCE

DIGITS = 6
"""Weights and measures are rounded to this many decimals before they are compared, recorded or printed."""
_SAME_WEIGHT = 1.5 * 10.0**-DIGITS
"""Weights that differ by less are equal: rounding may part them by one unit of the last decimal."""
SMALLEST_MARGIN = 10.0**-DIGITS / 2
"""Margin by which a value that is equal to a strict limit breaks it."""


def margins(values: Array, sign: str, limit: Array | float, tolerance: float) -> Array:
    """Return how far each value is inside a limit: at least 0 where it keeps the limit, NaN where it is undefined.

    The tolerance is absolute for limits up to 1 and relative above. A value within the tolerance of a limit counts as
    equal to it: it keeps <= and >=, and breaks < and >.

    >>> margins(np.array([0.29998, 0.29999, 0.3]), ">=", 0.3, tolerance=1e-5) >= 0
    array([False,  True,  True])
    >>> margins(np.array([0.3, 0.30001, 0.30002]), ">", 0.3, tolerance=1e-5) >= 0
    array([False, False,  True])
    """
    slack = tolerance * np.maximum(1.0, np.abs(limit))
    inside = limit - values if sign in ("<", "<=") else values - limit
    if sign in ("<=", ">="):
        return np.asarray(np.round(inside + slack, 9))
    strict = np.round(inside - slack, 9)
    return np.where(strict == 0, -SMALLEST_MARGIN, strict)


@dataclass(frozen=True, eq=False)
class MeanRows:
    """The weights from one word, which may be several tokens, in some heads: the mean of the rows of its tokens.

    rows     [head, key] weights, rounded to 6 decimals; NaN if a head has no such row
    visible  [key] which keys are visible to any of the rows, in any head
    uniform  [key] the weights of uniform attention over the visible keys
    """

    rows: Array
    visible: Array
    uniform: Array

    @classmethod
    def of(cls, weights: Array, visible: Array) -> MeanRows:
        """Return the mean over rows of weights [head, row, key]; rows of NaN see no key and do not count.

        visible  [1 or head, row, key] which keys are visible
        """
        wide = np.asarray(weights, np.float64)
        defined: Array = ~np.isnan(wide[..., 0])
        masks = np.broadcast_to(visible, wide.shape)
        counts = masks.sum(-1, keepdims=True)
        shares = np.where(masks, 1 / np.maximum(counts, 1), 0.0)
        with np.errstate(invalid="ignore"):
            mean = np.where(defined[..., None], wide, 0.0).sum(1) / defined.sum(1)[:, None]
        any_visible: Array = np.logical_or.reduce(masks, axis=(0, 1))
        return cls(np.round(mean, DIGITS), any_visible, shares.mean((0, 1)))

    def to(self, keys: Sequence[int]) -> Array:
        """Return the weight [head] on a word: the sum over its tokens."""
        return np.asarray(np.round(self.rows[:, list(keys)].sum(1), DIGITS))

    def chance(self, keys: Sequence[int]) -> float:
        """Return the weight of uniform attention on a word."""
        return float(np.round(self.uniform[list(keys)].sum(), DIGITS))

    def rank(self, head: int, keys: Sequence[int]) -> tuple[float, int]:
        """Return the rank of a word among the visible keys of one head, 1 for the largest weight, and their number.

        The tokens of the word count as one key. Keys with equal weights share the middle of their ranks: in a uniform
        row of 8 keys each has the rank 4.5.
        """
        rank = float(self.ranks(keys)[head])
        return int(rank) if rank.is_integer() else rank, 1 + int(self._others(keys).sum())

    def ranks(self, keys: Sequence[int]) -> Array:
        """Return the rank [head] of a word in each head; NaN if a head has no such row."""
        weight = self.to(keys)
        more = self.rows[:, self._others(keys)] - weight[:, None]
        ranks = 1 + (more >= _SAME_WEIGHT).sum(1) + (np.abs(more) < _SAME_WEIGHT).sum(1) / 2
        return np.where(np.isnan(weight), np.nan, ranks)

    def _others(self, keys: Sequence[int]) -> Array:
        """Return which keys [key] are visible and not of a word."""
        others = self.visible.copy()
        others[list(keys)] = False
        return others


@dataclass(frozen=True)
class Demand:
    """The limits of a rule for one weight, and whether it must be `more` than the weight on another word."""

    least: float | None = None
    most: float | None = None
    more: bool = False
    tolerance: float = TOLERANCE

    def margins(self, weight: Array, than: Array | None) -> Array:
        """Return how far each weight [head] is within the limits, negative beyond them; NaN where undefined."""
        gaps = [np.where(np.isnan(weight), np.nan, np.inf)]
        if self.least is not None:
            gaps.append(margins(weight, ">=", self.least, self.tolerance))
        if self.most is not None:
            gaps.append(margins(weight, "<=", self.most, self.tolerance))
        if self.more and than is not None:
            gaps.append(margins(weight, ">", than, self.tolerance))
        return np.asarray(np.min(gaps, axis=0))

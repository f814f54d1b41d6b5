"""How two orders of the same units agree: Kendall's tau-b, Spearman's rho, and the overlap of the first units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attncli.data import Array
from attncli.studies.knockout.compute import ranks

_ROWS = 256


def rank_correlations(values: Array) -> tuple[Array, Array]:
    """Return Kendall's tau-b and Spearman's rho between all pairs of rows, [row, row]; NaN where all values are equal.

    values  [row, unit]
    """
    rows, units = values.shape
    agree = np.zeros((rows, rows))
    for start in range(0, units, _ROWS):
        signs = np.sign(values[:, start : start + _ROWS, None] - values[:, None, :])
        flat = signs.reshape(rows, -1)
        agree += flat @ flat.T
    centred = np.stack([ranks(row) for row in values])
    centred -= centred.mean(1, keepdims=True)
    return _scaled(agree), _scaled(centred @ centred.T)


def _scaled(products: Array) -> Array:
    """Return products divided by the lengths of both sides, at most 1."""
    lengths = np.sqrt(np.diag(products))
    lengths[lengths == 0] = np.nan
    scaled: Array = np.clip(products / np.outer(lengths, lengths), -1, 1)
    return scaled


def overlaps(orders: Sequence[Array], first: int) -> Array:
    """Return the share of the first units of one order that are among the first of another, [order, order]."""
    members = np.zeros((len(orders), len(orders[0])))
    for row, order in enumerate(orders):
        members[row, order[:first]] = 1
    shared: Array = members @ members.T / first
    return shared

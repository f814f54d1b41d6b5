"""What is kept of a part of the texts, so that the results of all parts can be merged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data.tokens import Array

PartState = Mapping[str, Any]
"""Sums over some texts as plain values, lists, mappings and arrays."""


def widened(values: Array, size: int, index: Sequence[int]) -> Array:
    """Return an array with a longer last axis: its entries are at `index`, the others are 0.

    >>> widened(np.array([[1.0, 2.0]]), 3, [2, 0])
    array([[2., 0., 1.]])
    """
    wide = np.zeros((*values.shape[:-1], size), values.dtype)
    wide[..., list(index)] = values
    return wide

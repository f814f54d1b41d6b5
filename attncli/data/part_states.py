"""What is kept of a part of the texts, so that the results of all parts can be merged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data.tokens import Array

PartState = Mapping[str, Any]
"""Sums over some texts as plain values, lists, mappings and arrays."""

_SUMS = ("texts", "queries", "count", "counts", "squares")
"""Entries of states that grow with the number of texts."""


def widened(values: Array, size: int, index: Sequence[int]) -> Array:
    """Return an array with a longer last axis: its entries are at `index`, the others are 0.

    >>> widened(np.array([[1.0, 2.0]]), 3, [2, 0])
    array([[2., 0., 1.]])
    """
    wide = np.zeros((*values.shape[:-1], size), values.dtype)
    wide[..., list(index)] = values
    return wide


def repeated_state(state: Any, times: int) -> Any:
    """Return the state of the same texts read several times: counts and sums are multiplied, means stay.

    >>> repeated_state({"groups": [{"texts": 1, "layer": 3, "values": {"count": np.ones(1), "mean": np.ones(1)}}]}, 4)
    {'groups': [{'texts': 4, 'layer': 3, 'values': {'count': array([4.]), 'mean': array([1.])}}]}
    """
    if isinstance(state, Mapping):
        return {name: value * times if name in _SUMS else repeated_state(value, times) for name, value in state.items()}
    return [repeated_state(entry, times) for entry in state] if isinstance(state, list) else state

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


def table_state(table: Mapping[str, Array]) -> PartState:
    """Return the columns of a table as a state; of texts that repeat, each is kept once.

    >>> table_of_state(table_state({"name": np.array(["a", "b", "a"], object), "value": np.array([0.5, 1.0, 2.0])}))
    {'name': array(['a', 'b', 'a'], dtype=object), 'value': array([0.5, 1. , 2. ])}
    """
    columns: dict[str, Any] = {}
    for name, column in table.items():
        if column.dtype != object:
            columns[name] = column
            continue
        numbers: dict[Any, int] = {}
        codes = [numbers.setdefault(value, len(numbers)) for value in column.tolist()]
        columns[name] = {"values": list(numbers), "codes": np.array(codes, np.int32)}
    return columns


def table_of_state(state: PartState) -> dict[str, Array]:
    """Return the columns of a table from its state."""

    def decoded(column: Any) -> Array:
        if not isinstance(column, Mapping):
            return np.asarray(column)
        texts: Array = np.array(column["values"], object)[column["codes"]]
        return texts

    return {name: decoded(column) for name, column in state.items()}


def repeated_state(state: Any, times: int) -> Any:
    """Return the state of the same texts read several times: counts and sums are multiplied, means stay.

    >>> repeated_state({"groups": [{"texts": 1, "layer": 3, "values": {"count": np.ones(1), "mean": np.ones(1)}}]}, 4)
    {'groups': [{'texts': 4, 'layer': 3, 'values': {'count': array([4.]), 'mean': array([1.])}}]}
    """
    if isinstance(state, Mapping):
        return {name: value * times if name in _SUMS else repeated_state(value, times) for name, value in state.items()}
    return [repeated_state(entry, times) for entry in state] if isinstance(state, list) else state

"""Flows in tables for a person: the strongest inputs of each token, with the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attncli.data import Array
from attncli.data.focus import title_name
from attncli.data.kinds import KNOWN, KindNames
from attncli.data.labels import label_with_position, labels
from attncli.studies.flow.result import Flow
from attncli.terminal import add_row, blank_table

if TYPE_CHECKING:
    from rich.table import Table

_OF_FOCUS, _OF_EACH = 8, 3
_MOST_ROWS = 40


def flow_tables(flows: Sequence[Flow], focus: str, several: bool, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield a table for each text and kind: the strongest inputs of the focus, else a few of each token.

    several  whether the texts are named, as there is more than one
    """
    for flow in flows:
        text = f"text {flow.text}" if several else ""
        where = ", ".join(filter(None, (text, kinds.way(flow.kind)))) + (" by norms" if flow.by == "norm" else "")
        where = f"{where.strip()}: " if where else ""
        titles = kinds.flow_axes(flow.kind, flow.rows_as)
        yield _of_focus(flow, focus, where, titles) if focus else _of_all(flow, where, titles)


def _of_focus(flow: Flow, focus: str, where: str, titles: tuple[str, str]) -> Table:
    name, predicted = title_name(flow.queries, focus), " (predicted)" if flow.rows_as == "predicted" else ""
    title = f"{where}{flow.method} from '{name}'{predicted}"
    table = blank_table(title, [titles[1]], [flow.method, "uniform", "position"])
    values, uniform, position = (shares.mean(0) for shares in (flow.values, flow.uniform, flow.position))
    names = _names(flow)
    for key in _largest(values, _OF_FOCUS):
        numbers = (f"{value[key]:.3f}" if np.isfinite(value[key]) else "" for value in (values, uniform, position))
        add_row(table, [names[key], *numbers])
    return table


def _of_all(flow: Flow, where: str, titles: tuple[str, str]) -> Table:
    more = len(flow.rows) - _MOST_ROWS
    title = f"{where}{flow.method}, strongest inputs" + (f" (first {_MOST_ROWS} tokens)" if more > 0 else "")
    table = blank_table(title, [titles[0], f"{titles[1]}s"], [])
    queries, keys = labels(flow.queries), _names(flow)
    for row, position in enumerate(flow.named[:_MOST_ROWS].tolist()):
        shown = (f"{keys[key]} {flow.values[row, key]:.3f}" for key in _largest(flow.values[row], _OF_EACH))
        add_row(table, [label_with_position(queries[position], position), "   ".join(shown)])
    return table


def _names(flow: Flow) -> list[str]:
    """Return the input tokens with their positions."""
    return [label_with_position(name, position) for position, name in enumerate(labels(flow.keys))]


def _largest(values: Array, count: int) -> list[int]:
    order: list[int] = np.argsort(-np.nan_to_num(values), kind="stable")[:count].tolist()
    return [key for key in order if values[key] > 0]

"""Clusters, redundant pairs and layers in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.kinds import KNOWN, KindNames
from attncli.studies.heads.result import HeadClusters, HeadsResult
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_MOST_ENTRIES, _CLOSEST_PAIRS = 12, 3


def heads_tables(result: HeadsResult, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield the clusters and the redundant pairs of each kind, and the layers."""
    for kind, group in result.groups.items():
        yield _clusters(kinds.attention(kind), group)
        if len(group.heads) > 1:
            yield _closest_pairs(" ".join([*kinds.columns(kind), "heads"]), group, result.grouping.redundant)
    yield from _layers(result, kinds)


def _clusters(attention: str, group: HeadClusters) -> Table:
    numbers = group.clusters[list(group.order)].tolist()
    names = [group.names[row] for row in group.order]
    members: dict[int, list[str]] = {}
    for name, number in zip(names, numbers, strict=True):
        members.setdefault(number, []).append(name)
    alone = [heads[0] for heads in members.values() if len(heads) == 1]
    size = f"{len(names)} heads in {len(members)} clusters"
    title = f"{attention}, {size}, median distance {three_digits(group.medians['distance']) or 'undefined'}"
    table = blank_table(title, ["cluster", "layer.head"], ["heads", "mean distance"])
    for cluster, heads in members.items():
        if len(heads) > 1:
            rows = np.flatnonzero(group.clusters == cluster)
            mean = group.distances[rows][:, rows].sum() / (len(rows) * (len(rows) - 1))
            add_row(table, [str(cluster), _listed(heads), str(len(heads)), three_digits(mean)])
    if alone:
        add_row(table, ["alone", _listed(alone), str(len(alone)), ""])
    return table


def _closest_pairs(heads: str, group: HeadClusters, limit: float) -> Table:
    """Return the pairs with a distance under the limit; if there are none, the closest pairs."""
    redundant = int((group.distances[tuple(group.pairs.T)] < limit).sum())
    count = f"{redundant} pairs" if redundant else "no pair"
    title = f"{count} of {heads} closer than {limit:g}" + ("" if redundant else "; the closest")
    columns = [name.removeprefix("distance_") for name in group.matrices]
    table = blank_table(title, ["head", "other"], columns)
    for first, second in group.pairs[: min(redundant, _MOST_ENTRIES) or _CLOSEST_PAIRS].tolist():
        values = [three_digits(matrix[first, second]) for matrix in group.matrices.values()]
        add_row(table, [group.names[first], group.names[second], *values])
    if redundant > _MOST_ENTRIES:
        add_row(table, ["…"])
    add_row(table, ["median", "", *map(three_digits, group.medians.values())])
    return table


def _layers(result: HeadsResult, kinds: KindNames) -> Iterator[Table]:
    """Yield the smoothness of each layer, and its hidden states if they were measured."""
    coords = result.layers["cosine"].coords
    layers = list(zip(coords["kind"][1], coords["layer"][1], strict=True))
    rows = {name: scores for name, scores in result.layers.items() if name.startswith("rows_to_mean")}
    states = {name: scores for name, scores in result.layers.items() if name not in rows}
    for title, columns in (("attention: rows of a layer to their mean", rows), ("hidden states of each layer", states)):
        names = [name.removeprefix("rows_to_mean_").replace("_distance", "").replace("_", " ") for name in columns]
        table = blank_table(title, [*kinds.columns("kind"), "layer"], names)
        for row, (kind, layer) in enumerate(layers):
            values = [three_digits(scores.values[row]) for scores in columns.values()]
            if any(values):
                add_row(table, [*kinds.columns(kind), str(layer), *values])
        if table.row_count:
            yield table


def _listed(names: list[str]) -> str:
    return " ".join(names[:_MOST_ENTRIES]) + (" …" if len(names) > _MOST_ENTRIES else "")

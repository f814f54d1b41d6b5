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
_SHUFFLED = "shuffled: the same tokens in another order; pairs that are as close there are close for any text"


def heads_tables(result: HeadsResult, kinds: KindNames = KNOWN) -> Iterator[Table]:
    """Yield the clusters of all kinds, and the redundant pairs, or the closest pairs if there are none."""
    yield _clusters(result, kinds)
    if any(len(group.heads) > 1 for group in result.groups.values()):
        yield _closest_pairs(result, kinds)


def _clusters(result: HeadsResult, kinds: KindNames) -> Table:
    from rich.text import Text

    groups, several = result.groups, len(result.groups) > 1
    counts = {kind: (len(group.heads), len(set(group.clusters.tolist()))) for kind, group in groups.items()}
    if several:
        title = "heads in clusters: " + ", ".join(f"{kind} {heads} in {size}" for kind, (heads, size) in counts.items())
    else:
        ((kind, (heads, size)),) = counts.items()
        median = three_digits(groups[kind].medians["distance"]) or "undefined"
        title = f"{kinds.attention(kind)}, {heads} heads in {size} clusters, median distance {median}"
    table = blank_table(title, [*["kind"] * several, "cluster", "layer.head"], ["heads", "mean distance"])
    for kind, group in groups.items():
        for row in _cluster_rows(group):
            add_row(table, [*[kind] * several, *row])
    if shared := kinds.grouped.describe(groups):
        table.caption = Text(shared)
    return table


def _cluster_rows(group: HeadClusters) -> Iterator[list[str]]:
    """Yield number, heads, size and mean distance of each cluster, then the heads that are alone."""
    names = [group.names[row] for row in group.order]
    members: dict[int, list[str]] = {}
    for name, number in zip(names, group.clusters[list(group.order)].tolist(), strict=True):
        members.setdefault(number, []).append(name)
    for cluster, heads in members.items():
        if len(heads) > 1:
            rows = np.flatnonzero(group.clusters == cluster)
            mean = group.distances[rows][:, rows].sum() / (len(rows) * (len(rows) - 1))
            yield [str(cluster), _listed(heads), str(len(heads)), three_digits(mean)]
    if alone := [heads[0] for heads in members.values() if len(heads) == 1]:
        yield ["alone", _listed(alone), str(len(alone)), ""]


def _closest_pairs(result: HeadsResult, kinds: KindNames) -> Table:
    """Return the pairs with a distance under the limit; of a kind without any, the closest pairs."""
    from rich.text import Text

    limit, groups, several = result.grouping.redundant, result.groups, len(result.groups) > 1
    counts = {kind: int((group.distances[tuple(group.pairs.T)] < limit).sum()) for kind, group in groups.items()}
    if several:
        listed = ", ".join(f"{kind} {count or 'none'}" for kind, count in counts.items())
        title = f"pairs of heads closer than {limit:g}: {listed}" + "; else the closest" * (0 in counts.values())
    else:
        ((kind, count),) = counts.items()
        title = f"{count} pairs" if count else "no pair"
        title += f" of {' '.join([*kinds.columns(kind), 'heads'])} closer than {limit:g}" + "; the closest" * (
            not count
        )
    columns = dict.fromkeys(name for group in groups.values() for name in group.matrices)
    shown = [name.removeprefix("distance_") for name in columns]
    table = blank_table(title, [*["kind"] * several, "head", "other"], shown)
    if "distance_shuffled" in columns:
        table.caption = Text(_SHUFFLED)
    for kind, group in groups.items():
        for row in _pair_rows(group, counts[kind], list(columns)):
            add_row(table, [*[kind] * several, *row])
    return table


def _pair_rows(group: HeadClusters, redundant: int, columns: list[str]) -> Iterator[list[str]]:
    """Yield the two heads and the distances of each pair that is shown, and the medians."""
    for first, second in group.pairs[: min(redundant, _MOST_ENTRIES) or _CLOSEST_PAIRS].tolist():
        values = [three_digits(group.matrices[name][first, second]) for name in columns]
        yield [group.names[first], group.names[second], *values]
    if redundant > _MOST_ENTRIES:
        yield ["…"]
    yield ["median", "", *(three_digits(group.medians[name]) for name in columns)]


def layers_tables(result: HeadsResult, kinds: KindNames = KNOWN) -> Iterator[Table]:
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

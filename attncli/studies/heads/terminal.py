"""Which heads are alike, in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.data import Kind
from attncli.studies.heads.result import HeadClusters, HeadsResult
from attncli.terminal.tables import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.table import Table

_SOME, _FEW = 12, 3


def heads_tables(likeness: HeadsResult) -> Iterator[Table]:
    """Clusters, redundant pairs and layers."""
    for kind, group in likeness.groups.items():
        yield _clusters(kind, group)
        if len(group.heads) > 1:
            yield _closest(kind, group, likeness.grouping.redundant)
    yield from _layers(likeness)


def _clusters(kind: Kind, group: HeadClusters) -> Table:
    numbers = group.clusters[list(group.order)].tolist()
    names = [group.names[at] for at in group.order]
    members = {number: [name for name, of in zip(names, numbers, strict=True) if of == number] for number in numbers}
    alone = [names[0] for names in members.values() if len(names) == 1]
    size = f"{len(names)} heads in {len(members)} clusters"
    title = f"{kind} attention, {size}, median distance {three_digits(group.medians['distance']) or 'undefined'}"
    shown = blank_table(title, ["cluster", "layer.head"], ["heads", "mean distance"])
    for cluster, of in members.items():
        if len(of) > 1:
            rows = [at for at, found in enumerate(group.clusters.tolist()) if found == cluster]
            inside = group.distances[rows][:, rows].sum() / (len(rows) * (len(rows) - 1))
            add_row(shown, [str(cluster), _listed(of), str(len(of)), three_digits(inside)])
    if alone:
        add_row(shown, ["alone", _listed(alone), str(len(alone)), ""])
    return shown


def _closest(kind: Kind, group: HeadClusters, under: float) -> Table:
    """The redundant pairs; where there are none, the pairs that come closest to that."""
    redundant = int((group.distances[tuple(group.pairs.T)] < under).sum())
    said = f"{redundant} pairs" if redundant else "no pair"
    title = f"{said} of {kind} heads closer than {under:g}" + ("" if redundant else "; the closest")
    columns = [name.removeprefix("distance_") for name in group.matrices]
    shown = blank_table(title, ["head", "other"], columns)
    for one, other in group.pairs[: min(redundant, _SOME) or _FEW].tolist():
        values = [three_digits(matrix[one, other]) for matrix in group.matrices.values()]
        add_row(shown, [group.names[one], group.names[other], *values])
    if redundant > _SOME:
        add_row(shown, ["…"])
    add_row(shown, ["median", "", *map(three_digits, group.medians.values())])
    return shown


def _layers(likeness: HeadsResult) -> Iterator[Table]:
    """What the rows of each layer say, and what its hidden states do, where there are any."""
    coords = likeness.layers["cosine"].coords
    places = list(zip(coords["kind"][1], coords["layer"][1], strict=True))
    rows = {name: scores for name, scores in likeness.layers.items() if name.startswith("rows_to_mean")}
    states = {name: scores for name, scores in likeness.layers.items() if name not in rows}
    for title, table in (("attention: rows of a layer to their mean", rows), ("hidden states of each layer", states)):
        words = [name.removeprefix("rows_to_mean_").replace("_distance", "").replace("_", " ") for name in table]
        shown = blank_table(title, ["kind", "layer"], words)
        for at, (kind, layer) in enumerate(places):
            values = [three_digits(scores.values[at]) for scores in table.values()]
            if any(values):
                add_row(shown, [kind, str(layer), *values])
        if shown.row_count:
            yield shown


def _listed(names: list[str]) -> str:
    return " ".join(names[:_SOME]) + (" …" if len(names) > _SOME else "")

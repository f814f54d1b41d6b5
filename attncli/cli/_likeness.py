"""Which heads are alike, in tables for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.cli._tables import add_row, blank_table, three_digits
from attncli.data import Group, Kind, Likeness

if TYPE_CHECKING:
    from rich.table import Table

_SOME, _FEW = 12, 3


def likeness_tables(likeness: Likeness) -> Iterator[Table]:
    """Clusters, redundant pairs and layers."""
    for kind, group in likeness.groups.items():
        yield _clusters(kind, group)
        if len(group.heads) > 1:
            yield _closest(kind, group, likeness.grouping.redundant)
    yield _layers(likeness)


def _clusters(kind: Kind, group: Group) -> Table:
    numbers = group.clusters[list(group.order)].tolist()
    names = [group.names[at] for at in group.order]
    members = {number: [name for name, of in zip(names, numbers, strict=True) if of == number] for number in numbers}
    alone = [names[0] for names in members.values() if len(names) == 1]
    size = f"{len(names)} heads in {len(members)} clusters"
    title = f"{kind} attention, {size}, median distance {three_digits(group.median) or 'undefined'}"
    shown = blank_table(title, ["cluster", "layer.head"], ["heads", "mean distance"])
    for cluster, of in members.items():
        if len(of) > 1:
            rows = [at for at, found in enumerate(group.clusters.tolist()) if found == cluster]
            inside = group.distances[rows][:, rows].sum() / (len(rows) * (len(rows) - 1))
            add_row(shown, [str(cluster), _listed(of), str(len(of)), three_digits(inside)])
    if alone:
        add_row(shown, ["alone", _listed(alone), str(len(alone)), ""])
    return shown


def _closest(kind: Kind, group: Group, under: float) -> Table:
    """The redundant pairs; where there are none, the pairs that come closest to that."""
    redundant = int((group.distances[tuple(group.pairs.T)] < under).sum())
    said = f"{redundant} pairs" if redundant else "no pair"
    title = f"{said} of {kind} heads closer than {under:g}" + ("" if redundant else "; the closest")
    shown = blank_table(title, ["head", "other"], ["distance"])
    for one, other in group.pairs[: min(redundant, _SOME) or _FEW].tolist():
        add_row(shown, [group.names[one], group.names[other], three_digits(group.distances[one, other])])
    if redundant > _SOME:
        add_row(shown, ["…", "", ""])
    return shown


def _layers(likeness: Likeness) -> Table:
    names = list(likeness.layers)
    words = ["rows to mean", "even", "cosine", "of input", "rank-one distance", "of input"]
    shown = blank_table("how alike the tokens of each layer are", ["kind", "layer"], words)
    coords = likeness.layers["cosine"].coords
    for at, (kind, layer) in enumerate(zip(coords["kind"][1], coords["layer"][1], strict=True)):
        add_row(shown, [kind, str(layer), *(three_digits(likeness.layers[name].values[at]) for name in names)])
    return shown


def _listed(names: list[str]) -> str:
    return " ".join(names[:_SOME]) + (" …" if len(names) > _SOME else "")

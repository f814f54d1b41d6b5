"""Distances between heads, their map, tree and clusters, and the smoothness of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.described import Described, Tabulated, counted
from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array, Kind
from attncli.studies.heads.options import HeadsOptions

if TYPE_CHECKING:
    import pandas as pd

LARGEST_DISTANCE = float(np.sqrt(np.log(2)))
"""The distance of two heads without a key in common, √nat."""


@dataclass(frozen=True, eq=False, repr=False)
class HeadClusters(Described):
    """The heads of one kind, of all layers.

    layers, heads  [head] number of the layer and of the head
    distances      [head, head] sqrt(JS), mean over texts, from 0 to 0.833 √nat
    to_even        [head] distance to uniform attention over the visible keys, √nat
    baselines      [head, head] of each: `positional`, between the mean weights of the heads at each offset, and with a
                   model `shuffled`, on the same texts with their tokens shuffled; NaN if a head has no baseline
    points         [head, 2] points of a map whose distances are close to `distances`
    stress         error of the map (stress-1), from 0
    tree           [node, 4] average linkage in the format of SciPy
    order          rows of the heads in the order of the tree
    clusters       [head] number of the cluster from 1, in that order, those of several heads first
    """

    layers: Array
    heads: Array
    distances: Array
    to_even: Array
    baselines: Mapping[str, Array]
    points: Array
    stress: float
    tree: Array
    order: tuple[int, ...]
    clusters: Array

    @property
    def names(self) -> list[str]:
        """The heads as `layer.head`."""
        return [f"{layer}.{head}" for layer, head in zip(self.layers.tolist(), self.heads.tolist(), strict=True)]

    @property
    def pairs(self) -> Array:
        """[pair, 2] rows of two heads, the closest pair first."""
        pairs = np.stack(np.triu_indices(len(self.heads), 1), axis=1)
        return pairs[np.argsort(self.distances[pairs[:, 0], pairs[:, 1]], kind="stable")]

    @property
    def medians(self) -> dict[str, float]:
        """The median over all pairs, of `distance` and of each baseline; NaN for a single head."""
        above = np.triu_indices(len(self.heads), 1)
        known = {name: matrix[above][~np.isnan(matrix[above])] for name, matrix in self.matrices.items()}
        return {name: float(np.median(values)) if len(values) else float("nan") for name, values in known.items()}

    @property
    def matrices(self) -> dict[str, Array]:
        """The matrices [head, head] by name: `distance`, and `distance_<name>` of each baseline."""
        return {"distance": self.distances} | {f"distance_{name}": matrix for name, matrix in self.baselines.items()}

    @property
    def nearest(self) -> Array:
        """[head] row of the nearest other head, -1 for a single head."""
        if len(self.heads) < 2:
            return np.array([-1])
        nearest: Array = (self.distances + np.diag(np.full(len(self.heads), np.inf))).argmin(1)
        return nearest

    def _lines(self) -> Iterable[str]:
        clusters = counted(len(set(self.clusters.tolist())), "cluster")
        yield f"HeadClusters: {counted(len(self.heads), 'head')} in {clusters}"


@dataclass(frozen=True, eq=False, repr=False)
class HeadsResult(Tabulated):
    """Similar and redundant heads, and how similar the tokens of each layer are.

    groups     heads of each kind
    layers     scores with dim `layer` (coords kind, layer, heads): `rows_to_mean`, mean JS of all rows to the mean row
               of the layer; `cosine` and `rank_one_distance` of the hidden states that leave it, NaN without a model;
               the same with `_uniform`, `_positional` and `_shuffled` for baselines, `_input` for what enters the stack
    grouping   options of the study
    texts      number of texts
    rows       number of rows that were compared, at most 128 of each text
    """

    groups: Mapping[Kind, HeadClusters]
    layers: Mapping[str, Scores]
    grouping: HeadsOptions
    texts: int
    rows: int

    def table(self) -> dict[str, Array]:
        """Return a row per head: its point, cluster, nearest head with distance and baselines, and `to_even`."""
        return _concatenated([_head_columns(kind, group) for kind, group in self.groups.items()])

    def pairs_table(self) -> dict[str, Array]:
        """Return a row per pair of heads of a kind, the closest pair first."""
        return _concatenated([_pair_columns(kind, group) for kind, group in self.groups.items()])

    def layers_table(self) -> dict[str, Array]:
        """Return a row per layer."""
        return columns_of(self.layers)

    def redundant_pairs(self) -> dict[str, Array]:
        """Return the rows of `pairs_table` with a distance under `grouping.redundant`."""
        pairs = self.pairs_table()
        return {name: values[pairs["distance"] < self.grouping.redundant] for name, values in pairs.items()}

    def to_frame(self) -> pd.DataFrame:
        """Return the table of heads as a pandas table."""
        return frame_of(self.table())

    def pairs_frame(self) -> pd.DataFrame:
        """Return the table of pairs as a pandas table."""
        return frame_of(self.pairs_table())

    def layers_frame(self) -> pd.DataFrame:
        """Return the table of layers as a pandas table."""
        return frame_of(self.layers_table())

    def _lines(self) -> Iterable[str]:
        groups = "; ".join(f"{kind} {group!r}".replace("HeadClusters: ", "") for kind, group in self.groups.items())
        yield f"HeadsResult over {counted(self.texts, 'text')}: {groups}"
        pairs = len(self.redundant_pairs()["distance"])
        yield f"{counted(pairs, 'redundant pair')}, {counted(self.rows, 'row')} compared"


def _head_columns(kind: Kind, group: HeadClusters) -> dict[str, Array]:
    nearest, rows = group.nearest, np.arange(len(group.heads))
    distances = {name: matrix[rows, nearest] for name, matrix in group.matrices.items()}
    return {
        "kind": np.full(len(rows), kind, dtype=object),
        "layer": group.layers,
        "head": group.heads,
        "x": group.points[:, 0],
        "y": group.points[:, 1],
        "cluster": group.clusters,
        "nearest": np.array([None if row < 0 else group.names[row] for row in nearest], dtype=object),
        **{f"nearest_{name}": np.where(nearest < 0, np.nan, values) for name, values in distances.items()},
        "to_even": group.to_even,
    }


def _pair_columns(kind: Kind, group: HeadClusters) -> dict[str, Array]:
    first, second = group.pairs.T
    return {
        "kind": np.full(len(first), kind, dtype=object),
        "layer": group.layers[first],
        "head": group.heads[first],
        "other_layer": group.layers[second],
        "other_head": group.heads[second],
        **{name: matrix[first, second] for name, matrix in group.matrices.items()},
        "same_cluster": group.clusters[first] == group.clusters[second],
    }


def _concatenated(tables: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

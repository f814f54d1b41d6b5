"""Which heads are alike: distances between all of them, a map, a tree, clusters, and how smooth layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attncli.data.results import Scores, columns_of, frame_of
from attncli.data.tokens import Array, Kind
from attncli.studies.heads.options import HeadsOptions

if TYPE_CHECKING:
    import pandas as pd

LARGEST_DISTANCE = float(np.sqrt(np.log(2)))
"""Of two heads without a key in common."""


@dataclass(frozen=True, eq=False)
class HeadClusters:
    """The heads of one kind, of all layers.

    layers, heads  [head] their numbers
    distances      [head, head], mean over texts: sqrt(JS), from 0 to 0.833
    to_even        [head] distance to even attention over the keys that each row may see
    baselines      [head, head] of each: `positional`, between the heads' own mean maps by distance, and with a model
                   `shuffled`, on the same texts with their tokens shuffled. NaN where a head has none
    points         [head, 2] a map whose distances come near these; stress: how far they are off, from 0
    tree           [joint, 4] average linkage as SciPy has it; order: the heads as they stand in it
    clusters       [head] from 1, in that order, those of several heads first
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
        """`layer.head` of each."""
        return [f"{layer}.{head}" for layer, head in zip(self.layers.tolist(), self.heads.tolist(), strict=True)]

    @property
    def pairs(self) -> Array:
        """[pair, 2] rows of two heads, the closest first."""
        found = np.stack(np.triu_indices(len(self.heads), 1), axis=1)
        return found[np.argsort(self.distances[found[:, 0], found[:, 1]], kind="stable")]

    @property
    def medians(self) -> dict[str, float]:
        """The median over all pairs, of `distance` and of each baseline: what to hold a distance against.

        NaN for a single head.
        """
        above = np.triu_indices(len(self.heads), 1)
        return {name: _median(matrix[above]) for name, matrix in self.matrices.items()}

    @property
    def matrices(self) -> dict[str, Array]:
        """[head, head] of `distance`, and of each baseline as `distance_<name>`."""
        return {"distance": self.distances} | {f"distance_{name}": each for name, each in self.baselines.items()}

    @property
    def nearest(self) -> Array:
        """[head] the row of the nearest other head, -1 for a single one."""
        if len(self.heads) < 2:
            return np.array([-1])
        nearest: Array = (self.distances + np.diag(np.full(len(self.heads), np.inf))).argmin(1)
        return nearest


@dataclass(frozen=True, eq=False)
class HeadsResult:
    """Which heads are alike, which are redundant, and do the tokens of a layer become alike?

    groups     by kind
    layers     with dim `layer` (coords kind, layer, heads): `rows_to_mean`, mean JS of all rows to the mean row of the
               layer; `cosine` and `rank_one_distance` of the hidden states that leave it, NaN without a model. Beside
               them `_uniform`, `_positional`, `_shuffled`, and the `_input` of the stack
    grouping   what was asked for
    texts      over how many texts, rows: how many rows of them were compared, of each at most 128
    """

    groups: Mapping[Kind, HeadClusters]
    layers: Mapping[str, Scores]
    grouping: HeadsOptions
    texts: int
    rows: int

    @property
    def has_states(self) -> bool:
        """Whether there are numbers of hidden states."""
        return not bool(np.isnan(self.layers["cosine"].values).all())

    def table(self) -> dict[str, Array]:
        """A row per head: kind, layer, head, x, y, cluster, nearest, nearest_distance, its baselines, to_even."""
        return _joined([_head_columns(kind, group) for kind, group in self.groups.items()])

    def pairs_table(self) -> dict[str, Array]:
        """A row per pair of heads of a kind, the closest first."""
        return _joined([_pair_columns(kind, group) for kind, group in self.groups.items()])

    def layers_table(self) -> dict[str, Array]:
        """A row per layer."""
        return columns_of(self.layers)

    def redundant_pairs(self) -> dict[str, Array]:
        """The rows of `pairs_table` closer than `grouping.redundant`."""
        found = self.pairs_table()
        return {name: values[found["distance"] < self.grouping.redundant] for name, values in found.items()}

    def to_frame(self) -> pd.DataFrame:
        """The table of heads as a pandas one."""
        return frame_of(self.table())

    def pairs_frame(self) -> pd.DataFrame:
        """The table of pairs as a pandas one."""
        return frame_of(self.pairs_table())

    def layers_frame(self) -> pd.DataFrame:
        """The table of layers as a pandas one."""
        return frame_of(self.layers_table())


def _median(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _head_columns(kind: Kind, group: HeadClusters) -> dict[str, Array]:
    nearest, rows = group.nearest, np.arange(len(group.heads))
    alone = nearest < 0
    names = [None if at < 0 else group.names[at] for at in nearest.tolist()]
    return {
        "kind": _words([kind] * len(rows)),
        "layer": group.layers,
        "head": group.heads,
        "x": group.points[:, 0],
        "y": group.points[:, 1],
        "cluster": group.clusters,
        "nearest": _words(names),
        **{f"nearest_{name}": np.where(alone, np.nan, each[rows, nearest]) for name, each in group.matrices.items()},
        "to_even": group.to_even,
    }


def _pair_columns(kind: Kind, group: HeadClusters) -> dict[str, Array]:
    one, other = group.pairs.T
    return {
        "kind": _words([kind] * len(one)),
        "layer": group.layers[one],
        "head": group.heads[one],
        "other_layer": group.layers[other],
        "other_head": group.heads[other],
        **{name: matrix[one, other] for name, matrix in group.matrices.items()},
        "same_cluster": group.clusters[one] == group.clusters[other],
    }


def _words(words: Sequence[str | None]) -> Array:
    return np.array([*words, None], dtype=object)[:-1]


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

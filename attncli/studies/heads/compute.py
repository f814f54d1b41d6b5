"""Distances between heads over several texts with their baselines, and the map, tree and clusters made of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attncli.data import Array, Input, Kind, Rows, Scores, Selection
from attncli.data.part_states import PartState
from attncli.engine.memory import maps_per_kind
from attncli.errors import UsageError
from attncli.stream import KeepChosen, SinkGroup
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.sums import Moments, absorb_moments
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadClusters, HeadsResult
from attncli.studies.heads.similarity import (
    BY_POSITION,
    OBSERVED,
    LayerHead,
    PairLimit,
    States,
    sampled_rows,
    text_distances,
)


class DistancesSink:
    """A sink that compares heads: it keeps some rows of all heads of a text, until their distances are known.

    compared  layer and number of the heads that were compared, by kind
    rows      number of rows that were compared
    sampled   the rows that are kept, by text and kind

    limit  how many rows of a long text are compared
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection, limit: PairLimit = OBSERVED) -> None:
        self._inputs, self._heads, self._limit = tuple(inputs), heads, limit
        self._means: dict[tuple[Kind, str], Moments] = {}
        self.compared: dict[Kind, tuple[LayerHead, ...]] = {}
        self.rows = 0
        self.sampled = {
            (text.index, kind): sampled_rows(len(text.sides(kind)[0]), len(text.sides(kind)[1]), count)
            for text in inputs
            for kind, count in maps_per_kind(heads, one_head=False, one_layer=False).items()
        }
        self._clear()

    def _clear(self) -> None:
        """Forget the rows of the texts that were compared."""
        self._chosen = KeepChosen("query", self.sampled, self._heads)
        self._open_texts: set[int] = set()
        self._ended: set[tuple[Kind, int]] = set()

    def add(self, rows: Rows) -> None:
        self._chosen.add(rows)
        self._open_texts |= set(rows.texts)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer; compare the heads after the last layer of the texts."""
        self._chosen.end_layer(kind, layer)
        self._ended.add((kind, layer))
        if self._ended >= self._heads.keys():
            self.compare()

    def compare(self) -> None:
        """Compare the heads of the texts whose rows are kept; raise UsageError if texts have different heads."""
        texts = [text for text in self._inputs if text.index in self._open_texts]
        for attention in self._chosen.result(texts):
            kind, of_text = attention.kind, text_distances(attention, self._limit)
            self._check_heads(kind, of_text.heads)
            values = {"distances": of_text.distances, "to uniform": of_text.to_uniform}
            values |= {f"layer {layer}": np.array(numbers) for layer, numbers in of_text.layers.items()}
            for name, value in values.items():
                self._means.setdefault((kind, name), Moments(value.shape)).add(value[None])
            self.rows += of_text.rows
        self._clear()

    def state(self) -> PartState:
        """Return the sums over texts."""
        self.compare()
        means = [{"name": list(key), "values": moments.state()} for key, moments in self._means.items()]
        compared = [{"kind": kind, "heads": [list(head) for head in heads]} for kind, heads in self.compared.items()]
        return {"means": means, "compared": compared, "rows": self.rows}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink; raise UsageError if they have different heads."""
        for entry in state["compared"]:
            heads = tuple((layer, head) for layer, head in entry["heads"])
            self._check_heads(entry["kind"], heads)
        for entry in state["means"]:
            kind, name = entry["name"]
            absorb_moments(self._means, (kind, name), entry["values"])
        self.rows += state["rows"]

    def _check_heads(self, kind: Kind, heads: tuple[LayerHead, ...]) -> None:
        """Raise UsageError if other texts have different heads."""
        if self.compared.setdefault(kind, heads) != heads:
            raise UsageError(
                "these texts have maps of different heads: choose heads that all texts have, with --layer and --head"
            )

    def to_uniform(self, kind: Kind) -> Array:
        """Return the distance of each head to uniform attention, mean over texts: [head], √nat."""
        return self._means[kind, "to uniform"].mean

    def distances(self, kind: Kind, heads: Sequence[LayerHead]) -> Array:
        """Return the distances of these heads, mean over texts: [head, head], √nat; NaN if one was not compared."""
        row_of = {head: row for row, head in enumerate(self.compared.get(kind, ()))}
        rows = np.array([row_of.get(head, -1) for head in heads])
        known = (rows[:, None] >= 0) & (rows >= 0)
        if not row_of:
            return np.full(known.shape, np.nan)
        return np.where(known, self._means[kind, "distances"].mean[np.ix_(rows, rows)], np.nan)

    def smoothness(self, kind: Kind, layer: int) -> Array:
        """Return the smoothness of a layer and of uniform attention in it: [2], nat; NaN if it was not compared."""
        moments = self._means.get((kind, f"layer {layer}"))
        return np.full(2, np.nan) if moments is None else moments.mean


class HeadsSink(SinkGroup):
    """A sink for the distances between heads, and between the same heads under weights by position alone."""

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._texts = len(inputs)
        self._observed, self._position = DistancesSink(inputs, heads), DistancesSink(inputs, heads, BY_POSITION)
        super().__init__(self._observed, PositionBaseline(self._position, rows=self._position.sampled))

    def state(self) -> PartState:
        """Return the sums over texts."""
        return {"texts": self._texts, "observed": self._observed.state(), "position": self._position.state()}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink for the same heads."""
        self._texts += state["texts"]
        self._observed.absorb(state["observed"])
        self._position.absorb(state["position"])

    def result(
        self,
        options: HeadsOptions,
        states: States | None = None,
        shuffled: DistancesSink | None = None,
        shuffled_states: States | None = None,
    ) -> HeadsResult:
        """Return distances, clusters and layers over all texts; raise UsageError if heads cannot be compared.

        states    hidden states of each stack; None without a model
        shuffled  a sink for the same texts with their tokens shuffled, and `shuffled_states` their hidden states
        """
        baselines = {"positional": self._position} | ({} if shuffled is None else {"shuffled": shuffled})
        for sink in (self._observed, *baselines.values()):
            sink.compare()
        groups = {}
        for kind, heads in self._observed.compared.items():
            distances = self._observed.distances(kind, heads)
            if np.isnan(distances).any():
                raise UsageError("some heads have no row in common: choose those to compare with --layer and --head")
            of_baselines = {name: sink.distances(kind, heads) for name, sink in baselines.items()}
            to_uniform = self._observed.to_uniform(kind)
            layer_numbers, head_numbers = np.array(heads).T
            groups[kind] = cluster_heads(layer_numbers, head_numbers, distances, to_uniform, of_baselines, options)
        if not groups:
            raise UsageError("there is nothing to compare: no head has a map")
        layers = _layer_scores(self._observed, baselines, states or {}, shuffled_states)
        return HeadsResult(groups, layers, options, self._texts, self._observed.rows)


def _layer_scores(
    observed: DistancesSink, baselines: Mapping[str, DistancesSink], states: States, shuffled: States | None
) -> dict[str, Scores]:
    """Return the smoothness of each layer, the numbers of its hidden states, and their baselines: dim `layer`."""
    counts = Counter((kind, layer) for kind, heads in observed.compared.items() for layer, _ in heads)
    layers = list(counts)
    smooth = np.array([observed.smoothness(*layer) for layer in layers])
    columns = {"rows_to_mean": smooth[:, 0], "rows_to_mean_uniform": smooth[:, 1]}
    for name, sink in baselines.items():
        columns[f"rows_to_mean_{name}"] = np.array([sink.smoothness(*layer)[0] for layer in layers])
    for index, name in enumerate(("cosine", "rank_one_distance")):
        columns[name] = np.array([_states_after(states, *layer)[index] for layer in layers])
        columns[f"{name}_input"] = np.array([_states_after(states, kind, -1)[index] for kind, _ in layers])
        if shuffled is not None:
            columns[f"{name}_shuffled"] = np.array([_states_after(shuffled, *layer)[index] for layer in layers])
    coords = {
        "kind": ("layer", np.array([kind for kind, _ in layers], dtype=object)),
        "layer": ("layer", np.array([layer for _, layer in layers])),
        "heads": ("layer", np.array(list(counts.values()))),
    }
    units = {
        "rows": ("nat", (0.0, float(np.log(2))), ""),
        "cosine": ("1", (-1.0, 1.0), ""),
        "rank": ("1", (0.0, 1.0), "Dong et al. 2021"),
    }
    return {
        name: Scores(name, values, ("layer",), coords, *units[name.split("_")[0]]) for name, values in columns.items()
    }


def _states_after(states: States, kind: Kind, layer: int) -> Array:
    """Return cosine and distance of the hidden states after a layer, before the first for -1: [2], NaN if missing."""
    numbers = states.get(kind, np.zeros((0, 2)))
    return numbers[layer + 1] if layer + 1 < len(numbers) else np.full(2, np.nan)


def cluster_heads(
    layers: Array, heads: Array, distances: Array, to_even: Array, baselines: Mapping[str, Array], options: HeadsOptions
) -> HeadClusters:
    """Return the heads of one kind with their map, tree and clusters; `distances` have no NaN."""
    points, stress = map_points(distances)
    tree = linkage_tree(distances)
    order, clusters = tuple(leaf_order(tree)), cluster_numbers(tree, options.clusters, options.threshold)
    return HeadClusters(layers, heads, distances, to_even, baselines, points, stress, tree, order, clusters)


def map_points(distances: Array) -> tuple[Array, float]:
    """Return points [head, 2] whose distances are close to these, and their error (stress-1).

    Stress-1 is the root of Σ (d - drawn)² / Σ d² over pairs: 0.1 is fair, a map of 0.2 or more is poor (Kruskal 1964).
    """
    if not distances.any():
        return np.zeros((len(distances), 2)), 0.0
    from sklearn import manifold

    if len(distances) == 2:
        points = np.array([[-0.5, 0.0], [0.5, 0.0]]) * distances[0, 1]
    else:
        options: dict[str, Any] = {"metric": "precomputed", "init": "classical_mds", "n_init": 1, "random_state": 0}
        points = manifold.MDS(2, normalized_stress=False, **options).fit_transform(distances)
    drawn = np.linalg.norm(points[:, None] - points[None], axis=-1)
    stress = float(np.sqrt(np.square(distances - drawn).sum() / np.square(distances).sum()))
    return points, stress


def linkage_tree(distances: Array) -> Array:
    """Return the tree by average linkage: [node, 4] its two parts, their distance, and the number of heads below."""
    from scipy.cluster import hierarchy
    from scipy.spatial import distance

    if len(distances) < 2:
        return np.zeros((0, 4))
    return np.asarray(hierarchy.linkage(distance.squareform(distances, checks=False), "average"))


def leaf_order(tree: Array) -> list[int]:
    """Return the heads in the order of the tree, from top to bottom.

    >>> leaf_order(np.array([[0, 2, 0.1, 2], [1, 3, 0.5, 3]]))
    [1, 0, 2]
    """
    from scipy.cluster import hierarchy

    order: list[int] = hierarchy.leaves_list(tree).tolist() if len(tree) else [0]
    return order


def cluster_numbers(tree: Array, count: int | None, threshold: float) -> Array:
    """Return the cluster of each head, numbered from 1 in the order of the tree: first those of several heads.

    count      number of clusters; None for as many as `threshold` gives
    threshold  largest mean distance between two parts of a cluster
    """
    if not len(tree):
        return np.ones(1, np.int64)
    from scipy.cluster import hierarchy

    if count is None:
        labels = hierarchy.fcluster(tree, threshold, "distance")
    else:
        labels = hierarchy.cut_tree(tree, n_clusters=count)[:, 0]
    ordered = sorted(dict.fromkeys(labels[leaf_order(tree)].tolist()), key=lambda label: np.sum(labels == label) == 1)
    numbers = {label: number for number, label in enumerate(ordered, 1)}
    return np.array([numbers[label] for label in labels.tolist()])


def check_installed() -> None:
    """Raise UsageError if SciPy or scikit-learn is missing."""
    try:
        import scipy.cluster.hierarchy
        import scipy.spatial.distance  # noqa: F401
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise UsageError('heads needs SciPy and scikit-learn: pip install "attncli[analyses]"') from error

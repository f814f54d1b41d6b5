"""Which heads are alike over texts, beside what position alone and shuffled tokens make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attncli.data import Array, Input, Kind, Rows, Scores, Selection
from attncli.errors import UsageError
from attncli.stream import KeepChosen
from attncli.stream.moments import Moments
from attncli.stream.position_baseline import PositionBaseline
from attncli.studies.heads.clusters import grouped
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.smoothness import StateNumbers
from attncli.studies.heads.text_distances import Place, TextDistances, sampled, text_distances

States = Mapping[Kind, StateNumbers]


class Distances:
    """The sink that compares heads: of each text some rows of all heads are held, compared and let go.

    inputs  the texts as they will come; heads: those that will
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._inputs, self._heads = tuple(inputs), heads
        self._pairs: dict[Kind, Moments] = {}
        self._even: dict[Kind, Moments] = {}
        self._layers: dict[tuple[Kind, int], Moments] = {}
        self.places: dict[Kind, tuple[Place, ...]] = {}
        self.rows = 0
        counts: dict[Kind, int] = {}
        for (kind, _), numbers in heads.items():
            counts[kind] = counts.get(kind, 0) + len(numbers)
        self._sampled = {
            (one.index, kind): sampled(len(one.sides(kind)[0]), len(one.sides(kind)[1]), count)
            for one in inputs
            for kind, count in counts.items()
        }
        self._blank()

    def _blank(self) -> None:
        self._chosen = KeepChosen("query", self._sampled, self._heads)
        self._came: set[int] = set()
        self._ended: set[tuple[Kind, int]] = set()

    def add(self, rows: Rows) -> None:
        """Keep the rows that are compared."""
        self._chosen.add(rows)
        self._came |= set(rows.texts)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Compare the heads of the texts that are complete."""
        self._chosen.end_layer(kind, layer)
        self._ended.add((kind, layer))
        if self._ended >= self._heads.keys():
            self.compare()

    def compare(self) -> None:
        """Compare the heads of the texts that went by."""
        came = [one for one in self._inputs if one.index in self._came]
        for attention in self._chosen.result(came):
            self._take(attention.kind, text_distances(attention))
        self._blank()

    def _take(self, kind: Kind, found: TextDistances) -> None:
        if self.places.setdefault(kind, found.places) != found.places:
            raise UsageError("these texts have maps of different heads: choose those of all with --layer and --head")
        self._pairs.setdefault(kind, Moments(found.distances.shape)).add(found.distances[None])
        self._even.setdefault(kind, Moments(found.to_even.shape)).add(found.to_even[None])
        for layer, numbers in found.layers.items():
            self._layers.setdefault((kind, layer), Moments((2,))).add(np.array([numbers]))
        self.rows += found.rows

    def to_even(self, kind: Kind) -> Array:
        """[head] the mean over texts."""
        return self._even[kind].mean

    def among(self, kind: Kind, places: Sequence[Place]) -> Array:
        """[head, head] of these heads, the mean over texts; NaN of those that did not come."""
        there = {place: at for at, place in enumerate(self.places.get(kind, ()))}
        rows = np.array([there.get(place, -1) for place in places])
        known = (rows[:, None] >= 0) & (rows >= 0)
        if not there:
            return np.full(known.shape, np.nan)
        return np.where(known, self._pairs[kind].mean[np.ix_(rows, rows)], np.nan)

    def smoothness(self, kind: Kind, layer: int) -> Array:
        """Rows to their mean, and the same of even attention; NaN of a layer that did not come."""
        found = self._layers.get((kind, layer))
        return np.full(2, np.nan) if found is None else found.mean


class HeadsSink:
    """The sink behind `HeadsResult`: heads as they are, and as position alone would have them."""

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._texts = len(inputs)
        self._own, self._position = Distances(inputs, heads), Distances(inputs, heads)
        self._explained = PositionBaseline(None, self._position)

    def add(self, rows: Rows) -> None:
        """Keep what is compared, and remember of the block what position has to do with it."""
        self._own.add(rows)
        self._explained.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer, and make what position alone would have made of it."""
        self._own.end_layer(kind, layer)
        self._explained.end_layer(kind, layer)

    def result(
        self,
        grouping: HeadsOptions,
        states: States | None = None,
        shuffled: Distances | None = None,
        shuffled_states: States | None = None,
    ) -> HeadsResult:
        """What all texts say; `states`: the hidden states of the stacks, where there is a model."""
        beside = {"positional": self._position}
        if shuffled is not None:
            beside["shuffled"] = shuffled
        for each in (self._own, *beside.values()):
            each.compare()
        groups = {}
        for kind, places in self._own.places.items():
            baselines = {name: found.among(kind, places) for name, found in beside.items()}
            distances, to_even = _known(self._own.among(kind, places)), self._own.to_even(kind)
            groups[kind] = grouped(_columns(places), distances, to_even, baselines, grouping)
        if not groups:
            raise UsageError("there is nothing to compare: no head has a map")
        layers = _layers(self._own, beside, states or {}, shuffled_states)
        return HeadsResult(groups, layers, grouping, self._texts, self._own.rows)


def _columns(places: Sequence[Place]) -> tuple[Array, Array]:
    layers, heads = np.array(places).T
    return layers, heads


def _known(distances: Array) -> Array:
    """The same; a `UsageError` where two heads have no row in common."""
    if np.isnan(distances).any():
        raise UsageError("some heads have no row in common: choose those to compare with --layer and --head")
    return distances


def _layers(
    own: Distances, beside: Mapping[str, Distances], states: States, shuffled: States | None
) -> dict[str, Scores]:
    """The numbers of each layer and their baselines, with dim `layer`."""
    places = [(kind, layer) for kind, heads in own.places.items() for layer in dict.fromkeys(at for at, _ in heads)]
    rows = np.array([own.smoothness(*place) for place in places])
    columns = {"rows_to_mean": rows[:, 0], "rows_to_mean_uniform": rows[:, 1]}
    columns |= {
        f"rows_to_mean_{name}": np.array([found.smoothness(*place)[0] for place in places])
        for name, found in beside.items()
    }
    none = StateNumbers()
    for at, name in enumerate(("cosine", "rank_one_distance")):
        columns[name] = np.array([states.get(kind, none).of(layer)[at] for kind, layer in places])
        columns[f"{name}_input"] = np.array([states.get(kind, none).of(-1)[at] for kind, _ in places])
        if shuffled is not None:
            columns[f"{name}_shuffled"] = np.array([shuffled.get(kind, none).of(layer)[at] for kind, layer in places])
    coords = {
        "kind": ("layer", np.array([kind for kind, _ in places] + [None], dtype=object)[:-1]),
        "layer": ("layer", np.array([layer for _, layer in places])),
        "heads": ("layer", np.array([sum(at == layer for at, _ in own.places[kind]) for kind, layer in places])),
    }
    return {name: _scores(name, values, coords) for name, values in columns.items()}


def _scores(name: str, values: Array, coords: Mapping[str, tuple[str, Array]]) -> Scores:
    units = {
        "rows": ("nat", (0.0, float(np.log(2))), ""),
        "cosine": ("1", (-1.0, 1.0), ""),
        "rank": ("1", (0.0, 1.0), "Dong et al. 2021"),
    }
    return Scores(name, values, ("layer",), coords, *units[name.split("_")[0]])

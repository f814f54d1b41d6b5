"""What each head does: numbers of the stream, the same of what position alone would give, and verdicts on both."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attncli import registry
from attncli.data import KINDS, Array, Input, Kind, Rows, Scores, Selection
from attncli.stream import Measure
from attncli.stream.head_distance import HeadDistances, differentiation
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.segment_mass import SegmentMass
from attncli.studies.patterns.classes import UNIFORM_SEGMENT, verdicts
from attncli.studies.patterns.result import NUMBERS, Patterns, Thresholds

Place = tuple[Kind, int, int]
Table = dict[str, Scores]
SEGMENT_MASS = "segment_mass"


class Numbers:
    """The sink that takes what verdicts rest on, over one or many texts."""

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._inputs = tuple(inputs)
        names = [name for name in NUMBERS if name != SEGMENT_MASS]
        self._measure = Measure([registry.module("metrics", name).METRIC for name in names], heads=heads)
        self._segments = SegmentMass(inputs)
        self._distances = HeadDistances(heads)

    def add(self, rows: Rows) -> None:
        """Measure one block and let it go."""
        for sink in (self._measure, self._segments, self._distances):
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the numbers of a layer."""
        for sink in (self._measure, self._segments, self._distances):
            sink.end_layer(kind, layer)

    def heads(self) -> tuple[Table, Table]:
        """The numbers of each head, and their standard deviation where there are several texts."""
        found = self._measure.result(self._inputs)
        segments = self._segments.result()
        tables = [dict(found.heads), dict(found.std)]
        for at, table in enumerate(tables):
            if table:
                like = table["sink"]
                values = [segments.get(place, (np.nan, np.nan))[at] for place in _places(like)]
                table[SEGMENT_MASS] = _like(like, SEGMENT_MASS, np.array(values), "Kovaleva et al. 2019")
        return tables[0], tables[1]

    def distances(self) -> Mapping[tuple[Kind, int], Array]:
        """[head, head] of each kind and layer."""
        return self._distances.result()


class PatternSink:
    """The sink behind `Patterns`: the numbers of each head, beside uniform and positional attention.

    inputs  the texts as they will come; heads: those that will
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._own, self._uniform, self._position = (Numbers(inputs, heads) for _ in range(3))
        self._explained = PositionBaseline(self._uniform, self._position)

    def add(self, rows: Rows) -> None:
        """Measure one block, and remember of it what position has to do with it."""
        self._own.add(rows)
        self._explained.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish a layer, and measure what position alone would have made of it."""
        self._own.end_layer(kind, layer)
        self._explained.end_layer(kind, layer)

    def result(self, thresholds: Thresholds, shuffled: Numbers | None = None) -> Patterns:
        """The verdicts on all that went by; `shuffled` are the numbers of the same texts with their tokens shuffled."""
        own, std = self._own.heads()
        beside = {"uniform": self._uniform, "positional": self._position, "shuffled": shuffled}
        there = {name: numbers for name, numbers in beside.items() if numbers is not None}
        baselines = {name: _beside(own, numbers.heads()[0]) for name, numbers in there.items()}
        distances = self._own.distances()
        more = {name: numbers.distances() for name, numbers in there.items() if name != "uniform"}
        return Patterns(
            heads=own,
            verdicts=tuple(verdicts(each, thresholds) for each in _by_head(own, baselines["uniform"])),
            baselines=baselines,
            layers=_by_layer(distances, more),
            distances=distances,
            thresholds=thresholds,
            std=std,
        )


def _by_head(heads: Mapping[str, Scores], uniform: Mapping[str, Scores]) -> list[dict[str, float]]:
    """For each head what the rules of the classes need."""
    columns = {name: scores.values.tolist() for name, scores in heads.items()}
    columns[UNIFORM_SEGMENT] = uniform[SEGMENT_MASS].values.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def number_questions() -> dict[str, str]:
    """What each number asks of a head, and `differentiation` of a layer."""
    asked = {name: registry.module("metrics", name).METRIC.question for name in NUMBERS if name != SEGMENT_MASS}
    own: dict[str, object] = {SEGMENT_MASS: SegmentMass, "differentiation": differentiation}
    return asked | {name: (inspect.getdoc(what) or "").splitlines()[0] for name, what in own.items()}


def uniform_verdicts(patterns: Patterns) -> list[dict[str, float]]:
    """What the classes of each head would be if it looked evenly: in short texts not only uniform."""
    even = patterns.baselines["uniform"]
    return [verdicts(each, patterns.thresholds) for each in _by_head(even, even)]


def _places(scores: Scores) -> list[Place]:
    return list(zip(*(scores.coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True))


def _beside(own: Table, found: Table) -> Table:
    """The numbers of a baseline for the same heads; where a layer has those of one head alone, it stands for all."""
    rows = {place: row for row, place in enumerate(_places(found["sink"]))}
    firsts: dict[tuple[Kind, int], int] = {}
    for (kind, layer, _), row in rows.items():
        firsts.setdefault((kind, layer), row)
    picked = [rows.get(place, firsts.get(place[:2])) for place in _places(own["sink"])]
    table = {}
    for name, scores in own.items():
        values = [np.nan if row is None else found[name].values[row] for row in picked]
        table[name] = replace(scores, values=np.array(values))
    return table


def _by_layer(
    own: Mapping[tuple[Kind, int], Array], baselines: Mapping[str, Mapping[tuple[Kind, int], Array]]
) -> dict[str, Scores]:
    """The differentiation of each layer, in order, and that of its baselines."""
    places = sorted(own, key=lambda place: (KINDS.index(place[0]), place[1]))
    coords = {
        "kind": ("layer", np.array([kind for kind, _ in places] + [None], dtype=object)[:-1]),
        "layer": ("layer", np.array([layer for _, layer in places], dtype=np.int64)),
        "heads": ("layer", np.array([len(own[place]) for place in places], dtype=np.int64)),
    }
    table = {}
    for name, found in {"": own, **{f"_{name}": found for name, found in baselines.items()}}.items():
        values = [differentiation(found[place]) if place in found else np.nan for place in places]
        metric = f"differentiation{name}"
        table[metric] = Scores(
            metric, np.array(values), ("layer",), coords, "sqrt(nat)", (0.0, np.log(2) ** 0.5), "Clark et al. 2019"
        )
    return table


def _like(scores: Scores, name: str, values: Array, source: str) -> Scores:
    return Scores(name, values, scores.dims, scores.coords, "1", (0.0, 1.0), source)

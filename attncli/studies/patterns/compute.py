"""The numbers behind the classes of heads, and the same numbers under uniform and positional weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attncli import registry
from attncli.data import KINDS, Array, Input, Kind, Rows, Scores, Selection
from attncli.stream import Measure, Sink
from attncli.stream.head_distance import HeadDistances, differentiation
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.segment_mass import SegmentMass
from attncli.studies.patterns.classes import UNIFORM_SEGMENT, verdicts
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import NUMBERS, Patterns, head_keys

Table = dict[str, Scores]
LayerDistances = Mapping[tuple[Kind, int], Array]
"""The distances between the heads of each kind and layer: [head, head], √nat."""
SEGMENT_MASS = "segment_mass"


class _SinkOfSinks:
    """A sink that passes everything on to several sinks."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def add(self, rows: Rows) -> None:
        for sink in self._sinks:
            sink.add(rows)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for sink in self._sinks:
            sink.end_layer(kind, layer)


class NumbersSink(_SinkOfSinks):
    """A sink for the numbers behind the classes, over one or many texts."""

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._inputs = tuple(inputs)
        names = [name for name in NUMBERS if name != SEGMENT_MASS]
        self._measure = Measure([registry.module("metrics", name).METRIC for name in names], heads=heads)
        self._segments, self._distances = SegmentMass(inputs), HeadDistances(heads)
        super().__init__(self._measure, self._segments, self._distances)

    def heads(self) -> tuple[Table, Table]:
        """Return the numbers of each head, and their standard deviation if there are several texts."""
        measured = self._measure.result(self._inputs)
        segments = self._segments.result()
        tables = dict(measured.heads), dict(measured.std)
        for number, table in enumerate(tables):
            if table:
                sink = table["sink"]
                values = np.array([segments.get(key, (np.nan, np.nan))[number] for key in head_keys(sink)])
                table[SEGMENT_MASS] = Scores(
                    SEGMENT_MASS, values, sink.dims, sink.coords, "1", (0.0, 1.0), "Kovaleva et al. 2019"
                )
        return tables

    def distances(self) -> LayerDistances:
        return self._distances.result()


class PatternsSink(_SinkOfSinks):
    """A sink for the numbers of each head, and the same under uniform and positional weights."""

    def __init__(self, inputs: Sequence[Input], heads: Selection) -> None:
        self._observed, self._uniform, self._position = (NumbersSink(inputs, heads) for _ in range(3))
        super().__init__(self._observed, PositionBaseline(self._uniform, self._position))

    def result(self, thresholds: Thresholds, shuffled: NumbersSink | None = None) -> Patterns:
        """Return the classes of all heads; `shuffled` has seen the same texts with their tokens shuffled."""
        heads, std = self._observed.heads()
        sinks = {"uniform": self._uniform, "positional": self._position}
        if shuffled is not None:
            sinks["shuffled"] = shuffled
        baselines = {name: _of_same_heads(heads, sink.heads()[0]) for name, sink in sinks.items()}
        distances = self._observed.distances()
        of_baselines = {name: sink.distances() for name, sink in sinks.items() if name != "uniform"}
        return Patterns(
            heads=heads,
            verdicts=tuple(verdicts(numbers, thresholds) for numbers in _by_head(heads, baselines["uniform"])),
            baselines=baselines,
            layers=_by_layer(distances, of_baselines),
            distances=distances,
            thresholds=thresholds,
            std=std,
        )


def _by_head(heads: Mapping[str, Scores], uniform: Mapping[str, Scores]) -> list[dict[str, float]]:
    """Return for each head the numbers that the rules of the classes need."""
    columns = {name: scores.values.tolist() for name, scores in heads.items()}
    columns[UNIFORM_SEGMENT] = uniform[SEGMENT_MASS].values.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def number_questions() -> dict[str, str]:
    """Return the questions that the numbers of heads answer, and `differentiation` of layers."""
    questions = {name: registry.module("metrics", name).METRIC.question for name in NUMBERS if name != SEGMENT_MASS}
    sources: dict[str, object] = {SEGMENT_MASS: SegmentMass, "differentiation": differentiation}
    return questions | {name: (inspect.getdoc(source) or "").splitlines()[0] for name, source in sources.items()}


def uniform_verdicts(patterns: Patterns) -> list[dict[str, float]]:
    """Return the classes that uniform weights have on the same texts; in short texts not only `uniform`."""
    uniform = patterns.baselines["uniform"]
    return [verdicts(numbers, patterns.thresholds) for numbers in _by_head(uniform, uniform)]


def _of_same_heads(heads: Table, baseline: Table) -> Table:
    """Return the numbers of a baseline for the same heads; if it has a single head for a layer, all heads get it."""
    rows = {key: row for row, key in enumerate(head_keys(baseline["sink"]))}
    firsts: dict[tuple[Kind, int], int] = {}
    for (kind, layer, _), row in rows.items():
        firsts.setdefault((kind, layer), row)
    picked = [rows.get(key, firsts.get(key[:2])) for key in head_keys(heads["sink"])]
    table = {}
    for name, scores in heads.items():
        values = [np.nan if row is None else baseline[name].values[row] for row in picked]
        table[name] = replace(scores, values=np.array(values))
    return table


def _by_layer(observed: LayerDistances, baselines: Mapping[str, LayerDistances]) -> Table:
    """Return the differentiation of each layer in order, and that of its baselines."""
    layers = sorted(observed, key=lambda layer: (KINDS.index(layer[0]), layer[1]))
    coords = {
        "kind": ("layer", np.array([kind for kind, _ in layers], dtype=object)),
        "layer": ("layer", np.array([layer for _, layer in layers], dtype=np.int64)),
        "heads": ("layer", np.array([len(observed[layer]) for layer in layers], dtype=np.int64)),
    }
    table = {}
    for suffix, distances in {"": observed, **{f"_{name}": matrices for name, matrices in baselines.items()}}.items():
        name = f"differentiation{suffix}"
        values = np.array([differentiation(distances[key]) if key in distances else np.nan for key in layers])
        limits = 0.0, np.log(2) ** 0.5
        table[name] = Scores(name, values, ("layer",), coords, "sqrt(nat)", limits, "Clark et al. 2019")
    return table

"""The classes of heads with the numbers behind them, also under uniform and positional weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from attncli.data import KINDS, Input, Kind, Scores, Selection
from attncli.data.part_states import PartState, repeated_state
from attncli.stream import Sink, SinkGroup
from attncli.stream.head_distance import differentiation
from attncli.stream.merging import MergedRows, merge_inputs
from attncli.stream.other_texts import OtherTextsBaseline
from attncli.stream.position_totals import PositionTotals
from attncli.stream.rigidity import RigiditySink
from attncli.stream.weights import UniformBaseline
from attncli.studies.patterns.classes import UNIFORM_NUMBERS, too_short, verdicts
from attncli.studies.patterns.numbers import RIGIDITY_SOURCE, LayerDistances, NumbersSink, Table
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASSES, Patterns, head_keys

HeadValues = dict[str, float]
Verdicts = tuple[Mapping[str, float], ...]
_MERGED_ROWS = 512
"""Rows of a long text that tell the classes without special tokens, of which a note says how many heads they change."""


class ClassesSink(SinkGroup):
    """A sink for the numbers of each head, and the same under uniform weights: the classes follow from both."""

    def __init__(self, inputs: Sequence[Input], heads: Selection, *, distances: bool = False) -> None:
        self.observed = NumbersSink(inputs, heads, distances=distances)
        self._uniform = NumbersSink(inputs, heads, distances=False)
        super().__init__(self.observed, UniformBaseline(self._uniform, heads))

    def state(self) -> PartState:
        """Return the sums over texts."""
        return {"observed": self.observed.state(), "uniform": self._uniform.state()}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink for the same heads."""
        self.observed.absorb(state["observed"])
        self._uniform.absorb(state["uniform"])

    def uniform(self) -> Table:
        """Return the numbers under uniform weights, for all heads."""
        return of_same_heads(self.observed.heads()[0]["sink"], self._uniform.heads()[0])

    def numbers(self) -> list[HeadValues]:
        """Return for each head the numbers that the rules of the classes need."""
        heads, _, share = self.observed.heads()
        uniform, coords = self.uniform(), heads["sink"].coords
        columns = {name: scores.values.tolist() for name, scores in heads.items()}
        columns |= {f"{name}_uniform": uniform[name].values.tolist() for name in UNIFORM_NUMBERS}
        columns |= {f"{name}_share": scores.values.tolist() for name, scores in share.items()}
        columns["tokens"] = (coords["queries"][1] / coords["texts"][1]).tolist()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def verdicts(self, thresholds: Thresholds) -> Verdicts:
        """Return the classes of each head with their strength."""
        return tuple(verdicts(numbers, thresholds) for numbers in self.numbers())


class PatternsSink(SinkGroup):
    """A sink for the classes of each head with their baselines, and for the classes without special tokens.

    words   whether the tokens are words already
    corpus  whether the texts are a part of a corpus: the positional baseline is then learned from all of its texts
    """

    def __init__(self, inputs: Sequence[Input], heads: Selection, *, words: bool = False, corpus: bool = False) -> None:
        self._classes, self._position = ClassesSink(inputs, heads, distances=True), NumbersSink(inputs, heads)
        self._by_position = PositionTotals(inputs) if corpus else OtherTextsBaseline(self._position)
        self._rigidity = None if corpus else RigiditySink()  # keeps sums of each text, too many for a corpus
        others: list[Sink] = [self._by_position, *([] if self._rigidity is None else [self._rigidity])]
        if len(inputs) == 1 and not corpus:
            others = []  # no other text explains the only one
        self._words: ClassesSink | None = None
        merged = []
        if _some_special(inputs):
            self._words = ClassesSink(merge_inputs(inputs, words=not words, drop=True), heads)
            merged = [MergedRows(self._words, inputs, words=not words, drop=True, most=_MERGED_ROWS)]
        super().__init__(self._classes, *others, *merged)

    def state(self) -> PartState:
        """Return the sums over texts of a corpus."""
        words = {} if self._words is None else {"words": self._words.state()}
        assert isinstance(self._by_position, PositionTotals)
        return {"classes": self._classes.state(), "position": self._by_position.state(), **words}

    @classmethod
    def merged(cls, states: Iterable[PartState]) -> Self:
        """Return the sink for all texts of a corpus from the states of its parts."""
        sink, words, position = cls((), {}, corpus=True), ClassesSink((), {}), PositionTotals(())
        all_have_words = True
        for state in states:
            sink._classes.absorb(state["classes"])
            position.absorb(state["position"])
            all_have_words = all_have_words and "words" in state
            if all_have_words:
                words.absorb(state["words"])
        sink._words, sink._by_position = words if all_have_words else None, position
        return sink

    def _feed_position(self) -> None:
        """Measure weights by position alone."""
        if isinstance(self._by_position, OtherTextsBaseline):
            self._by_position.feed()
            return
        for kind, layer, heads, shape, texts, rows in self._by_position.shapes():
            of_one_text = NumbersSink([shape.as_input()], {(kind, layer): heads})
            for block in rows:
                of_one_text.add(block)
            of_one_text.end_layer(kind, layer)
            self._position.absorb(repeated_state(of_one_text.state(), texts))

    def result(self, thresholds: Thresholds, shuffled: NumbersSink | None = None) -> Patterns:
        """Return the classes of all heads; `shuffled` has seen the same texts with their tokens shuffled."""
        self._feed_position()
        heads, std, share = self._classes.observed.heads()
        sinks = {"positional": self._position, **({} if shuffled is None else {"shuffled": shuffled})}
        baselines = {name: of_same_heads(heads["sink"], sink.heads()[0]) for name, sink in sinks.items()}
        distances, numbers = self._classes.observed.distances(), self._classes.numbers()
        layers = _by_layer(distances, {name: sink.distances() for name, sink in sinks.items()})
        rigidity, rigidity_std = self._rigidity_scores(heads["sink"])
        if rigidity is not None:
            layers["rigidity"] = _mean_by_layer(rigidity, layers["differentiation"])
        untold = {name for of_head in numbers for name in too_short(of_head, thresholds)}
        return Patterns(
            heads=heads,
            verdicts=self._classes.verdicts(thresholds),
            baselines={"uniform": self._classes.uniform(), **baselines},
            layers=layers,
            distances=distances,
            thresholds=thresholds,
            std=std,
            rigidity=rigidity,
            rigidity_std=rigidity_std if std else None,
            share=share,
            sink_keys=self._classes.observed.sink_keys(),
            too_short=tuple(name for name in CLASSES if name in untold),
            without_special=() if self._words is None else tuple(map(tuple, self._words.verdicts(thresholds))),
        )

    def _rigidity_scores(self, like: Scores) -> tuple[Scores, Scores] | tuple[None, None]:
        """Return mean and standard deviation of the rigidity over texts, for the heads of a score; None in a corpus."""
        if self._rigidity is None:
            return None, None
        rigidity = self._rigidity.result()
        rows = {key: row for row, key in enumerate(rigidity.heads)}
        order = [rows.get(key, -1) for key in head_keys(like)]
        columns = (("rigidity", rigidity.mean()), ("rigidity_std", rigidity.std()))
        mean, std = (
            Scores(name, np.append(values, np.nan)[order], like.dims, like.coords, "1", (0.0, 1.0), RIGIDITY_SOURCE)
            for name, values in columns
        )
        return mean, std


def _some_special(inputs: Sequence[Input]) -> bool:
    """Return whether there are special tokens, and other tokens on every side of every text."""
    sides = [side for text in inputs for side in (text.source, text.target) if side is not None]
    return any(side.special.any() for side in sides) and not any(side.special.all() for side in sides)


def of_same_heads(heads: Scores, baseline: Table) -> Table:
    """Return the numbers of a baseline for these heads; if it has a single head for a layer, all heads get it."""
    table = {}
    for name, scores in baseline.items():
        rows = {key: row for row, key in enumerate(head_keys(scores))}
        firsts: dict[tuple[Kind, int], int] = {}
        for (kind, layer, _), row in rows.items():
            firsts.setdefault((kind, layer), row)
        picked = [rows.get(key, firsts.get(key[:2])) for key in head_keys(heads)]
        values = [np.nan if row is None else scores.values[row] for row in picked]
        table[name] = replace(scores, values=np.array(values), coords=heads.coords)
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
        table[name] = Scores(name, values, ("layer",), coords, "√nat", limits, "Clark et al. 2019")
    return table


def _mean_by_layer(heads: Scores, layers: Scores) -> Scores:
    """Return the mean over the heads of each layer; NaN where no head has a value."""
    keys = [key[:2] for key in head_keys(heads)]
    values = []
    for layer in zip(*(layers.coords[name][1].tolist() for name in ("kind", "layer")), strict=True):
        known = heads.values[[key == layer for key in keys]]
        known = known[~np.isnan(known)]
        values.append(known.mean() if len(known) else np.nan)
    return replace(heads, values=np.array(values), dims=layers.dims, coords=layers.coords)

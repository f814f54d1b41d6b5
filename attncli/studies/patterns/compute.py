"""The classes of heads and the numbers behind them, also under uniform and positional weights.

Each class has a rule. It takes the numbers of a head by name and the thresholds. It returns None if the head does not
belong to the class, else its strength: from 0, just beyond the threshold, to 1, the largest possible value.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from attncli import registry
from attncli.data import KINDS, Array, Input, Kind, Scores, Selection
from attncli.stream import Measure, SinkGroup
from attncli.stream.head_distance import HeadDistances, differentiation
from attncli.stream.position_baseline import PositionBaseline
from attncli.stream.segment_mass import SegmentMass
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASSES, NUMBERS, Patterns, head_keys

HeadNumbers = Mapping[str, float]
Rule = Callable[[HeadNumbers, Thresholds], float | None]
Table = dict[str, Scores]
LayerDistances = Mapping[tuple[Kind, int], Array]
"""The distances between the heads of each kind and layer: [head, head], √nat."""
SEGMENT_MASS, UNIFORM_SEGMENT = "segment_mass", "segment_mass_uniform"


def vertical(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to the same key?

    Rule      sink >= 0.3 (--vertical): the strongest key receives at least this share of the rows
    Picture   a bright column: often [CLS], [SEP], the first token of a decoder, or punctuation
    Numbers   sink, and sink_position, the key (attncli explain sink)
    Caveat    Often a way to attend to nothing. Uniform weights reach it in texts of three tokens, in causal models
              of nine: sink_uniform is their value.
    Source    Kovaleva et al. 2019, "Revealing the Dark Secrets of BERT"; the threshold is that of Gu et al. 2024
    """
    return _above(numbers["sink"], thresholds.vertical)


def diagonal(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to the same offset?

    Rule      diagonal >= 0.3 (--diagonal) with diagonal_offset -1, 0 or +1 (--reach 1)
    Picture   a bright diagonal: the previous token (-1), itself (0) or the next one (+1)
    Numbers   diagonal and diagonal_offset (attncli explain diagonal)
    Caveat    Over several texts the offset is a mean; diagonal_offset_std says how much it varies.
    Source    Kovaleva et al. 2019; Voita et al. 2019 call such heads positional
    """
    is_near = abs(numbers["diagonal_offset"]) <= thresholds.reach + 0.5
    return _above(numbers["diagonal"], thresholds.diagonal) if is_near else None


def local(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to its neighbours, without one dominant offset?

    Rule      local_mass >= 0.5 (--local), the weight within two tokens, and diagonal < 0.3 (--diagonal) at any offset
    Picture   a broad band around the diagonal
    Numbers   local_mass and diagonal (attncli explain local_mass)
    Caveat    Uniform weights reach it in texts of up to nine tokens: local_mass_uniform is their value.
    Source    Clark et al. 2019, "What Does BERT Look At?"; Kovaleva et al. 2019
    """
    return None if numbers["diagonal"] >= thresholds.diagonal else _above(numbers["local_mass"], thresholds.local)


def block(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Do tokens attend to their own segment: text a or b of a pair, their role in a chat?

    Rule      segment_mass - segment_mass_uniform >= 0.3 (--block): mean weight within the segment of a token,
              beyond that of uniform weights
    Picture   bright squares along the diagonal
    Numbers   segment_mass and segment_mass_uniform; undefined if a text has fewer than two segments
    Caveat    Special tokens belong to no segment, and all turns of a role to one. Local heads are block heads too
              if segments are long.
    Source    Kovaleva et al. 2019
    """
    return _above(numbers["segment_mass"] - numbers[UNIFORM_SEGMENT], thresholds.block)


def sparse(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does each token attend to few others, in a pattern that position does not explain?

    Rule      entropy_normalized < 0.3 (--sparse), and neither vertical, diagonal nor local
    Picture   single bright cells: here are heads that depend on meaning or syntax
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Caveat    Heads that attend to one offset beyond --reach are here too.
    Source    the focused ones of the heterogeneous heads of Kovaleva et al. 2019
    """
    if any(rule(numbers, thresholds) is not None for rule in (vertical, diagonal, local)):
        return None
    gap = thresholds.sparse - numbers["entropy_normalized"]
    return gap / thresholds.sparse if gap > 0 else None


def uniform(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does each token attend to all keys equally?

    Rule      entropy_normalized > 0.95 (--uniform)
    Picture   one colour
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Caveat    Such a head averages over the text; it need not be useless.
    Source    the broad heads of Clark et al. 2019
    """
    gap = numbers["entropy_normalized"] - thresholds.uniform
    return gap / (1 - thresholds.uniform) if gap > 0 else None


def mixed(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does the head belong to no other class?

    Rule      no other class, though its numbers are defined
    Picture   several patterns at once, or a faint one
    Numbers   all of them
    Caveat    This class contains all other heads: they can be very different.
    Source    Kovaleva et al. 2019, whose mixed heads are vertical and diagonal: here they have both classes
    """
    if any(RULES[name](numbers, thresholds) is not None for name in CLASSES if name != "mixed"):
        return None
    limits = {"sink": thresholds.vertical, "diagonal": thresholds.diagonal, "local_mass": thresholds.local}
    reached = [numbers[name] / limit for name, limit in limits.items() if not math.isnan(numbers[name])]
    return max(0.0, 1 - max(reached)) if reached else None


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (vertical, diagonal, local, block, sparse, uniform, mixed)}


def questions() -> dict[str, str]:
    """Return the question that each class answers."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """Return the reference page of each class."""
    return {name: inspect.getdoc(rule) or "" for name, rule in RULES.items()}


def verdicts(numbers: HeadNumbers, thresholds: Thresholds) -> dict[str, float]:
    """Return the classes of a head with their strength from 0 to 1, strongest first."""
    strengths = {name: rule(numbers, thresholds) for name, rule in RULES.items()}
    classes = {name: strength for name, strength in strengths.items() if strength is not None}
    return dict(sorted(classes.items(), key=lambda item: -item[1]))


def _above(value: float, threshold: float) -> float | None:
    if not value >= threshold:
        return None
    return min(1.0, (value - threshold) / (1 - threshold)) if threshold < 1 else 1.0


class NumbersSink(SinkGroup):
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


class PatternsSink(SinkGroup):
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
        table[name] = Scores(name, values, ("layer",), coords, "√nat", limits, "Clark et al. 2019")
    return table

"""The comparison of two runs, text by text: distances between their maps, and changes of their measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.arguments import checked
from attncli.data import KINDS, Array, Attention, Input, Kind, Scores, Tokens
from attncli.data.modes import most_frequent
from attncli.engine.collected import Collected
from attncli.engine.kept_maps import check_weights
from attncli.engine.measuring import categories, declarations
from attncli.engine.paired_tests import FEWEST, adjusted, intervals, sign_flip
from attncli.engine.request import metric_names
from attncli.errors import UsageError
from attncli.studies.compare.map_distance import (
    HeadKey,
    head_keys,
    head_pair_distances,
    js_distance,
    norm_distance,
    same_head_distances,
)
from attncli.studies.compare.result import Comparison
from attncli.vocabulary import ALL_METRICS
from attncli.wording import spelled

if TYPE_CHECKING:  # saved runs are compared without torch
    from attncli.studies.compare.weights import WeightChanges

ROUNDING = 1e-6
"""If heads differ by less than this in a measure, its effects are undefined."""
LARGEST = float(np.sqrt(np.log(2)))
NORM_SOURCE = "Kobayashi et al. 2020 for the norms"
DISTANCE_SOURCE = "Clark et al. 2019; Lin 1991"


@checked
def compare(run_a: Collected, run_b: Collected, metrics: Sequence[str] | str | None = None) -> Comparison:
    """Return how the kept maps of two runs differ, head by head, and how their measures change from A to B.

    The runs have the same texts, or equally many: the first is compared with the first. Equal texts must have equal
    tokens.
    metrics  names of the metrics to compare; by default all but those that are positions, which have no difference
    Raise UsageError if the runs kept no maps, or have different heads, texts or tokens.
    """
    names = compared_metrics(metrics)
    comparer = Comparer(names)
    for text_a, text_b in text_pairs(run_a, run_b, names):
        comparer.add(text_a, text_b)
    return comparer.result()


def compared_metrics(metrics: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return the names of the metrics to compare; raise UsageError if none has a value for a whole head."""
    if metrics is not None:
        names = metric_names(metrics)
        if all(metric.per_key for metric in declarations(names).values()):
            raise UsageError(f"{', '.join(names)} has no value for a whole head that could be compared: name another")
        return names
    return tuple(name for name in metric_names(ALL_METRICS) if name not in categories())


def text_pairs(run_a: Collected, run_b: Collected, metrics: Sequence[str]) -> Iterator[tuple[Collected, Collected]]:
    """Yield the two runs text by text, measured; raise UsageError if they cannot be paired."""
    for run in (run_a, run_b):
        if not run.maps:
            raise UsageError(f"the run of {run.info.title} kept no maps: run again with --save-maps")
        check_weights(run.maps)
    if len(run_a.inputs) != len(run_b.inputs):
        raise UsageError(
            f"the runs have {len(run_a.inputs)} and {len(run_b.inputs)} texts: texts are compared in pairs, "
            "give runs with the same number of texts"
        )
    for text_a, text_b in zip(run_a.inputs, run_b.inputs, strict=True):
        yield _measured_text(run_a, text_a, metrics), _measured_text(run_b, text_b, metrics)


def _measured_text(run: Collected, text: Input, metrics: Sequence[str]) -> Collected:
    maps = tuple(attention for attention in run.maps if attention.text == text.index)
    part = replace(run, inputs=(text,), maps=maps, statistics=None)
    return replace(part, statistics=part.stats(metrics))


class Comparer:
    """Compares pairs of runs of one text each; keeps numbers, not maps.

    weights  changes of the matrices of heads, if two models are compared
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        self._declared = {name: metric for name, metric in declarations(metrics).items() if not metric.per_key}
        self._heads_seen: list[HeadKey] = []
        self._distances: list[Array] = []
        self._norm_distances: list[Array] = []
        self._pair_distances: list[dict[tuple[HeadKey, HeadKey], float]] = []
        self._measures: list[Array] = []
        self._notes: dict[str, None] = {}
        self.weights: WeightChanges | None = None

    def add(self, run_a: Collected, run_b: Collected) -> None:
        """Compare the next text; raise UsageError if A and B have different heads or tokens."""
        maps_a, maps_b = _by_kind(run_a), _by_kind(run_b)
        heads, other_heads = (
            [key for attention in maps.values() for key in head_keys(attention)] for maps in (maps_a, maps_b)
        )
        check_heads(heads, other_heads)
        if self._heads_seen and heads != self._heads_seen:
            raise UsageError("the texts have different heads: compare runs in which each text has the same heads")
        if not self._heads_seen:
            sides = (("A", run_a), ("B", run_b))
            self._notes |= {f"{name}: {note}": None for name, run in sides for note in run.info.notes}
        self._heads_seen = heads
        distances: dict[HeadKey, float] = {}
        norms: dict[HeadKey, float] = {}
        pair_distances: dict[tuple[HeadKey, HeadKey], float] = {}
        for kind, attention in maps_a.items():
            if self._comparable(run_a, run_b, attention, maps_b[kind]):
                distances |= same_head_distances(attention, maps_b[kind], js_distance)
                if attention.by == "norm":
                    norms |= same_head_distances(attention, maps_b[kind], norm_distance)
            pair_distances |= head_pair_distances(attention)
        self._distances.append(np.array([distances.get(head, np.nan) for head in heads]))
        if any(attention.by == "norm" for attention in maps_a.values()):
            self._norm_distances.append(np.array([norms.get(head, np.nan) for head in heads]))
        self._pair_distances.append(pair_distances)
        self._measures.append(np.stack([self._measured(run) for run in (run_a, run_b)]))

    def result(self) -> Comparison:
        """Return the means over texts, with intervals and tests if there are enough texts."""
        if not self._heads_seen:
            raise UsageError("there are no texts to compare: give at least one")
        texts = len(self._distances)
        if texts < FEWEST:
            few = f"{texts} text{'s are' if texts > 1 else ' is'} too few"
            self._notes[f"{few} for intervals and p-values: give at least {FEWEST}"] = None
        units = {name: metric.unit for name, metric in self._declared.items()}
        result = Comparison(self._heads(texts), self._all_measures(texts), units, tuple(map(spelled, self._notes)))
        if self.weights is None:
            return result
        return replace(result, weights=self.weights.table(), notes=(*result.notes, *self.weights.notes()))

    def _comparable(self, run_a: Collected, run_b: Collected, a: Attention, b: Attention) -> bool:
        """Return whether two maps can be compared cell by cell; a note says why if they cannot."""
        where = f"text {len(self._distances)}, {a.kind}"
        if run_a.inputs[0].text == run_b.inputs[0].text:
            target = " (--target gives both the same)" if run_a.inputs[0].target is not None else ""
            for tokens_a, tokens_b in ((a.queries, b.queries), (a.keys, b.keys)):
                check_tokens(f"{where}{target}", a.words, tokens_a, tokens_b)
            return True
        counts = [(len(attention.queries), len(attention.keys)) for attention in (a, b)]
        if counts[0] != counts[1]:
            self._notes[
                f"{where}: maps of {counts[0][0]} and {counts[1][0]} tokens cannot be "
                "compared, so they have no js_distance; use --words or texts of the same length"
            ] = None
            return False
        self._notes["the texts differ: their maps are compared position by position"] = None
        return True

    def _measured(self, run: Collected) -> Array:
        """Return [metric, head] in the order of the heads."""
        assert run.statistics is not None  # measured by text_pairs
        table = run.statistics.heads
        coords = next(iter(table.values())).coords
        keys = zip(*(coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)
        rows = {key: row for row, key in enumerate(keys)}
        order = [rows[head] for head in self._heads_seen]
        return np.stack([table[name].values[order] for name in self._declared])

    def _heads(self, texts: int) -> dict[str, Scores]:
        values = np.stack(self._distances, axis=1)
        low, high = intervals(values).T
        columns = {"js_distance": _mean(values), "js_low": low, "js_high": high, "nearest_distance": self._nearest()}
        entries = {**self._coords(), "texts": np.full(len(self._heads_seen), texts)}
        coords = {name: ("head", column) for name, column in entries.items()}
        scores = {
            name: Scores(name, column, ("head",), coords, "√nat", (0.0, LARGEST), DISTANCE_SOURCE)
            for name, column in columns.items()
        }
        if not self._norm_distances:
            return scores
        mean = _mean(np.stack(self._norm_distances, axis=1))
        name = "norm_distance"
        return {name: Scores(name, mean, ("head",), coords, "1", (0.0, None), NORM_SOURCE), **scores}

    def _nearest(self) -> Array:
        """Return the distance of each head to the nearest other head of its layer in A, averaged over texts."""
        nearest = dict.fromkeys(self._heads_seen, np.nan)
        for pair in self._pair_distances[0]:
            mean = float(_mean(np.array([[text.get(pair, np.nan) for text in self._pair_distances]]))[0])
            for head in pair:
                nearest[head] = float(np.fmin(nearest[head], mean))
        return np.array(list(nearest.values()))

    def _all_measures(self, texts: int) -> dict[str, Scores]:
        values = np.stack(self._measures, axis=-1)  # [a or b, metric, head, text]
        difference = values[1] - values[0]
        metrics, heads = difference.shape[:2]
        is_category = np.array([metric.category for metric in self._declared.values()])
        # a difference of positions says nothing: whether they are equal does
        amounts = np.where(is_category[:, None, None], np.nan, difference)
        flat = amounts.reshape(metrics * heads, texts)
        low, high = intervals(flat).T
        p = sign_flip(flat)
        both = np.where(np.isnan(difference), np.nan, values)  # a text counts if both have a value
        a, b, change = _mean(both[0]), _mean(both[1]), _mean(amounts)
        a[is_category], b[is_category] = (most_frequent(of_side[is_category]) for of_side in both)
        changed = _mean(np.where(np.isnan(amounts) & ~np.isnan(difference), difference != 0, np.nan))
        kinds = np.array([kind for kind, _, _ in self._heads_seen])
        spread = np.stack([spread_over_heads(np.stack(pair), kinds) for pair in zip(a, b, strict=True)])
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = np.where(change == 0, 0.0, np.where(spread > ROUNDING, change / spread, np.nan))
        columns = {
            "a": a.ravel(),
            "b": b.ravel(),
            "change": change.ravel(),
            **({"changed": changed.ravel()} if is_category.any() else {}),
            "change_low": low,
            "change_high": high,
            "p": p,
            "p_adjusted": np.concatenate([adjusted(of_metric) for of_metric in p.reshape(metrics, heads)]),
            "effect": np.where(np.isnan(change), np.nan, effect).ravel(),
        }
        coords = {name: ("row", np.tile(column, metrics)) for name, column in self._coords().items()}
        coords["metric"] = ("row", np.repeat(np.array(list(self._declared), dtype=object), heads))
        coords["texts"] = ("row", (~np.isnan(difference)).sum(-1).ravel())
        return {name: Scores(name, column, ("row",), coords, "", (None, None), "") for name, column in columns.items()}

    def _coords(self) -> dict[str, Array]:
        """Return kind, layer and head of each head; texts such as `mean` are objects."""
        columns = zip(("kind", "layer", "head"), zip(*self._heads_seen, strict=True), strict=True)
        return {name: np.array(column, dtype=object if isinstance(column[0], str) else int) for name, column in columns}


def check_heads(heads_a: Sequence[HeadKey], heads_b: Sequence[HeadKey]) -> None:
    """Raise UsageError unless both sides have the same layers and heads."""
    if heads_a != heads_b:
        raise UsageError(
            f"A has {_counted(heads_a)}, B has {_counted(heads_b)}, and each head is compared with the same head: "
            "choose those that both have with --kind, --layer and --head, or combine with --aggregate mean and "
            "--aggregate-layers mean"
        )


def _counted(keys: Sequence[HeadKey]) -> str:
    parts = []
    for kind in (kind for kind in KINDS if any(key[0] == kind for key in keys)):
        layers = {key[1] for key in keys if key[0] == kind}
        heads = {sum(key[:2] == (kind, layer) for key in keys) for layer in layers}
        parts.append(f"{len(layers)} {kind} layers x {'/'.join(map(str, sorted(heads)))} heads")
    return " and ".join(parts) or "no attention"


def _by_kind(run: Collected) -> dict[Kind, Attention]:
    return {
        attention.kind: attention for attention in sorted(run.maps, key=lambda attention: KINDS.index(attention.kind))
    }


def check_tokens(where: str, words: bool, tokens_a: Tokens, tokens_b: Tokens) -> None:
    """Raise UsageError if A and B have different tokens, or words if these are compared."""
    a, b = ([piece.casefold() if words else piece for piece in tokens.pieces] for tokens in (tokens_a, tokens_b))
    if a == b:
        return
    differing = (position for position, (left, right) in enumerate(zip(a, b, strict=False)) if left != right)
    first = next(differing, min(len(a), len(b)))
    shown = [repr(pieces[first]) if first < len(pieces) else "nothing" for pieces in (a, b)]
    what = "words" if words else "tokens"
    advice = "--special drop leaves out special tokens" if words else "use --words to compare words"
    raise UsageError(
        f"{where}: A and B have different {what}, {len(a)} and {len(b)}, with {shown[0]} and {shown[1]} at {first}; "
        f"their maps cannot be compared: {advice}"
    )


def _mean(values: Array) -> Array:
    """Return the mean of the defined values over the last axis, NaN if there are none."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(-1)
    mean: Array = np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)
    return mean


def spread_over_heads(values: Array, kinds: Array) -> Array:
    """Return for each head the standard deviation of a measure over all heads of its kind, of A and of B: [head]."""
    spread = np.full(len(kinds), np.nan)
    for kind in np.unique(kinds):
        defined = values[:, kinds == kind]
        defined = defined[~np.isnan(defined)]
        spread[kinds == kind] = defined.std() if len(defined) else np.nan
    return spread

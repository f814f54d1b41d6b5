"""Two runs beside each other, text by text: how far their maps are apart and how their measures change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attncli.data import KINDS, Array, Attention, Input, Kind, Scores, Tokens
from attncli.engine.collected import Collected
from attncli.engine.kept_maps import check_weights
from attncli.engine.measuring import declarations
from attncli.engine.request import ALL_METRICS, metric_names
from attncli.errors import UsageError
from attncli.studies.compare.map_distance import among, between, places
from attncli.studies.compare.paired_tests import adjusted, intervals, sign_flip
from attncli.studies.compare.result import FEWEST, Comparison

Place = tuple[Kind, int | str, int | str]
WHERE = ("sink_position", "diagonal_offset")
"""Metrics that say where something is."""
ROUNDING = 1e-6
"""A measure in which heads differ by less than this has no effects."""
FARTHEST = float(np.sqrt(np.log(2)))
DISTANCE_SOURCE = "Clark et al. 2019; Lin 1991"


def compare(run_a: Collected, run_b: Collected, metrics: Sequence[str] | str | None = None) -> Comparison:
    """How do the kept maps of two runs differ, head by head, and how do their measures change from A to B?

    The runs have the same texts, or as many: the first with the first. Of the same texts the tokens must be the same.
    metrics  names of those to compare, by default all that say how much, and not where: a mean of positions says little
    """
    names = compared(metrics)
    pairs = Pairs(names)
    for one, other in text_pairs(run_a, run_b, names):
        pairs.add(one, other)
    return pairs.result()


def compared(metrics: Sequence[str] | str | None) -> tuple[str, ...]:
    """The names of the metrics that are compared."""
    if metrics is not None:
        names = metric_names(metrics)
        if all(metric.per_key for metric in declarations(names).values()):
            raise UsageError(f"{', '.join(names)} has no value for a whole head that could be compared: name another")
        return names
    return tuple(name for name in metric_names(ALL_METRICS) if name not in WHERE)


def text_pairs(run_a: Collected, run_b: Collected, metrics: Sequence[str]) -> Iterator[tuple[Collected, Collected]]:
    """The two runs text by text, measured."""
    for run in (run_a, run_b):
        if not run.maps:
            raise UsageError(f"the run of {run.info.title} kept no maps: run again with --save-maps")
        check_weights(run.maps)
    if len(run_a.inputs) != len(run_b.inputs):
        raise UsageError(
            f"the runs have {len(run_a.inputs)} and {len(run_b.inputs)} texts: texts are compared one with one, "
            "give runs of equally many"
        )
    for one, other in zip(run_a.inputs, run_b.inputs, strict=True):
        yield _only(run_a, one, metrics), _only(run_b, other, metrics)


def _only(run: Collected, one: Input, metrics: Sequence[str]) -> Collected:
    maps = tuple(attention for attention in run.maps if attention.text == one.index)
    part = replace(run, inputs=(one,), maps=maps, statistics=None)
    return replace(part, statistics=part.stats(metrics))


class Pairs:
    """What is found of pairs of runs of one text each; their maps are let go at once."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self._declared = {name: metric for name, metric in declarations(metrics).items() if not metric.per_key}
        self._places: list[Place] = []
        self._distances: list[Array] = []
        self._near: list[dict[tuple[Place, Place], float]] = []
        self._measures: list[Array] = []
        self._notes: dict[str, None] = {}

    def add(self, one: Collected, other: Collected) -> None:
        """Take the next text; heads or tokens that are not alike are a `UsageError`."""
        mine, theirs = _of_kinds(one), _of_kinds(other)
        found = _places(mine)
        check_heads(found, _places(theirs))
        if self._places and found != self._places:
            raise UsageError("the texts have different heads: compare runs in which each text has the same heads")
        if not self._places:
            sides = (("A", one), ("B", other))
            self._notes |= {f"{name}: {note}": None for name, run in sides for note in run.info.notes}
        self._places = found
        distances: dict[Place, float] = {}
        near: dict[tuple[Place, Place], float] = {}
        for kind, attention in mine.items():
            if self._alike(one, other, attention, theirs[kind]):
                distances |= {(kind, *at): value for at, value in between(attention, theirs[kind]).items()}
            near |= {((kind, *a), (kind, *b)): value for (a, b), value in among(attention).items()}
        self._distances.append(np.array([distances.get(place, np.nan) for place in found]))
        self._near.append(near)
        self._measures.append(np.stack([self._measured(run) for run in (one, other)]))

    def result(self) -> Comparison:
        """The means over texts, with intervals and tests where there are enough."""
        if not self._places:
            raise UsageError("there are no texts to compare: give at least one")
        texts = len(self._distances)
        if texts < FEWEST:
            few = f"{texts} text{'s are' if texts > 1 else ' is'} too few"
            self._notes[f"{few} for intervals and p-values: give at least {FEWEST}"] = None
        units = {name: metric.unit for name, metric in self._declared.items()}
        return Comparison(self._heads(texts), self._all_measures(texts), units, tuple(self._notes))

    def _alike(self, one: Collected, other: Collected, mine: Attention, theirs: Attention) -> bool:
        """Whether two maps can be laid over each other."""
        same = one.inputs[0].text == other.inputs[0].text
        if same:
            where = f"text {len(self._distances)}, {mine.kind}"
            target = " (--target gives both the same)" if one.inputs[0].target is not None else ""
            for a, b in ((mine.queries, theirs.queries), (mine.keys, theirs.keys)):
                _check_tokens(f"{where}{target}", mine.words, a, b)
            return True
        counts = [(len(each.queries), len(each.keys)) for each in (mine, theirs)]
        if counts[0] != counts[1]:
            self._notes[
                f"text {len(self._distances)}, {mine.kind}: maps of {counts[0][0]} and {counts[1][0]} tokens cannot be "
                "laid over each other, so they have no js_distance; --words, or texts of the same length, may help"
            ] = None
            return False
        self._notes["the texts differ: their maps are laid over each other position by position"] = None
        return True

    def _measured(self, run: Collected) -> Array:
        """[metric, head] in the order of places."""
        assert run.statistics is not None  # it was measured
        table = run.statistics.heads
        coords = next(iter(table.values())).coords
        keys = zip(*(coords[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)
        rows = {key: at for at, key in enumerate(keys)}
        order = [rows[place] for place in self._places]
        return np.stack([table[name].values[order] for name in self._declared])

    def _heads(self, texts: int) -> dict[str, Scores]:
        values = np.stack(self._distances, axis=1)
        low, high = intervals(values).T
        columns = {"js_distance": _mean(values), "js_low": low, "js_high": high, "nearest_distance": self._nearest()}
        coords = {**self._coords(), "texts": ("head", np.full(len(self._places), texts))}
        return {
            name: Scores(name, each, ("head",), coords, "sqrt(nat)", (0.0, FARTHEST), DISTANCE_SOURCE)
            for name, each in columns.items()
        }

    def _nearest(self) -> Array:
        """How far the nearest other head of the layer is from each head in A, the mean over texts."""
        nearest = dict.fromkeys(self._places, np.nan)
        for pair in self._near[0]:
            mean = float(_mean(np.array([[text.get(pair, np.nan) for text in self._near]]))[0])
            for place in pair:
                nearest[place] = float(np.fmin(nearest[place], mean))
        return np.array(list(nearest.values()))

    def _all_measures(self, texts: int) -> dict[str, Scores]:
        values = np.stack(self._measures, axis=-1)  # [a or b, metric, head, text]
        difference = values[1] - values[0]
        metrics, heads = difference.shape[:2]
        flat = difference.reshape(metrics * heads, texts)
        low, high = intervals(flat).T
        p = sign_flip(flat)
        both = np.where(np.isnan(difference), np.nan, values)  # a text counts where both have a value
        a, b, change = _mean(both[0]), _mean(both[1]), _mean(difference)
        spread = np.stack([_spread(np.stack(pair), self._kinds) for pair in zip(a, b, strict=True)])
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = np.where(change == 0, 0.0, np.where(spread > ROUNDING, change / spread, np.nan))
        columns = {
            "a": a.ravel(),
            "b": b.ravel(),
            "change": change.ravel(),
            "change_low": low,
            "change_high": high,
            "p": p,
            "p_adjusted": np.concatenate([adjusted(each) for each in p.reshape(metrics, heads)]),
            "effect": np.where(np.isnan(change), np.nan, effect).ravel(),
        }
        coords = {name: ("row", np.tile(each, metrics)) for name, (_, each) in self._coords().items()}
        coords["metric"] = ("row", np.repeat(np.array(list(self._declared), dtype=object), heads))
        coords["texts"] = ("row", (~np.isnan(flat)).sum(1))
        return {name: Scores(name, each, ("row",), coords, "", (None, None), "") for name, each in columns.items()}

    @property
    def _kinds(self) -> Array:
        return np.array([kind for kind, _, _ in self._places])

    def _coords(self) -> dict[str, Any]:
        return {
            name: ("head", _column([place[at] for place in self._places]))
            for at, name in enumerate(("kind", "layer", "head"))
        }


def check_heads(mine: Sequence[Place], theirs: Sequence[Place]) -> None:
    """A `UsageError` unless both sides have the same layers and heads."""
    if mine == theirs:
        return
    raise UsageError(
        f"A has {_counted(mine)}, B has {_counted(theirs)}, and a head is compared with the one in its place: "
        "choose those that both have with --kind, --layer and --head, or combine with --aggregate mean and "
        "--aggregate-layers mean"
    )


def _counted(found: Sequence[Place]) -> str:
    parts = []
    for kind in (kind for kind in KINDS if any(place[0] == kind for place in found)):
        layers = {place[1] for place in found if place[0] == kind}
        heads = {sum(place[:2] == (kind, layer) for place in found) for layer in layers}
        parts.append(f"{len(layers)} {kind} layers x {'/'.join(map(str, sorted(heads)))} heads")
    return " and ".join(parts) or "no attention"


def _of_kinds(run: Collected) -> dict[Kind, Attention]:
    there = {attention.kind: attention for attention in run.maps}
    return {kind: there[kind] for kind in KINDS if kind in there}


def _places(maps: dict[Kind, Attention]) -> list[Place]:
    return [(kind, *at) for kind, each in maps.items() for layer in each.layers for at in places(each, layer)]


def _check_tokens(where: str, words: bool, mine: Tokens, theirs: Tokens) -> None:
    a, b = ([piece.casefold() if words else piece for piece in tokens.pieces] for tokens in (mine, theirs))
    if a == b:
        return
    at = next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    shown = [repr(pieces[at]) if at < len(pieces) else "nothing" for pieces in (a, b)]
    what = "words" if words else "tokens"
    advice = "--special drop leaves out special tokens" if words else "--words compares words"
    raise UsageError(
        f"{where}: A and B read it as other {what}, {len(a)} and {len(b)}, with {shown[0]} and {shown[1]} at {at}; "
        f"such maps cannot be laid over each other: {advice}"
    )


def _mean(values: Array) -> Array:
    """The mean over the last axis where there is a value, else NaN."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(-1)
    found: Array = np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)
    return found


def _spread(values: Array, kinds: Array) -> Array:
    """[head] how much the heads of its kind differ in a measure: the standard deviation over those of A and B."""
    found = np.full(len(kinds), np.nan)
    for kind in np.unique(kinds):
        own = values[:, kinds == kind]
        found[kinds == kind] = own[~np.isnan(own)].std() if not np.isnan(own).all() else np.nan
    return found


def _column(entries: Sequence[Any]) -> Array:
    if not isinstance(entries[0], str):
        return np.array(entries, dtype=np.int64)
    return np.array(entries, dtype=object)

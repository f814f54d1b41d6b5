"""The comparison of two models on a corpus, or of two corpora, from the sums of their parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from attncli.data import Array, Metric, RunInfo, Scores
from attncli.data.modes import Modes
from attncli.data.part_states import PartState
from attncli.engine.moment_tests import (
    MeanTest,
    difference_test,
    mean_test,
    standardised,
    stratified_test,
)
from attncli.engine.paired_tests import FEWEST, adjusted
from attncli.errors import UsageError
from attncli.stream.sums import Moments, absorb_moments
from attncli.studies.compare.compute import (
    DISTANCE_SOURCE,
    LARGEST,
    NORM_SOURCE,
    ROUNDING,
    check_heads,
    spread_over_heads,
)
from attncli.studies.compare.corpus_parts import choosing
from attncli.studies.compare.examples import Examples, examples_table, farthest
from attncli.studies.compare.map_distance import HeadKey
from attncli.studies.compare.result import Comparison
from attncli.wording import spelled

_LENGTHS_DIFFER = 1.1
"""If mean lengths differ by this factor, a note says so."""
Coords = dict[str, tuple[str, Array]]


def compared_models(states: Iterable[PartState], metrics: Sequence[Metric]) -> tuple[Comparison, RunInfo]:
    """Return the comparison of two models on the texts of all parts, and where B comes from."""
    sums: dict[str, Moments] = {}
    modes = {"a_modes": Modes(()), "b_modes": Modes(())}
    examples: list[PartState] = []
    first: PartState = {}
    pairs: list[Sequence[int]] = []
    for state in states:
        first = first or state
        heads = _checked_heads(state, first)
        modes = modes if examples else {name: Modes((_categories(metrics).sum(), len(heads))) for name in modes}
        for name in ("a", "b", "change", "changed", "js", "norm", "lengths"):
            if name in state:
                absorb_moments(sums, name, state[name])
        if state["pairs"]:
            pairs = state["pairs"]
            absorb_moments(sums, "pair_distances", state["pair_distances"])
        for name, of_side in modes.items():
            of_side.absorb(state[name])
        examples = [Examples.of_states([*examples, state["examples"]]).state()]
    texts = int(sums["lengths"].count[0])
    coords = _coords(heads)
    tests = mean_test(sums["change"])
    sides = [_side_means(sums[side].mean, modes[f"{side}_modes"], metrics) for side in "ab"]
    effect = standardised(sums["change"].mean, sums["a"], sums["b"])
    measures = _measures(metrics, coords, sides, tests, effect, {"texts": sums["a"].count}, sums["changed"].mean)
    chosen = Examples.of_states(examples)
    notes = [f"{_few(texts)} for intervals and p-values: give at least {FEWEST}"] if texts < FEWEST else []
    result = Comparison(
        distances_of_heads(coords, texts, sums, pairs),
        measures,
        {metric.name: metric.unit for metric in metrics},
        tuple(map(spelled, notes)),
        examples=examples_table([("", chosen)], heads, "js_distance"),
        lengths={"a": _length(sums["lengths"])},
    )
    return result, RunInfo(**first["other"])


def compared_corpora(states: Iterable[PartState], metrics: Sequence[Metric]) -> tuple[Comparison, RunInfo]:
    """Return the comparison of the corpus A with the corpus B, and where B comes from.

    states  of the parts of both; read twice
    """
    first: PartState = {}
    groups: dict[tuple[int, int], Moments] = {}
    lengths: dict[int, Moments] = {}
    modes: dict[int, Modes] = {}
    infos: dict[int, RunInfo] = {}
    hashes = [hashlib.sha256(), hashlib.sha256()]
    for state in states:
        first, side = first or state, state["side"]
        heads = _checked_heads(state, first)
        infos.setdefault(side, RunInfo(**state["run"]))
        for group in state["groups"]:
            absorb_moments(groups, (side, group["length"]), group["values"])
        absorb_moments(lengths, side, state["lengths"])
        for array in state["described"]["texts"].values():
            hashes[side].update(array.tobytes())
        modes.setdefault(side, Modes((_categories(metrics).sum(), len(heads)))).absorb(state["modes"])
    if len(lengths) < 2:
        raise UsageError("one of the corpora has no text that the model reads: give two with texts")
    totals = [_merged([of_group for key, of_group in groups.items() if key[0] == side]) for side in (0, 1)]
    shared = sorted({group for _, group in groups if (0, group) in groups and (1, group) in groups})
    none = Moments(totals[0].count.shape)
    alike = stratified_test([(groups[0, group], groups[1, group]) for group in shared] or [(none, none)])
    tests = difference_test(totals[0], totals[1])
    sides = [_side_means(totals[side].mean, modes[side], metrics) for side in (0, 1)]
    effect = standardised(tests.mean, totals[0], totals[1])
    counts = {"texts_a": totals[0].count, "texts_b": totals[1].count}
    coords = _coords(heads)
    measures = _measures(metrics, coords, sides, tests, effect, counts, alike=alike)
    texts, same = [int(lengths[side].count[0]) for side in (0, 1)], hashes[0].digest() == hashes[1].digest()
    chosen = choosing(metrics)
    found = examples_table(farthest(states, groups, totals, chosen), heads, "distance")
    notes = _corpora_notes(texts, [lengths[side] for side in (0, 1)], same, bool(np.isfinite(alike.mean).any()))
    if not found:
        names = ", ".join(metrics[index].name for index in chosen)
        notes.append(f"no texts are listed: {names} say how far a text is, and are undefined, or equal in all texts")
    result = Comparison(
        _largest(coords, metrics, effect, texts),
        measures,
        {metric.name: metric.unit for metric in metrics},
        tuple(map(spelled, notes)),
        examples=found,
        lengths={"a": _length(lengths[0]), "b": _length(lengths[1])},
    )
    return result, infos[1]


def _checked_heads(state: PartState, first: PartState) -> list[HeadKey]:
    """Return the heads of a part; raise UsageError if they are not those of the first."""
    heads: list[list[HeadKey]] = [[tuple(head) for head in of_part["heads"]] for of_part in (first, state)]
    check_heads(*heads)
    return heads[0]


def _categories(metrics: Sequence[Metric]) -> Array:
    return np.array([metric.category for metric in metrics], bool)


def _merged(moments: Iterable[Moments]) -> Moments:
    """Return the moments of all groups of texts."""
    total: dict[str, Moments] = {}
    for of_group in moments:
        absorb_moments(total, "", of_group.state())
    return total[""]


def _side_means(mean: Array, modes: Modes, metrics: Sequence[Metric]) -> Array:
    """Return the means of a side [metric, head]; of categories the most frequent values."""
    means = mean.copy()
    means[_categories(metrics)] = modes.mode
    return means


def _coords(heads: Sequence[HeadKey]) -> dict[str, Array]:
    """Return kind, layer and head of each head; texts such as `mean` are objects."""
    columns = zip(("kind", "layer", "head"), zip(*heads, strict=True), strict=True)
    return {name: np.array(column, dtype=object if isinstance(column[0], str) else int) for name, column in columns}


def _measures(
    metrics: Sequence[Metric],
    heads: Mapping[str, Array],
    sides: Sequence[Array],
    test: MeanTest,
    text_effect: Array,
    counts: Mapping[str, Array],
    changed: Array | None = None,
    alike: MeanTest | None = None,
) -> dict[str, Scores]:
    """Return the table of measures: a row for each metric and head.

    changed  share of the texts in which a category differs
    alike    the test between texts of similar length
    """
    category = _categories(metrics)
    amounts = [np.where(category[:, None], np.nan, side) for side in sides]
    spread = np.stack([spread_over_heads(np.stack(pair), heads["kind"]) for pair in zip(*amounts, strict=True)])
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(test.mean == 0, 0.0, np.where(spread > ROUNDING, test.mean / spread, np.nan))
    columns: dict[str, Array] = {"a": sides[0], "b": sides[1], "change": test.mean}
    if changed is not None and category.any():
        columns["changed"] = np.where(category[:, None], changed, np.nan)
    columns |= {"change_low": test.low, "change_high": test.high}
    if alike is not None:
        columns |= {"change_alike": alike.mean, "alike_low": alike.low, "alike_high": alike.high}
    columns |= {"p": test.p, "p_adjusted": np.stack([adjusted(of_metric) for of_metric in test.p])}
    columns |= {"effect": np.where(np.isnan(test.mean), np.nan, effect), "text_effect": text_effect}
    names = np.array([metric.name for metric in metrics], dtype=object)
    coords: Coords = {name: ("row", np.tile(column, len(metrics))) for name, column in heads.items()}
    coords["metric"] = ("row", np.repeat(names, len(heads["kind"])))
    coords |= {name: ("row", count.ravel().astype(int)) for name, count in counts.items()}
    return {
        name: Scores(name, column.ravel(), ("row",), coords, "", (None, None), "") for name, column in columns.items()
    }


def distances_of_heads(
    heads: Mapping[str, Array], texts: int, sums: Mapping[str, Moments], pairs: Sequence[Sequence[int]]
) -> dict[str, Scores]:
    """Return the distances of all heads between A and B, with intervals, and those to the nearest other head."""
    coords: Coords = {name: ("head", column) for name, column in heads.items()}
    coords["texts"] = ("head", np.full(len(heads["kind"]), texts))
    test, nearest = mean_test(sums["js"]), np.full(len(heads["kind"]), np.nan)
    if pairs:
        for pair, distance in zip(pairs, sums["pair_distances"].mean.tolist(), strict=True):
            nearest[list(pair)] = np.fmin(nearest[list(pair)], distance)
    ends = {"js_low": np.maximum(test.low, 0), "js_high": np.minimum(test.high, LARGEST)}
    columns = {"js_distance": test.mean, **ends, "nearest_distance": nearest}
    scores = {
        name: Scores(name, column, ("head",), coords, "√nat", (0.0, LARGEST), DISTANCE_SOURCE)
        for name, column in columns.items()
    }
    if "norm" not in sums:
        return scores
    norm = Scores("norm_distance", sums["norm"].mean, ("head",), coords, "1", (0.0, None), NORM_SOURCE)
    return {"norm_distance": norm, **scores}


def _largest(
    heads: Mapping[str, Array], metrics: Sequence[Metric], effect: Array, texts: Sequence[int]
) -> dict[str, Scores]:
    """Return for each head the measure in which the corpora differ most, and by how much."""
    sizes = np.nan_to_num(np.abs(effect), nan=-1.0)
    place = sizes.argmax(0)
    values = effect[place, np.arange(len(place))]
    names = [metrics[number].name if np.isfinite(value) else "" for number, value in zip(place, values, strict=True)]
    coords: Coords = {name: ("head", column) for name, column in heads.items()}
    coords["metric"] = ("head", np.array(names, dtype=object))
    coords |= {
        name: ("head", np.full(len(place), count)) for name, count in zip(("texts_a", "texts_b"), texts, strict=True)
    }
    return {"text_effect": Scores("text_effect", values, ("head",), coords, "1", (None, None), "Cohen 1988")}


def _length(lengths: Moments) -> dict[str, float]:
    """Return mean and standard deviation of the numbers of tokens."""
    return {"mean_tokens": float(lengths.mean[0]), "std_tokens": float(lengths.std[0])}


def _corpora_notes(texts: Sequence[int], lengths: Sequence[Moments], same_texts: bool, alike: bool) -> list[str]:
    """Return what a reader should know about two corpora; `alike`: whether they have texts of similar length."""
    notes = []
    if same_texts:
        notes.append("A and B are the same texts")
    for side, count in zip("AB", texts, strict=True):
        if count < FEWEST:
            notes.append(f"{side}: {_few(count)} for intervals and p-values: give at least {FEWEST}")
    means = [float(of_side.mean[0]) for of_side in lengths]
    if max(means) > _LENGTHS_DIFFER * min(means):
        notes.append(
            f"the texts of A have {means[0]:.1f} tokens on average, those of B {means[1]:.1f}, and most measures "
            "depend on length: "
            + ("change_alike compares texts of similar length" if alike else "nothing tells length from content here")
        )
    return notes


def _few(texts: int) -> str:
    return f"{texts} text{'s are' if texts > 1 else ' is'} too few"

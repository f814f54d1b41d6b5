"""What is kept of a part of a corpus: sums over two models that read it, or over the one model of its side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_values
from typing import Any

import numpy as np

from attncli.data import Array, Input, Metric, RunInfo, Zoom
from attncli.data.modes import Modes
from attncli.data.part_states import PartState
from attncli.engine.collected import Collected
from attncli.engine.execution import Execution
from attncli.engine.memory import map_bytes
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.engine.text_measures import TextMeasures, TextValues, head_metrics
from attncli.errors import TextError, UsageError
from attncli.store.text import plain
from attncli.stream.sums import Moments
from attncli.studies.compare.compute import check_heads, check_tokens
from attncli.studies.compare.examples import Examples, described_texts
from attncli.studies.compare.lengths import length_group
from attncli.studies.compare.map_distance import (
    HeadKey,
    head_pair_distances,
    map_distances,
    norm_distance,
    same_head_distances,
)

BASELINE_STEP = 8
"""Of a corpus, `nearest_distance` is a mean over every eighth text: it compares all pairs of heads."""
NORMALISED = ("entropy_normalized", "distance_ratio", "alignment_distance")
"""Metrics that are relative to what is possible in a text of that length: by them, texts of two corpora are chosen."""
MOST_BYTES = 256 * 2**20
"""Most memory of the maps of a batch, unless one text needs more."""


@dataclass(frozen=True)
class _Distances:
    """Distances of maps of one text: js and norm of each head, and of pairs of heads of A, which may be empty."""

    js: Mapping[HeadKey, float]
    norm: Mapping[HeadKey, float]
    pairs: Mapping[tuple[HeadKey, HeadKey], float]


def paired_part(a: Runner, b: Runner, execution: Execution) -> tuple[Collected, PartState]:
    """Return the run of A over some texts, and the sums of A and B and of their differences.

    Raise TextError if A and B have different tokens, UsageError if they have different heads.
    """
    request = with_values(execution.request, zoom=Zoom(), keep_maps=True)
    passes = _small_passes((a, b), request, execution)
    _check_same_tokens(passes[0], passes[1], request.words)
    measures = [TextMeasures(prepared, request) for prepared in passes]
    distances: dict[int, _Distances] = {}
    infos: list[RunInfo] = []
    for run_a, run_b in _pairs_of_runs(a, b, passes, measures, execution):
        infos = [run_a.info, run_b.info]
        distances |= {text.index: _distances(run_a, run_b, text) for text in run_a.inputs}
    values = [of_side.values() for of_side in measures]
    check_heads(values[0].heads, values[1].heads)
    inputs = sorted(passes[0].inputs, key=lambda text: text.index)
    state = {
        "heads": [list(head) for head in values[0].heads],
        "other": plain({**vars(infos[1]), "notes": ()}),
        **sums_of_both(head_metrics(request), *values),
        **_sums_of_distances(values[0].heads, [distances[text.index] for text in inputs], inputs, execution),
    }
    notes = [f"{side}: {note}" for side, info in zip("AB", infos, strict=True) for note in info.notes]
    return Collected(with_values(infos[0], notes=tuple(notes)), tuple(inputs)), state


def _small_passes(runners: Sequence[Runner], request: Request, execution: Execution) -> tuple[Pass, ...]:
    """Return the passes of A and B over the texts, with fewer texts in a batch if their maps are large."""

    def prepare(request: Request) -> tuple[Pass, ...]:
        return tuple(runner.prepare(execution.texts, request, first=execution.first) for runner in runners)

    passes, combined = prepare(request), request.aggregate != "none"
    needed = max(
        map_bytes(batch.inputs, passes[0].heads, one_head=combined, one_layer=False) for batch in passes[0].batches
    )
    if needed <= MOST_BYTES:
        return passes
    return prepare(with_values(request, batch_tokens=max(1, request.batch_tokens * MOST_BYTES // needed)))


def _check_same_tokens(a: Pass, b: Pass, words: bool) -> None:
    """Raise TextError for the first text with different tokens, with those of all others."""
    kinds, errors = {kind for kind, _ in a.heads}, list[TextError]()
    for text_a, text_b in zip(a.inputs, b.inputs, strict=True):
        try:
            for kind in sorted(kinds):
                for tokens in zip(text_a.sides(kind), text_b.sides(kind), strict=True):
                    check_tokens(f"text {text_a.index}, {kind}", words, *tokens)
        except UsageError as error:
            errors.append(TextError(str(error), text_a.index))
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]


def _pairs_of_runs(
    a: Runner, b: Runner, passes: Sequence[Pass], measures: Sequence[TextMeasures], execution: Execution
) -> Iterator[tuple[Collected, Collected]]:
    """Yield the maps of A and B batch by batch, which the measures see too; text by text if tokens differ in number."""
    of_a, of_b = passes
    cuts = [[[text.index for text in batch.inputs] for batch in prepared.batches] for prepared in passes]
    if cuts[0] == cuts[1]:
        runs_a = of_a.runs(execution.texts, execution.track, [measures[0].sink])
        yield from zip(runs_a, of_b.runs(execution.texts, more=[measures[1].sink]), strict=True)
        return
    for number, text in enumerate(execution.texts, execution.first):
        singles = (runner.prepare([text], of_a.request, first=number) for runner in (a, b))
        runs = (prepared.runs([text], more=[of_side.sink]) for prepared, of_side in zip(singles, measures, strict=True))
        yield from zip(*runs, strict=True)


def _distances(run_a: Collected, run_b: Collected, text: Input) -> _Distances:
    """Return the distances of the maps of one text."""
    maps_a, maps_b = ({part.kind: part for part in run.maps if part.text == text.index} for run in (run_a, run_b))
    js: dict[HeadKey, float] = {}
    norm: dict[HeadKey, float] = {}
    pairs: dict[tuple[HeadKey, HeadKey], float] = {}
    for kind, attention in maps_a.items():
        js |= map_distances(attention, maps_b[kind])
        if attention.by == "norm":
            norm |= same_head_distances(attention, maps_b[kind], norm_distance)
        if text.index % BASELINE_STEP == 0:
            pairs |= head_pair_distances(attention)
    return _Distances(js, norm, pairs)


def sums_of_both(metrics: Sequence[Metric], a: TextValues, b: TextValues) -> dict[str, Any]:
    """Return the moments of A, of B and of their differences, over the texts where both are defined."""
    category = np.array([metric.category for metric in metrics])
    difference = b.values - a.values
    both = [np.where(np.isnan(difference), np.nan, side.values) for side in (a, b)]
    amounts = np.where(category[:, None], np.nan, difference)
    changed = np.where(np.isnan(difference), np.nan, difference != 0)
    moments = {"a": both[0], "b": both[1], "change": amounts, "changed": changed}
    modes = {f"{side}_modes": of_side[:, category] for side, of_side in zip("ab", both, strict=True)}
    return {
        **{name: moments_of(values).state() for name, values in moments.items()},
        **{name: modes_of(values).state() for name, values in modes.items()},
    }


def _sums_of_distances(
    heads: Sequence[HeadKey], distances: Sequence[_Distances], inputs: Sequence[Input], execution: Execution
) -> dict[str, Any]:
    """Return the moments of the distances of all texts, and the texts with the largest."""
    js = _table(heads, [of_text.js for of_text in distances])
    pairs = next((list(of_text.pairs) for of_text in distances if of_text.pairs), [])
    numbers = {head: number for number, head in enumerate(heads)}
    tokens = [len(text.source) for text in inputs]
    described = described_texts([text.text for text in execution.texts], execution.places, tokens, execution.first)
    known = ~np.isnan(js)
    means = np.where(known.any(1), np.where(known, js, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)
    norms = _table(heads, [of_text.norm for of_text in distances])
    return {
        "js": moments_of(js).state(),
        **({"norm": moments_of(norms).state()} if execution.request.by == "norm" else {}),
        "pairs": [[numbers[head] for head in pair] for pair in pairs],
        "pair_distances": moments_of(_table(pairs, [of_text.pairs for of_text in distances if of_text.pairs])).state(),
        "lengths": moments_of(np.array(tokens, float)[:, None]).state(),
        "examples": Examples.of(means, js, described).state(),
    }


def _table(keys: Sequence[Any], rows: Sequence[Mapping[Any, float]]) -> Array:
    """Return the values of keys: [row, key], NaN where there is none."""
    return np.array([[row.get(key, np.nan) for key in keys] for row in rows]).reshape(len(rows), len(keys))


def side_part(runner: Runner, execution: Execution) -> tuple[Collected, PartState]:
    """Return the run of one side over some of its texts, their sums by length, and the values that choose texts."""
    request = with_values(execution.request, zoom=Zoom(), keep_maps=False)
    bare = with_values(request, metrics=())
    prepared = runner.prepare(execution.texts, bare, execution.track, first=execution.first)
    measures = TextMeasures(prepared, request)
    run = prepared.gather(execution.track, more=[measures.sink], texts=execution.texts)
    found, metrics = measures.values(), head_metrics(request)
    category = np.array([metric.category for metric in metrics])
    amounts = np.where(category[:, None], np.nan, found.values)
    tokens = np.array([len(text.source) for text in run.inputs])
    groups = length_group(tokens)
    state = {
        "side": execution.side,
        "heads": [list(head) for head in found.heads],
        "run": plain({**vars(run.info), "notes": ()}),
        "groups": [
            {"length": group, "values": moments_of(amounts[groups == group]).state()}
            for group in np.unique(groups).tolist()
        ],
        "modes": modes_of(found.values[:, category]).state(),
        "lengths": moments_of(tokens.astype(float)[:, None]).state(),
        "values": amounts[:, choosing(metrics)].astype(np.float32),
        "described": described_texts(
            [text.text for text in execution.texts], execution.places, tokens.tolist(), execution.first
        ),
    }
    side = "AB"[execution.side]
    notes = tuple(f"{side}: {note}" for note in run.info.notes)
    return with_values(run, info=with_values(run.info, notes=notes)), state


def choosing(metrics: Sequence[Metric]) -> list[int]:
    """Return the indices of the metrics that choose texts: those that are normalised, or all amounts without one."""
    normalised = [index for index, metric in enumerate(metrics) if metric.name in NORMALISED]
    return normalised or [index for index, metric in enumerate(metrics) if not metric.category]


def moments_of(values: Array) -> Moments:
    """Return the moments over texts of values [text, ...]."""
    moments = Moments(values.shape[1:])
    moments.add(values)
    return moments


def modes_of(values: Array) -> Modes:
    """Return the most frequent values over texts of values [text, ...]."""
    modes = Modes(values.shape[1:])
    modes.add(values)
    return modes

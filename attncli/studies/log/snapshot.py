"""What the heads of a model show at one step, from one pass over some texts and one over repeated random tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from attncli.data import Array, Input, Kind, Metric, Scores, Selection, Text
from attncli.data.layer_table import layer_table
from attncli.engine.checks import check_seeds
from attncli.engine.collected import Collected
from attncli.engine.execution import Execution, Source
from attncli.engine.measuring import declarations
from attncli.engine.request import Request, RunOptions, metric_names
from attncli.engine.rigidity_table import rigidity_table
from attncli.engine.runner import Runner
from attncli.errors import UsageError
from attncli.inputs.repeated_inputs import RepeatedTokens
from attncli.inputs.texts import Texts, parse_texts
from attncli.stream import Measure, SinkGroup
from attncli.stream.rigidity import RigiditySink
from attncli.stream.rows_to_mean import RowsToMean
from attncli.stream.weights import UniformBaseline
from attncli.studies.heads.similarity import state_numbers
from attncli.studies.log.options import SnapshotOptions
from attncli.studies.log.result import RIGIDITY, ROWS_TO_MEAN, STATES, Snapshot
from attncli.studies.patterns.classes import too_short
from attncli.studies.patterns.compute import ClassesSink, of_same_heads
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASSES, NUMBERS, HeadKey, head_keys
from attncli.studies.repeated.passes import decoder_alone, read_twice
from attncli.studies.repeated.result import SCORES

Table = dict[str, Scores]
Columns = dict[str, Array]
_HEAD = ("kind", "layer", "head", "texts", "queries")
_THRESHOLDS = Thresholds()
"""Thresholds of the classes of heads: those of `patterns` by default."""


def snapshot(
    model: Runner,
    text: Texts,
    options: SnapshotOptions | None = None,
    *,
    step: int | None = None,
    name: str | None = None,
    held_out: Texts | None = None,
    **run_options: Unpack[RunOptions],
) -> Snapshot:
    """Return what the heads of a loaded model show on some texts; the model stays as it is, also in training.

    model        what `attncli.load` returns; it may be in training mode
    step, name   the step of the training, and the name of the checkpoint; by default that of the model
    held_out     texts that the model is not trained on: how much more rigid heads are on the others
    run_options  options of the forward pass, as in `attncli.RunOptions`: kind, layer and head select
    """
    options = options or SnapshotOptions()
    request = Request.of({**run_options, "keep_maps": True})
    check_snapshot(options, request)
    execution = Execution(request, parse_texts(text), load=lambda: model)
    others = () if held_out is None else tuple(parse_texts(held_out))
    return take_snapshot(execution, options, step, model.loaded.name if name is None else name, others)[1]


def check_snapshot(options: SnapshotOptions, request: Request) -> None:
    """Raise UsageError if a metric has no mean over heads, or the request combines heads or reads norms."""
    declared = declarations(metric_names(options.metrics)).values()
    if not declared:
        raise UsageError("there is nothing to measure: give at least one metric")
    for metric in declared:
        if metric.category or metric.per_key:
            reason = "is a position, of which there is no mean" if metric.category else "has a value for every key"
            raise UsageError(f"the metric {metric.name} {reason}: leave it out")
    if request.by == "norm":
        raise UsageError("snapshots are of attention weights: leave out by='norm'")
    if request.combined:
        raise UsageError("snapshots are of single heads: leave out --aggregate and --aggregate-layers")
    if options.probe_length < 0 or options.probe_length == 1:
        raise UsageError(f"expected --probe-length from 2 tokens up, or 0 for no probe, got {options.probe_length}")
    check_seeds("--sequences", options.sequences, 1)


def take_snapshot(
    execution: Execution, options: SnapshotOptions, step: int | None, name: str, held_out: Sequence[Text] = ()
) -> tuple[Collected, Snapshot]:
    """Return the run over the texts of an execution, and what the heads show in it."""
    metrics = metric_names(options.metrics)
    run, sink = execution.stream(lambda source: SnapshotSink(source, metrics))
    heads = sink.heads()
    notes = sink.notes()
    scores, problem = _scores(execution, options, head_keys_of(heads))
    heads |= scores
    heads |= sink.rigidity_columns(head_keys_of(heads), execution, held_out)
    layers = _layers(heads, metrics)
    layers |= sink.smoothness(layers)
    layers |= _states(execution, layers)
    probed = SCORES if scores else ()
    return run, Snapshot(name, step, heads, layers, metrics, probed, (*notes, *problem))


class SnapshotSink(SinkGroup):
    """A sink for the metrics and the class of each head, and how far the rows of each layer are from their mean."""

    def __init__(self, source: Source, metrics: Sequence[str]) -> None:
        heads: Selection = source.heads
        inputs: Sequence[Input] = source.inputs
        others: list[Metric] = [*declarations(name for name in metrics if name not in NUMBERS).values()]
        self._inputs, self._metrics = tuple(inputs), metrics
        self._classes = ClassesSink(inputs, heads)
        self._measure, self._uniform = Measure(others, heads=heads), Measure(others, heads=heads)
        self._rows, self._uniform_rows = RowsToMean(heads), RowsToMean(heads)
        uniform = UniformBaseline(SinkGroup(self._uniform, self._uniform_rows), heads)
        self._rigidity = RigiditySink()
        super().__init__(self._classes, self._measure, self._rows, uniform, self._rigidity)

    def heads(self) -> Columns:
        """Return the columns of the table of heads, without scores of the probe."""
        numbers = dict(self._classes.observed.heads()[0])
        measured = {**numbers, **self._measure.result(self._inputs).heads}
        coords = numbers["sink"].coords
        baseline = self._uniform.result(self._inputs).heads
        uniform = {**self._classes.uniform(), **of_same_heads(numbers["sink"], dict(baseline))}
        verdicts = self._classes.verdicts(_THRESHOLDS)
        columns: Columns = {name: coords[name][1] for name in _HEAD}
        for name in self._metrics:
            columns |= {name: measured[name].values, f"{name}_uniform": uniform[name].values}
        strongest = [next(iter(classes), None) for classes in verdicts]
        columns["class"] = np.array([*strongest, ""], dtype=object)[:-1]
        return columns

    def notes(self) -> tuple[str, ...]:
        """Return a note on the classes that the texts are too short to tell."""
        untold = {name for numbers in self._classes.numbers() for name in too_short(numbers, _THRESHOLDS)}
        if not untold:
            return ()
        names = " or ".join(name for name in CLASSES if name in untold)
        return (f"some texts are too short to tell {names}: no head has these classes; give longer texts",)

    def rigidity_columns(self, keys: Sequence[HeadKey], execution: Execution, held_out: Sequence[Text]) -> Columns:
        """Return the rigidity of heads; with held-out texts, which are read now, the difference and its interval."""
        training = self._rigidity.result()
        if held_out:
            other = RigiditySink()
            execution.runner.prepare(held_out, replace(execution.request, keep_maps=False)).gather(more=[other])
            table = rigidity_table(training, other.result(self._rigidity))
        else:
            table = {"rigidity": training.mean()}
        rows = {key: row for row, key in enumerate(training.heads)}
        order = np.array([rows[key] for key in keys])
        return {name: values[order] for name, values in table.items() if name not in _HEAD}

    def smoothness(self, layers: Mapping[str, Array]) -> Columns:
        """Return rows_to_mean of each layer, and of uniform attention in it."""
        keys = list(zip(layers["kind"].tolist(), layers["layer"].tolist(), strict=True))
        sinks = {ROWS_TO_MEAN: self._rows, f"{ROWS_TO_MEAN}_uniform": self._uniform_rows}
        return {name: np.array([sink.result().get(key, np.nan) for key in keys]) for name, sink in sinks.items()}


def head_keys_of(heads: Mapping[str, Array]) -> list[HeadKey]:
    """Return kind, layer and head of each row of a table of heads."""
    return list(zip(*(heads[name].tolist() for name in ("kind", "layer", "head")), strict=True))


def _scores(execution: Execution, options: SnapshotOptions, keys: Sequence[HeadKey]) -> tuple[Columns, tuple[str, ...]]:
    """Return the scores of the probe for some heads; none for an encoder, with a note if the probe is impossible."""
    runner = execution.runner
    if not options.probe_length or runner.loaded.reads_both_ways or "decoder" not in {kind for kind, _, _ in keys}:
        return {}, ()
    try:
        tokens = RepeatedTokens.of(runner.loaded)
        request = replace(execution.request, words=False, special="keep", word_ids=None)
        request = decoder_alone(tokens, replace(request, choice=replace(request.choice, kinds=("decoder",))))
        passages = tokens.random(options.probe_length, range(options.sequences), "--probe-length")
    except UsageError as error:
        return {}, (f"no probe of repeated tokens: {error}",)
    sink = read_twice(runner, tokens, passages, request)[1]
    columns: Columns = {}
    tables = {"": sink.scores("mean", 0), "_uniform": sink.scores("mean", 1)}
    rows = {key: row for row, key in enumerate(head_keys(tables[""][SCORES[0]]))}
    for score in SCORES:
        for suffix, table in tables.items():
            values = [table[score].values[rows[key]] if key in rows else np.nan for key in keys]
            columns[f"{score}{suffix}"] = np.array(values)
    return columns, ()


def _layers(heads: Columns, metrics: Sequence[str]) -> Columns:
    """Return the means over the heads of each layer, the largest scores, and how many heads have each class."""
    coords = {name: heads[name] for name in _HEAD}
    names = [name for name in (*metrics, *SCORES) if name in heads]
    names = [part for name in names for part in (name, f"{name}_uniform")]
    means = layer_table(coords, {name: heads[name] for name in (*names, *RIGIDITY) if name in heads})
    table: Columns = {name: means[name] for name in ("kind", "layer", "heads")}
    of_layer = [
        (heads["kind"] == kind) & (heads["layer"] == layer)
        for kind, layer in zip(means["kind"], means["layer"], strict=True)
    ]
    for name in (*names, *RIGIDITY):
        if name in means:
            table[name] = means[name]
        if name in SCORES:
            table[f"{name}_max"] = np.array([_largest(heads[name][rows]) for rows in of_layer])
    for name in CLASSES:
        table[f"{name}_heads"] = np.array([int(np.sum(heads["class"][rows] == name)) for rows in of_layer])
    return table


def _largest(values: Array) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.max()) if len(defined) else float("nan")


def _states(execution: Execution, layers: Mapping[str, Array]) -> Columns:
    """Return how similar the hidden states of tokens are after each layer; NaN for cross-attention."""
    states = state_numbers([execution.prepared])
    values = np.full((len(layers["layer"]), len(STATES)), np.nan)
    kinds: list[Kind] = layers["kind"].tolist()
    for row, (kind, layer) in enumerate(zip(kinds, layers["layer"].tolist(), strict=True)):
        of_stack: Any = states.get(kind)
        if of_stack is not None and layer + 1 < len(of_stack):
            values[row] = of_stack[layer + 1]
    return {name: values[:, column] for column, name in enumerate(STATES)}

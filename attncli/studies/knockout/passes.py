"""From a text and options to the result: what is explained, from where and to what attention is blocked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from attncli.capturing import edited_outputs
from attncli.data import KINDS, Array, Kind, Spans
from attncli.data.focus import positions_of
from attncli.engine.explain_request import SIMILARITY, ExplainRequest
from attncli.engine.explained import Explained, checked_logits, explain, prepare_explained
from attncli.engine.focus import FocusRequest
from attncli.engine.rounding import rounding_notes
from attncli.engine.text_units import units_of
from attncli.errors import UsageError
from attncli.stream import AttentionOfRows
from attncli.studies.knockout.compute import (
    DRAWS,
    Effects,
    Window,
    default_window,
    measure,
    rank_correlation,
    ranks,
    variants_of,
    windows_of,
)
from attncli.studies.knockout.options import KnockoutOptions
from attncli.studies.knockout.result import Knockout
from attncli.studies.knockout.units import BlockedRows, random_keys, visible_units
from attncli.vocabulary import SINK_THRESHOLD

if TYPE_CHECKING:
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass

Columns = dict[str, Array]


def knock_out(execution: Execution, options: KnockoutOptions, spans: Spans | None) -> tuple[Collected, Knockout]:
    """Return the run that was read, and what blocked attention does to the prediction.

    spans  the segments that are blocked, instead of tokens
    """
    wanted = ExplainRequest.parse(options.explain)
    request = replace(execution.request, words=False, special="keep")  # words are blocked, but not merged
    prepared = prepare_explained(execution.runner, execution.texts[0], request, wanted, execution.track)
    outputs = edited_outputs(prepared.loaded, prepared.plan, prepared.batches[0])
    logits = checked_logits(prepared.loaded, outputs, wanted.form == SIMILARITY)
    explained = explain(prepared, wanted, logits)
    rows, notes = _rows(prepared, explained, options.query, spans)
    sink = AttentionOfRows(prepared.batches[0].inputs[0], rows, prepared.heads)
    run = execution.run_pass(prepared, [sink]).with_notes(*notes)
    blocked = [_blocked(execution, options, spans, sink, (kind, of_kind)) for kind, of_kind in rows.items()]
    windows = [windows_of(_layers(prepared, kind), options.window_layers) for kind in rows]
    variants = [variants_of(*of_kind) for of_kind in zip(blocked, windows, strict=True)]
    passes = [variant for of_kind in variants for variant in of_kind]
    effects = measure(prepared, explained, rows, passes, execution.track, logits.shape[-1])
    ends = np.cumsum([0, *map(len, variants)]).tolist()
    of_number = explained.by == "number"
    before = _Before(float(explained.score(logits, "ln-probability")[0]), of_number)
    tables = [
        _tables(sink, of_kind, of_windows, effects.part(start, end), before)
        for of_kind, of_windows, start, end in zip(blocked, windows, ends[:-1], ends[1:], strict=True)
    ]
    keys, layers = (_joined([of_kind[index] for of_kind in tables]) for index in (0, 1))
    correlation = {
        of.kind: rank_correlation(table["attention"], -table[before.effect])
        for of, (table, _) in zip(blocked, tables, strict=True)
    }
    result = Knockout(
        explained.wanted,
        explained.name,
        before.score if of_number else float(np.exp(before.score)),
        _unit(execution, options, spans),
        {kind: tuple(of_kind.tolist()) for kind, of_kind in rows.items()},
        keys,
        layers,
        {
            of.kind: options.window_layers or default_window(len(of_windows) - 1)
            for of, of_windows in zip(blocked, windows, strict=True)
        },
        correlation,
        "number" if of_number else "probability",
    )
    return run.with_notes(*_sink_notes(prepared, sink, blocked), *rounding_notes(prepared.loaded)), result


def _sink_notes(prepared: Pass, sink: AttentionOfRows, blocked: Sequence[BlockedRows]) -> list[str]:
    """Return a note for each kind of attention whose first token is a sink: a block moves most of the attention."""
    notes = []
    has_start = getattr(prepared.loaded.tokenizer, "bos_token_id", None) is not None
    for kind, units in ((of.kind, of.units) for of in blocked):
        name = next((unit.name for unit in units if 0 in unit.positions), None)
        share = float(np.mean([sink.weights[kind, layer][0] for layer in _layers(prepared, kind)]))
        if name is None or share < SINK_THRESHOLD or kind == "cross":
            continue
        advice = "" if sink.text.sides(kind)[1].special[0] or not has_start else " (--add-bos puts a start token there)"
        notes.append(
            f"the first token gets {share:.0%} of the {kind} attention, as a sink{advice}; when '{name}' is blocked, "
            "others get it: that changes a prediction even if the word does not matter"
        )
    return notes


def _rows(
    prepared: Pass, explained: Explained, query: str | None, spans: Spans | None
) -> tuple[dict[Kind, Array], list[str]]:
    """Return the rows from which attention is blocked, by kind, and notes about kinds that are left out.

    Raise UsageError if the selected kinds of attention have none.
    """
    text = prepared.batches[0].inputs[0]
    kinds = [kind for kind in KINDS if any(kind == of for of, _ in prepared.heads)]
    if query is None:
        rows = {kind: explained.query_rows(text, kind) for kind in kinds}
        rows = {kind: of_kind for kind, of_kind in rows.items() if len(of_kind)}
        if not rows:
            raise UsageError(
                f"no row of {' and '.join(kinds)} attention predicts: give --query, or select another --kind"
            )
        left_out = [kind for kind in kinds if kind not in rows]
        return rows, [
            f"{kind} attention is left out, as none of its rows predicts: --query names rows" for kind in left_out
        ]
    request = FocusRequest(query, "from", "--query", None if spans is None else {text.index: spans}, "input")
    found: dict[Kind, Array] = {}
    errors: dict[Kind, UsageError] = {}
    for kind in kinds:
        try:
            found[kind] = positions_of(request.matches(text, kind))
        except UsageError as error:
            errors[kind] = error
    if not found:
        raise next(iter(errors.values()))
    return found, [f"{kind} attention is left out: {str(error).split(': ')[0]}" for kind, error in errors.items()]


def _blocked(
    execution: Execution,
    options: KnockoutOptions,
    spans: Spans | None,
    sink: AttentionOfRows,
    rows: tuple[Kind, Array],
) -> BlockedRows:
    """Return what is blocked in one kind of attention."""
    request, (kind, of_kind), text = execution.request, rows, sink.text
    keys, visible = text.sides(kind)[1], sink.visible[kind]
    units = units_of(text, kind, options.divide, spans, request.words)
    units = visible_units(units, visible, keys.special, request.dropped_special)
    if not units:
        raise UsageError(f"the rows of {kind} attention see no key that could be blocked: give another --query")
    of_segments = _unit(execution, options, spans) == "segment"
    drawn = random_keys(units, visible, keys.special, DRAWS) if of_segments else ()
    return BlockedRows(kind, of_kind, units, drawn)


def _unit(execution: Execution, options: KnockoutOptions, spans: Spans | None) -> str:
    """Return what is blocked together: segment, word or token."""
    if options.divide is not None or spans is not None:
        return "segment"
    return "word" if execution.request.words else "token"


def _layers(prepared: Pass, kind: Kind) -> list[int]:
    return [layer for of, layer in prepared.heads if of == kind]


@dataclass(frozen=True)
class _Before:
    """What is explained, without blocked attention.

    score      ln of its probability, or the number that it is
    of_number  whether it is a number, which has no probability
    """

    score: float
    of_number: bool

    @property
    def effect(self) -> str:
        """The column by which units are ranked."""
        return "change" if self.of_number else "ln_change"

    def columns(self, scores: Array) -> Columns:
        """Return the columns of scores with blocked attention."""
        if self.of_number:
            return {"number": scores, "change": scores - self.score}
        probability = np.exp(scores)
        change = probability - np.exp(self.score)
        return {"probability": probability, "change": change, "ln_change": scores - self.score}


def _tables(
    sink: AttentionOfRows, blocked: BlockedRows, windows: Sequence[Window], effects: Effects, before: _Before
) -> tuple[Columns, Columns]:
    """Return the table of units that are blocked in all layers, and that of the windows of layers."""
    count = len(blocked.units)
    parts = [
        _columns(sink, blocked, window, effects.part(number * count, (number + 1) * count), before)
        for number, window in enumerate(windows)
    ]
    keys = parts[0]
    if blocked.random:
        drawn = effects.part(count * len(windows), len(effects.predicted)).score - before.score
        ends = np.cumsum([0, *map(len, blocked.random)])
        means = [drawn[start:end].mean() if end > start else np.nan for start, end in pairwise(ends.tolist())]
        keys = {**keys, f"random_{before.effect}": np.array(means)}
    of_windows = []
    for window, part in zip(windows[1:], parts[1:], strict=True):
        layers = {"layer": window.layer, "first_layer": window.layers[0], "last_layer": window.layers[-1]}
        named = {name: np.full(count, number) for name, number in layers.items()}
        of_windows.append({"kind": part["kind"], **named, **part})
    return keys, _joined(of_windows)


def _columns(sink: AttentionOfRows, blocked: BlockedRows, window: Window, effects: Effects, before: _Before) -> Columns:
    """Return a row for each unit that is blocked in the layers of a window."""
    kind, units = blocked.kind, blocked.units
    weights = np.mean([sink.weights[kind, layer] for layer in window.layers], axis=0)
    changes = before.columns(effects.score)
    predicted = {} if before.of_number else {"predicted": np.array(effects.predicted, dtype=object)}
    return {
        "kind": np.array([kind] * len(units), dtype=object),
        "key": np.array([unit.positions[0] for unit in units]),
        "name": np.array([unit.name for unit in units], dtype=object),
        "tokens": np.array([len(unit.positions) for unit in units]),
        "attention": np.array([weights[list(unit.positions)].sum() for unit in units]),
        **changes,
        "rank": ranks(changes[before.effect]),
        **predicted,
    }


def _joined(tables: Sequence[Columns]) -> Columns:
    """Return tables as one; a column that a table lacks is NaN there."""
    names = dict.fromkeys(name for table in tables for name in table)
    lacking = [np.full(len(table["kind"]), np.nan) for table in tables]
    return {
        name: np.concatenate([table.get(name, fill) for table, fill in zip(tables, lacking, strict=True)])
        for name in names
    }

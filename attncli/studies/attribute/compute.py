"""From a text and options to the result: each method gives a number to each token, word or segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Spans, Tokens
from attncli.data.words import merged_words, word_groups
from attncli.engine.collected import Collected
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_explained
from attncli.engine.request import Request
from attncli.engine.rounding import rounding_notes
from attncli.engine.text_units import TextUnit, units_of
from attncli.errors import UsageError
from attncli.studies.attribute.methods import METHODS
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.attribute.result import AttributedOutput, AttributedUnit, Attribution
from attncli.studies.attribute.values import Values

if TYPE_CHECKING:
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass


def attribute(
    execution: Execution, options: AttributeOptions, spans: Spans | None, ready: Pass | None = None
) -> tuple[Collected, Attribution]:
    """Return the run that was read, and how much each token counts.

    spans  the segments that are compared, instead of tokens
    ready  the pass that makes the prediction, if it is prepared already
    """
    wanted = ExplainRequest.parse(options.explain)
    # words are compared, but attention is not merged into them
    request = replace(execution.request, words=False, special="keep", keep_maps=execution.save_maps)
    prepared = ready or prepare_explained(execution.runner, execution.texts[0], request, wanted, execution.track)
    reads_vectors = any(METHODS[name].replaces for name in options.methods)
    predictions = Predictions.of(prepared, wanted, options.score, reads_vectors)
    units = units_read(predictions, options.divide, spans, execution.request)
    values = Values(predictions, options, units, execution.track)
    reads_attention = bool(values.sinks) or execution.save_maps
    run = execution.run_pass(prepared, values.sinks) if reads_attention else _run_without_maps(execution, prepared)
    methods, raw = values.all()
    result = Attribution(
        wanted.spec,
        "number" if predictions.outputs[0].by == "number" else options.score,
        unit_name(options.divide, spans, execution.request.words),
        tuple(_outputs(predictions)),
        methods,
        tuple(_attributed(predictions, units, execution.request.words)),
        _shown_tokens(predictions, execution),
        tuple(map(predictions.side_kind, predictions.tokens)),
        raw,
    )
    return run.with_notes(*_notes(result), *rounding_notes(prepared.loaded)), result


def _run_without_maps(execution: Execution, prepared: Pass) -> Collected:
    """Return a run of which only the texts and their origin are known: no method reads its attention."""
    return execution.finish(Collected(prepared.info_of(execution.texts), tuple(prepared.inputs)))


def unit_name(divide: str | None, spans: Spans | None, words: bool) -> str:
    """Return what is compared: token, word or segment."""
    if divide is not None or spans is not None:
        return "segment"
    return "word" if words else "token"


def units_read(
    predictions: Predictions, divide: str | None, spans: Spans | None, request: Request
) -> dict[Side, list[TextUnit]]:
    """Return what is compared on each side: tokens that a prediction reads, without special tokens if dropped.

    divide, spans  how the text is divided into segments; None for tokens, or words if the request has them
    Raise UsageError if there is nothing to compare.
    """
    by_side: dict[Side, list[TextUnit]] = {}
    for side, tokens in predictions.tokens.items():
        kind, read = predictions.side_kind(side), np.logical_or.reduce(predictions.read(side))
        if request.dropped_special:
            read &= ~tokens.special
        by_side[side] = []
        for unit in units_of(predictions.text, kind, divide, spans, request.words):
            if positions := tuple(position for position in unit.positions if read[position]):
                by_side[side].append(replace(unit, positions=positions))
    special = {side: tokens.special for side, tokens in predictions.tokens.items()}
    of_units = [special[side][list(unit.positions)] for side, units in by_side.items() for unit in units]
    if sum(not of_unit.all() for of_unit in of_units) < 2:
        what = unit_name(divide, spans, request.words)
        raise UsageError(f"the prediction reads one {what} or none, so there is nothing to compare: give a longer text")
    return by_side


def _attributed(
    predictions: Predictions, units: Mapping[Side, Sequence[TextUnit]], words: bool
) -> Iterator[AttributedUnit]:
    """Yield the units of all sides, with the tokens or words that stand for them in pictures."""
    for side, of_side in units.items():
        groups = word_groups(predictions.tokens[side]).tolist()
        for unit in of_side:
            shown = tuple(dict.fromkeys(groups[position] for position in unit.positions)) if words else unit.positions
            yield AttributedUnit(side, unit.name, unit.label, unit.positions, shown)


def _shown_tokens(predictions: Predictions, execution: Execution) -> dict[Side, Tokens]:
    merged = execution.request.words
    return {side: merged_words(tokens) if merged else tokens for side, tokens in predictions.tokens.items()}


def _outputs(predictions: Predictions) -> list[AttributedOutput]:
    logits = predictions.logits
    return [
        AttributedOutput(
            output.name,
            output.positions,
            float(output.score(logits, predictions.score)),
            float("nan") if output.by == "number" else float(output.ln_probability(logits).exp()),
        )
        for output in predictions.outputs
    ]


def _notes(result: Attribution) -> list[str]:
    zero = [
        f"{method.name}: all values of '{result.outputs[output].name}' are 0, so they have no shares"
        for number, method in enumerate(result.methods)
        for output in np.flatnonzero(~np.abs(np.nan_to_num(result.raw[number])).any(1)).tolist()
    ]
    more = [
        f"integrated-gradients took {max(method.steps)} steps"
        for method in result.methods
        if method.steps and max(method.steps) > min(method.steps)
    ]
    return [*zero, *more]

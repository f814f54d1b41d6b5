"""From a text and options to the result: each method gives a number to each token, word or segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array, Spans, Tokens
from attncli.data.words import merged_words, word_groups
from attncli.engine.collected import Collected
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_explained
from attncli.engine.rounding import rounding_notes
from attncli.engine.text_units import TextUnit, units_of
from attncli.errors import UsageError
from attncli.studies.attribute.baselines import baseline_vectors, chosen_baseline
from attncli.studies.attribute.gradients import Integrated, at_the_text, integrated_gradients
from attncli.studies.attribute.methods import METHODS, WITH_BASELINE
from attncli.studies.attribute.occlusion import occlusion
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.attribute.relevance import MeanAttention, RolledOut, attention_x_gradient
from attncli.studies.attribute.result import AttributedOutput, AttributedUnit, Attribution, AttributionMethod
from attncli.studies.attribute.shapley import shapley

if TYPE_CHECKING:
    import torch

    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass
    from attncli.engine.progress import Track

BySide = Mapping[Side, Array]
"""[token] of each side; a side that is missing has values of 0."""


def attribute(execution: Execution, options: AttributeOptions, spans: Spans | None) -> tuple[Collected, Attribution]:
    """Return the run that was read, and how much each token counts.

    spans  the segments that are compared, instead of tokens
    """
    wanted = ExplainRequest.parse(options.explain)
    # words are compared, but attention is not merged into them
    request = replace(execution.request, words=False, special="keep", keep_maps=execution.save_maps)
    prepared = prepare_explained(execution.runner, execution.texts[0], request, wanted, execution.track)
    reads_vectors = any(METHODS[name].replaces for name in options.methods)
    predictions = Predictions.of(prepared, wanted, options.score, reads_vectors)
    units = _units(predictions, options, spans, execution)
    attention = MeanAttention(predictions) if "attention" in options.methods else None
    rollout = RolledOut(predictions) if "rollout" in options.methods else None
    sinks = [sink for reader in (attention, rollout) if reader is not None for sink in reader.sinks]
    run = (
        execution.run_pass(prepared, sinks) if sinks or execution.save_maps else _run_without_maps(execution, prepared)
    )
    values = _Values(predictions, options, units, execution.track, attention, rollout)
    methods, raw = zip(*map(values.of, options.methods), strict=True)
    result = Attribution(
        wanted.spec,
        "number" if predictions.outputs[0].by == "number" else options.score,
        _unit_name(execution, options, spans),
        tuple(_outputs(predictions)),
        methods,
        tuple(_attributed(predictions, units, execution.request.words)),
        _shown_tokens(predictions, execution),
        tuple(map(predictions.side_kind, predictions.tokens)),
        _only_read(predictions, units, np.stack(raw)),
    )
    return run.with_notes(*_notes(result), *rounding_notes(prepared.loaded)), result


def _run_without_maps(execution: Execution, prepared: Pass) -> Collected:
    """Return a run of which only the texts and their origin are known: no method reads its attention."""
    return execution.finish(Collected(prepared.info_of(execution.texts), tuple(prepared.inputs)))


def _unit_name(execution: Execution, options: AttributeOptions, spans: Spans | None) -> str:
    if options.divide is not None or spans is not None:
        return "segment"
    return "word" if execution.request.words else "token"


def _units(
    predictions: Predictions, options: AttributeOptions, spans: Spans | None, execution: Execution
) -> dict[Side, list[TextUnit]]:
    """Return what is compared on each side: tokens that a prediction reads, without special tokens if dropped.

    Raise UsageError if there is nothing to compare.
    """
    by_side: dict[Side, list[TextUnit]] = {}
    for side, tokens in predictions.tokens.items():
        kind, read = predictions.side_kind(side), np.logical_or.reduce(predictions.read(side))
        if execution.request.dropped_special:
            read &= ~tokens.special
        by_side[side] = []
        for unit in units_of(predictions.text, kind, options.divide, spans, execution.request.words):
            if positions := tuple(position for position in unit.positions if read[position]):
                by_side[side].append(replace(unit, positions=positions))
    special = {side: tokens.special for side, tokens in predictions.tokens.items()}
    of_units = [special[side][list(unit.positions)] for side, units in by_side.items() for unit in units]
    if sum(not of_unit.all() for of_unit in of_units) < 2:
        what = _unit_name(execution, options, spans)
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


def _only_read(predictions: Predictions, units: Mapping[Side, Sequence[TextUnit]], raw: Array) -> Array:
    """Return values [method, output, unit] with NaN for units that a prediction does not read at all."""
    parts = []
    for side, of_side in units.items():
        read = predictions.read(side)
        parts += [read[:, list(unit.positions)].any(1) for unit in of_side]
    kept: Array = np.where(np.stack(parts, 1), raw, np.nan)
    return kept


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


@dataclass(eq=False)
class _Values:
    """The values of the methods; what several methods need is computed once."""

    predictions: Predictions
    options: AttributeOptions
    units: Mapping[Side, Sequence[TextUnit]]
    track: Track
    attention: MeanAttention | None
    rollout: RolledOut | None
    _at_the_text: dict[str, list[tuple[torch.Tensor, ...]]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[AttributionMethod, Array]:
        """Return a method and its values [output, unit]."""
        method = AttributionMethod(name, METHODS[name].signed)
        if name in WITH_BASELINE:
            baseline = chosen_baseline(self.predictions.prepared.loaded, self.options.baseline)
            vectors = baseline_vectors(self.predictions, baseline)
            method = replace(method, baseline=baseline)
            if name == "occlusion":
                return method, occlusion(self.predictions, vectors, self.units, self.track)
            if name == "shapley":
                samples, seed = self.options.samples, self.options.seed
                return method, shapley(self.predictions, vectors, self.units, samples, seed, self.track)
            steps, allowed = self.options.steps, self.options.allow_delta
            integrated = integrated_gradients(self.predictions, vectors, steps, allowed, self.track)
            return _with_delta(method, integrated), self._of_vectors([result.values for result in integrated])
        if name == "attention-x-gradient":
            return method, self._merged(attention_x_gradient(self.predictions))
        if name == "value-norm-rollout":
            return method, self._merged(RolledOut.of_norms(self.predictions, self.track).values())
        if METHODS[name].reads == "gradients":
            self._at_the_text = self._at_the_text or at_the_text(self.predictions)
            return method, self._of_vectors(self._at_the_text[name])
        reader = self.attention if name == "attention" else self.rollout
        assert reader is not None
        return method, self._merged(reader.values())

    def _of_vectors(self, values: Sequence[tuple[torch.Tensor, ...]]) -> Array:
        sides = self.predictions.word_vectors
        return self._merged(
            [dict(zip(sides, (part.cpu().numpy() for part in of_output), strict=True)) for of_output in values]
        )

    def _merged(self, values: Sequence[BySide]) -> Array:
        """Return values [output, unit]: the sum over the tokens of each unit."""
        zeros = {side: np.zeros(len(tokens)) for side, tokens in self.predictions.tokens.items()}
        return np.array(
            [
                [
                    (of_output.get(side, zeros[side]))[list(unit.positions)].sum()
                    for side in self.units
                    for unit in self.units[side]
                ]
                for of_output in values
            ]
        )


def _with_delta(method: AttributionMethod, integrated: Sequence[Integrated]) -> AttributionMethod:
    return replace(
        method,
        steps=tuple(result.steps for result in integrated),
        change=tuple(result.change for result in integrated),
        delta=tuple(result.delta for result in integrated),
    )

"""From texts and options to the result: each part measures each text; what is done is kept and not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.capturing.word_vectors import Side
from attncli.data import Array, Input, Kind, Spans
from attncli.engine.collected import Collected
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_each_explained
from attncli.engine.paired_tests import check_scipy
from attncli.engine.passes import Pass
from attncli.engine.progress import untracked
from attncli.engine.request import Request
from attncli.engine.rounding import rounding_notes
from attncli.errors import UsageError
from attncli.inputs.rationales import Rationale
from attncli.store.text import plain
from attncli.studies.attribute.baselines import chosen_baseline
from attncli.studies.attribute.compute import unit_name, units_read
from attncli.studies.attribute.gradients import load_captum
from attncli.studies.attribute.methods import METHODS
from attncli.studies.attribute.predictions import Predictions, kinds_of_sides
from attncli.studies.attribute.values import Values
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.removal import TextRemover
from attncli.studies.faithfulness.result import ExplainedText, Faithfulness
from attncli.studies.faithfulness.text import StudiedText, removable_units

if TYPE_CHECKING:
    from attncli.engine.execution import Execution

FEW_TEXTS = 10


@dataclass(frozen=True, eq=False)
class MeasuredParts:
    """What the parts measured on some texts.

    unit, baseline, kinds  as in `Faithfulness`
    entries                for each text its prediction, "explained", and the measures by part, "parts"
    """

    unit: str
    baseline: str
    kinds: tuple[Kind, ...]
    entries: Sequence[Mapping[str, Any]]


def measure(
    execution: Execution,
    options: FaithfulnessOptions,
    parts: Sequence[Part],
    spans: Sequence[Spans] | None,
    rationales: Sequence[Rationale] | None,
) -> tuple[Collected, MeasuredParts]:
    """Return the texts that were read, and what the parts of the study measured on each of them.

    spans       the segments of each text that are removed, instead of tokens
    rationales  what people named in each text
    """
    check_scipy(len(execution.texts))
    if "integrated-gradients" in options.methods:
        load_captum()
    if execution.save_maps:
        raise UsageError("faithfulness keeps no maps: leave out --save-maps, or give it to attncli stats")
    wanted = ExplainRequest.parse(options.explain)
    # words are compared, but attention is not merged into them
    request = replace(execution.request, words=False, special="keep", keep_maps=False)
    arguments = execution.runner, execution.texts, request, wanted
    passes = prepare_each_explained(*arguments, execution.track, execution.first)
    parts = [part.begin(execution) for part in parts]
    needs_vectors = any(part.needs_vectors for part in parts)
    numbers = execution.text_numbers
    texts = _Texts(passes, wanted, options, execution.request, spans, rationales, needs_vectors, numbers)
    baseline = texts.baseline
    entries: dict[int, Mapping[str, Any]] = {entry["text"]: entry for entry in execution.partial.done()}
    with execution.track("removing", len(passes), "texts") as advance:
        for position, number in enumerate(numbers):
            if number in entries:
                advance(1)
                continue
            with execution.errors_named(position):
                text = texts.studied(position)
                measured = {part.name: part.measure(text, lambda share: advance(share / len(parts))) for part in parts}
                entry = plain({"text": number, "explained": vars(texts.explained(text)), "parts": measured})
                execution.partial.keep(entry)
                entries[number] = entry
    ordered = [(entries[number], one) for number, one in zip(numbers, texts.inputs, strict=True) if number in entries]
    run = Collected(passes[0].info_of(execution.texts), tuple(one for _, one in ordered))
    measured_texts = MeasuredParts(texts.unit, baseline, texts.kinds, [entry for entry, _ in ordered])
    return run.with_notes(*_notes(passes)), measured_texts


def faithfulness(measured: MeasuredParts, options: FaithfulnessOptions, parts: Sequence[Part]) -> Faithfulness:
    """Return the result of what was measured on all texts."""
    entries = measured.entries
    by_part = {
        part.name: [{**entry["parts"][part.name], "text": entry["explained"]["text"]} for entry in entries]
        for part in parts
    }
    return Faithfulness(
        ExplainRequest.parse(options.explain).spec,
        measured.unit,
        options.methods,
        options.removals,
        measured.baseline,
        measured.kinds,
        tuple(ExplainedText(**entry["explained"]) for entry in entries),
        {part.name: part.result(by_part[part.name]) for part in parts},
    )


def _notes(passes: Sequence[Pass]) -> Iterator[str]:
    first = passes[0].notes
    yield from dict.fromkeys(note for one in passes[1:] for note in one.notes if note not in first)
    yield from rounding_notes(passes[0].loaded)


def result_notes(result: Faithfulness) -> Iterator[str]:
    """Yield what a reader must know of the result."""
    if (texts := len(result.texts)) < FEW_TEXTS:
        count = "one text says" if texts == 1 else f"{texts} texts say"
        yield f"{count} little about a method: give {FEW_TEXTS} or more, so that intervals over texts are reliable"
    for part in result.parts.values():
        yield from part.notes


@dataclass(frozen=True, eq=False)
class _Texts:
    """Makes the texts of the study one after another.

    passes         a pass for each text
    needs_vectors  whether a part replaces vectors of tokens
    numbers        the number of each text
    """

    passes: Sequence[Pass]
    wanted: ExplainRequest
    options: FaithfulnessOptions
    request: Request
    spans: Sequence[Spans] | None
    rationales: Sequence[Rationale] | None
    needs_vectors: bool
    numbers: Sequence[int]

    @property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(prepared.batches[0].inputs[0] for prepared in self.passes)

    @property
    def unit(self) -> str:
        """What is removed: token, word or segment."""
        spans = None if self.spans is None else self.spans[0]
        return unit_name(self.options.divide, spans, self.request.words)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """For each side a kind of attention whose keys are its tokens."""
        return tuple(kinds_of_sides(self.passes[0]).values())

    @property
    def baseline(self) -> str:
        """The name of the vectors that stand for tokens that are not there."""
        return chosen_baseline(self.passes[0].loaded, self.options.baseline)

    def studied(self, position: int) -> StudiedText:
        """Return the text at a position with the values of all methods."""
        options, prepared = self.options, self.passes[position]
        predictions = Predictions.of(prepared, self.wanted, options.score, self._reads_vectors, several=False)
        spans = None if self.spans is None else self.spans[position]
        read = units_read(predictions, options.divide, spans, self.request)
        units = removable_units(predictions, read, self.unit)
        values = Values(predictions, options, units, untracked)
        if values.sinks:
            prepared.gather(more=values.sinks)
        _, raw = values.all()
        measured = replace(predictions, score="probability")
        remover = TextRemover(measured, units, self.baseline, self._pools(position), options.draws, options.seed)
        rationale = () if self.rationales is None else self.rationales[position]
        number = self.numbers[position]
        return StudiedText(number, predictions, units, read, options.methods, raw[:, 0], remover, rationale)

    @property
    def _reads_vectors(self) -> bool:
        by_methods = any(METHODS[name].replaces for name in self.options.methods)
        return by_methods or self.needs_vectors or set(self.options.removals) != {"delete"}

    def _pools(self, position: int) -> dict[Side, Array]:
        """Return the ids of the ordinary tokens of the other texts, by side; its own if there is no other text."""
        others = [text for other, text in enumerate(self.inputs) if other != position] or [self.inputs[position]]
        pools: dict[Side, Array] = {"source": np.concatenate([one.source.ids[~one.source.special] for one in others])}
        targets = [one.target.ids[~one.target.special] for one in others if one.target is not None]
        return {**pools, "target": np.concatenate(targets)} if targets else pools

    @staticmethod
    def explained(text: StudiedText) -> ExplainedText:
        """Return the prediction of a text with its probability."""
        output, logits = text.output, text.predictions.logits
        return ExplainedText(text.number, output.name, float(output.score(logits, "probability")), text.values.shape[1])

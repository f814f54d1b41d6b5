"""From texts and options to the result: each part measures each text; what is done is kept and not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from attncli.errors import ModelError, UsageError
from attncli.inputs.rationales import Rationale
from attncli.store.text import plain
from attncli.studies.attribute.baselines import chosen_baseline
from attncli.studies.attribute.compute import unit_name, units_read
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


def faithfulness(
    execution: Execution,
    options: FaithfulnessOptions,
    parts: Sequence[Part],
    spans: Sequence[Spans] | None,
    rationales: Sequence[Rationale] | None,
) -> tuple[Collected, Faithfulness]:
    """Return the texts that were read, and what the parts of the study measured.

    spans       the segments of each text that are removed, instead of tokens
    rationales  what people named in each text
    """
    check_scipy(len(execution.texts))
    if execution.save_maps:
        raise UsageError("faithfulness keeps no maps: leave out --save-maps, or give it to attncli stats")
    wanted = ExplainRequest.parse(options.explain)
    # words are compared, but attention is not merged into them
    request = replace(execution.request, words=False, special="keep", keep_maps=False)
    passes = prepare_each_explained(execution.runner, execution.texts, request, wanted, execution.track)
    parts = [part.begin(execution) for part in parts]
    needs_vectors = any(part.needs_vectors for part in parts)
    texts = _Texts(passes, wanted, options, execution.request, spans, rationales, needs_vectors)
    baseline = texts.baseline
    entries: dict[int, Mapping[str, Any]] = {entry["text"]: entry for entry in execution.partial.done()}
    with execution.track("removing", len(passes), "texts") as advance:
        for number in range(len(passes)):
            if number in entries:
                advance(1)
                continue
            with _named(number, len(passes)):
                text = texts.studied(number)
                measured = {part.name: part.measure(text, lambda share: advance(share / len(parts))) for part in parts}
            entry = plain({"text": number, "explained": vars(texts.explained(text)), "parts": measured})
            execution.partial.keep(entry)
            entries[number] = entry
    ordered = [entries[number] for number in range(len(passes))]
    results = {part.name: part.result([entry["parts"][part.name] for entry in ordered]) for part in parts}
    result = Faithfulness(
        wanted.spec,
        texts.unit,
        options.methods,
        options.removals,
        baseline,
        texts.kinds,
        tuple(ExplainedText(**entry["explained"]) for entry in ordered),
        results,
    )
    run = Collected(passes[0].info_of(execution.texts), texts.inputs)
    return execution.finish(run.with_notes(*_notes(passes, result))), result


def _notes(passes: Sequence[Pass], result: Faithfulness) -> Iterator[str]:
    first = passes[0].notes
    yield from dict.fromkeys(note for one in passes[1:] for note in one.notes if note not in first)
    yield from rounding_notes(passes[0].loaded)
    if len(passes) < FEW_TEXTS:
        count = "one text says" if len(passes) == 1 else f"{len(passes)} texts say"
        yield f"{count} little about a method: give {FEW_TEXTS} or more, so that intervals over texts are reliable"
    for part in result.parts.values():
        yield from part.notes


@contextmanager
def _named(number: int, texts: int) -> Iterator[None]:
    """Name the text in errors inside the `with` block, if there are several."""
    try:
        yield
    except (UsageError, ModelError) as error:
        if texts == 1:
            raise
        raise type(error)(f"text {number}: {error}") from error


@dataclass(frozen=True, eq=False)
class _Texts:
    """Makes the texts of the study one after another.

    passes         a pass for each text
    needs_vectors  whether a part replaces vectors of tokens
    """

    passes: Sequence[Pass]
    wanted: ExplainRequest
    options: FaithfulnessOptions
    request: Request
    spans: Sequence[Spans] | None
    rationales: Sequence[Rationale] | None
    needs_vectors: bool

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

    def studied(self, number: int) -> StudiedText:
        """Return one text with the values of all methods."""
        options, prepared = self.options, self.passes[number]
        predictions = Predictions.of(prepared, self.wanted, options.score, self._reads_vectors, several=False)
        spans = None if self.spans is None else self.spans[number]
        read = units_read(predictions, options.divide, spans, self.request)
        units = removable_units(predictions, read, self.unit)
        values = Values(predictions, options, units, untracked)
        if values.sinks:
            prepared.gather(more=values.sinks)
        _, raw = values.all()
        measured = replace(predictions, score="probability")
        remover = TextRemover(measured, units, self.baseline, self._pools(number), options.draws, options.seed)
        rationale = () if self.rationales is None else self.rationales[number]
        return StudiedText(number, predictions, units, read, options.methods, raw[:, 0], remover, rationale)

    @property
    def _reads_vectors(self) -> bool:
        by_methods = any(METHODS[name].replaces for name in self.options.methods)
        return by_methods or self.needs_vectors or set(self.options.removals) != {"delete"}

    def _pools(self, number: int) -> dict[Side, Array]:
        """Return the ids of the ordinary tokens of the other texts, by side; its own if there is no other text."""
        others = [text for other, text in enumerate(self.inputs) if other != number] or [self.inputs[number]]
        pools: dict[Side, Array] = {"source": np.concatenate([one.source.ids[~one.source.special] for one in others])}
        targets = [one.target.ids[~one.target.special] for one in others if one.target is not None]
        return {**pools, "target": np.concatenate(targets)} if targets else pools

    @staticmethod
    def explained(text: StudiedText) -> ExplainedText:
        """Return the prediction of a text with its probability."""
        output, logits = text.output, text.predictions.logits
        return ExplainedText(text.number, output.name, float(output.score(logits, "probability")), text.values.shape[1])

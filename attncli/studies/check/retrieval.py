"""Whether heads copy what the model writes: the retrieval score of rules, over texts with written tokens."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Array, Input, Kind, Partition, Rows
from attncli.inputs.rows_as import is_written
from attncli.stream import selected
from attncli.stream.retrieval import BaselinedRetrieval, retrieval_columns
from attncli.studies.check.bound import BoundMeasure, TextIndices
from attncli.studies.check.measures import Values, column, limit_margins, verdict_on
from attncli.studies.check.result import LEAST_BEYOND, RETRIEVAL, Verdict
from attncli.studies.check.rules.kinds import BudgetRule
from attncli.studies.check.weights import DIGITS, margins

_SOURCE, _OTHER = "source", "other"


def with_written_tokens(bound: BoundMeasure, inputs: Sequence[Input], *, words: bool) -> BoundMeasure:
    """Return a rule with only those of its texts in which the model wrote tokens; raise UsageError if there is none.

    words  whether tokens are words: their rows predict no single token
    """
    rule, kinds = bound.rule, {kind for kind, _, _ in bound.heads}
    if words:
        raise rule.part.error((), f"'{rule.name}' is about rows that predict single tokens: leave out words")
    if kinds == {"encoder"}:
        raise rule.part.error((), f"'{rule.name}' is about a decoder, which writes text, and these heads are encoder")
    texts = tuple(
        text.index for text in inputs if text.index in bound.data and any(_written_tokens(text, kind) for kind in kinds)
    )
    if not texts:
        raise rule.part.error(
            () if rule.text is None else ("text",),
            f"'{rule.name}' needs a text in which the model wrote tokens: give a chat with an answer of the assistant, "
            "or generate: 20 to let the model write",
        )
    return replace(bound, data=texts)


def _written_tokens(text: Input, kind: Kind) -> tuple[Array, Partition] | None:
    """Return the positions of the written tokens, and which keys are their source: all others but special tokens.

    None if there are no written tokens or no source.
    """
    if kind not in ("decoder", "cross"):
        return None
    queries, keys = text.sides(kind)
    written, written_keys = (np.array([is_written(name) for name in side.segments], bool) for side in (queries, keys))
    positions, source = np.flatnonzero(written & ~queries.special), ~written_keys & ~keys.special
    if not len(positions) or not source.any():
        return None
    return positions, Partition.of_names([_SOURCE if is_source else _OTHER for is_source in source.tolist()])


class RetrievalMeasures:
    """A sink for the retrieval scores of the heads of rules, for each set of texts that the rules are about."""

    def __init__(self, bound: Sequence[BoundMeasure], inputs: Sequence[Input]) -> None:
        self._heads: dict[tuple[Kind, int], tuple[int, ...]] = {}
        for kind, layer, head in sorted({key for of_rule in bound for key in of_rule.heads}):
            self._heads[kind, layer] = (*self._heads.get((kind, layer), ()), head)
        kinds = {kind for kind, _ in self._heads}
        written = {(text.index, kind): _written_tokens(text, kind) for text in inputs for kind in kinds}
        self._sinks: dict[TextIndices, BaselinedRetrieval] = {}
        for texts in {of_rule.data for of_rule in bound}:
            found = {key: tokens for key, tokens in written.items() if key[0] in texts and tokens is not None}
            positions = {key: tokens for key, (tokens, _) in found.items()}
            sources = {key: source for key, (_, source) in found.items()}
            self._sinks[texts] = BaselinedRetrieval(inputs, positions, sources)

    def add(self, rows: Rows) -> None:
        """Measure one block of rows."""
        part = selected(rows, self._heads)
        if part is None:
            return
        for sink in self._sinks.values():
            sink.add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the scores of a layer."""
        for sink in self._sinks.values():
            sink.end_layer(kind, layer)

    def values(self, bound: BoundMeasure) -> Values:
        """Return the score, its baselines and the number of written tokens of each head of a rule, with 6 decimals."""
        columns = retrieval_columns(self._sinks[bound.data].result(), [(*key, _SOURCE) for key in bound.heads])
        return {
            name: dict(zip(bound.heads, np.round(values, DIGITS).tolist(), strict=True))
            for name, values in columns.items()
        }


def retrieval_verdict(bound: BoundMeasure, measures: RetrievalMeasures, tolerance: float) -> Verdict:
    """Return whether the score is within its limits, or the class as the rule demands, in any head or in every head.

    A head is of the class if its score is at least `LEAST_BEYOND` beyond uniform attention and beyond position alone.
    """
    rule, values = bound.rule, measures.values(bound)
    uniform_values = {RETRIEVAL: values.get("retrieval_uniform", {})}
    if isinstance(rule, BudgetRule):
        head_margins = limit_margins(bound, rule, values, tolerance)
    else:
        names = (RETRIEVAL, "retrieval_uniform", "retrieval_positional")
        score, uniform, positional = (column(values, name, bound.heads) for name in names)
        beyond = score - np.fmax(uniform, positional)
        head_margins = margins(beyond, ">=" if rule.wanted else "<", LEAST_BEYOND, tolerance)
    return verdict_on(bound, RETRIEVAL, head_margins, tolerance, values, uniform_values)

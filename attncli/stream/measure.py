"""The sink that reduces the stream to measures: nothing of a block outlives it but sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Metric, Rows, Scores, Selection, Statistics
from attncli.stream.moments import Moments
from attncli.stream.positions import Positions, PositionValues
from attncli.stream.protocol import selected
from attncli.stream.sums import LayerSums, column_values

Heads = tuple[int, ...]


@dataclass
class _Done:
    """Some heads of a layer over all texts so far; the moments are [head, metric]."""

    moments: Moments
    texts: int = 0
    queries: int = 0


class Measure:
    """Every measure for every head, over one or many texts, in any order and batching.

    A head's value for a text is the mean over its real query rows where the measure is defined; over texts, the
    mean of those where it is defined. Values leave the device once per layer. With `per_text` those of single texts are
    held too, so that means over some of them can be had.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        per_query: bool = False,
        per_text: bool = False,
        heads: Selection | None = None,
    ) -> None:
        self._rows = [metric for metric in metrics if metric.scope == "row"]
        self._columns = [metric for metric in metrics if metric.scope == "column" and not metric.per_key]
        self._per_key = [metric for metric in metrics if metric.per_key]
        self._order = [metric for metric in metrics if not metric.per_key]
        self._heads = heads
        self._open: dict[tuple[Kind, int, tuple[int, ...]], LayerSums] = {}
        self._done: dict[tuple[Kind, int, Heads], _Done] = {}
        self._per_query = per_query
        self._texts: dict[int, dict[tuple[Kind, int, Heads], tuple[Array, int]]] | None = {} if per_text else None
        self._tokens, self._keys = Positions("query"), Positions("key")

    def add(self, rows: Rows) -> None:
        """Measure one block and let it go."""
        part = selected(rows, self._heads)
        if part is None:
            return
        place = part.kind, part.layer, part.texts
        if place not in self._open:
            self._open[place] = LayerSums(part, self._rows)
        self._open[place].add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the measures of a layer and combine them into the moments over texts."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            self._finish(layer, self._open.pop(key))

    def result(self, inputs: Sequence[Input]) -> Statistics:
        """What was measured; `inputs` are the texts that went by."""
        several = any(done.texts > 1 for done in self._done.values())
        return Statistics(
            heads=self._table(self._done, "mean"),
            std=self._table(self._done, "std") if several else {},
            tokens=self._tokens.scores(self._rows, inputs),
            keys=self._keys.scores(self._per_key, inputs),
        )

    def heads_of(self, texts: Iterable[int]) -> dict[str, Scores]:
        """The mean over some texts alone; only with `per_text`."""
        done: dict[tuple[Kind, int, Heads], _Done] = {}
        for text in texts:
            for place, (values, queries) in (self._texts or {}).get(text, {}).items():
                of = done.setdefault(place, _Done(Moments(values.shape)))
                of.moments.add(values[None])
                of.texts += 1
                of.queries += queries
        return self._table(done, "mean")

    def _finish(self, number: int, layer: LayerSums) -> None:
        place = layer.kind, number, layer.heads, layer.texts
        columns, by_query = layer.columns(), []
        values = list(column_values(columns, self._columns))
        for at, by_row in enumerate(layer.row_values(self._rows)):
            values.insert(at, by_row.nanmean(2))
            by_query += [by_row] if self._per_query else []
        found = torch.stack(values, dim=-1).cpu().numpy() if values else np.zeros((*columns.mass.shape[:2], 0))
        names = [metric.name for metric in (*self._rows, *self._columns)]
        found = found[..., [names.index(metric.name) for metric in self._order]]
        done = self._done.setdefault((layer.kind, number, layer.heads), _Done(Moments(found.shape[1:])))
        done.moments.add(found)
        done.texts += len(layer.texts)
        done.queries += sum(layer.query_lengths)
        if self._texts is not None:
            for text, single, queries in zip(layer.texts, found, layer.query_lengths, strict=True):
                self._texts.setdefault(text, {})[layer.kind, number, layer.heads] = single, queries
        if by_query:
            self._tokens.add(PositionValues(*place, layer.query_lengths, torch.stack(by_query, dim=-1)))
        if self._per_query and self._per_key:
            by_key = torch.stack(list(column_values(columns, self._per_key)), dim=-1)
            self._keys.add(PositionValues(*place, layer.key_lengths, by_key))

    def _table(self, found: Mapping[tuple[Kind, int, Heads], _Done], what: str) -> dict[str, Scores]:
        """One entry per head, ordered by kind, layer and head; `what` is mean or std."""
        rows = []
        for (kind, layer, heads), done in found.items():
            moments: Array = getattr(done.moments, what)
            rows += [((KINDS.index(kind), layer, head), done, moments[at]) for at, head in enumerate(heads)]
        rows.sort(key=lambda row: row[0])
        coords = {
            "kind": np.array([KINDS[where[0]] for where, _, _ in rows], dtype=object),
            "layer": np.array([where[1] for where, _, _ in rows], dtype=np.int64),
            "head": np.array([where[2] for where, _, _ in rows], dtype=np.int64),
            "texts": np.array([done.texts for _, done, _ in rows], dtype=np.int64),
            "queries": np.array([done.queries for _, done, _ in rows], dtype=np.int64),
        }
        named = {name: ("head", entries) for name, entries in coords.items()}
        values = np.array([value for _, _, value in rows]).reshape(len(rows), len(self._order))
        return {
            m.name: Scores(m.name, values[:, at], ("head",), named, m.unit, m.range, m.source)
            for at, m in enumerate(self._order)
        }

"""The sink that reduces the stream to measures: nothing of a block outlives it but sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Metric, Rows, Scores, Selection, Statistics
from attncli.sinks import sums
from attncli.sinks.moments import Moments
from attncli.sinks.positions import Positions, Values
from attncli.sinks.protocol import selected

Heads = tuple[int, ...]


@dataclass
class _Open:
    """A layer of some texts whose rows are still going by: the sums so far, by the heads that came together."""

    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    parts: dict[Heads, sums.Sums] = field(default_factory=dict)


@dataclass
class _Done:
    """Some heads of a layer over all texts so far; the moments are [head, metric]."""

    moments: Moments
    texts: int = 0
    queries: int = 0


class Measure:
    """Every measure for every head, over one or many texts, in any order and batching.

    A head's value for a text is the mean over its real query rows where the measure is defined; over texts, the
    mean of those where it is defined. Values leave the device once per layer.
    """

    def __init__(self, metrics: Sequence[Metric], *, per_query: bool = False, heads: Selection | None = None) -> None:
        self._rows = [metric for metric in metrics if metric.scope == "row"]
        self._columns = [metric for metric in metrics if metric.scope == "column" and not metric.per_key]
        self._per_key = [metric for metric in metrics if metric.per_key]
        self._order = [metric for metric in metrics if not metric.per_key]
        self._heads = heads
        self._open: dict[tuple[Kind, int, tuple[int, ...]], _Open] = {}
        self._done: dict[tuple[Kind, int, Heads], _Done] = {}
        self._per_query = per_query
        self._tokens, self._keys = Positions("query"), Positions("key")

    def add(self, rows: Rows) -> None:
        """Measure one block and let it go."""
        part = selected(rows, self._heads)
        if part is None:
            return
        values = sums.row_values(part, self._rows)
        new = _Open(part.query_lengths, part.key_lengths)
        parts = self._open.setdefault((part.kind, part.layer, part.texts), new).parts
        parts[part.heads] = sums.add(parts.get(part.heads), sums.block_sums(part, values))
        if self._per_query:
            positions = part.query_positions
            self._tokens.add(
                Values(part.kind, part.layer, part.heads, part.texts, part.query_lengths, positions, values)
            )

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the measures of a layer and fold them into the moments over texts."""
        for key in [key for key in self._open if key[:2] == (kind, layer)]:
            self._finish(key, self._open.pop(key))
        self._tokens.flush()
        self._keys.flush()

    def result(self, inputs: Sequence[Input]) -> Statistics:
        """What was measured; `inputs` are the texts that went by."""
        several = any(done.texts > 1 for done in self._done.values())
        return Statistics(
            heads=self._table("mean"),
            std=self._table("std") if several else {},
            tokens=self._tokens.scores(self._rows, inputs),
            keys=self._keys.scores(self._per_key, inputs),
        )

    def _finish(self, where: tuple[Kind, int, tuple[int, ...]], layer: _Open) -> None:
        kind, number, texts = where
        heads, total = sums.join(layer.parts.items())
        columns = sums.columns(kind, total)
        means = total["values"] / total["counts"]
        found = torch.cat([means, sums.column_values(columns, self._columns)], dim=-1).cpu().numpy()
        names = [metric.name for metric in (*self._rows, *self._columns)]
        values = found[..., [names.index(metric.name) for metric in self._order]]
        done = self._done.setdefault((kind, number, heads), _Done(Moments(values.shape[1:])))
        done.moments.add(values)
        done.texts += len(texts)
        done.queries += sum(layer.query_lengths)
        if self._per_query and self._per_key:
            by_key = sums.column_values(columns, self._per_key)
            positions = torch.arange(by_key.shape[2]).expand(len(texts), -1)
            self._keys.add(Values(kind, number, heads, texts, layer.key_lengths, positions, by_key))

    def _table(self, what: str) -> dict[str, Scores]:
        """One entry per head, ordered by kind, layer and head; `what` is mean or std."""
        rows = []
        for (kind, layer, heads), done in self._done.items():
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

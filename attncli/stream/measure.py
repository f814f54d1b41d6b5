"""The sink that reduces the stream to measures; it keeps only sums of a block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Metric, Rows, Scores, Selection, Statistics
from attncli.stream.head_table import HeadTable
from attncli.stream.layer_sums import LayerSums, column_values
from attncli.stream.protocol import LayerKey, pop_layer, selected
from attncli.stream.token_table import TokenTable, TokenValues


class Measure:
    """Every measure of every head, over one or many texts, in any order and in batches of any size.

    The value of a head for a text is the mean over its real query rows where the measure is defined; over texts, the
    mean of those where it is defined. Values leave the device once per layer.

    per_query  keep the value of every query and key too
    per_text   keep the values of single texts too, for means over some of them
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        per_query: bool = False,
        per_text: bool = False,
        heads: Selection | None = None,
    ) -> None:
        self._row_metrics = [metric for metric in metrics if metric.scope == "row"]
        self._column_metrics = [metric for metric in metrics if metric.scope == "column" and not metric.per_key]
        self._key_metrics = [metric for metric in metrics if metric.per_key]
        self._head_metrics = [metric for metric in metrics if not metric.per_key]
        self._heads = heads
        self._open: dict[LayerKey, LayerSums] = {}
        self._table = HeadTable()
        self._per_query, self._per_text = per_query, per_text
        self._texts: dict[int, dict[tuple[Kind, int, tuple[int, ...]], tuple[Array, int]]] = {}
        self._query_table, self._key_table = TokenTable("query"), TokenTable("key")

    def add(self, rows: Rows) -> None:
        """Measure one block."""
        part = selected(rows, self._heads)
        if part is None:
            return
        key = part.kind, part.layer, part.texts
        if key not in self._open:
            self._open[key] = LayerSums(part, self._row_metrics)
        self._open[key].add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        """Finish the measures of a layer and add them to the moments over texts."""
        for _, sums in pop_layer(self._open, kind, layer):
            self._finish(layer, sums)

    def result(self, inputs: Sequence[Input]) -> Statistics:
        """Return the measures; `inputs` are the texts that were streamed."""
        return Statistics(
            heads=self._scores(self._table, "mean"),
            std=self._scores(self._table, "std") if self._table.several_texts else {},
            tokens=self._query_table.scores(self._row_metrics, inputs),
            keys=self._key_table.scores(self._key_metrics, inputs),
        )

    def means_over(self, texts: Iterable[int]) -> dict[str, Scores]:
        """Return the mean over some texts alone, one entry per head; needs `per_text`."""
        table = HeadTable()
        for text in texts:
            for key, (values, queries) in self._texts.get(text, {}).items():
                table.add(*key, values[None], queries)
        return self._scores(table, "mean")

    def _finish(self, layer: int, sums: LayerSums) -> None:
        columns, row_values = sums.columns(), []
        by_name = {}
        for metric, values in zip(self._row_metrics, sums.row_values(self._row_metrics), strict=True):
            by_name[metric.name] = values.nanmean(2)
            row_values += [values] if self._per_query else []
        for metric, values in zip(self._column_metrics, column_values(columns, self._column_metrics), strict=True):
            by_name[metric.name] = values
        if by_name:
            head_values = torch.stack([by_name[metric.name] for metric in self._head_metrics], dim=-1).cpu().numpy()
        else:
            head_values = np.zeros((*columns.mass.shape[:2], 0))
        self._table.add(sums.kind, layer, sums.heads, head_values, sum(sums.query_lengths))
        if self._per_text:
            for text, values_of_text, queries in zip(sums.texts, head_values, sums.query_lengths, strict=True):
                self._texts.setdefault(text, {})[sums.kind, layer, sums.heads] = values_of_text, queries
        key = sums.kind, layer, sums.heads, sums.texts
        if row_values:
            self._query_table.add(TokenValues(*key, sums.query_lengths, torch.stack(row_values, dim=-1)))
        if self._per_query and self._key_metrics:
            key_values = torch.stack(list(column_values(columns, self._key_metrics)), dim=-1)
            self._key_table.add(TokenValues(*key, sums.key_lengths, key_values))

    def _scores(self, table: HeadTable, what: Literal["mean", "std"]) -> dict[str, Scores]:
        """Return one table per metric with an entry per head, ordered by kind, layer and head."""
        coords, values = table.rows(what, (len(self._head_metrics),))
        return {
            metric.name: Scores(
                metric.name, values[:, index], ("head",), coords, metric.unit, metric.range, metric.source
            )
            for index, metric in enumerate(self._head_metrics)
        }

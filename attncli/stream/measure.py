"""The sink that reduces the stream to measures; it keeps only sums of a block."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from attncli.data import Array, Input, Kind, Metric, Rows, Scores, Selection, Statistics, kind_order
from attncli.data.modes import Modes
from attncli.data.part_states import PartState
from attncli.data.surfaces import token_columns
from attncli.stream.layer_sums import LayerSums, column_values
from attncli.stream.protocol import LayerKey, pop_layer, selected, without_autocast
from attncli.stream.sums import Coords, HeadsKey, HeadTable, OverTexts

_WAITING_ROWS = 1 << 17
"""Rows of heads and texts whose sums are kept for several layers: some 20 MB."""


class Measure:
    """Every measure of every head, over one or many texts, in any order and in batches of any size.

    The value of a head for a text is the mean over its real query rows where the measure is defined; over texts, the
    mean of those where it is defined, or the most frequent of them if they are categories. Values leave the device once
    per layer.

    per_query  keep the value of every query and key too
    per_text   keep the values of single texts too, for means over some of them
    by_tokens  over texts, the mean over all rows (a text counts as many times as it has rows with a value), not over
               texts
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        *,
        per_query: bool = False,
        per_text: bool = False,
        by_tokens: bool = False,
        heads: Selection | None = None,
    ) -> None:
        self._row_metrics = [metric for metric in metrics if metric.scope == "row"]
        self._column_metrics = [metric for metric in metrics if metric.scope == "column" and not metric.per_key]
        self._key_metrics = [metric for metric in metrics if metric.per_key]
        self._head_metrics = [metric for metric in metrics if not metric.per_key]
        self._category_columns = [index for index, metric in enumerate(self._head_metrics) if metric.category]
        self._heads = heads
        self._open: dict[LayerKey, LayerSums] = {}
        self._waiting: list[tuple[int, LayerSums]] = []
        self._table, self._categories = HeadTable(by_rows=by_tokens), HeadTable(Modes, by_rows=by_tokens)
        self._per_query, self._per_text, self._by_tokens = per_query, per_text, by_tokens
        self._kept_texts: dict[int, dict[HeadsKey, tuple[Array, int]]] = {}
        self._query_table, self._key_table = _TokenTable("query"), _TokenTable("key")

    def add(self, rows: Rows) -> None:
        part = selected(rows, self._heads)
        if part is None:
            return
        key = part.kind, part.layer, part.texts
        if key not in self._open:
            self._open[key] = LayerSums(part, self._row_metrics)
        self._open[key].add(part)

    def end_layer(self, kind: Kind, layer: int) -> None:
        for _, sums in pop_layer(self._open, kind, layer):
            sums.close()
            if self._waiting and not self._waiting[-1][1].joins(sums):
                self._finish()
            self._waiting.append((layer, sums))
            if sum(waiting.rows for _, waiting in self._waiting) > _WAITING_ROWS:
                self._finish()

    def result(self, inputs: Sequence[Input]) -> Statistics:
        """Return the measures; `inputs` are the texts that were streamed."""
        self._finish()
        several = self._table.several_texts
        return Statistics(
            heads=self._averages(self._table, self._categories),
            std=self._scores(self._table, "std") if several else {},
            share=self._scores(self._categories, "share") if several else {},
            counts=self._counts() if self._by_tokens else {},
            tokens=self._query_table.scores(self._row_metrics, inputs),
            keys=self._key_table.scores(self._key_metrics, inputs),
        )

    def state(self) -> PartState:
        """Return the sums over texts, without values of single texts, queries and keys."""
        self._finish()
        return {"amounts": self._table.state(), "categories": self._categories.state()}

    def absorb(self, state: PartState) -> None:
        """Add the texts of a state of another sink with the same metrics."""
        self._finish()
        self._table.absorb(state["amounts"])
        self._categories.absorb(state["categories"])

    def means_over(self, texts: Iterable[int]) -> dict[str, Scores]:
        """Return the mean (or the most frequent category) over some texts, one entry per head; needs `per_text`."""
        return self._averages(*self._tables_over(texts))

    def shares_over(self, texts: Iterable[int]) -> dict[str, Scores]:
        """Return the share of some texts that have the most frequent category; needs `per_text`."""
        return self._scores(self._tables_over(texts)[1], "share")

    @property
    def _texts(self) -> dict[int, dict[HeadsKey, tuple[Array, int]]]:
        """The values of single texts by text and heads, [head, metric], and their numbers of query tokens."""
        self._finish()
        return self._kept_texts

    def _tables_over(self, texts: Iterable[int]) -> tuple[HeadTable, HeadTable]:
        tables = HeadTable(), HeadTable(Modes)
        for text in texts:
            for heads, (values, queries) in self._texts.get(text, {}).items():
                self._add_values(tables, heads, values[None], queries)
        return tables

    def values_by_text(self, metric: str) -> Iterator[tuple[int, HeadsKey, Array]]:
        """Yield the values of one metric by text and heads, [head]; needs `per_text`."""
        column = [declared.name for declared in self._head_metrics].index(metric)
        for text, of_text in sorted(self._texts.items()):
            for heads, (values, _) in of_text.items():
                yield text, heads, values[:, column]

    def text_values(self) -> Iterator[tuple[int, HeadsKey, Array]]:
        """Yield the values of all metrics by text and heads, [head, metric]; needs `per_text`."""
        for text, of_text in sorted(self._texts.items()):
            for heads, (values, _) in of_text.items():
                yield text, heads, values

    def _finish(self) -> None:
        """Compute the metrics of the layers that wait: of all at once, as calls of torch cost time for each layer."""
        if not self._waiting:
            return
        layers, sums = tuple(layer for layer, _ in self._waiting), LayerSums.joined([sums for _, sums in self._waiting])
        self._waiting.clear()
        with torch.inference_mode(), without_autocast(sums.device):  # as in the pass, which may be over
            self._finish_layers(layers, sums)

    def _finish_layers(self, layers: Sequence[int], sums: LayerSums) -> None:
        columns, row_values = sums.columns(), []
        by_name, rows = {}, {}
        for metric, values in zip(self._row_metrics, sums.row_values(self._row_metrics), strict=True):
            by_name[metric.name] = values.nanmean(2)
            if self._by_tokens:
                rows[metric.name] = values.isfinite().sum(2).double()
            row_values += [values] if self._per_query else []
        for metric, values in zip(self._column_metrics, column_values(columns, self._column_metrics), strict=True):
            by_name[metric.name] = values
            rows[metric.name] = columns.rows.expand(values.shape)
        shape = columns.mass.shape[:2]
        counts = self._stacked(rows, shape) if self._by_tokens else None
        self._add_layers(layers, sums, self._stacked(by_name, shape), counts)
        keys = self._key_metrics if self._per_query else []
        self._add_tokens(layers, sums, row_values, list(column_values(columns, keys)))

    def _add_layers(self, layers: Sequence[int], sums: LayerSums, values: Array, counts: Array | None) -> None:
        """Add the values of several layers, and the rows behind them: [layer and text, head, metric]."""
        texts, step = sums.texts, len(sums.texts) // len(layers)
        for number, layer in enumerate(layers):
            part, heads = slice(number * step, (number + 1) * step), (sums.kind, layer, sums.heads)
            queries, of_layer = sums.query_lengths[part], values[part]
            rows = None if counts is None else counts[part]
            self._add_values((self._table, self._categories), heads, of_layer, sum(queries), rows)
            if self._per_text:
                for text, values_of_text, of_text in zip(texts[part], of_layer, queries, strict=True):
                    self._kept_texts.setdefault(text, {})[heads] = values_of_text, of_text

    def _add_tokens(
        self,
        layers: Sequence[int],
        sums: LayerSums,
        row_values: Sequence[torch.Tensor],
        key_values: Sequence[torch.Tensor],
    ) -> None:
        """Keep the values of every query and key, one tensor for each metric, if there are any."""
        sides = (self._query_table, sums.query_lengths, row_values), (self._key_table, sums.key_lengths, key_values)
        for table, lengths, values in sides:
            parts = torch.stack(list(values), dim=-1).chunk(len(layers)) if values else ()
            for layer, part in zip(layers, parts, strict=bool(values)):
                table.add((sums.kind, layer, sums.heads), sums.texts[: len(part)], lengths[: len(part)], part)

    def _stacked(self, by_name: Mapping[str, torch.Tensor], shape: Sequence[int]) -> Array:
        """Return the numbers of all metrics of heads as one array [text, head, metric]."""
        columns = [by_name[metric.name] for metric in self._head_metrics]
        stacked: Array = torch.stack(columns, dim=-1).cpu().numpy() if columns else np.zeros((*shape, 0))
        return stacked

    def _counts(self) -> dict[str, Scores]:
        """Return the number of rows behind each value of `heads`."""
        coords, values = self._table.rows("count", (len(self._head_metrics),))
        counts = _scores_of(self._head_metrics, values, "head", coords)
        return {name: replace(scores, unit="rows", range=(0.0, None)) for name, scores in counts.items()}

    def _add_values(
        self,
        tables: tuple[HeadTable, HeadTable],
        heads: HeadsKey,
        values: Array,
        queries: int,
        rows: Array | None = None,
    ) -> None:
        """Add values [text, head, metric], and the rows behind them, to the tables of amounts and of categories."""
        columns = self._category_columns
        tables[0].add(heads, values, queries, rows)
        tables[1].add(heads, values[..., columns], queries, None if rows is None else rows[..., columns])

    def _averages(self, table: HeadTable, categories: HeadTable) -> dict[str, Scores]:
        """Return the mean of each amount and the most frequent value of each category, in the order of the metrics."""
        scores = {**self._scores(table, "mean"), **self._scores(categories, "mode")}
        return {metric.name: scores[metric.name] for metric in self._head_metrics}

    def _scores(self, table: HeadTable, what: OverTexts) -> dict[str, Scores]:
        """Return one table per metric with an entry per head, ordered by kind, layer and head."""
        of_categories = what in ("mode", "share")
        metrics = [metric for metric in self._head_metrics if metric.category] if of_categories else self._head_metrics
        coords, values = table.rows(what, (len(metrics),))
        scores = _scores_of(metrics, values, "head", coords)
        if what == "share":
            return {name: replace(of_metric, unit="1", range=(0.0, 1.0)) for name, of_metric in scores.items()}
        return {metric.name: scores[metric.name] for metric in metrics if metric.category == of_categories}


class _TokenTable:
    """A table with one row per text, kind, layer, head and query token (or key token)."""

    def __init__(self, side: Literal["query", "key"]) -> None:
        self._side = side
        self._values: dict[tuple[int, Kind, int, int], Array] = {}

    def add(self, heads: HeadsKey, texts: Sequence[int], lengths: Sequence[int], values: torch.Tensor) -> None:
        """Copy the values of some texts from the device into the table: [batch, head, token, metric]."""
        kind, layer, numbers = heads
        for text, length, of_text in zip(texts, lengths, values.cpu().numpy(), strict=True):
            for head, of_head in zip(numbers, of_text, strict=True):
                self._values[text, kind, layer, head] = of_head[:length]

    def scores(self, metrics: Sequence[Metric], inputs: Sequence[Input]) -> dict[str, Scores]:
        """Return one table per metric, ordered by text, kind, layer, head and position."""
        tables = sorted(self._values.items(), key=lambda item: (item[0][0], kind_order(item[0][1]), item[0][2:]))
        if not tables:
            return {}
        dim, side = ("row", 0) if self._side == "query" else ("key", 1)
        lengths = [len(table) for _, table in tables]
        columns = zip(*(key for key, _ in tables), strict=True)
        coords = {
            name: (dim, np.repeat(np.array(column, dtype=object if name == "kind" else np.int64), lengths))
            for name, column in zip(("text", "kind", "layer", "head"), columns, strict=True)
        }
        coords[self._side] = (dim, np.concatenate([np.arange(length) for length in lengths]))
        texts = {text.index: text for text in inputs}
        names = {
            (text, kind): token_columns(texts[text].sides(kind)[side])
            for text, kind in {(text, kind) for text, kind, *_ in self._values}
        }
        for index, name in enumerate(("token", "piece")):
            coords[name] = (dim, np.concatenate([names[key[:2]][index] for key, _ in tables]))
        return _scores_of(metrics, np.concatenate([table for _, table in tables]), dim, coords)


def _scores_of(metrics: Sequence[Metric], values: Array, dim: str, coords: Coords) -> dict[str, Scores]:
    """Return the scores of each metric from values [dim, metric]."""
    return {
        metric.name: Scores(metric.name, values[:, index], (dim,), coords, metric.unit, metric.range, metric.source)
        for index, metric in enumerate(metrics)
    }

"""Metric values of each query or key token, for every head and text; kept only on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from attncli.data import KINDS, Array, Input, Kind, Metric, Scores


@dataclass(frozen=True, eq=False)
class TokenValues:
    """The metric values of the tokens of some texts, for some heads of one layer.

    texts    numbers of the texts
    lengths  number of tokens of each text
    values   [batch, head, token, metric], tokens at their positions in the unpadded text
    """

    kind: Kind
    layer: int
    heads: tuple[int, ...]
    texts: tuple[int, ...]
    lengths: tuple[int, ...]
    values: torch.Tensor


class TokenTable:
    """A table with one row per text, kind, layer, head and query token (or key token)."""

    def __init__(self, side: Literal["query", "key"]) -> None:
        self._side = side
        self._values: dict[tuple[int, Kind, int, int], Array] = {}

    def add(self, layer: TokenValues) -> None:
        """Copy the values of one layer from the device into the table."""
        values = layer.values.cpu().numpy()
        for entry, (text, length) in enumerate(zip(layer.texts, layer.lengths, strict=True)):
            for index, head in enumerate(layer.heads):
                self._values[text, layer.kind, layer.layer, head] = values[entry, index, :length]

    def scores(self, metrics: Sequence[Metric], inputs: Sequence[Input]) -> dict[str, Scores]:
        """Return one table per metric, ordered by text, kind, layer, head and position."""
        tables = sorted(self._values.items(), key=lambda item: (item[0][0], KINDS.index(item[0][1]), item[0][2:]))
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
        token_pieces = {
            (text, kind): np.array(texts[text].sides(kind)[side].pieces, dtype=object)
            for text, kind, *_ in self._values
        }
        coords["token"] = (dim, np.concatenate([token_pieces[key[:2]] for key, _ in tables]))
        values = np.concatenate([table for _, table in tables])
        return {
            metric.name: Scores(
                metric.name, values[:, column], (dim,), coords, metric.unit, metric.range, metric.source
            )
            for column, metric in enumerate(metrics)
        }
